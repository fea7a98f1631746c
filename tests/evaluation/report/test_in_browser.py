"""The page as a browser shows it: whole, in wide and narrow windows, light and dark, with nothing from elsewhere."""

import re
from pathlib import Path
from typing import Dict, Tuple

import numpy as np
import pytest
from matplotlib.image import imread

from structkd_plugin.evaluation.report.document import Document
from structkd_plugin.evaluation.report.writing import write_report
from tests.presentation.browser import console, measured, needs_browser, run_browser, screenshot

pytestmark = needs_browser

DARK = "--blink-settings=preferredColorScheme=0"
LIGHT = "--blink-settings=preferredColorScheme=1"


@pytest.fixture(scope="module")
def page(document: Document, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    write_report(document, str(folder))
    return folder / "index.html"


def test_it_is_shown_as_it_was_written_and_complains_of_nothing(page: Path, document: Document) -> None:
    completed = run_browser(page, "--dump-dom")
    assert console(completed.stderr) == []
    for section in document.sections:
        assert f'<section id="{section.key}">' in completed.stdout
    assert completed.stdout.count("<svg ") == sum(len(section.pictures) for section in document.sections)
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", completed.stdout)


def test_a_console_that_complains_is_heard(tmp_path: Path) -> None:
    page = tmp_path / "x.html"
    page.write_text("<!DOCTYPE html><body><script>nonsense()</script></body>")
    assert "nonsense is not defined" in console(run_browser(page, "--dump-dom").stderr)[0]


@pytest.mark.parametrize("width", [1400, 500])
def test_everything_has_a_size_and_the_page_is_no_wider_than_the_window(
    page: Path, document: Document, tmp_path: Path, width: int
) -> None:
    found = measured(page, tmp_path, width)
    assert found["width"] == width
    assert found["scrolls"] <= width
    assert [name for name, _, _ in found["sections"]] == [section.key for section in document.sections]
    assert len(found["tables"]) == sum(len(section.tables) for section in document.sections)
    assert len(found["pictures"]) == sum(len(section.pictures) for section in document.sections)
    for kind, least in (("sections", 80), ("tables", 40), ("pictures", 100)):
        assert all(min(size) >= least for _, *size in found[kind]), found[kind]
    assert found["resources"] == []


def luminance(colour: str) -> float:
    """Of what a browser calls `rgb(1, 2, 3)`, by the W3C's formula."""
    shares = np.array([float(number) for number in re.findall(r"[\d.]+", colour)[:3]]) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(first: str, second: str) -> float:
    darker, lighter = sorted((luminance(first), luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize(("setting", "dark"), [(LIGHT, False), (DARK, True)])
def test_light_and_dark_are_readable(page: Path, tmp_path: Path, setting: str, dark: bool) -> None:
    found = measured(page, tmp_path, 1200, setting)
    assert (luminance(found["background"]) < 0.1) == dark
    assert contrast(found["background"], found["ink"]) > 10
    # Numbers in strong cells of a heat map are white on their cells' colour; all other text is as dark as the page's.
    ours = [colour for colour in found["text"] if colour != "rgb(253, 253, 253)"]
    assert len(ours) > 100
    assert {contrast(found["background"], colour) > 10 for colour in ours} == {True}


def test_a_picture_of_it_is_not_blank(page: Path, tmp_path: Path) -> None:
    shares: Dict[bool, Tuple[float, float]] = {}
    for setting, dark in ((LIGHT, False), (DARK, True)):
        screenshot(page, tmp_path / "x.png", 1200, 1600, setting)
        # (height, width, 3)
        picture = imread(tmp_path / "x.png")[..., :3]
        assert picture.shape[:2] == (1600, 1200)
        brightness = picture.mean(-1)
        shares[dark] = float((brightness < 0.3).mean()), float((brightness > 0.7).mean())
        # Colours of the bars: far from grey.
        assert float((np.ptp(picture, axis=-1) > 0.4).mean()) > 0.005
    assert shares[False][1] > 0.8
    assert 0.003 < shares[False][0] < 0.2
    assert shares[True][0] > 0.8
