"""A comparison as lines for a terminal."""

from typing import List, Optional, Sequence

from structkd_plugin.evaluation.comparison import TRAINED, ZERO_SHOT, ComparedFigure, Comparison, SystemComparison
from structkd_plugin.evaluation.seeds import SeedSummary
from structkd_plugin.metrics.language_metric import MACRO, MICRO

# Below which p-values a star is added.
_STARS = (0.05, 0.01, 0.001)
_NOTHING = "–"


def comparison_text(comparison: Comparison, figure: str = MACRO, alpha: float = 0.05) -> str:
    """
    The tables, what they mean, and a conclusion for each system.

    # Parameters

    comparison : `Comparison`
    figure : `str`, optional (default = `macro`)
        The figure that conclusions are about.
    alpha : `float`, optional (default = 0.05)
        Below which p-values they take a difference for one.

    # Returns

    `str` : lines without one at the end that is empty.
    """
    metric = {"accuracy": "accuracy", "f1": "F1 of spans"}[comparison.metric]
    lines: List[str] = []
    for system in comparison.systems:
        lines += [
            f"{_named(system.name, system.runs)} against {_named(comparison.baseline, comparison.baseline_runs)}: "
            f"{metric}, %",
            *_table(comparison, system),
            "",
        ]
    lines += [*_notes(comparison), ""]
    return "\n".join([*lines, *(conclusion(comparison, system, figure, alpha) for system in comparison.systems)])


def conclusion(comparison: Comparison, system: SystemComparison, figure: str = MACRO, alpha: float = 0.05) -> str:
    """
    What a comparison with one system comes to, as sentences.

    # Parameters

    comparison : `Comparison`
    system : `SystemComparison`
        Of `comparison`.
    figure : `str`, optional (default = `macro`)
    alpha : `float`, optional (default = 0.05)
    """
    compared = system.figures[figure]
    where = _place(comparison, figure)
    if compared is None:
        return f"{system.name} cannot be compared with {comparison.baseline} {where}: there is nothing to find."
    bootstrap = compared.bootstrap
    verdict = "not significantly different from"
    if compared.p < alpha:
        verdict = "better than" if bootstrap.difference > 0 else "worse than"
    sentence = (
        f"{system.name} is {verdict} {comparison.baseline} {where}: {_points(bootstrap.difference)} points "
        f"[{_points(bootstrap.interval.low)}, {_points(bootstrap.interval.high)}], {_p_is(compared.p)}."
    )
    if len(comparison.sentences) < 2:
        return sentence
    languages = [(name, system.figures[name]) for name in comparison.sentences]
    defined = [(name, found) for name, found in languages if found is not None]
    ahead = sum(found.bootstrap.difference > 0 for _, found in defined)
    better, worse = (
        [name for name, found in defined if found.significant(alpha) and sign * found.bootstrap.difference > 0]
        for sign in (1, -1)
    )
    return (
        f"{sentence} It is ahead in {ahead} of {len(defined)} languages; significantly better in {_listed(better)}, "
        f"significantly worse in {_listed(worse)}."
    )


def _place(comparison: Comparison, figure: str) -> str:
    what = "words" if comparison.metric == "accuracy" else "spans"
    return {
        MACRO: "on average",
        MICRO: f"over all {what}",
        TRAINED: "on average over the trained languages",
        ZERO_SHOT: "on average over the zero-shot languages",
    }.get(figure, f"in {figure}")


def _table(comparison: Comparison, system: SystemComparison) -> List[str]:
    of_methods = comparison.of_methods(system)
    with_seeds = any(found is not None and found.seeds is not None for found in system.figures.values())
    header = ["", "sentences", comparison.baseline, system.name, "difference", "95 % interval", "p", "p Holm", ""]
    if with_seeds:
        header.insert(8, "p seeds")
    rows = []
    for name, found in system.figures.items():
        row = [name, f"{_sentences(comparison, name):,}"]
        if found is None:
            rows.append([*row, *[_NOTHING] * (len(header) - 3), ""])
            continue
        row += [_summary(found.baseline, of_methods), _summary(found.system, of_methods)]
        row += [_points(found.bootstrap.difference)]
        row += [f"[{_points(found.bootstrap.interval.low)}, {_points(found.bootstrap.interval.high)}]"]
        row += [_p(found.p), _p(found.p_holm)]
        if with_seeds:
            row.append(_p(None if found.seeds is None else found.seeds.p))
        rows.append([*row, _stars(found)])
    return _aligned(header, rows)


def _sentences(comparison: Comparison, figure: str) -> int:
    languages = comparison.averages.get(figure, (figure,) if figure in comparison.sentences else comparison.sentences)
    return sum(comparison.sentences[language] for language in languages)


def _notes(comparison: Comparison) -> List[str]:
    lines = []
    questions = [comparison.of_methods(system) for system in comparison.systems]
    if not all(questions):
        lines.append(
            "p: of no difference between the two models, two-sided, by approximate randomisation over sentences; "
            "interval: paired bootstrap over sentences."
        )
    if any(questions):
        lines.append(
            "Several seeds: mean ± standard deviation. p, interval: of no difference between the methods, by Student's "
            "t with a bootstrap over seeds and sentences; p seeds: Welch's t-test over seeds, on these very sentences."
        )
        once = [comparison.baseline] if comparison.baseline_runs == 1 else []
        once += [system.name for system in comparison.systems if system.runs == 1 and comparison.baseline_runs > 1]
        if once:
            lines.append(f"There is one run of {', '.join(once)}: what is said holds for that run, not for its method.")
    many = f"{comparison.samples:,} samples, seed {comparison.seed}. "
    if len(comparison.sentences) > 1:
        many += f"p Holm: corrected for {len(comparison.sentences)} languages being tested at once. "
    stars = ", ".join(f"{'*' * (i + 1)} p < {bound}" for i, bound in enumerate(_STARS))
    lines.append(many + stars + (" (p Holm in a language)." if len(comparison.sentences) > 1 else "."))
    return lines


def _named(name: str, runs: int) -> str:
    return name if runs == 1 else f"{name} ({runs} seeds)"


def _summary(summary: SeedSummary, of_methods: bool) -> str:
    if summary.standard_deviation is None:
        return f"{100 * summary.mean:.2f}" + " " * (7 if of_methods else 0)
    return f"{100 * summary.mean:.2f} ± {100 * summary.standard_deviation:.2f}"


def _points(difference: float) -> str:
    # No "-0.00": a sign says that something was found.
    return f"{round(100 * difference, 2) + 0.0:+.2f}"


def _p(p: Optional[float]) -> str:
    if p is None:
        return _NOTHING
    if p < 0.0001:
        return "<0.0001"
    short = f"{p:.3f}"
    # What is below a bound must not look as if it were not.
    return short if p >= 0.001 and _bounds_above(float(short)) == _bounds_above(p) else f"{p:.4f}"


def _bounds_above(p: float) -> int:
    return sum(p < bound for bound in _STARS)


def _p_is(p: float) -> str:
    return f"p {_p(p)}".replace("<", "< ") if p < 0.0001 else f"p = {_p(p)}"


def _stars(found: ComparedFigure) -> str:
    return "*" * sum(found.significant(bound) for bound in _STARS)


def _listed(languages: Sequence[str]) -> str:
    return ", ".join(languages) or "none"


def _aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> List[str]:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    last = len(header) - 1
    return [
        "  ".join(
            cell.ljust(width) if i in (0, last) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [header, *rows]
    ]
