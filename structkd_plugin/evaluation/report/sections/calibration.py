"""Whether methods are right as often as they say."""

from typing import Any, Dict, List, Mapping, Optional, Sequence

from structkd_plugin.evaluation.report.document import Cell, Picture, Pictures, Section, Table
from structkd_plugin.evaluation.report.methods import Method, mean_of
from structkd_plugin.evaluation.report.number_formats import UNDEFINED, count, deviation, percent
from structkd_plugin.evaluation.report.sections.missing import note_missing
from structkd_plugin.presentation.reliability import reliability_diagram

# What has a probability, as the evaluation calls it, and what is counted.
_KINDS = {"token": "words", "entity": "entities"}


def calibration(methods: Sequence[Method]) -> Section:
    """Expected calibration errors, and a reliability diagram of each method."""
    section = Section(
        "calibration",
        "Calibration",
        "Words (and entities, where there are any) by the probability that the method gives to what it predicts, and "
        "how often that is right. On the dashed diagonal a method is right as often as it says; bars below it are of "
        "one that is too sure. ECE is the mean distance from the diagonal, weighted by words: smaller is better.",
    )
    found = [method for method in methods if any(evaluation.calibration for evaluation in method.evaluations)]
    note_missing(section, methods, found)
    rows, pictures = [], []
    figures: Dict[str, Dict[str, Any]] = {}
    for number, method in enumerate(found):
        figures[method.name] = {}
        for kind, of in _KINDS.items():
            records = [record for e in method.evaluations if (record := e.calibration.get(kind)) is not None]
            if not records:
                continue
            ece = mean_of([record["ece"] for record in records])
            bins = pooled([record["rows"] for record in records])
            total = sum(row["words"] for row in bins)
            rows.append(
                [
                    Cell(method.name),
                    Cell(of),
                    Cell(count(total)),
                    Cell(_mean(bins, "right")),
                    Cell(_mean(bins, "probability")),
                    Cell(percent(ece.value), "" if ece.deviation is None else deviation(ece.deviation)),
                ]
            )
            key = f"reliability-{number}-{kind}"
            title = f"Reliability of {method.name}, {of}"
            pictures.append(
                Picture(
                    key,
                    f"{method.name}, {of}: ECE {percent(ece.value)} %",
                    reliability_diagram(bins, key, title=title, heading=f"{method.name}: {of}", of=of),
                )
            )
            figures[method.name][kind] = {"ece": ece.figures(), "rows": bins}
    if rows:
        header = ["method", "of", "number", "right, %", "mean probability, %", "ECE, %"]
        section.items.append(Table("calibration", "Expected calibration error", header, rows))
        section.items.append(Pictures(tuple(pictures)))
        section.figures = figures
    return section


def pooled(records: Sequence[Sequence[Mapping[str, float]]]) -> List[Dict[str, float]]:
    """The bins of several runs as bins of all their words."""
    bins: Dict[float, Dict[str, float]] = {}
    for rows in records:
        for row in rows:
            words = row["words"]
            into = bins.setdefault(row["from"], {"from": row["from"], "to": row["to"], "words": 0.0})
            into["words"] += words
            for name in ("probability", "right"):
                into[name] = into.get(name, 0.0) + words * row[name]
    return [
        {**row, "probability": row["probability"] / row["words"], "right": row["right"] / row["words"]}
        for _, row in sorted(bins.items())
        if row["words"]
    ]


def _mean(bins: Sequence[Mapping[str, Any]], name: str) -> str:
    total: Optional[float] = sum(row["words"] for row in bins)
    return percent(sum(row["words"] * row[name] for row in bins) / total) if total else UNDEFINED
