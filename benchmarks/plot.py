"""
Draws results: of crf_speed.py how many times faster ours is, of crf_scaling.py the curves.

    python -m benchmarks.plot benchmarks/results/crf_speed.DATE.COMMIT.json [--threads 1] [--output README.svg]

The kind of picture follows from the file. Without --output it is written beside the file as SVG.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks.crf_speed import TARGETS, ratios, shape_name
from benchmarks.peers import AllenNLP, K, Ours

TITLES = {
    "likelihood": "likelihood\n+ gradient",
    "marginals": "marginals",
    "viterbi": "Viterbi",
    "k_best": f"K best,\nK = {K}",
    "cross_entropy": "cross-entropy\n+ gradient",
    "kl": "KL\n+ gradient",
    "posterior": "posterior\n+ gradient",
    "sample": "sampling",
}
ALLENNLP_COLOUR, BEST_COLOUR = "#2f6f9f", "#e0913a"
# Shapes are shades of one colour, light for the first.
INK, GRID = "#333333", "#dddddd"
plt.rcParams.update({"font.size": 9, "svg.fonttype": "none", "axes.edgecolor": INK, "text.color": INK})


def _shade(colour: str, position: int, of: int) -> Any:
    """`colour` mixed with white, less for later shapes."""
    red, green, blue = matplotlib.colors.to_rgb(colour)
    white = 0.8 * (1 - (position + 1) / of)
    return tuple(x + (1 - x) * white for x in (red, green, blue))


def plot_speed(result: Mapping[str, Any], threads: str) -> Any:
    """Bars by operation and shape, on a log axis: over AllenNLP above, over the best peer below."""
    cells = result["threads"][threads]
    operations = [o for o in TITLES if any(cell["operation"] == o for cell in cells)]
    shapes = list(dict.fromkeys(shape_name(cell["shape"]) for cell in cells))
    by_place = {(cell["operation"], shape_name(cell["shape"])): ratios(cell, Ours.name) for cell in cells}
    figure, panels = plt.subplots(2, 1, figsize=(9, 5.4), sharex=True, layout="constrained")
    width = 0.84 / len(shapes)
    for i, (axes, colour, over) in enumerate(
        zip(panels, (ALLENNLP_COLOUR, BEST_COLOUR), ("AllenNLP", "the best other"), strict=True)
    ):
        heights: List[float] = []
        for x, operation in enumerate(operations):
            target = TARGETS.get((Ours.name, operation), (None, None))[i]
            known = False
            for s, shape in enumerate(shapes):
                ratio = by_place.get((operation, shape), (None, None, None))[i]
                if ratio is None:
                    continue
                known = True
                heights.append(ratio)
                left = x + (s - (len(shapes) - 1) / 2) * width
                # from 1, as that is where the two are equally fast
                axes.bar(left, ratio - 1, width * 0.92, bottom=1, color=_shade(colour, s, len(shapes)))
                text = f"{ratio:.0f}" if ratio >= 9.95 else f"{ratio:.1f}"
                # below the bar where the bar goes down
                place: Dict[str, Any] = {"textcoords": "offset points", "ha": "center", "fontsize": 6.5}
                offset, place["va"] = ((0, 2), "bottom") if ratio >= 1 else ((0, -2), "top")
                axes.annotate(text, (left, ratio), offset, **place)
            if target is not None and known:
                heights.append(target)
                axes.hlines(target, x - 0.45, x + 0.45, color=INK, linewidth=1, linestyles=(0, (3, 2)))
            if not known:
                axes.annotate("–", (x, 1), (0, 5), textcoords="offset points", ha="center", color="#999999")
        axes.set_yscale("log")
        _multiples(axes.yaxis)
        axes.set_ylim(min(0.8, 0.7 * min(heights, default=1)), 1.6 * max([*heights, 10]))
        axes.set_xlim(-0.55, len(operations) - 0.45)
        axes.axhline(1, color=INK, linewidth=0.8)
        axes.set_title(f"times faster than {over}", loc="left", fontsize=10)
        _bare(axes)
        greys = [Patch(color=_shade(colour, s, len(shapes)), label=shape) for s, shape in enumerate(shapes)]
        if i == 0:
            line = plt.Line2D([], [], color=INK, linewidth=1, linestyle=(0, (3, 2)), label="target")
            axes.legend(
                handles=[*greys, line], ncols=len(shapes) + 1, frameon=False, fontsize=7.5, loc="lower right",
                bbox_to_anchor=(1.0, 1.0), borderaxespad=0.1, handlelength=1.4, columnspacing=1.1,
            )  # fmt: skip
    panels[-1].set_xticks(range(len(operations)), [TITLES[o] for o in operations])
    for axes in panels:
        axes.tick_params(axis="x", length=0)
    found = result["environment"]
    caption = (
        f"batch × words × labels; {threads} thread{'s' if threads != '1' else ''} of {found['processor']}, "
        f"torch {found['versions']['torch']}, commit {found['commit']}"
    )
    figure.supxlabel(caption, fontsize=7.5, color="#777777")
    return figure


def plot_scaling(result: Mapping[str, Any]) -> Any:
    """Time over T, L, B and K, and memory over T."""
    styles = {"likelihood": "-", "marginals": "--", "viterbi": ":", "k_best": "-"}
    colours = {Ours.name: BEST_COLOUR, AllenNLP.name: ALLENNLP_COLOUR}
    names = {"T": "words T", "L": "labels L", "B": "sentences B", "K": "K of the K best"}
    figure, panels = plt.subplots(1, 5, figsize=(13, 3.3), layout="constrained")
    for axes, (variable, name) in zip(panels, names.items(), strict=False):
        points = [point for point in result["time"] if point["variable"] == variable]
        for operation in dict.fromkeys(point["operation"] for point in points):
            for contestant, colour in colours.items():
                curve = [
                    (p["value"], 1000 * p["seconds"][contestant])
                    for p in points
                    if p["operation"] == operation and contestant in p["seconds"]
                ]
                axes.plot(*zip(*curve, strict=True), styles[operation], color=colour, marker=".", markersize=3)
        least = [(p["value"], 1000 * max(p["floor"].values())) for p in points if "floor" in p]
        if least:
            axes.plot(*zip(*least, strict=True), color="#999999", linewidth=1)
        axes.set_title(f"ms over {name}", fontsize=9, loc="left")
    for contestant, colour in colours.items():
        # Growth below a page is seen as none, and has no place on a logarithmic axis.
        curve = [(p["T"], p["bytes"][contestant] / 2**20) for p in result["memory"] if p["bytes"].get(contestant)]
        if curve:
            panels[4].plot(*zip(*curve, strict=True), color=colour, marker=".", markersize=3)
    panels[4].set_title("MiB over words T", fontsize=9, loc="left")
    for axes in panels:
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        _bare(axes)
    handles: List[Any] = [Patch(color=colour, label=name) for name, colour in colours.items()]
    handles += [
        plt.Line2D([], [], color=INK, linestyle=styles[o], label=o) for o in ("likelihood", "marginals", "viterbi")
    ]
    handles.append(plt.Line2D([], [], color="#999999", linewidth=1, label="floor of the likelihood"))
    figure.legend(handles=handles, ncols=6, frameon=False, fontsize=8, loc="outside lower center")
    return figure


def _multiples(axis: Any) -> None:
    axis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axis.set_minor_formatter(NullFormatter())


def _bare(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=INK, labelsize=8)
    axes.tick_params(which="minor", length=0)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Draw one results file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--threads", default="1")
    parser.add_argument("--output", type=Path, help="an SVG or PNG file")
    options = parser.parse_args(argv)
    result: Dict[str, Any] = json.loads(options.results.read_text(encoding="utf-8"))
    speed = isinstance(result["threads"], dict)
    if speed and options.threads not in result["threads"]:
        parser.error(f"the file has results with {', '.join(result['threads'])} threads, not with {options.threads}")
    figure = plot_speed(result, options.threads) if speed else plot_scaling(result)
    output = options.output or options.results.with_suffix(".svg")
    figure.savefig(output, dpi=160)
    print(f"written: {output}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
