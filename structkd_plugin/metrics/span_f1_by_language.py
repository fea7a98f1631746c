"""F1 of spans, by language."""

from collections import Counter
from typing import Dict, List, NamedTuple, Sequence

import numpy as np
from allennlp.common.checks import ConfigurationError

from structkd_plugin.metrics.counts import Counts
from structkd_plugin.metrics.language_metric import MACRO, MICRO, LanguageMetric
from structkd_plugin.metrics.strict_spans import StrictSpans

_CORRECT, _PREDICTED, _GOLD = "correct", "predicted", "gold"


class SpanScores(NamedTuple):
    """How many spans are right, were predicted, and are in the gold tags; fractions of 0 spans are 0, as in seqeval."""

    correct: int
    predicted: int
    gold: int

    @property
    def precision(self) -> float:
        """The share of predicted spans that are right."""
        return self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """The share of gold spans that were predicted."""
        return self.correct / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        # Not 2·correct / (predicted + gold): the same formula as seqeval's gives the same last bit.
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


class SpanF1ByLanguage(LanguageMetric):
    """
    F1 of spans: a predicted span is right if label, first word and last word are those of a gold span.

    Spans are those that seqeval counts with `mode="strict"`, and so is `f1/<language>` its micro-average over labels.
    `f1/micro`, `precision/micro` and `recall/micro` are of all spans alike. `f1/macro` is the mean of `f1/<language>`
    over the languages that have gold spans: where there is nothing to find, F1 is 0 whatever the model does,
    and would say nothing of it. Such a language is still reported, as 0, its wrong spans count in the
    micro-averages, and one line in the log says so.

    # Parameters

    scheme : `str`
        How the tags write spans: one of `structkd_plugin.tag_schemes.SCHEMES`.
    tags : `Sequence[str]`, optional
        The tags whose indices `count` takes.

    # Raises

    `ConfigurationError` : if there is no such scheme, or a tag is none of the scheme's.
    """

    def __init__(self, scheme: str, tags: Sequence[str] = ()) -> None:
        super().__init__()
        try:
            self._spans = StrictSpans(scheme, tags)
        except ValueError as error:
            raise ConfigurationError(str(error)) from error

    def scores_by_label(self) -> Dict[str, Dict[str, SpanScores]]:
        """Language → label → scores, of what this process counted since the last reset."""
        table: Dict[str, Dict[str, SpanScores]] = {}
        for language, label in sorted({key[:2] for key in self._counts if len(key) == 3}):
            table.setdefault(language, {})[label] = SpanScores(
                *(self._counts[language, label, what] for what in (_CORRECT, _PREDICTED, _GOLD))
            )
        return table

    def _numbers(self, tags: Sequence[str], language: str) -> List[int]:
        try:
            return self._spans.numbers(tags)
        except ValueError as error:
            raise ConfigurationError(f"a sentence in language {language!r} cannot be scored: {error}") from error

    def _count(
        self,
        predicted: np.ndarray,
        gold: np.ndarray,
        lengths: np.ndarray,
        languages: Sequence[str],
        language_of: np.ndarray,
    ) -> None:
        # A language without any span is to be reported too.
        for language, sentences in zip(languages, np.bincount(language_of).tolist(), strict=True):
            self._counts[language,] += sentences
        guesses, truths = self._spans.find(predicted, lengths), self._spans.find(gold, lengths)
        labels = self._spans.labels
        # (N,): of each word
        language_of = np.repeat(language_of, lengths)
        for what, spans in ((_PREDICTED, guesses), (_GOLD, truths), (_CORRECT, guesses.among(truths))):
            numbers = np.bincount(language_of[spans.starts] * len(labels) + spans.labels)
            for key in np.flatnonzero(numbers).tolist():
                self._counts[languages[key // len(labels)], labels[key % len(labels)], what] += int(numbers[key])

    def _scores(self, counts: Counts) -> Dict[str, float]:
        languages = _by_language(counts)
        if not languages:
            return {}
        scores = {f"f1/{language}": found.f1 for language, found in languages.items()}
        with_gold = [found.f1 for found in languages.values() if found.gold]
        total = SpanScores(*(sum(column) for column in zip(*languages.values(), strict=True)))
        return {
            **scores,
            f"f1/{MACRO}": sum(with_gold) / len(with_gold) if with_gold else 0.0,
            f"f1/{MICRO}": total.f1,
            f"precision/{MICRO}": total.precision,
            f"recall/{MICRO}": total.recall,
        }

    def _explain(self, counts: Counts) -> None:
        for language, found in _by_language(counts).items():
            if not found.gold:
                self._explain_once(
                    f"language {language!r} has no spans in its gold tags: f1/{language} is 0 whatever is predicted, "
                    "and f1/macro leaves the language out"
                )


def _by_language(counts: Counts) -> Dict[str, SpanScores]:
    sums: Counts = Counter()
    for (language, *rest), number in counts.items():
        sums[language, rest[-1] if rest else ""] += number
    return {
        language: SpanScores(*(int(sums[language, what]) for what in (_CORRECT, _PREDICTED, _GOLD)))
        for language in sorted({key[0] for key in counts})
    }
