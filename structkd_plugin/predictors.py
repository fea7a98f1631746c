"""Text, words or files in; tags, entities with character offsets and probabilities out."""

import json
import locale
import sys
from typing import Any, Dict, List, Optional, Sequence

from allennlp.common.checks import ConfigurationError
from allennlp.common.util import JsonDict
from allennlp.data.dataset_readers.dataset_reader import DatasetReader
from allennlp.data.instance import Instance
from allennlp.models.model import Model
from allennlp.predictors.predictor import Predictor

from structkd_plugin.prediction.json_sentences import (
    PlacedSentence,
    check,
    excerpt,
    json_problem,
    prediction,
    rounded,
    sentence_of,
)
from structkd_plugin.prediction.sentence_tagger import SentenceTagger, Words
from structkd_plugin.prediction.tagging import Tagging
from structkd_plugin.tokenization import without_surrogates

_BYTE_ORDER_MARK = "\ufeff"


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
      that it is exactly this span,
    - `k_best`, if it is asked for: the most probable taggings, best first, each with `tags` and `probability`.

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
    k_best : `int`, optional (default=`0`)
        How many of the most probable taggings the output also has.
    """

    def __init__(
        self,
        model: Model,
        dataset_reader: DatasetReader,
        frozen: bool = True,
        language: Optional[str] = None,
        all_labels: bool = False,
        k_best: int = 0,
    ) -> None:
        super().__init__(model, dataset_reader, frozen)
        if k_best < 0:
            raise ConfigurationError(f"k_best is {k_best}; it is how many taggings to give, 0 for none")
        self._k_best = k_best
        self._tagger: Optional[SentenceTagger] = None
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
            raise ConfigurationError(
                f"{self._place()}: begins with '{{' but is not valid JSON ({json_problem(error)}): {excerpt(line)}; "
                'write a text that begins so as {"text": "{..."}'
            ) from error
        try:
            check(inputs)
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
        outputs = rounded(outputs)
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

    def _sentence(self, inputs: JsonDict) -> PlacedSentence:
        return sentence_of(inputs, self._language)

    def _instance(self, sentence: PlacedSentence) -> Instance:
        # Token indexers may fail on lone surrogates.
        words = [without_surrogates(word) for word in sentence.words]
        instance = self._dataset_reader.text_to_instance(words, language=sentence.language)  # type: ignore[call-arg]
        self._dataset_reader.apply_token_indexers(instance)
        return instance

    def _predict(self, sentences: Sequence[PlacedSentence]) -> List[JsonDict]:
        if self._tagger is None:
            self._tagger = SentenceTagger.of(self._model, self._dataset_reader)
        with_words = [Words(sentence.words, sentence.language) for sentence in sentences if sentence.words]
        taggings = iter(self._tagger.tag(with_words, self._all_labels, self._k_best))
        nothing = Tagging((), (), None if self._model.label_encoding is None else ())
        return [
            prediction(
                sentence,
                next(taggings) if sentence.words else nothing,
                self._tagger.labels,
                self._all_labels,
                self._k_best,
            )
            for sentence in sentences
        ]

    def _place(self) -> str:
        return f"line {self._lines} of the input (blank lines not counted)"


def _sentence_of(instance: Instance) -> PlacedSentence:
    metadata: Dict[str, Any] = instance["metadata"].metadata  # type: ignore[attr-defined]
    sentence_id = metadata["sentence_id"]
    carried = {} if sentence_id is None else {"sentence_id": sentence_id}
    return PlacedSentence(None, metadata["words"], metadata["language"], carried)


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
