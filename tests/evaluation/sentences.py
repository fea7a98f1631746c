"""Counts of sentences that were never tagged."""

from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from structkd_plugin.evaluation.sentence_counts import SentenceCounts


def counts_of(metric: str, rows: Sequence[Tuple[str, Sequence[int]]]) -> SentenceCounts:
    """Of each sentence its language and its counts."""
    languages = tuple(sorted({language for language, _ in rows}))
    return SentenceCounts(
        metric,
        languages,
        np.array([languages.index(language) for language, _ in rows], np.int64),
        np.array([numbers for _, numbers in rows], np.int64),
    )


def random_pair(
    metric: str, sentences: Dict[str, int], seed: int = 0, gain: float = 0.0, longest: int = 5
) -> Tuple[SentenceCounts, SentenceCounts]:
    """
    Two systems on the same sentences, in mixed order; the second's words or spans, of which a sentence has at most
    `longest`, are right more often by `gain`.
    """
    rng = np.random.default_rng(seed)
    languages: List[str] = [language for language, number in sentences.items() for _ in range(number)]
    rng.shuffle(languages)
    first, second = [], []
    for language in languages:
        size, level = int(rng.integers(0 if metric == "f1" else 1, longest + 1)), rng.uniform(0.5, 0.8)
        for rows, share in ((first, level), (second, level + gain)):
            right = int(rng.binomial(size, share))
            if metric == "accuracy":
                rows.append((language, (right, size)))
            else:
                rows.append((language, (right, right + int(rng.integers(0, 3)), size)))
    return counts_of(metric, first), counts_of(metric, second)


def figures_by_hand(metric: str, rows: Sequence[Tuple[str, Sequence[Any]]]) -> Dict[str, Any]:
    """The figures of sentences, without arrays, in floats or in fractions; those that are not defined are left out."""

    def score(chosen: List[Sequence[Any]]) -> Any:
        correct, *others = (sum(column) for column in zip(*chosen, strict=True))
        return correct / others[0] if metric == "accuracy" else 2 * correct / (others[0] + others[1])

    def defined(chosen: List[Sequence[Any]]) -> bool:
        return sum(numbers[-1] for numbers in chosen) > 0

    by_language: Dict[str, List[Sequence[Any]]] = {}
    for language, numbers in rows:
        by_language.setdefault(language, []).append(numbers)
    figures = {language: score(chosen) for language, chosen in sorted(by_language.items()) if defined(chosen)}
    if figures:
        figures["macro"] = sum(figures.values()) / len(figures)
    together = [numbers for _, numbers in rows]
    if defined(together):
        figures["micro"] = score(together)
    return figures


def rows_of(counts: SentenceCounts) -> List[Tuple[str, Tuple[int, ...]]]:
    """What `counts_of` makes counts of."""
    return [
        (counts.languages[language], tuple(numbers))
        for language, numbers in zip(counts.language_of.tolist(), counts.counts.tolist(), strict=True)
    ]
