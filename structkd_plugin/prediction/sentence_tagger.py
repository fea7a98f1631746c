"""Tagging with an archive: sentences as lists of words in, what the tagger says of each out."""

from itertools import islice
from typing import Any, Iterable, Iterator, List, NamedTuple, Sequence, Tuple

import torch
from allennlp.common.checks import ConfigurationError
from allennlp.data import Batch
from allennlp.models.archival import Archive, load_archive
from allennlp.nn.util import move_to_device

from structkd_plugin.crf import LinearChainCRF
from structkd_plugin.prediction.tagging import PredictedEntity, RankedTags, Tagging


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

    # Raises

    `ConfigurationError` : for an archive of another model.
    """

    def __init__(self, archive: Archive) -> None:
        model: Any = archive.model
        if not hasattr(model, "distribution") or not hasattr(model, "label_encoding"):
            raise ConfigurationError(f"the model of the archive is a {type(model).__name__}, not a structkd_tagger")
        self.model = model.eval()
        self.reader: Any = archive.validation_dataset_reader
        self.labels: Tuple[str, ...] = tuple(model.labels)
        # How tags write spans; `None` where every word has a label of its own.
        self.label_encoding = model.label_encoding

    @classmethod
    def from_path(cls, path: str, cuda_device: int = -1, overrides: str = "") -> "SentenceTagger":
        """The tagger in an archive or a serialization directory."""
        return cls(load_archive(path, cuda_device=cuda_device, overrides=overrides))

    def tag(self, sentences: Sequence[Words], label_probabilities: bool = False, k_best: int = 0) -> List[Tagging]:
        """
        What the tagger says of sentences, computed as one batch.

        # Parameters

        sentences : `Sequence[Words]`
        label_probabilities : `bool`, optional (default = `False`)
            Whether the probabilities of all labels are wanted.
        k_best : `int`, optional (default = 0)
            How many of the most probable taggings are wanted.

        # Returns

        `List[Tagging]` : one for each sentence.
        """
        if not sentences:
            return []
        instances = []
        for words, language in sentences:
            instance = self.reader.text_to_instance(list(words), language=language)
            self.reader.apply_token_indexers(instance)
            instances.append(instance)
        batch = Batch(instances)
        batch.index_instances(self.model.vocab)
        device = next(self.model.parameters()).device
        with torch.inference_mode():
            output = self.model(**move_to_device(batch.as_tensor_dict(), device))
            distribution = self.model.distribution(output["emissions"], output["mask"])
            # (B, T, L)
            marginals = distribution.marginals
            # (B, T)
            predicted = output["predicted"]
            probabilities = marginals.gather(2, predicted.unsqueeze(2)).squeeze(2).tolist()
            ranked = self._ranked(distribution, k_best, [len(words) for words, _ in sentences])
            conditionals = distribution.log_conditionals.exp().cpu() if self.label_encoding is not None else None
        marginals, rows = marginals.cpu(), predicted.tolist()
        taggings = []
        for b, (words, _) in enumerate(sentences):
            length = len(words)
            tags = tuple(self.labels[label] for label in rows[b][:length])
            entities = None
            if conditionals is not None:
                found = self.model.entities(tags, marginals[b, :length], conditionals[b])
                entities = tuple(PredictedEntity(**entity) for entity in found)
            taggings.append(
                Tagging(
                    tags,
                    tuple(probabilities[b][:length]),
                    entities,
                    marginals[b, :length].numpy() if label_probabilities else None,
                    ranked[b],
                )
            )
        return taggings

    def stream(
        self, sentences: Iterable[Words], batch_size: int = 64, label_probabilities: bool = False, k_best: int = 0
    ) -> Iterator[Tagging]:
        """What the tagger says of any number of sentences, in their order, in memory that does not grow."""
        remaining = iter(sentences)
        while batch := list(islice(remaining, batch_size)):
            yield from self.tag(batch, label_probabilities, k_best)

    def _ranked(
        self, distribution: LinearChainCRF, k_best: int, lengths: Sequence[int]
    ) -> List[Tuple[RankedTags, ...]]:
        """For each sentence its most probable taggings."""
        if not k_best:
            return [()] * len(lengths)
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
