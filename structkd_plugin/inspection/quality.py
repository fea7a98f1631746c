"""A teacher against gold tags: right or wrong, sure or not."""

from collections import Counter
from typing import Dict, Iterable, Optional, Sequence, Tuple

import numpy as np
from allennlp.common.checks import ConfigurationError

from structkd_plugin.crf import LinearChainCRF
from structkd_plugin.inspection.chains import TeacherChains
from structkd_plugin.inspection.labelled_files import FoundSentence
from structkd_plugin.metrics import AccuracyByLanguage, SpanF1ByLanguage
from structkd_plugin.metrics.language_metric import LanguageMetric
from structkd_plugin.metrics.reliability import ReliabilityBins
from structkd_plugin.teacher.store import StoredRecord

Batch = Tuple[Sequence[FoundSentence], Sequence[StoredRecord]]


class TeacherQuality:
    """
    How well a teacher does on sentences with gold tags; filled by `add`.

    # Parameters

    chains : `TeacherChains`
        The teacher.
    temperature : `float`, optional
        That of the store's calibration, if it has one.
    """

    def __init__(self, chains: TeacherChains, temperature: Optional[float] = None) -> None:
        self.sentences = 0
        self.words = 0
        # Why there is no metric, such as gold tags of another scheme; none where there is one.
        self.unscored: Optional[str] = None
        # (gold, predicted) -> words
        self.confusion: Counter[Tuple[str, str]] = Counter()
        # By language: as stored, and divided by the temperature.
        self.bins: Dict[str, ReliabilityBins] = {}
        self.tempered_bins: Dict[str, ReliabilityBins] = {}
        self._chains = chains
        self._temperature = temperature
        self._metric: LanguageMetric = (
            AccuracyByLanguage() if chains.scheme is None else SpanF1ByLanguage(chains.scheme, chains.labels)
        )

    @property
    def scores(self) -> Dict[str, float]:
        """The metric as `allennlp evaluate` names it, such as `f1/en` and `f1/micro`; none where it cannot be had."""
        return {} if self.unscored else self._metric.get_metric()

    @property
    def metric_name(self) -> str:
        """`accuracy` or `f1`."""
        return "accuracy" if self._chains.scheme is None else "f1"

    def add(self, sentences: Sequence[FoundSentence], records: Sequence[StoredRecord]) -> None:
        """Count labelled sentences with their records, computed as one batch."""
        stored = self._chains.stored(records)
        decoded = self._chains.decoding(stored).argmax.tolist()
        gold = [item.sentence.tags or () for item in sentences]
        languages = [item.sentence.language for item in sentences]
        predicted = [
            [self._chains.labels[label] for label in row[: len(tags)]] for row, tags in zip(decoded, gold, strict=True)
        ]
        self.sentences += len(sentences)
        for guess, truth in zip(predicted, gold, strict=True):
            self.words += len(truth)
            self.confusion.update(zip(truth, guess, strict=True))
        if self.unscored is None:
            try:
                self._metric(predicted, gold, languages)
            except ConfigurationError as error:
                self.unscored = str(error.message)
        add_to_bins(self.bins, stored, self._chains.labels, gold, languages)
        if self._temperature is not None:
            tempered = stored.temper(self._temperature)
            add_to_bins(self.tempered_bins, tempered, self._chains.labels, gold, languages)


def add_to_bins(
    bins: Dict[str, ReliabilityBins],
    distribution: LinearChainCRF,
    labels: Sequence[str],
    gold: Sequence[Sequence[str]],
    languages: Sequence[str],
) -> None:
    """
    Count the words of a batch by the marginal probability of their most probable label.

    # Parameters

    bins : `Dict[str, ReliabilityBins]`
        By language; languages are added.
    distribution : `LinearChainCRF`
        Of the B sentences.
    labels : `Sequence[str]`
        The L labels of the distribution, in order.
    gold : `Sequence[Sequence[str]]`
        The tags of each sentence; one that is not among `labels` is never the most probable.
    languages : `Sequence[str]`
        The language of each sentence.
    """
    # (B, T)
    probabilities, top = (array.numpy() for array in distribution.marginals.max(dim=2))
    for row, (tags, language) in enumerate(zip(gold, languages, strict=True)):
        right = np.array([labels[top[row, word]] == tag for word, tag in enumerate(tags)])
        bins.setdefault(language, ReliabilityBins()).add(probabilities[row, : len(tags)], right)


def merged(bins: Dict[str, ReliabilityBins]) -> ReliabilityBins:
    """The words of all languages."""
    total = ReliabilityBins()
    for language in sorted(bins):
        total.merge(bins[language])
    return total


def teacher_quality(
    chains: TeacherChains, batches: Iterable[Batch], temperature: Optional[float] = None
) -> TeacherQuality:
    """
    The quality on batches of labelled sentences with their records.

    # Returns

    `TeacherQuality`
    """
    quality = TeacherQuality(chains, temperature)
    for sentences, records in batches:
        quality.add(sentences, records)
    return quality
