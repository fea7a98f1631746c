"""
The drawings of a study, as SVG: `plots.py STUDY.json FOLDER`, run when everything was trained and evaluated.

FOLDER/averages.svg has the averages of all methods, FOLDER/by_k.svg those with several K by K.
"""

import json
import sys
from pathlib import Path
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence

import plan
import results
import study_file

from structkd_plugin.presentation.drawing import (
    GRID,
    INK,
    Drawing,
    colour,
    drawing,
    new_figure,
    with_drawing_style,
)

_INCHES_A_ROW = 0.27


class Panel(NamedTuple):
    """
    One of the drawings side by side.

    # Parameters

    title : `str`
    rows : `Mapping[str, Sequence[Optional[float]]]`
        By method, the average over languages of each seed, points; `None` where it is not known.
    aim : `Optional[float]`
        The teachers', if there is one.
    """

    title: str
    rows: Mapping[str, Sequence[Optional[float]]]
    aim: Optional[float]


@with_drawing_style
def averages(panels: Sequence[Panel], baseline: str, metric: str) -> Drawing:
    """
    A line for each method: a ring for each seed, a dot for their mean.

    # Parameters

    panels : `Sequence[Panel]`
        With the same methods, the first at the top.
    baseline : `str`
        The method whose mean is drawn through.
    metric : `str`
        What the points are of.
    """
    names = list(panels[0].rows)
    figure = new_figure(2.2 + 3.2 * len(panels), 1.0 + _INCHES_A_ROW * len(names))
    for number, panel in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), number + 1)
        for place, name in enumerate(names):
            known = [value for value in panel.rows[name] if value is not None]
            if not known:
                continue
            mean = sum(known) / len(known)
            if name == baseline:
                axes.axvline(mean, color=INK, linewidth=0.9, linestyle=":")
            axes.plot(known, [place] * len(known), "o", markersize=4, markerfacecolor="none", color=colour(0))
            axes.plot([mean], [place], "o", markersize=6, color=colour(0))
        if panel.aim is not None:
            axes.axvline(panel.aim, color=colour(2), linewidth=1.2)
            axes.annotate(
                "teachers",
                (panel.aim, 1),
                xycoords=("data", "axes fraction"),
                xytext=(-3, -2),
                textcoords="offset points",
                rotation=90,
                ha="right",
                va="top",
                color=colour(2),
                fontsize=8,
            )
        axes.set_yticks(range(len(names)), names if number == 0 else [""] * len(names))
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_title(panel.title)
        axes.set_xlabel(f"{metric}, %")
        axes.grid(axis="x")
        axes.hlines(range(len(names)), *axes.get_xlim(), color=GRID, linewidth=0.7, zorder=0)
        axes.margins(x=0)
    alt = (
        f"Dots of {metric} of {', '.join(names)}, a ring for each seed; dotted, the mean of {baseline}; the figures "
        "are in the tables."
    )
    return drawing(figure, "averages", f"{metric}, averages", alt)


@with_drawing_style
def curves(
    ks: Sequence[int],
    families: Mapping[str, Mapping[int, Sequence[Optional[float]]]],
    baseline: Optional[float],
    metric: str,
) -> Drawing:
    """
    The average over languages by K, a line for each method: means over seeds, and a ring for each seed.

    # Parameters

    ks : `Sequence[int]`
        In order.
    families : `Mapping[str, Mapping[int, Sequence[Optional[float]]]]`
        By method and K, the average of each seed, points.
    baseline : `Optional[float]`
        Its mean, drawn through.
    metric : `str`
    """
    figure = new_figure(4.5, 3.0)
    axes = figure.add_subplot()
    for number, (name, by_k) in enumerate(families.items()):
        places, means = [], []
        for place, k in enumerate(ks):
            known = [value for value in by_k.get(k, ()) if value is not None]
            if known:
                # Beside each other, not on each other.
                shifted = place + 0.06 * (number - (len(families) - 1) / 2)
                axes.plot(
                    [shifted] * len(known), known, "o", markersize=4, markerfacecolor="none", color=colour(number)
                )
                places.append(shifted)
                means.append(sum(known) / len(known))
        axes.plot(places, means, "-o", markersize=6, color=colour(number), label=name)
    if baseline is not None:
        axes.axhline(baseline, color=INK, linewidth=0.9, linestyle=":", label="baseline")
    axes.set_xticks(range(len(ks)), [str(k) for k in ks])
    axes.set_xlabel("K")
    axes.set_ylabel(f"{metric}, %")
    axes.grid(axis="y")
    figure.legend(loc="outside upper left", ncols=3)
    alt = f"Lines of {metric} by K, of {', '.join(families)}; the figures are in the table."
    return drawing(figure, "by_k", f"{metric} by K", alt)


def drawings(study: plan.Study, evaluations: results.Evaluations) -> Dict[str, str]:
    """The SVGs by the names of their files; by_k.svg is there if a method has several K."""

    def by_row(languages: Sequence[str]) -> Dict[str, List[Optional[float]]]:
        return {row.name: results.averages_of(evaluations, row, languages) for row in study.rows}

    metric = results.metric_name(evaluations)
    aim = results.mean_of_known(list(evaluations.teachers[study.needed_teachers()[0]].values()))
    panels = [Panel("languages trained on", by_row(list(study.languages)), aim)]
    if study.zero_shot:
        panels.append(Panel("zero-shot languages", by_row(list(study.zero_shot)), None))
    found = {"averages.svg": averages(panels, study.baseline.name, metric).file}
    families = study.families()
    if families:
        by_k = {
            family: {k: results.averages_of(evaluations, row, study.languages) for k, row in rows.items()}
            for family, rows in families.items()
        }
        ks = sorted({k for rows in families.values() for k in rows})
        baseline = results.mean_of_known(results.averages_of(evaluations, study.baseline, study.languages))
        found["by_k.svg"] = curves(ks, by_k, baseline, metric).file
    return found


def main(arguments: Sequence[str]) -> None:
    """Write the files."""
    description, folder = arguments
    study = study_file.study_of(json.loads(Path(description).read_text(encoding="utf-8")))
    for name, svg in drawings(study, results.read_evaluations(study)).items():
        Path(folder, name).write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
