"""
A tagger that was exported: tags by onnxruntime and numpy alone, without torch and AllenNLP.

A folder has `network.onnx`, from numbers of words and characters to emissions; `vocabulary.json`, the numbers;
`manifest.json`, labels, transitions, and the checksums of the other two. None of them can hold a program.
"""

import hashlib
import json
from itertools import islice
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np

FORMAT, FORMAT_VERSION = "structkd_tagger", 1
NETWORK, VOCABULARY, MANIFEST = "network.onnx", "vocabulary.json", "manifest.json"

_UNKNOWN = 1


class TaggedWords(NamedTuple):
    """The most probable tags of a sentence, one for each word, and the marginal probability of each."""

    tags: Tuple[str, ...]
    tag_probabilities: Tuple[float, ...]


class ExportedTagger:
    """
    Tags sentences with what `allennlp export` wrote. Threads may share it.

    # Parameters

    folder : `str`
    threads : `int`, optional (default = 0)
        How many threads compute; 0 leaves it to onnxruntime.

    # Raises

    `ValueError` : for a folder that is incomplete, damaged or of another format.
    """

    def __init__(self, folder: str, threads: int = 0) -> None:
        import onnxruntime

        manifest = _object(Path(folder, MANIFEST), _read(Path(folder, MANIFEST)))
        if manifest.get("format") != FORMAT or manifest.get("version") != FORMAT_VERSION:
            raise ValueError(
                f"{Path(folder, MANIFEST)}: the format is {manifest.get('format')!r} of version "
                f"{manifest.get('version')!r}, and this program reads {FORMAT!r} of version {FORMAT_VERSION}"
            )
        contents = {}
        for name in (NETWORK, VOCABULARY):
            contents[name] = _read(Path(folder, name))
            if hashlib.sha256(contents[name]).hexdigest() != manifest["files"].get(name):
                raise ValueError(f"{Path(folder, name)} is not the file that was exported: export it again")
        tokens = _object(Path(folder, VOCABULARY), contents[VOCABULARY])
        self.labels: Tuple[str, ...] = tuple(manifest["labels"])
        # How tags write spans, `None` where every word has a label of its own.
        self.label_encoding = manifest["label_encoding"]
        self._inputs: List[Dict[str, Any]] = manifest["inputs"]
        self._numbers = {
            namespace: {token: number for number, token in enumerate(listed)} for namespace, listed in tokens.items()
        }
        # (L, L), (L,), (L,)
        self._transitions, self._start, self._end = (
            np.array(_with_infinity(manifest[name]), np.float32)
            for name in ("transitions", "start_transitions", "end_transitions")
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(contents[NETWORK], options, providers=["CPUExecutionProvider"])
        self._used = {value.name for value in self._session.get_inputs()}

    def tag(self, sentences: Sequence[Sequence[str]]) -> List[TaggedWords]:
        """
        What the tagger says of sentences, computed as one batch.

        # Parameters

        sentences : `Sequence[Sequence[str]]`
            The words of each; none of them empty.

        # Raises

        `ValueError` : for an empty word, or a sentence that is a text.
        """
        for sentence in sentences:
            if isinstance(sentence, str):
                raise ValueError(f"{sentence!r} is a text; give the list of its words")
            if "" in sentence:
                raise ValueError(f"word {list(sentence).index('') + 1} of a sentence is empty")
        # Without words there is nothing to compute, and the network takes none.
        full = [sentence for sentence in sentences if len(sentence)]
        answers = iter(self._tag(full) if full else [])
        return [next(answers) if len(sentence) else TaggedWords((), ()) for sentence in sentences]

    def stream(self, sentences: Iterable[Sequence[str]], batch_size: int = 64) -> Iterator[TaggedWords]:
        """What the tagger says of any number of sentences, in their order, in memory that does not grow."""
        remaining = iter(sentences)
        while batch := list(islice(remaining, batch_size)):
            yield from self.tag(batch)

    def emissions(self, sentences: Sequence[Sequence[str]]) -> np.ndarray:
        """Shape (B, T, L), float32, of sentences with at least one word; of no meaning where there is no word."""
        lengths = np.array([len(sentence) for sentence in sentences], np.int32)
        words = list(dict.fromkeys(word for sentence in sentences for word in sentence))
        place = {word: number for number, word in enumerate(words)}
        given = {
            "lengths": lengths,
            "word_lengths": np.array([len(word) for word in words], np.int32),
            "places": _padded([[place[word] for word in sentence] for sentence in sentences], 0),
        }
        for entry in self._inputs:
            numbers = self._numbers[entry["namespace"]]
            rows: List[Any] = words if entry["of"] == "characters" else list(sentences)
            if entry["of"] == "characters":
                rows = [word.lower() if entry["lowercase"] else word for word in words]
                # Some letters are two when they are small.
                given["word_lengths"] = np.array([len(word) for word in rows], np.int32)
            elif entry["lowercase"]:
                rows = [[word.lower() for word in sentence] for sentence in sentences]
            given[entry["name"]] = _padded(
                [[numbers.get(token, _UNKNOWN) for token in row] for row in rows], entry["least_characters"]
            )
        (found,) = self._session.run(None, {name: given[name] for name in self._used})
        return np.asarray(found)

    def _tag(self, sentences: Sequence[Sequence[str]]) -> List[TaggedWords]:
        lengths = np.array([len(sentence) for sentence in sentences])
        emissions = self.emissions(sentences)
        best = self._best(emissions, lengths)
        marginals = self._marginals(emissions.astype(np.float64), lengths)
        probabilities = np.take_along_axis(marginals, best[:, :, None], axis=2)[:, :, 0]
        return [
            TaggedWords(
                tuple(self.labels[label] for label in best[b, :length].tolist()),
                tuple(probabilities[b, :length].tolist()),
            )
            for b, length in enumerate(lengths.tolist())
        ]

    def _best(self, emissions: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """(B, T): the labels of the most probable tagging, by Viterbi's algorithm; 0 where there is no word."""
        size, longest, labels = emissions.shape
        score = self._start + emissions[:, 0]
        before = np.zeros((size, longest, labels), np.int64)
        for t in range(1, longest):
            # (B, from, to)
            steps = score[:, :, None] + self._transitions
            before[:, t] = steps.argmax(axis=1)
            further = steps.max(axis=1) + emissions[:, t]
            score = np.where((t < lengths)[:, None], further, score)
        best = np.zeros((size, longest), np.int64)
        label = (score + self._end).argmax(axis=1)
        sentence = np.arange(size)
        for t in range(longest - 1, -1, -1):
            inside = t < lengths
            best[inside, t] = label[inside]
            label = np.where(inside & (t > 0), before[sentence, t, label], label)
        return best

    def _marginals(self, emissions: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """(B, T, L) float64: the probability of each label of each word, by the forward-backward algorithm."""
        longest = emissions.shape[1]
        forward = np.empty_like(emissions)
        backward = np.empty_like(emissions)
        forward[:, 0] = self._start + emissions[:, 0]
        for t in range(1, longest):
            step = np.logaddexp.reduce(forward[:, t - 1, :, None] + self._transitions, axis=1)
            forward[:, t] = step + emissions[:, t]
        # Where there is no word, and at the last one, all that follows is the end.
        backward[:, longest - 1] = self._end
        for t in range(longest - 2, -1, -1):
            following = (emissions[:, t + 1] + backward[:, t + 1])[:, None, :]
            step = np.logaddexp.reduce(self._transitions + following, axis=2)
            backward[:, t] = np.where((t + 1 < lengths)[:, None], step, self._end)
        together = forward + backward
        probabilities: np.ndarray = np.exp(together - np.logaddexp.reduce(together, axis=2, keepdims=True))
        return probabilities


def _padded(rows: Sequence[Sequence[int]], least: int) -> np.ndarray:
    """(rows, longest) int64, 0 where a row has no number; at least `least` wide."""
    padded = np.zeros((len(rows), max(least, max(map(len, rows)))), np.int64)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = row
    return padded


def _with_infinity(values: Any) -> Any:
    if isinstance(values, list):
        return [_with_infinity(value) for value in values]
    return float("-inf") if values is None else values


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; give the folder that `allennlp export` wrote") from None


def _object(path: Path, content: bytes) -> Dict[str, Any]:
    try:
        value = json.loads(content.decode("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} is damaged: it holds no JSON object")
    return value
