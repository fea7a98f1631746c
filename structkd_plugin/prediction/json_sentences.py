"""Sentences and what was predicted of them as JSON objects, one a line."""

import json
from itertools import accumulate
from typing import Any, Dict, Optional, Sequence, Tuple

from allennlp.common.checks import ConfigurationError

from structkd_plugin.prediction.tagging import PredictedEntity, Tagging
from structkd_plugin.tokenization import UNDETERMINED, split_words, word_starts

JsonObject = Dict[str, Any]

_INPUT_FIELDS = ("text", "words", "language")
_PREDICTED_FIELDS = ("tags", "tag_probabilities", "label_probabilities", "entities", "k_best")
DECIMALS = 6


class PlacedSentence:
    """
    A sentence to tag, and where its words stand in a text.

    # Parameters

    text : `Optional[str]`
        What `words` are of, as `split_words` gives them; without it, they are joined by spaces.
    words : `Sequence[str]`
    language : `str`
    carried : `Dict[str, Any]`
        What else is known of it, to be in the output as it is.
    """

    __slots__ = ("_starts", "carried", "language", "text", "words")

    def __init__(self, text: Optional[str], words: Sequence[str], language: str, carried: JsonObject) -> None:
        self.words: Tuple[str, ...] = tuple(words)
        self.language = language
        self.carried = carried
        # Where words begin in a text is looked up when somebody asks.
        self._starts: Optional[Sequence[int]] = None
        if text is None:
            text = " ".join(self.words)
            self._starts = list(accumulate((len(word) + 1 for word in self.words[:-1]), initial=0))
        self.text = text

    @property
    def starts(self) -> Sequence[int]:
        """Where in the text each word begins."""
        if self._starts is None:
            self._starts = word_starts(self.text, self.words)
        return self._starts

    def end(self, number: int) -> int:
        """Where in the text word `number` ends, exclusive."""
        return self.starts[number] + len(self.words[number])


def sentence_of(inputs: Any, language: str) -> PlacedSentence:
    """
    The sentence that a JSON object describes.

    # Parameters

    inputs : `Any`
        With `text` or `words`, and perhaps `language`; its other fields are carried.
    language : `str`
        Where the object names none.

    # Raises

    `ConfigurationError` : one sentence that says what is wrong with the object.
    """
    check(inputs)
    language = inputs.get("language", language)
    carried = {name: value for name, value in inputs.items() if name not in _INPUT_FIELDS}
    if "words" in inputs:
        return PlacedSentence(None, inputs["words"], language, carried)
    return PlacedSentence(inputs["text"], split_words(inputs["text"], language), language, carried)


def prediction(
    sentence: PlacedSentence, tagging: Tagging, labels: Sequence[str], all_labels: bool, k_best: int
) -> JsonObject:
    """
    What is predicted of a sentence, as a JSON object.

    # Parameters

    sentence : `PlacedSentence`
    tagging : `Tagging`
    labels : `Sequence[str]`
        The model's, in index order.
    all_labels : `bool`
        Whether it has `label_probabilities`.
    k_best : `int`
        Whether it has `k_best`: where it is above 0.
    """
    result: JsonObject = {
        "text": sentence.text,
        "language": sentence.language,
        "words": list(sentence.words),
        "tags": list(tagging.tags),
        "tag_probabilities": list(tagging.tag_probabilities),
    }
    if all_labels:
        rows: Any = [] if tagging.label_probabilities is None else tagging.label_probabilities.tolist()
        result["label_probabilities"] = [dict(zip(labels, row, strict=True)) for row in rows]
    if tagging.entities is not None:
        result["entities"] = [entity_object(sentence, entity) for entity in tagging.entities]
    if k_best:
        result["k_best"] = [{"tags": list(ranked.tags), "probability": ranked.probability} for ranked in tagging.k_best]
    return {**result, **sentence.carried}


def entity_object(sentence: PlacedSentence, entity: PredictedEntity) -> JsonObject:
    """An entity with its text, and its offsets in characters of the sentence's text and in words."""
    start, end = sentence.starts[entity.start], sentence.end(entity.end - 1)
    return {
        "text": sentence.text[start:end],
        "label": entity.label,
        "start": start,
        "end": end,
        "start_word": entity.start,
        "end_word": entity.end,
        "probability": entity.probability,
    }


def rounded(outputs: JsonObject) -> JsonObject:
    """A prediction, or some fields of one, with its probabilities rounded to 6 decimals."""
    outputs = dict(outputs)
    if "tag_probabilities" in outputs:
        outputs["tag_probabilities"] = [round(p, DECIMALS) for p in outputs["tag_probabilities"]]
    if "label_probabilities" in outputs:
        outputs["label_probabilities"] = [
            {label: round(p, DECIMALS) for label, p in word.items()} for word in outputs["label_probabilities"]
        ]
    for name in ("entities", "k_best"):
        if name in outputs:
            outputs[name] = [{**one, "probability": round(one["probability"], DECIMALS)} for one in outputs[name]]
    return outputs


def check(inputs: Any) -> None:
    """Raise one error that says what is wrong with a sentence, if anything is."""
    if not isinstance(inputs, dict):
        raise ConfigurationError(f"{excerpt(inputs)} is not a JSON object with text or words")
    if "text" in inputs and "words" in inputs:
        raise ConfigurationError('the sentence has both "text" and "words"; give one of them')
    if "text" not in inputs and "words" not in inputs:
        raise ConfigurationError(
            f'the sentence has neither "text" nor "words", but {excerpt(sorted(inputs)) if inputs else "nothing"}'
        )
    if "text" in inputs and not isinstance(inputs["text"], str):
        raise ConfigurationError(f'"text" is {excerpt(inputs["text"])}; give a string')
    if "words" in inputs:
        if not isinstance(inputs["words"], list):
            raise ConfigurationError(f'"words" is {excerpt(inputs["words"])}; give a list of strings')
        for number, word in enumerate(inputs["words"], start=1):
            if not isinstance(word, str) or not word.strip():
                raise ConfigurationError(f'word {number} of "words" is {excerpt(word)}; give a string with letters')
    language = inputs.get("language", UNDETERMINED)
    if not isinstance(language, str) or not language.strip():
        raise ConfigurationError(f'"language" is {excerpt(language)}; give a code such as "de", or leave it out')
    for name in _PREDICTED_FIELDS:
        if name in inputs:
            raise ConfigurationError(f'the field "{name}" is what the prediction is called; rename it in the input')


def excerpt(value: Any) -> str:
    """The beginning of a value, as it is written in JSON."""
    written = value if isinstance(value, str) and value.lstrip().startswith("{") else json.dumps(value)
    return written if len(written) <= 60 else written[:57] + "..."


def json_problem(error: Exception) -> str:
    """What is wrong with JSON that could not be read."""
    return f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
