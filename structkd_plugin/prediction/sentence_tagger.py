"""Tagging with an archive: sentences as lists of words in, what the tagger says of each out."""

from itertools import islice
from typing import Any, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from allennlp.common.checks import ConfigurationError
from allennlp.models.archival import Archive, load_archive
from allennlp.modules.seq2seq_encoders import GatedCnnEncoder
from allennlp.modules.seq2vec_encoders import CnnHighwayEncoder
from allennlp.nn.util import move_to_device

from structkd_plugin.crf import LinearChainCRF
from structkd_plugin.crf.spans import SpanProbabilities
from structkd_plugin.prediction.tagging import PredictedEntity, RankedTags, Tagging
from structkd_plugin.prediction.unpacked_lstm import UnpackedLstm
from structkd_plugin.prediction.word_tensors import WordTensors
from structkd_plugin.tag_schemes import OUTSIDE

# Batches among which a stream distributes its sentences by length, so that few words are padding.
WINDOW = 32
# Words of a batch, padding counted: fewer sentences are computed at once where they are long.
_MOST_WORDS = 16_384
# Parts of AllenNLP for which padding is not nothing.
_LOOK_AT_PADDING = (CnnHighwayEncoder, GatedCnnEncoder)


class Words(NamedTuple):
    """A sentence to tag: its words, of which there is at least one, and its language."""

    words: Tuple[str, ...]
    language: str


class SentenceTagger:
    """
    Tags sentences with a trained `structkd_tagger`.

    # Parameters

    archive : `Archive`
        As `load_archive` gives it.
    keep_vectors : `bool`, optional (default = `False`)
        Whether the vectors of a frozen encoder are kept in the cache that it was trained with.

    # Raises

    `ConfigurationError` : for an archive of another model.
    """

    def __init__(self, archive: Archive, keep_vectors: bool = False) -> None:
        self._open(archive.model, archive.validation_dataset_reader, keep_vectors)

    @classmethod
    def from_path(cls, path: str, cuda_device: int = -1, overrides: str = "") -> "SentenceTagger":
        """The tagger in an archive or a serialization directory."""
        return cls(load_archive(path, cuda_device=cuda_device, overrides=overrides))

    @classmethod
    def of(cls, model: Any, reader: Any) -> "SentenceTagger":
        """The tagger of a model whose sentences `reader` makes instances of."""
        tagger = cls.__new__(cls)
        tagger._open(model, reader, keep_vectors=False)
        return tagger

    def _open(self, model: Any, reader: Any, keep_vectors: bool) -> None:
        if not hasattr(model, "distribution") or not hasattr(model, "label_encoding"):
            raise ConfigurationError(f"the model of the archive is a {type(model).__name__}, not a structkd_tagger")
        self.model = model.eval()
        self.reader: Any = reader
        if not keep_vectors:
            for indexer in getattr(reader, "_token_indexers", {}).values():
                # That of a frozen encoder; it comes with the archive, like the model.
                if hasattr(indexer, "without_cache"):
                    indexer.without_cache()
        self.labels: Tuple[str, ...] = tuple(model.labels)
        # How tags write spans; `None` where every word has a label of its own.
        self.label_encoding: Optional[str] = model.label_encoding
        self._tensors = WordTensors(reader, model.vocab)
        self._encoder = UnpackedLstm.of(model.encoder)
        self._one_by_one = any(isinstance(part, _LOOK_AT_PADDING) for part in model.modules())
        self._spans = None if self.label_encoding is None else _Spans(self.labels, self.label_encoding)

    def tag(
        self,
        sentences: Sequence[Words],
        label_probabilities: bool = False,
        k_best: int = 0,
        tag_probabilities: bool = True,
        entities: bool = True,
    ) -> List[Tagging]:
        """
        What the tagger says of sentences, computed as one batch; one by one if the model has a part that looks at
        padding, with which a sentence would depend on those beside it.

        # Parameters

        sentences : `Sequence[Words]`
        label_probabilities : `bool`, optional (default = `False`)
            Whether the probabilities of all labels are wanted.
        k_best : `int`, optional (default = 0)
            How many of the most probable taggings are wanted.
        tag_probabilities : `bool`, optional (default = `True`)
            Whether the probabilities of the tags are wanted; what is not takes no time.
        entities : `bool`, optional (default = `True`)
            Whether the spans that the tags write are wanted, with their probabilities.

        # Returns

        `List[Tagging]` : one for each sentence.
        """
        if not sentences:
            return []
        if self._one_by_one and len(sentences) > 1:
            wanted = (label_probabilities, k_best, tag_probabilities, entities)
            return [tagging for sentence in sentences for tagging in self.tag([sentence], *wanted)]
        lengths = [len(words) for words, _ in sentences]
        tensors = self._tensors.tensors([words for words, _ in sentences], [language for _, language in sentences])
        device = next(self.model.parameters()).device
        probabilities: List[List[float]] = []
        marginals: Optional[np.ndarray] = None
        with torch.inference_mode():
            # The model may have been moved since it was opened.
            encoder = self._encoder if device.type == "cpu" else None
            distribution = self.model.distribution(*self.model.emissions(move_to_device(tensors, device), encoder))
            # (B, T)
            predicted = distribution.argmax
            rows = predicted.cpu().numpy()
            if tag_probabilities or label_probabilities:
                # (B, T, L); a probability is none above 1, whatever the rounding
                marginals_on_device = distribution.marginals.clamp(max=1)
                if tag_probabilities:
                    probabilities = marginals_on_device.gather(2, predicted.unsqueeze(2)).squeeze(2).tolist()
                if label_probabilities:
                    marginals = marginals_on_device.cpu().numpy()
            ranked = self._ranked(distribution, k_best, lengths) if k_best else None
            found = None if self._spans is None or not entities else self._spans.of(rows, lengths, distribution)
        taggings = []
        label = self.labels.__getitem__
        for b, (row, length) in enumerate(zip(rows.tolist(), lengths, strict=True)):
            taggings.append(
                Tagging(
                    tuple(map(label, row[:length])),
                    tuple(probabilities[b][:length]) if tag_probabilities else (),
                    None if found is None else tuple(found[b]),
                    None if marginals is None else marginals[b, :length].copy(),
                    () if ranked is None else ranked[b],
                )
            )
        return taggings

    def stream(
        self,
        sentences: Iterable[Words],
        batch_size: int = 64,
        label_probabilities: bool = False,
        k_best: int = 0,
        tag_probabilities: bool = True,
        entities: bool = True,
    ) -> Iterator[Tagging]:
        """
        What the tagger says of any number of sentences, in their order, in memory that does not grow.

        The first comes out once `WINDOW` batches have been read: among those, sentences of like length are computed
        together. Which sentences are in a batch changes nothing but the rounding of probabilities.
        """
        remaining = iter(sentences)
        while window := list(islice(remaining, batch_size * WINDOW)):
            order = sorted(range(len(window)), key=lambda index: len(window[index].words))
            found: List[Optional[Tagging]] = [None] * len(window)
            for batch in _batches(order, [len(one.words) for one in window], batch_size):
                taggings = self.tag(
                    [window[index] for index in batch], label_probabilities, k_best, tag_probabilities, entities
                )
                for index, tagging in zip(batch, taggings, strict=True):
                    found[index] = tagging
            for one in found:
                assert one is not None
                yield one

    def _ranked(
        self, distribution: LinearChainCRF, k_best: int, lengths: Sequence[int]
    ) -> List[Tuple[RankedTags, ...]]:
        """For each sentence its most probable taggings."""
        # (B, K, T), (B, K)
        tags, scores = distribution.k_best(k_best)
        # (B, K)
        probabilities = (scores - distribution.log_partition.unsqueeze(1)).exp().clamp(max=1)
        return [
            tuple(
                RankedTags(tuple(self.labels[label] for label in row[:length]), probability)
                for row, probability in zip(rows, of_rows, strict=True)
                if probability > 0
            )
            for rows, of_rows, length in zip(tags.tolist(), probabilities.tolist(), lengths, strict=True)
        ]


def _batches(order: Sequence[int], lengths: Sequence[int], batch_size: int) -> Iterator[List[int]]:
    """`order`, which goes from short sentences to long ones, in parts that are computed at once."""
    batch: List[int] = []
    for index in order:
        if batch and (len(batch) == batch_size or (len(batch) + 1) * lengths[index] > _MOST_WORDS):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


class _Spans:
    """The spans that predicted labels write, of a whole batch at once."""

    def __init__(self, labels: Sequence[str], scheme: str) -> None:
        self._probabilities = SpanProbabilities(labels, scheme)
        kinds = self._probabilities.kinds
        parts = [label.partition("-") for label in labels]
        # (L,): the kind of span that a label is of, -1 outside
        self._kind = np.array([-1 if label == OUTSIDE else kinds.index(label.partition("-")[2]) for label in labels])
        # (L, L): whether the second label goes on with the span that the first is in
        self._continues = np.array(
            [
                [
                    before[2] == after[2] and before[2] != "" and before[0] in "BIM" and after[0] in "IMEL"
                    for after in parts
                ]
                for before in parts
            ]
        )

    def of(self, rows: np.ndarray, lengths: Sequence[int], distribution: LinearChainCRF) -> List[List[PredictedEntity]]:
        """For each sentence its spans from left to right; `rows` (B, T) are label indices."""
        inside = np.arange(rows.shape[1])[None, :] < np.array(lengths)[:, None]
        in_span = (self._kind[rows] >= 0) & inside
        # (B, T): whether a word goes on with the span of the word before
        goes_on = np.zeros_like(in_span)
        goes_on[:, 1:] = self._continues[rows[:, :-1], rows[:, 1:]] & inside[:, 1:]
        sentences, starts = np.nonzero(in_span & ~goes_on)
        ends_here = in_span.copy()
        ends_here[:, :-1] &= ~goes_on[:, 1:]
        ends = np.nonzero(ends_here)[1] + 1
        found: List[List[PredictedEntity]] = [[] for _ in lengths]
        if not len(sentences):
            return found
        kinds = self._kind[rows[sentences, starts]]
        device = distribution.log_partition.device
        log_probabilities = self._probabilities.log_probabilities(
            distribution, *(torch.from_numpy(array).to(device) for array in (sentences, kinds, starts, ends))
        )
        columns = (sentences.tolist(), kinds.tolist(), starts.tolist(), ends.tolist(), log_probabilities.exp().tolist())
        for b, kind, start, end, probability in zip(*columns, strict=True):
            found[b].append(PredictedEntity(self._probabilities.kinds[kind], start, end, probability))
        return found
