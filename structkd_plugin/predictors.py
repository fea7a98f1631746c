"""Text, words or files in; tags, entities with character offsets and probabilities out."""

import json
import locale
import sys
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from allennlp.common.checks import ConfigurationError
from allennlp.common.util import JsonDict
from allennlp.data.dataset_readers.dataset_reader import DatasetReader
from allennlp.data.instance import Instance
from allennlp.models.model import Model
from allennlp.predictors.predictor import Predictor

from structkd_plugin.tokenization import UNDETERMINED, TextWord, text_words, without_surrogates

_INPUT_FIELDS = ("text", "words", "language")
_PREDICTED_FIELDS = ("tags", "tag_probabilities", "label_probabilities", "entities")
_BYTE_ORDER_MARK = "\ufeff"
_DECIMALS = 6


class _Sentence(NamedTuple):
    """A sentence to tag; the words' offsets index `text`."""

    text: str
    words: List[TextWord]
    language: str
    # What else is known of it, to be in the output as it is.
    carried: JsonDict


@Predictor.register("structkd_tagger")
class TaggerPredictor(Predictor):
    """
    Tags sentences of any language the model knows.

    An input line is a JSON object or else a text. The object has `text`, or `words` (a list of strings), and may have
    `language`; its other fields are in the output as they are. The output of a sentence has

    - `text`: as given; for given words, these joined by single spaces,
    - `language`, `words`, `tags`, and `tag_probabilities`, the marginal probability of each word's tag,
    - `entities`, if the model's tags write spans: each with `text`, `label`, `start` and `end` (characters of the
      sentence's `text`, the end exclusive), `start_word` and `end_word` (words, the end exclusive), and `probability`,
      that it is exactly this span.

    A sentence without words has empty lists. `allennlp predict` itself leaves out lines of white space; to keep
    input and output aligned line by line, write an empty sentence as `{"text": ""}`. With `--use-dataset-reader`,
    sentences come from files in the format of the model's reader; `sentence_id` is in the output where the file has
    one, and gold tags are not looked at.

    Registered as a `Predictor` with name "structkd_tagger".

    # Parameters

    model : `Model`
        A `structkd_tagger`.
    dataset_reader : `DatasetReader`
        One of this plugin's.
    frozen : `bool`, optional (default=`True`)
        Whether to set the model to evaluation.
    language : `Optional[str]`, optional (default=`None`)
        Of sentences that name none; `None` for the reader's language.
    all_labels : `bool`, optional (default=`False`)
        Whether the output also has `label_probabilities`: for each word the marginal probability of every label.
    """

    def __init__(
        self,
        model: Model,
        dataset_reader: DatasetReader,
        frozen: bool = True,
        language: Optional[str] = None,
        all_labels: bool = False,
    ) -> None:
        super().__init__(model, dataset_reader, frozen)
        self._language = language if language is not None else dataset_reader.language  # type: ignore[attr-defined]
        self._all_labels = all_labels
        self._lines = 0

    def load_line(self, line: str) -> JsonDict:
        """
        One line of input as a JSON object.

        # Parameters

        line : `str`
            A JSON object, or a text that does not begin with `{`.

        # Returns

        `JsonDict` : with `text` or `words`.

        # Raises

        `ConfigurationError` : naming the line, counted without blank ones, which never come here.
        """
        self._lines += 1
        if self._lines == 1:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        line = line.removesuffix("\n").removesuffix("\r")
        if not line.lstrip().startswith("{"):
            return {"text": line}
        try:
            inputs = json.loads(line)
        except (ValueError, RecursionError) as error:
            problem = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
            raise ConfigurationError(
                f"{self._place()}: begins with '{{' but is not valid JSON ({problem}): {_excerpt(line)}; "
                'write a text that begins so as {"text": "{..."}'
            ) from error
        try:
            _check(inputs)
        except ConfigurationError as error:
            raise ConfigurationError(f"{self._place()}: {error.message}") from error
        return inputs

    def dump_line(self, outputs: JsonDict) -> str:
        """
        One sentence's output as a line of JSON, probabilities with 6 decimals.

        Letters are written as they are, unless the locale's encoding is not UTF-8: `allennlp predict` writes in
        that encoding, where only ASCII is the same.

        # Parameters

        outputs : `JsonDict`

        # Returns

        `str` : ends with a line feed.
        """
        outputs = dict(outputs)
        outputs["tag_probabilities"] = [round(p, _DECIMALS) for p in outputs["tag_probabilities"]]
        if self._all_labels:
            outputs["label_probabilities"] = [
                {label: round(p, _DECIMALS) for label, p in word.items()} for word in outputs["label_probabilities"]
            ]
        if "entities" in outputs:
            outputs["entities"] = [
                {**entity, "probability": round(entity["probability"], _DECIMALS)} for entity in outputs["entities"]
            ]
        line = json.dumps(outputs, ensure_ascii=False)
        return (line if _writable(line) else json.dumps(outputs)) + "\n"

    def predict_json(self, inputs: JsonDict) -> JsonDict:
        """The output for one sentence, given as the class says."""
        return self.predict_batch_json([inputs])[0]

    def predict_batch_json(self, inputs: List[JsonDict]) -> List[JsonDict]:
        """The outputs for sentences, given as the class says, in their order."""
        return self._predict([self._sentence(one) for one in inputs])

    def predict_instance(self, instance: Instance) -> JsonDict:
        """The output for one sentence that the reader made."""
        return self.predict_batch_instance([instance])[0]

    def predict_batch_instance(self, instances: List[Instance]) -> List[JsonDict]:
        """The outputs for sentences that the reader made, in their order."""
        return self._predict([_sentence_of(instance) for instance in instances])

    def _json_to_instance(self, json_dict: JsonDict) -> Instance:
        return self._instance(self._sentence(json_dict))

    def _sentence(self, inputs: JsonDict) -> _Sentence:
        _check(inputs)
        language = inputs.get("language", self._language)
        carried = {name: value for name, value in inputs.items() if name not in _INPUT_FIELDS}
        if "words" in inputs:
            text, words = _joined(inputs["words"])
        else:
            text = inputs["text"]
            words = text_words(text, language)
        return _Sentence(text, words, language, carried)

    def _instance(self, sentence: _Sentence) -> Instance:
        # Token indexers may fail on lone surrogates.
        words = [without_surrogates(word.text) for word in sentence.words]
        instance = self._dataset_reader.text_to_instance(words, language=sentence.language)  # type: ignore[call-arg]
        self._dataset_reader.apply_token_indexers(instance)
        return instance

    def _predict(self, sentences: Sequence[_Sentence]) -> List[JsonDict]:
        instances = [self._instance(sentence) for sentence in sentences if sentence.words]
        outputs: Iterator[Dict[str, Any]] = iter(self._model.forward_on_instances(instances) if instances else [])
        nothing: Dict[str, Any] = {"tags": [], "tag_probabilities": [], "label_probabilities": []}
        if self._model.label_encoding is not None:
            nothing["entities"] = []
        return [self._result(sentence, next(outputs) if sentence.words else nothing) for sentence in sentences]

    def _result(self, sentence: _Sentence, output: Dict[str, Any]) -> JsonDict:
        result: JsonDict = {
            "text": sentence.text,
            "language": sentence.language,
            "words": [word.text for word in sentence.words],
            "tags": list(output["tags"]),
            "tag_probabilities": list(output["tag_probabilities"]),
        }
        if self._all_labels:
            labels: List[str] = self._model.labels  # type: ignore[assignment]
            result["label_probabilities"] = [
                dict(zip(labels, row, strict=True)) for row in output["label_probabilities"]
            ]
        if "entities" in output:
            result["entities"] = [_entity(sentence, entity) for entity in output["entities"]]
        return {**result, **sentence.carried}

    def _place(self) -> str:
        return f"line {self._lines} of the input (blank lines not counted)"


def _entity(sentence: _Sentence, entity: Dict[str, Any]) -> JsonDict:
    start, end = sentence.words[entity["start"]].start, sentence.words[entity["end"] - 1].end
    return {
        "text": sentence.text[start:end],
        "label": entity["label"],
        "start": start,
        "end": end,
        "start_word": entity["start"],
        "end_word": entity["end"],
        "probability": entity["probability"],
    }


def _sentence_of(instance: Instance) -> _Sentence:
    metadata: Dict[str, Any] = instance["metadata"].metadata  # type: ignore[attr-defined]
    text, words = _joined(metadata["words"])
    sentence_id = metadata["sentence_id"]
    carried = {} if sentence_id is None else {"sentence_id": sentence_id}
    return _Sentence(text, words, metadata["language"], carried)


def _joined(texts: Sequence[str]) -> Tuple[str, List[TextWord]]:
    """Words as a text, with single spaces between them, and where they stand in it."""
    words: List[TextWord] = []
    start = 0
    for text in texts:
        words.append(TextWord(text, start, start + len(text)))
        start += len(text) + 1
    return " ".join(texts), words


def _check(inputs: Any) -> None:
    """Raise one error that says what is wrong with a sentence, if anything is."""
    if not isinstance(inputs, dict):
        raise ConfigurationError(f"{_excerpt(inputs)} is not a JSON object with text or words")
    if "text" in inputs and "words" in inputs:
        raise ConfigurationError('the sentence has both "text" and "words"; give one of them')
    if "text" not in inputs and "words" not in inputs:
        raise ConfigurationError(
            f'the sentence has neither "text" nor "words", but {_excerpt(sorted(inputs)) if inputs else "nothing"}'
        )
    if "text" in inputs and not isinstance(inputs["text"], str):
        raise ConfigurationError(f'"text" is {_excerpt(inputs["text"])}; give a string')
    if "words" in inputs:
        if not isinstance(inputs["words"], list):
            raise ConfigurationError(f'"words" is {_excerpt(inputs["words"])}; give a list of strings')
        for number, word in enumerate(inputs["words"], start=1):
            if not isinstance(word, str) or not word.strip():
                raise ConfigurationError(f'word {number} of "words" is {_excerpt(word)}; give a string with letters')
    language = inputs.get("language", UNDETERMINED)
    if not isinstance(language, str) or not language.strip():
        raise ConfigurationError(f'"language" is {_excerpt(language)}; give a code such as "de", or leave it out')
    for name in _PREDICTED_FIELDS:
        if name in inputs:
            raise ConfigurationError(f'the field "{name}" is what the prediction is called; rename it in the input')


def _excerpt(value: Any) -> str:
    """The beginning of a value, as it is written in JSON."""
    written = value if isinstance(value, str) and value.lstrip().startswith("{") else json.dumps(value)
    return written if len(written) <= 60 else written[:57] + "..."


def _writable(line: str) -> bool:
    """Whether `line` is UTF-8 text in a file and on the console as `allennlp predict` opens them."""
    encodings = (locale.getpreferredencoding(False), getattr(sys.stdout, "encoding", None) or "utf-8")
    if any(encoding.lower().replace("-", "").replace("_", "") != "utf8" for encoding in encodings):
        return line.isascii()
    try:
        line.encode("utf-8")
    except UnicodeEncodeError:
        # Lone surrogates, which JSON can carry.
        return False
    return True
