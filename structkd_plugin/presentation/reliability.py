"""Diagrams of a calibration: how often something is right over how probable it is said to be."""

from typing import Any, Dict, Optional, Sequence

from matplotlib.figure import Figure

from structkd_plugin.presentation.drawing import (
    COLOURS,
    INK,
    Drawing,
    drawing,
    new_figure,
    with_drawing_style,
)

BAR_COLOUR, LINE_COLOUR = COLOURS[5], COLOURS[3]

# As `ReliabilityBins.rows` has them: `from`, `to`, `words`, `probability`, `right`.
Rows = Sequence[Dict[str, float]]

_TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@with_drawing_style
def reliability_diagram(
    rows: Rows,
    key: str,
    tempered: Optional[Rows] = None,
    title: str = "Reliability diagram",
    heading: Optional[str] = None,
    of: str = "words",
) -> Drawing:
    """
    Bars of the share that is right in each bin, beside the diagonal.

    # Parameters

    rows : `Sequence[Dict[str, float]]`
        Of the bins with words.
    key : `str`
        Names the drawing in its page.
    tempered : `Sequence[Dict[str, float]]`, optional
        The bins after a calibration, drawn as a line.
    title : `str`, optional
    heading : `str`, optional
        Stands above the diagram; nothing does without.
    of : `str`, optional (default = `"words"`)
        What is counted.
    """
    figure = new_figure(3.3, 3.3 if heading is None else 3.5)
    axes = _axes(figure, "share that is right", heading)
    axes.set_ylim(0, 1)
    axes.set_yticks(_TICKS)
    axes.set_aspect("equal")
    for number, row in enumerate(rows):
        _bar(axes, row, row["right"], 0, f"our-bar-{number}")
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=(0, (4, 3)))
    if tempered is not None:
        axes.plot(
            [row["probability"] for row in tempered],
            [row["right"] for row in tempered],
            color=LINE_COLOUR,
            marker="o",
            markersize=3.5,
        )
    return drawing(figure, key, title, f"{title}: {_in_words(rows, of)}")


@with_drawing_style
def confidence_histogram(
    rows: Rows,
    key: str,
    tempered: Optional[Rows] = None,
    title: str = "Histogram of confidence",
    of: str = "words",
) -> Drawing:
    """How many words have a probability in which bin, on a logarithmic axis; parameters as `reliability_diagram`."""
    figure = new_figure(3.3, 2.0)
    axes = _axes(figure, of, None)
    axes.set_yscale("log")
    # One word alone is to be seen too: the axis begins at a half.
    axes.set_ylim(0.5, 1.5 * max((row["words"] for row in (*rows, *(tempered or ()))), default=1))
    axes.yaxis.set_major_formatter(lambda words, _: f"{words:,.0f}")
    axes.yaxis.set_minor_formatter(lambda words, _: "")
    for number, row in enumerate(rows):
        _bar(axes, row, row["words"], 0.5, f"our-bar-{number}")
    for row in tempered or ():
        axes.plot([row["from"], row["to"]], [row["words"]] * 2, color=LINE_COLOUR, linewidth=2.5)
    return drawing(figure, key, title, f"{title}: {_in_words(rows, of)}")


def _axes(figure: Figure, beside: str, heading: Optional[str]) -> Any:
    axes = figure.add_subplot()
    axes.set_xlim(0, 1)
    axes.set_xticks(_TICKS)
    axes.set_xlabel("probability it was given")
    axes.set_ylabel(beside)
    axes.grid(axis="y")
    if heading is not None:
        axes.set_title(heading, loc="left")
    return axes


def _bar(axes: Any, row: Dict[str, float], top: float, floor: float, name: str) -> None:
    width = row["to"] - row["from"]
    axes.bar(
        row["from"] + 0.05 * width, top - floor, 0.9 * width, bottom=floor, align="edge", color=BAR_COLOUR, gid=name
    )[0].set_gid(name)


def _in_words(rows: Rows, of: str) -> str:
    total = sum(row["words"] for row in rows)
    if not total:
        return f"no {of}."
    probability = sum(row["words"] * row["probability"] for row in rows) / total
    right = sum(row["words"] * row["right"] for row in rows) / total
    return (
        f"{total:,.0f} {of}, given a probability of {100 * probability:.2f} % on average, of which "
        f"{100 * right:.2f} % are right."
    )
