"""The drawings of a report that are of nothing else."""

import math
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from structkd_plugin.evaluation.report.learning_curves import Series
from structkd_plugin.evaluation.report.methods import Estimate
from structkd_plugin.presentation.drawing import (
    INK,
    PAPER,
    Drawing,
    colour,
    dashes,
    drawing,
    hatch,
    new_figure,
    with_drawing_style,
)

# Entries of a legend in one row.
_LEGEND = 4


def axis_floor(lowest: float) -> float:
    """Where an axis of shares begins: at 0, or at a multiple of 0.1 well below where all of them are large."""
    return 0.0 if lowest < 0.5 else math.floor(10 * (lowest - 0.02) + 1e-9) / 10


@with_drawing_style
def score_bars(
    names: Sequence[str], groups: Sequence[str], estimates: Mapping[str, Sequence[Estimate]], metric: str
) -> Drawing:
    """
    Bars with intervals, those of all methods side by side.

    # Parameters

    names : `Sequence[str]`
        Of the methods.
    groups : `Sequence[str]`
        Languages, and averages.
    estimates : `Mapping[str, Sequence[Estimate]]`
        For each method one figure for each group.
    metric : `str`
    """
    shown = [estimate for name in names for estimate in estimates[name] if estimate.value is not None]
    floor = axis_floor(min((estimate.bounds()[0] for estimate in shown), default=0.0))
    top = max((estimate.bounds()[1] for estimate in shown), default=1.0)
    bars = len(groups) * (len(names) + 1)
    figure = new_figure(min(max(4.5, 1 + 0.17 * bars), 20), 3.1 + 0.2 * math.ceil(len(names) / _LEGEND))
    axes = figure.add_subplot()
    width = 0.84 / len(names)
    for number, name in enumerate(names):
        offset = (number - (len(names) - 1) / 2) * width
        for place, estimate in enumerate(estimates[name]):
            if estimate.value is None:
                continue
            low, high = (100 * bound for bound in estimate.bounds())
            value = 100 * estimate.value
            axes.bar(
                place + offset,
                value - 100 * floor,
                width * 0.92,
                bottom=100 * floor,
                color=colour(number),
                hatch=hatch(number),
                edgecolor=PAPER,
                linewidth=0,
                label=name if name not in axes.get_legend_handles_labels()[1] else None,
            )[0].set_gid(f"our-bar-{number}-{place}")
            if high > low:
                axes.errorbar(
                    place + offset,
                    value,
                    yerr=[[max(value - low, 0)], [max(high - value, 0)]],
                    color=INK,
                    linewidth=1,
                    capsize=min(3, 14 * width),
                )
    axes.set_xticks(range(len(groups)), groups)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.set_ylim(100 * floor, min(100.0, 100 * (top + 0.06 * (top - floor) + 1e-6)) if shown else 100)
    axes.set_ylabel(f"{metric}, %" + (f" (axis from {100 * floor:.0f})" if floor else ""))
    axes.grid(axis="y")
    if shown:
        figure.legend(loc="outside upper left", ncols=_LEGEND)
    alt = f"Bars of {metric} of {', '.join(names)} in {', '.join(groups)}; the figures are in the table."
    return drawing(figure, "bars", f"{metric} by language", alt)


class MethodCurves(NamedTuple):
    """The curves of the runs of a method, each by quantity and split, and each run's best epoch."""

    name: str
    runs: Sequence[Mapping[str, Mapping[str, Series]]]
    best_epochs: Sequence[Optional[int]]


@with_drawing_style
def curve_panels(methods: Sequence[MethodCurves], quantities: Sequence[str], shares: Sequence[str]) -> Drawing:
    """
    A panel for each quantity, by epoch: training dotted where validation is there too, the best epoch marked.

    # Parameters

    methods : `Sequence[MethodCurves]`
    quantities : `Sequence[str]`
    shares : `Sequence[str]`
        The quantities that are shares of 1, drawn in per cent; the others are nats a sentence.
    """
    columns = min(3, len(quantities))
    rows = math.ceil(len(quantities) / columns)
    figure = new_figure(3.5 * columns, 2.6 * rows + 0.3 + 0.2 * math.ceil((len(methods) + 3) / _LEGEND))
    panels: List[Any] = list(figure.subplots(rows, columns, squeeze=False).flat)
    splits = set()
    for axes, quantity in zip(panels, quantities, strict=False):
        scale = 100 if quantity in shares else 1
        both = {split for method in methods for run in method.runs for split in run.get(quantity, {})}
        for number, method in enumerate(methods):
            for run, best in zip(method.runs, method.best_epochs, strict=True):
                for split, series in run.get(quantity, {}).items():
                    thin = split == "training" and len(both) > 1
                    splits.add("training beside validation" if thin else "other")
                    epochs = [epoch for epoch, _ in series]
                    values = [scale * value for _, value in series]
                    axes.plot(
                        epochs,
                        values,
                        color=colour(number),
                        linestyle=(0, (1, 1.3)) if thin else dashes(number),
                        linewidth=1.2 if thin or len(method.runs) > 1 else 1.7,
                        # A training of one epoch is a point.
                        marker="." if len(series) == 1 else None,
                    )
                    if best in epochs and not thin:
                        axes.plot(
                            [best],
                            [values[epochs.index(best)]],
                            color=colour(number),
                            marker="o",
                            markersize=6,
                            markeredgecolor=PAPER,
                            linestyle="none",
                        )
        axes.set_title(f"{quantity}, {'%' if quantity in shares else 'nats a sentence'}", loc="left")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.grid(axis="y")
    for axes in panels[len(quantities) :]:
        axes.set_visible(False)
    handles = [
        Line2D([], [], color=colour(number), linestyle=dashes(number), label=method.name)
        for number, method in enumerate(methods)
    ]
    if "training beside validation" in splits:
        handles.append(Line2D([], [], color=INK, linestyle=(0, (1, 1.3)), linewidth=1.2, label="training"))
        handles.append(Line2D([], [], color=INK, label="validation"))
    handles.append(Line2D([], [], color=INK, marker="o", linestyle="none", label="best epoch"))
    figure.legend(handles=handles, loc="outside upper left", ncols=_LEGEND)
    alt = (
        f"Curves of {', '.join(quantities)} by epoch, of {', '.join(method.name for method in methods)}. "
        f"{_best_epochs(methods)}"
    )
    return drawing(figure, "curves", "Learning curves", alt)


def _best_epochs(methods: Sequence[MethodCurves]) -> str:
    best: Dict[str, List[str]] = {
        method.name: [str(epoch) for epoch in method.best_epochs if epoch is not None] for method in methods
    }
    found = [f"{name} {', '.join(epochs)}" for name, epochs in best.items() if epochs]
    return f"Best epochs: {'; '.join(found)}." if found else "Best epochs are not known."


@with_drawing_style
def length_lines(
    names: Sequence[str], lengths: Sequence[str], values: Mapping[str, Sequence[Optional[float]]], metric: str
) -> Drawing:
    """
    The metric over the sentences' length.

    # Parameters

    names : `Sequence[str]`
        Of the methods.
    lengths : `Sequence[str]`
        From shorter to longer sentences.
    values : `Mapping[str, Sequence[Optional[float]]]`
        For each method a figure for each length.
    metric : `str`
    """
    figure = new_figure(max(4.5, 0.9 * len(lengths)), 2.7 + 0.2 * math.ceil(len(names) / 3))
    axes = figure.add_subplot()
    for number, name in enumerate(names):
        points = [(place, 100 * value) for place, value in enumerate(values[name]) if value is not None]
        axes.plot(
            [place for place, _ in points],
            [value for _, value in points],
            color=colour(number),
            linestyle=dashes(number),
            marker="o",
            markersize=4,
            label=name,
        )
    axes.set_xticks(range(len(lengths)), lengths)
    axes.set_xlabel("words in the sentence")
    axes.set_ylabel(f"{metric}, %")
    axes.grid(axis="y")
    figure.legend(loc="outside upper left", ncols=3)
    alt = f"Lines of {metric} over the length of sentences, of {', '.join(names)}; the figures are in the table."
    return drawing(figure, "lengths", f"{metric} by length", alt)
