"""Figures of matplotlib as SVG: the same bytes for the same figure, in a page that is light or dark, or as a file."""

import io
import logging
import re
import warnings
from contextlib import contextmanager
from functools import wraps
from typing import Any, Callable, Dict, Iterator, NamedTuple, TypeVar, cast
from xml.sax.saxutils import escape

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart with any kind of sight; their yellow is too light for lines on white.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8A8A8A")
# Where the colours do not suffice, lines differ by their dashes, and bars by what fills them.
DASHES = ("-", "--", ":", "-.")
HATCHES = ("", "//", "..", "xx")

_Draw = TypeVar("_Draw", bound=Callable[..., Any])

# Colours that stand for those of the page, which decides on them when it is shown.
INK, GRID, PAPER = "#010203", "#040506", "#070809"
_IN_A_PAGE = {INK: "currentColor", GRID: "var(--grid)", PAPER: "var(--paper)"}
_IN_A_FILE = {INK: "#24292f", GRID: "#dcdfe3", PAPER: "#ffffff"}

# matplotlib lists every name in the type of its settings, which a dictionary of ours cannot have.
_STYLE: Any = {
    # Text stays text: it can be searched and copied, and a browser has letters for every script.
    "svg.fonttype": "none",
    "svg.hashsalt": "structkd",
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.0,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "hatch.color": PAPER,
    "hatch.linewidth": 0.8,
    "lines.linewidth": 1.6,
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "path.simplify": False,
}


# Of the whole SVG; fonts that are as wide as the one that matplotlib measures with, or narrower.
_ATTRIBUTES = (
    ' role="img" stroke-linejoin="round" stroke-linecap="butt" font-family="DejaVu Sans, Verdana, Arial, sans-serif"'
)


class Drawing(NamedTuple):
    """
    An SVG in two forms.

    # Parameters

    inline : `str`
        An `<svg>` element to be put into a page, which says what `--grid` and `--paper` are.
    file : `str`
        A file that stands by itself, on white.
    alt : `str`
        What is to be seen, for those who do not see it.
    width : `str`
        As CSS has it.
    """

    inline: str
    file: str
    alt: str
    width: str


def with_drawing_style(draw: _Draw) -> _Draw:
    """The decorator of functions that make figures and save them."""

    @wraps(draw)
    def styled(*arguments: Any, **options: Any) -> Any:
        with matplotlib.rc_context(_STYLE):
            return draw(*arguments, **options)

    return cast(_Draw, styled)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, outside of matplotlib's global state."""
    return Figure(figsize=(width, height), layout="constrained")


def colour(number: int) -> str:
    """The colour of the `number`-th of several things that are drawn side by side."""
    return COLOURS[number % len(COLOURS)]


def dashes(number: int) -> Any:
    """How the line of the `number`-th of several things is dashed; differs where the colour is the same."""
    return DASHES[number // len(COLOURS) % len(DASHES)]


def hatch(number: int) -> str:
    """What fills the bar of the `number`-th of several things; differs where the colour is the same."""
    return HATCHES[number // len(COLOURS) % len(HATCHES)]


def drawing(figure: Figure, key: str, title: str, alt: str) -> Drawing:
    """
    A figure as SVG.

    # Parameters

    figure : `matplotlib.figure.Figure`
        Made by a function `with_drawing_style`.
    key : `str`
        Names the drawing; different for the drawings of a page. What a gid names keeps it, with the key ahead.
    title : `str`
        The `<title>` of the SVG.
    alt : `str`
        What is to be seen, as a sentence; the `<desc>` of the SVG.
    """
    target = io.StringIO()
    # None of what it says of itself: a date, an address.
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": key}), _no_warnings_of_glyphs():
        FigureCanvasSVG(figure).print_svg(target, metadata=metadata)
    svg = target.getvalue()
    svg = svg[svg.index("<svg ") :]
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    # The metadata, and a style that in a page would be one of the whole page.
    svg = re.sub(r"<(metadata|style)\b.*?</\1>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r" font-family: [^;\"]+;", "", svg)
    svg = _with_own_names(svg, key)
    opening, _, rest = svg.partition(">")
    # The outermost element alone: sizes of other elements are in their own units.
    opening = re.sub(r' (?:version|xmlns:xlink)="[^"]*"', "", opening) + _ATTRIBUTES
    rest = rest.replace("xlink:href=", "href=")
    described = f">\n <title>{escape(title)}</title>\n <desc>{escape(alt)}</desc>"
    background = '\n <rect width="100%" height="100%" fill="#ffffff"/>'
    return Drawing(
        inline=_coloured(opening + described + rest, _IN_A_PAGE).strip(),
        file=_coloured(opening + described + background + rest, _IN_A_FILE),
        alt=alt,
        width=f"{figure.get_figwidth():g}in",
    )


@contextmanager
def _no_warnings_of_glyphs() -> Iterator[None]:
    """Letters that matplotlib's font lacks are drawn by the browser, of whatever font has them."""
    fonts = logging.getLogger("matplotlib.font_manager")
    level = fonts.level
    fonts.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            yield
    finally:
        fonts.setLevel(level)


def _coloured(svg: str, colours: Dict[str, str]) -> str:
    for stand_in, colour_of_page in colours.items():
        svg = svg.replace(stand_in, colour_of_page)
    return svg


def _with_own_names(svg: str, key: str) -> str:
    """Ids that are referred to, or were given by us, begin with the key: a page has several drawings. Others go."""
    referred = set(re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', svg))

    def renamed(match: "re.Match[str]") -> str:
        name = match[1]
        return f' id="{key}-{name}"' if name in referred or name.startswith("our-") else ""

    svg = re.sub(r' id="([^"]*)"', renamed, svg)
    return re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{key}-", svg)
