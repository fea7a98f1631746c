"""The accuracy of words' tags, by language."""

from typing import Dict, Sequence

from structkd_plugin.metrics.counts import Counts
from structkd_plugin.metrics.language_metric import MACRO, MICRO, LanguageMetric


class AccuracyByLanguage(LanguageMetric):
    """
    The share of words with the right tag: `accuracy/<language>` for each language, `accuracy/macro`, their mean, and
    `accuracy/micro`, of all words alike.
    """

    def _count(self, predicted: Sequence[str], gold: Sequence[str], language: str) -> None:
        self._counts[language, "words"] += len(gold)
        self._counts[language, "correct"] += sum(guess == truth for guess, truth in zip(predicted, gold, strict=True))

    def _scores(self, counts: Counts) -> Dict[str, float]:
        words = {language: n for (language, what), n in sorted(counts.items()) if what == "words" and n}
        if not words:
            return {}
        scores = {f"accuracy/{language}": counts[language, "correct"] / n for language, n in words.items()}
        macro = sum(scores.values()) / len(scores)
        micro = sum(counts[language, "correct"] for language in words) / sum(words.values())
        return {**scores, f"accuracy/{MACRO}": macro, f"accuracy/{MICRO}": micro}
