"""What the metrics that report by language share."""

import logging
from collections import Counter
from typing import Dict, List, Sequence, Set

import numpy as np
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
        guesses: List[int] = []
        truths: List[int] = []
        for guess, truth, language in zip(predicted, gold, languages, strict=True):
            if len(guess) != len(truth):
                raise ConfigurationError(
                    f"a sentence in language {language!r} has {len(truth)} gold tags but {len(guess)} predicted ones"
                )
            guesses += self._numbers(guess, language)
            truths += self._numbers(truth, language)
        lengths = np.array([len(truth) for truth in gold], np.int64)
        self.count(np.array(guesses, np.int64), np.array(truths, np.int64), lengths, languages)

    def count(self, predicted: np.ndarray, gold: np.ndarray, lengths: np.ndarray, languages: Sequence[str]) -> None:
        """
        Count labelled sentences whose tags are numbers, all at once: the same as a call, and faster.

        # Parameters

        predicted, gold : `np.ndarray`
            Shape (N,), int64, at least 0: the tags of all sentences, one sentence after the other.
        lengths : `np.ndarray`
            Shape (B,), int64: how many words each sentence has.
        languages : `Sequence[str]`
            The language of each sentence.

        # Raises

        `ConfigurationError` : if a language has the name of an average.
        """
        for name in (MACRO, MICRO):
            if name in languages:
                raise ConfigurationError(
                    f"a language cannot be called {name!r}, which names an average in the metrics; rename it"
                )
        names = list(dict.fromkeys(languages))
        number = {name: i for i, name in enumerate(names)}
        self._count(predicted, gold, lengths, names, np.array([number[name] for name in languages], np.int64))

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

    def _numbers(self, tags: Sequence[str], language: str) -> List[int]:
        """Numbers for the tags of a sentence, the same for the same tag."""
        raise NotImplementedError

    def _count(
        self,
        predicted: np.ndarray,
        gold: np.ndarray,
        lengths: np.ndarray,
        languages: Sequence[str],
        language_of: np.ndarray,
    ) -> None:
        """
        Add sentences to the counts; every key begins with the language.

        As for `count`, but every language is named once, and `language_of` (B,) has each sentence's index among them.
        """
        raise NotImplementedError

    def _scores(self, counts: Counts) -> Dict[str, float]:
        raise NotImplementedError

    def _explain(self, counts: Counts) -> None:
        """Log what a reader of the scores has to know, by way of `_explain_once`."""

    def _explain_once(self, explanation: str) -> None:
        if explanation not in self._explained and is_global_primary():
            self._explained.add(explanation)
            logger.warning(explanation)
