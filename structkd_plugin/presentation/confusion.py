"""Which labels are taken for which, as a heat map."""

from collections import Counter
from typing import Counter as CounterType
from typing import List, Mapping, NamedTuple, Tuple

from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle

from structkd_plugin.presentation.drawing import COLOURS, GRID, INK, Drawing, drawing, new_figure, with_drawing_style

_RIGHT, _WRONG = COLOURS[0], COLOURS[3]
# Shares from which the number in a cell is written in white.
_DARK = 0.6


class ConfusionTable(NamedTuple):
    """
    Some of the labels, sorted, and how many words of each gold label there are in all.

    # Parameters

    labels : `Tuple[str, ...]`
        Those that are shown: rows and columns.
    words_of : `Mapping[str, int]`
        Words with each gold label, also where they were given a label that is not shown.
    left_out : `int`
        Labels that are not shown.
    """

    labels: Tuple[str, ...]
    words_of: Mapping[str, int]
    left_out: int


def confusion_table(confusion: Mapping[Tuple[str, str], int], most: int = 30) -> ConfusionTable:
    """
    The labels with most words.

    # Parameters

    confusion : `Mapping[Tuple[str, str], int]`
        Words by gold and predicted label.
    most : `int`, optional (default = 30)
        How many labels are shown.
    """
    words_of: CounterType[str] = Counter()
    for (gold, _), words in confusion.items():
        words_of[gold] += words
    labels = {label for pair in confusion for label in pair}
    ranked = sorted(labels, key=lambda label: (-words_of[label], label))
    return ConfusionTable(tuple(sorted(ranked[:most])), words_of, max(len(ranked) - most, 0))


def most_confused(confusion: Mapping[Tuple[str, str], int], most: int) -> List[Tuple[str, str, int]]:
    """The pairs of different labels, gold and predicted, with most words, and their words."""
    wrong = [(gold, guess, words) for (gold, guess), words in confusion.items() if gold != guess and words]
    return sorted(wrong, key=lambda item: (-item[2], item[0], item[1]))[:most]


@with_drawing_style
def confusion_map(confusion: Mapping[Tuple[str, str], int], key: str, heading: str, most: int = 30) -> Drawing:
    """
    A row for each gold label and a column for each predicted one; the stronger the colour, the larger the row's share.

    # Parameters

    confusion : `Mapping[Tuple[str, str], int]`
        Words by gold and predicted label.
    key : `str`
        Names the drawing in its page.
    heading : `str`
        Whose confusion it is.
    most : `int`, optional (default = 30)
        How many labels are shown: those with most words.
    """
    table = confusion_table(confusion, most)
    labels = table.labels
    side = max(2.2, 0.27 * len(labels))
    longest = max(map(len, labels), default=1)
    figure = new_figure(side + 0.085 * longest + 0.5, side + 0.085 * longest + 0.7)
    axes = figure.add_subplot()
    axes.set_xlim(0, len(labels))
    axes.set_ylim(len(labels), 0)
    axes.set_aspect("equal")
    axes.set_title(heading, loc="left")
    places = [i + 0.5 for i in range(len(labels))]
    axes.set_xticks(places, labels, rotation=90, fontsize=8)
    axes.set_yticks(places, labels, fontsize=8)
    axes.tick_params(length=0)
    axes.set_xlabel("predicted")
    axes.set_ylabel("gold")
    for side_of_axes in ("left", "bottom"):
        axes.spines[side_of_axes].set_visible(False)
    for i, gold in enumerate(labels):
        for j, guess in enumerate(labels):
            words = confusion.get((gold, guess), 0)
            if not words:
                continue
            share = words / table.words_of[gold]
            # Errors are few: their root makes them visible.
            strength = 0.08 + 0.92 * share**0.5
            colour = to_rgba(_RIGHT if gold == guess else _WRONG, strength)
            axes.add_patch(Rectangle((j + 0.03, i + 0.03), 0.94, 0.94, facecolor=colour, linewidth=0))
            text = f"{100 * share:.0f}"
            if text != "0":
                ink = "#fdfdfd" if strength > _DARK else INK
                axes.text(j + 0.5, i + 0.52, text, ha="center", va="center", fontsize=6.5, color=ink)
    axes.hlines(range(len(labels) + 1), 0, len(labels), color=GRID, linewidth=0.5, zorder=0)
    axes.vlines(range(len(labels) + 1), 0, len(labels), color=GRID, linewidth=0.5, zorder=0)
    pairs = ", ".join(f"{gold} as {guess} {words:,}" for gold, guess, words in most_confused(confusion, 3))
    alt = f"Confusion of {len(labels)} labels, {heading}; taken for another most often: {pairs or 'none'}."
    return drawing(figure, key, f"Confusion of labels, {heading}", alt)
