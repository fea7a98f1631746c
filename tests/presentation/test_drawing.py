"""Figures as SVG: the same bytes, names of their own, colours of the page, nothing from elsewhere."""

import re
import warnings
from typing import Set
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

from structkd_plugin.presentation.drawing import (
    COLOURS,
    GRID,
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

SPACE = "{http://www.w3.org/2000/svg}"


@with_drawing_style
def example(key: str = "example", text: str = "a title") -> Drawing:
    figure: Figure = new_figure(3, 2)
    axes = figure.add_subplot()
    axes.plot([0, 1, 2], [1, 3, 2], marker="o", color=colour(0), markeredgecolor=PAPER)
    axes.bar([0, 1], [1, 2], color=COLOURS[1])[0].set_gid("our-bar")
    axes.set_title(text)
    axes.grid()
    return drawing(figure, key, text, f"What is to be seen: {text}")


def ids(svg: str) -> Set[str]:
    return set(re.findall(r' id="([^"]*)"', svg))


def test_the_same_figure_gives_the_same_bytes() -> None:
    assert example() == example()


def test_two_drawings_of_a_page_share_no_name() -> None:
    first, second = example("first"), example("second")
    assert ids(first.inline)
    assert not ids(first.inline) & ids(second.inline)


@pytest.mark.parametrize("form", ["inline", "file"])
def test_it_is_whole_and_refers_to_itself_alone(form: str) -> None:
    svg = getattr(example(), form)
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SPACE}svg"
    assert root.findtext(f"{SPACE}title") == "a title"
    assert root.findtext(f"{SPACE}desc") == "What is to be seen: a title"
    referred = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    assert referred
    assert referred | {"example-our-bar"} == ids(svg)
    addresses = set(re.findall(r"https?://[^\"'<> ]+", svg))
    assert addresses == {"http://www.w3.org/2000/svg"}
    assert "<style" not in svg
    assert "<!--" not in svg


def test_in_a_page_the_page_decides_on_ink_and_paper_and_in_a_file_they_are_fixed() -> None:
    drawn = example()
    for stand_in in (INK, GRID, PAPER):
        assert stand_in not in drawn.inline + drawn.file
    for of_page in ("currentColor", "var(--grid)", "var(--paper)"):
        assert of_page in drawn.inline
        assert of_page not in drawn.file
    assert COLOURS[0].lower() in drawn.inline
    first = next(child for child in ElementTree.fromstring(drawn.file) if child.tag == f"{SPACE}rect")
    assert (first.get("width"), first.get("height"), first.get("fill")) == ("100%", "100%", "#ffffff")
    assert drawn.width == "3in"


@pytest.mark.parametrize("text", ["a < b & c > \"d\" -- 'e'", "$x_1$ and 50 % \\frac", "名前 имя الاسم", "–−±"])
def test_any_text_is_kept_as_text(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = example(text=text).inline
    texts = ["".join(element.itertext()) for element in ElementTree.fromstring(svg).iter(f"{SPACE}text")]
    assert text in texts


def test_many_things_are_told_apart() -> None:
    lines = {(colour(number), dashes(number)) for number in range(20)}
    bars = {(colour(number), hatch(number)) for number in range(20)}
    assert len(lines) == len(bars) == 20
