"""The figures that a table of results has: the metric of each language, and averages over languages."""

from dataclasses import dataclass
from typing import Mapping, Optional, Sequence, Tuple

import numpy as np
from allennlp.common.checks import ConfigurationError

from structkd_plugin.evaluation.sentence_counts import SentenceCounts, metric_of
from structkd_plugin.metrics.language_metric import MACRO, MICRO


@dataclass(frozen=True)
class Figures:
    """
    Which figures there are, and how they follow from sums of counts.

    A language's figure is not defined where nothing is to be found: no words, or for `f1` no gold spans. Such a
    language is left out of averages, as in the metrics of training. `micro` is of all sentences alike.

    # Parameters

    metric : `str`
        `accuracy` or `f1`.
    languages : `Tuple[str, ...]`
    averages : `Tuple[Tuple[str, Tuple[str, ...]], ...]`, optional
        Further averages besides `macro`: a name, and the languages whose mean it is.
    """

    metric: str
    languages: Tuple[str, ...]
    averages: Tuple[Tuple[str, Tuple[str, ...]], ...] = ()

    @classmethod
    def of(cls, counts: SentenceCounts, averages: Optional[Mapping[str, Sequence[str]]] = None) -> "Figures":
        """
        The figures of some sentences.

        # Raises

        `ConfigurationError` : for an average that is named as another figure, or is of no language or an unknown one.
        """
        taken = {*counts.languages, MACRO, MICRO}
        for name, languages in (averages or {}).items():
            unknown = sorted(set(languages) - set(counts.languages))
            if name in taken or unknown or not languages:
                reason = f"there are no sentences in {', '.join(unknown)}" if unknown else "it is of no language"
                raise ConfigurationError(
                    f"there can be no average {name!r}: {'the name is taken' if name in taken else reason}"
                )
        return cls(
            counts.metric,
            counts.languages,
            tuple((name, tuple(languages)) for name, languages in (averages or {}).items()),
        )

    @property
    def names(self) -> Tuple[str, ...]:
        """The F figures: the languages, `macro`, the further averages, `micro`."""
        return (*self.languages, MACRO, *(name for name, _ in self.averages), MICRO)

    def __call__(self, totals: np.ndarray) -> np.ndarray:
        """
        The figures of a sample of sentences, or of many.

        # Parameters

        totals : `numpy.ndarray`
            Shape (..., L, C): the counts of each language, summed over its sentences.

        # Returns

        `numpy.ndarray` : shape (..., F), float64, in the order of `names`; NaN where a figure is not defined.
        """
        # (..., L): the last column is words, or gold spans
        by_language = np.where(totals[..., -1] > 0, metric_of(self.metric, totals), np.nan)
        # (..., C)
        together = totals.sum(-2)
        micro = np.where(together[..., -1] > 0, metric_of(self.metric, together), np.nan)
        means = [_mean(by_language)] + [
            _mean(by_language[..., [self.languages.index(language) for language in languages]])
            for _, languages in self.averages
        ]
        return np.concatenate([by_language, np.stack([*means, micro], axis=-1)], axis=-1)


def totals_by_language(counts: SentenceCounts) -> np.ndarray:
    """The counts of each language, summed over its sentences: shape (L, C), int64."""
    totals = np.zeros((len(counts.languages), counts.counts.shape[1]), np.int64)
    np.add.at(totals, counts.language_of, counts.counts)
    return totals


def _mean(values: np.ndarray) -> np.ndarray:
    """The mean over the last axis of what is defined, NaN where nothing is."""
    defined = ~np.isnan(values)
    number = defined.sum(-1)
    total = np.where(defined, values, 0).sum(-1)
    return np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
