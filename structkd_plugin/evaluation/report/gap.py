"""How much of what separates a baseline from its teachers a method makes up for."""

import math
from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Sequence, Tuple


@dataclass(frozen=True)
class GapClosed:
    """
    # Parameters

    languages : `Mapping[str, Optional[float]]`
        (method − baseline) / (teachers − baseline) by language; none where teachers are not better than the baseline.
    average : `Optional[float]`
        The same of the means over these languages: not the mean of the ratios, which a language whose teacher is
        hardly better than the baseline would decide alone.
    """

    languages: Mapping[str, Optional[float]]
    average: Optional[float]


def gap_closed(method: Mapping[str, float], baseline: Mapping[str, float], teachers: Mapping[str, float]) -> GapClosed:
    """
    What a method makes of the gap, in the languages in which all three have a figure.

    # Parameters

    method, baseline, teachers : `Mapping[str, float]`
        Figures by language.
    """
    languages = sorted(set(method) & set(baseline) & set(teachers))
    return GapClosed(
        {language: _closed(method[language], baseline[language], teachers[language]) for language in languages},
        _closed(*(_mean(of, languages) for of in (method, baseline, teachers))) if languages else None,
    )


def teachers_not_better(baseline: Mapping[str, float], teachers: Mapping[str, float]) -> List[str]:
    """The languages, sorted, in which there is no gap to close."""
    return [language for language in sorted(set(baseline) & set(teachers)) if teachers[language] <= baseline[language]]


def figures_of_teachers(
    teachers: Sequence[Tuple[Mapping[str, float], Optional[Sequence[str]]]],
) -> Dict[str, float]:
    """
    For each language the figure of its teacher, or the mean where it has several.

    # Parameters

    teachers : `Sequence[Tuple[Mapping[str, float], Optional[Sequence[str]]]]`
        The figures of each teacher by language, and the languages that it was trained on; all where that is not known.
    """
    found: Dict[str, List[float]] = {}
    for figures, trained in teachers:
        for language, value in figures.items():
            if trained is None or language in trained:
                found.setdefault(language, []).append(value)
    return {language: math.fsum(values) / len(values) for language, values in sorted(found.items())}


def _closed(method: float, baseline: float, teachers: float) -> Optional[float]:
    return (method - baseline) / (teachers - baseline) if teachers > baseline else None


def _mean(figures: Mapping[str, float], languages: Sequence[str]) -> float:
    return math.fsum(figures[language] for language in languages) / len(languages)
