"""The accuracy of words' tags, by language."""

from typing import Dict, List, Sequence

import numpy as np

from structkd_plugin.metrics.counts import Counts
from structkd_plugin.metrics.language_metric import MACRO, MICRO, LanguageMetric


class AccuracyByLanguage(LanguageMetric):
    """
    The share of words with the right tag: `accuracy/<language>` for each language, `accuracy/macro`, their mean, and
    `accuracy/micro`, of all words alike.
    """

    def __init__(self) -> None:
        super().__init__()
        self._tags: Dict[str, int] = {}

    def _numbers(self, tags: Sequence[str], language: str) -> List[int]:
        return [self._tags.setdefault(tag, len(self._tags)) for tag in tags]

    def _count(
        self,
        predicted: np.ndarray,
        gold: np.ndarray,
        lengths: np.ndarray,
        languages: Sequence[str],
        language_of: np.ndarray,
    ) -> None:
        # (N,): of each word
        language_of = np.repeat(language_of, lengths)
        for what, counted in (("words", language_of), ("correct", language_of[predicted == gold])):
            numbers = np.bincount(counted, minlength=len(languages)).tolist()
            for language, number in zip(languages, numbers, strict=True):
                self._counts[language, what] += number

    def _scores(self, counts: Counts) -> Dict[str, float]:
        words = {language: n for (language, what), n in sorted(counts.items()) if what == "words" and n}
        if not words:
            return {}
        scores = {f"accuracy/{language}": counts[language, "correct"] / n for language, n in words.items()}
        macro = sum(scores.values()) / len(scores)
        micro = sum(counts[language, "correct"] for language in words) / sum(words.values())
        return {**scores, f"accuracy/{MACRO}": macro, f"accuracy/{MICRO}": micro}
