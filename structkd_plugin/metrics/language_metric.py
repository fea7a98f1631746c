"""What the metrics that report by language share."""

import logging
from collections import Counter
from typing import Dict, Sequence, Set

from allennlp.common.checks import ConfigurationError
from allennlp.common.util import is_global_primary
from allennlp.training.metrics.metric import Metric

from structkd_plugin.metrics.counts import Counts, summed_over_processes

logger = logging.getLogger(__name__)

MACRO, MICRO = "macro", "micro"


class LanguageMetric(Metric):
    """
    A metric of sentences in several languages; a subclass says what to count and what to make of the counts.

    In distributed training each process counts its own sentences, and the counts are summed when the metric is reset,
    which all processes do at the same time. Between resets, a process reports its own sentences.
    """

    supports_distributed = True

    def __init__(self) -> None:
        self._counts: Counts = Counter()
        self._explained: Set[str] = set()

    def __call__(  # type: ignore[override]
        self,
        predicted: Sequence[Sequence[str]],
        gold: Sequence[Sequence[str]],
        languages: Sequence[str],
    ) -> None:
        """
        Count labelled sentences.

        # Parameters

        predicted, gold : `Sequence[Sequence[str]]`
            The tags of each sentence, one for each word.
        languages : `Sequence[str]`
            The language of each sentence.

        # Raises

        `ConfigurationError` : if the three do not fit each other, or a language has the name of an average.
        """
        if not len(predicted) == len(gold) == len(languages):
            raise ConfigurationError(
                f"{len(predicted)} sentences were predicted, {len(gold)} have gold tags and {len(languages)} have a "
                "language; give all three for each sentence"
            )
        for guess, truth, language in zip(predicted, gold, languages, strict=True):
            if language in (MACRO, MICRO):
                raise ConfigurationError(
                    f"a language cannot be called {language!r}, which names an average in the metrics; rename it"
                )
            if len(guess) != len(truth):
                raise ConfigurationError(
                    f"a sentence in language {language!r} has {len(truth)} gold tags but {len(guess)} predicted ones"
                )
            self._count(guess, truth, language)

    def get_metric(self, reset: bool = False) -> Dict[str, float]:
        """
        The scores of the sentences counted since the last reset, as fractions of 1; none if there were none.

        # Parameters

        reset : `bool`, optional (default=`False`)
            Whether to sum over all processes, and to begin anew.

        # Returns

        `Dict[str, float]`
        """
        counts = summed_over_processes(self._counts) if reset else self._counts
        scores = self._scores(counts)
        if reset:
            self._explain(counts)
            self.reset()
        return scores

    def reset(self) -> None:
        """Forget what was counted."""
        self._counts = Counter()

    def _count(self, predicted: Sequence[str], gold: Sequence[str], language: str) -> None:
        """Add one sentence to the counts; every key begins with its language."""
        raise NotImplementedError

    def _scores(self, counts: Counts) -> Dict[str, float]:
        raise NotImplementedError

    def _explain(self, counts: Counts) -> None:
        """Log what a reader of the scores has to know, by way of `_explain_once`."""

    def _explain_once(self, explanation: str) -> None:
        if explanation not in self._explained and is_global_primary():
            self._explained.add(explanation)
            logger.warning(explanation)
