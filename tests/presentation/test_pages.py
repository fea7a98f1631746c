"""Pages from templates."""

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from structkd_plugin.presentation.pages import prose, rendered


def test_what_stands_between_backticks_is_code_and_everything_is_escaped() -> None:
    assert prose("run `a <b>` & `c`") == "run <code>a &lt;b&gt;</code> &amp; <code>c</code>"
    assert prose("`") == "`"


def test_the_base_is_a_page_that_may_load_nothing() -> None:
    text = rendered("structkd_plugin.presentation", "base.html", title="<a> & b")
    assert text.startswith("<!DOCTYPE html>")
    assert "<title>&lt;a&gt; &amp; b</title>" in text
    assert "default-src 'none'" in text
    # A style sheet is no text of a page: nothing of it is escaped.
    assert "&#34;" not in text.split("<style>")[1].split("</style>")[0]
    assert "prefers-color-scheme: dark" in text


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        rendered("structkd_plugin.presentation", "base.html")


def test_templates_are_installed_with_the_package() -> None:
    root = Path(__file__).resolve().parents[2]
    stated = (root / "setup.py").read_text()
    folders = {
        path.parent.relative_to(root / "structkd_plugin").as_posix()
        for path in root.glob("structkd_plugin/**/templates/*")
    }
    assert folders
    for folder in folders:
        assert f'"{folder}/*"' in stated
