"""Diagrams of a teacher's calibration, as SVG that stands by itself."""

import math
from html import escape
from typing import List, Optional

from structkd_plugin.metrics.reliability import ReliabilityBins

STORED_COLOUR, TEMPERED_COLOUR = "#8db8d6", "#d97b1f"
_INK, _GRID, _FAINT = "#333333", "#dddddd", "#777777"
_SIZE = 300  # of the plots' inner width, and of the reliability diagram's height
_LEFT, _TOP, _RIGHT, _BOTTOM = 52, 14, 14, 44
_WIDTH = _LEFT + _SIZE + _RIGHT


def reliability_diagram(stored: ReliabilityBins, tempered: Optional[ReliabilityBins] = None) -> str:
    """
    How often the most probable label is right over how probable it is: bars as stored, a line once tempered.

    # Returns

    `str` : an `<svg>` element.
    """
    parts = _frame(_SIZE, "probability of the most probable label", "share that is right")
    for tick in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        parts += _horizontal(_y(tick, _SIZE), f"{tick:.1f}")
    for row in stored.rows():
        left, right, top = _x(row["from"]), _x(row["to"]), _y(row["right"], _SIZE)
        tip = (
            f"{row['from']:.2f} to {row['to']:.2f}: {row['words']:,} words, right {100 * row['right']:.1f} %, "
            f"mean probability {100 * row['probability']:.1f} %"
        )
        parts.append(
            f'<rect x="{left + 1:.1f}" y="{top:.1f}" width="{right - left - 2:.1f}" '
            f'height="{_TOP + _SIZE - top:.1f}" fill="{STORED_COLOUR}"><title>{escape(tip)}</title></rect>'
        )
    parts.append(
        f'<line x1="{_x(0):.1f}" y1="{_y(0, _SIZE):.1f}" x2="{_x(1):.1f}" y2="{_y(1, _SIZE):.1f}" stroke="{_INK}" '
        'stroke-dasharray="4 3"/>'
    )
    if tempered is not None:
        points = [(_x(row["probability"]), _y(row["right"], _SIZE)) for row in tempered.rows()]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{TEMPERED_COLOUR}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{TEMPERED_COLOUR}"/>' for x, y in points]
    return _svg(parts, _SIZE, "Reliability diagram")


def confidence_histogram(stored: ReliabilityBins, tempered: Optional[ReliabilityBins] = None) -> str:
    """
    How many words have a most probable label of what probability, on a logarithmic axis.

    # Returns

    `str` : an `<svg>` element.
    """
    height = _SIZE // 2
    most = max(int(bins.words.max()) for bins in (stored, tempered) if bins is not None)
    decades = max(1, math.ceil(math.log10(max(most, 1))))
    parts = _frame(height, "probability of the most probable label", "words")

    def y(words: float) -> float:
        # A word alone is to be seen too: the axis begins at a half.
        return _y(math.log10(2 * words) / (decades + math.log10(2)), height)

    for decade in range(decades + 1):
        parts += _horizontal(y(10**decade), f"{10**decade:,}")
    for row in stored.rows():
        left, right, top = _x(row["from"]), _x(row["to"]), y(row["words"])
        tip = f"{row['from']:.2f} to {row['to']:.2f}: {row['words']:,} words"
        parts.append(
            f'<rect x="{left + 1:.1f}" y="{top:.1f}" width="{right - left - 2:.1f}" '
            f'height="{_TOP + height - top:.1f}" fill="{STORED_COLOUR}"><title>{escape(tip)}</title></rect>'
        )
    for row in tempered.rows() if tempered is not None else ():
        left, right, top = _x(row["from"]), _x(row["to"]), y(row["words"])
        parts.append(
            f'<line x1="{left + 1:.1f}" y1="{top:.1f}" x2="{right - 1:.1f}" y2="{top:.1f}" stroke="{TEMPERED_COLOUR}" '
            'stroke-width="3"/>'
        )
    return _svg(parts, height, "Histogram of confidence")


def _x(share: float) -> float:
    return _LEFT + share * _SIZE


def _y(share: float, height: int) -> float:
    return _TOP + (1 - share) * height


def _frame(height: int, below: str, beside: str) -> List[str]:
    """The axis below with its numbers, and the names of both."""
    floor = _TOP + height
    parts = [f'<line x1="{_LEFT}" y1="{floor}" x2="{_LEFT + _SIZE}" y2="{floor}" stroke="{_INK}"/>']
    for tick in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        parts.append(f'<text x="{_x(tick):.1f}" y="{floor + 16}" text-anchor="middle" fill="{_INK}">{tick:.1f}</text>')
    middle = _TOP + height / 2
    parts.append(
        f'<text x="{_x(0.5):.1f}" y="{floor + 36}" text-anchor="middle" fill="{_FAINT}">{escape(below)}</text>'
    )
    parts.append(
        f'<text x="12" y="{middle:.1f}" text-anchor="middle" fill="{_FAINT}" transform="rotate(-90 12 {middle:.1f})">'
        f"{escape(beside)}</text>"
    )
    return parts


def _horizontal(y: float, text: str) -> List[str]:
    """A line of the grid, and its number."""
    return [
        f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_LEFT + _SIZE}" y2="{y:.1f}" stroke="{_GRID}" stroke-width="0.6"/>',
        f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" fill="{_INK}">{text}</text>',
    ]


def _svg(parts: List[str], height: int, name: str) -> str:
    total = _TOP + height + _BOTTOM
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {total}" width="{_WIDTH}" height="{total}" '
        f'font-family="sans-serif" font-size="11" role="img"><title>{escape(name)}</title>\n'
        + "\n".join(parts)
        + "\n</svg>"
    )
