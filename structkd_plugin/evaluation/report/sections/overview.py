"""All figures in one table, and as bars."""

from typing import Dict, List, Optional, Sequence, Set, Tuple

from structkd_plugin.evaluation.report.document import Cell, Picture, Section, Table
from structkd_plugin.evaluation.report.intervals import IntervalOptions
from structkd_plugin.evaluation.report.methods import (
    AVERAGES,
    HERE,
    STORED,
    ZERO_SHOT,
    Estimate,
    Method,
)
from structkd_plugin.evaluation.report.number_formats import UNDEFINED, deviation, interval, percent
from structkd_plugin.evaluation.report.plots import score_bars
from structkd_plugin.metrics.language_metric import MACRO, MICRO


def overview(methods: Sequence[Method], metric: Optional[str], options: IntervalOptions) -> Section:
    """
    One row a method: each language, the averages, and those over the languages that were not trained on apart.

    # Parameters

    methods : `Sequence[Method]`
    metric : `str`, optional
        None where there are no figures.
    options : `IntervalOptions`
        Those of the intervals.
    """
    section = Section(
        "overview",
        "Overview",
        "Each row is a method. `macro` is the mean over the row's languages, `micro` is of all words or spans alike. "
        f"In square brackets stands the interval that holds the figure with {100 * options.level:g} % confidence, by "
        f"{options.samples:,} bootstrap samples of the sentences; after ± the standard deviation over seeds, in which "
        "case the figure is the mean. An asterisk marks languages that the method was not trained on (zero-shot). "
        "Intervals that overlap do not say that two methods are alike: `allennlp compare` tests differences.",
    )
    scored = [method for method in methods if method.scores]
    if metric is None or not scored:
        section.notes.append(
            "There are no figures: run `allennlp score RUN LANG=FILE... --output RUN/evaluation.json` for each run, or "
            "name the files to this command."
        )
        return section
    languages = sorted({language for method in scored for scores in method.scores for language in scores.languages})
    present: Set[str] = {name for method in scored for scores in method.scores for name in scores.values}
    # Without languages that were not trained on, the mean over the others is that over all.
    shown = AVERAGES if ZERO_SHOT in present else (MACRO, MICRO)
    columns = [*languages, *(average for average in shown if average in present)]
    rows = []
    for method in scored:
        cells = [_cell(method.estimate(name), starred=name in method.zero_shot) for name in columns]
        origins = sorted({scores.origin for scores in method.scores})
        runs = f"{len(method.scores)} of {len(method.runs)}" if len(method.scores) < len(method.runs) else ""
        rows.append([Cell(method.name), *cells, Cell(runs or str(len(method.runs))), Cell("; ".join(origins))])
    header = ["method", *columns, "runs", "figures from"]
    section.items.append(Table("overview", f"{metric}, %", header, rows))
    named = {method.name: [method.estimate(name) for name in columns] for method in scored}
    section.items.append(
        Picture(
            "bars",
            f"{metric} by language. Whiskers: the intervals of the table, or one standard deviation over seeds to "
            "either side.",
            score_bars([method.name for method in scored], columns, named, metric),
            wide=True,
        )
    )
    section.warnings += _warnings(scored)
    section.notes += _notes(methods)
    section.figures = {
        "metric": metric,
        "intervals": options._asdict(),
        "methods": {
            method.name: {
                "runs": [run.path for run in method.runs],
                "from": [scores.origin for scores in method.scores],
                "zero_shot": sorted(method.zero_shot),
                "scores": {name: method.estimate(name).figures() for name in columns},
                "scores_of_runs": [dict(scores.values) for scores in method.scores],
            }
            for method in scored
        },
    }
    return section


def _cell(estimate: Estimate, starred: bool) -> Cell:
    if estimate.value is None:
        return Cell(UNDEFINED)
    detail = ""
    if estimate.deviation is not None:
        detail = deviation(estimate.deviation)
    elif estimate.interval is not None:
        detail = interval(*estimate.interval)
    return Cell(percent(estimate.value) + ("*" if starred else ""), detail)


def _warnings(scored: Sequence[Method]) -> List[str]:
    found = []
    origins: Dict[str, List[str]] = {}
    for method in scored:
        for origin in sorted({scores.origin for scores in method.scores}):
            origins.setdefault("evaluation" if origin in (HERE, STORED) else origin, []).append(method.name)
    if len(origins) > 1:
        told = "; ".join(f"{', '.join(names)}: {origin}" for origin, names in origins.items())
        found.append(f"The figures are not of the same sentences ({told}): evaluate all runs on the same files.")
    found += _different_data(scored)
    return found


def _different_data(scored: Sequence[Method]) -> List[str]:
    """The languages in which runs were not evaluated on the same number of sentences and words or gold spans."""
    sizes: Dict[str, Dict[Tuple[object, ...], str]] = {}
    for method in scored:
        for evaluation in method.evaluations:
            for language, row in evaluation.languages.items():
                size = tuple(row.get(name) for name in ("sentences", "words", "gold"))
                sizes.setdefault(language, {}).setdefault(size, method.name)
    return [
        f"In {language} the runs were evaluated on different files: {_size(one)} for {first}, {_size(other)} for "
        f"{second}."
        for language, ((one, first), (other, second), *_) in (
            (language, list(found.items())) for language, found in sorted(sizes.items()) if len(found) > 1
        )
    ]


def _size(size: Tuple[object, ...]) -> str:
    names = ("sentences", "words", "gold spans")
    return ", ".join(f"{number:,} {name}" for number, name in zip(size, names, strict=True) if isinstance(number, int))


def _notes(methods: Sequence[Method]) -> List[str]:
    notes = []
    without = [run.path for method in methods for run in method.runs if run.evaluation is None]
    if without:
        shown = f"`{without[0]}`" + (f" and {len(without) - 1} more" if len(without) > 1 else "")
        notes.append(
            f"{shown} has no evaluation.json: the figures are those of its training, without intervals. Run "
            f"`allennlp score {without[0]} LANG=FILE... --output {without[0]}/evaluation.json`, or name the files to "
            "this command."
            if len(without) == 1
            else f"{shown} have no evaluation.json: the figures are those of their trainings, without intervals. Run "
            "`allennlp score RUN LANG=FILE... --output RUN/evaluation.json` for each, or name the files to this "
            "command."
        )
    return notes
