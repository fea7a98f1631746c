"""The files of a report: the same bytes again, whole pages, Markdown and LaTeX that mean what they say."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Dict, List
from xml.etree import ElementTree

import pytest
from allennlp.common.checks import ConfigurationError

from structkd_plugin.evaluation.report.document import Cell, Document, Section, Table
from structkd_plugin.evaluation.report.latex import escaped, latex_tables
from structkd_plugin.evaluation.report.markdown import markdown
from structkd_plugin.evaluation.report.page import page
from structkd_plugin.evaluation.report.writing import write_report

# Elements that have no end.
_VOID = {"meta", "br"}


class Reading(HTMLParser):
    """Elements, ids, references and the texts of tables' cells."""

    def __init__(self) -> None:
        super().__init__()
        self.open: List[str] = []
        self.elements: List[str] = []
        self.ids: List[str] = []
        self.references: List[str] = []
        self.headings: List[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.references += [value for name, value in attrs if name in ("src", "href")]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.elements.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.references += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)


@pytest.fixture(scope="module")
def written(document: Document, tmp_path_factory: pytest.TempPathFactory) -> Dict[str, bytes]:
    folder = tmp_path_factory.mktemp("report") / "new"
    names = write_report(document, str(folder))
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(files) == set(names)
    return files


def test_twice_the_same_bytes(document: Document, written: Dict[str, bytes], tmp_path: Path) -> None:
    for _ in range(2):
        write_report(document, str(tmp_path))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == written


def test_the_page_is_whole_and_needs_nothing_else(written: Dict[str, bytes], document: Document) -> None:
    text = written["index.html"].decode()
    reading = Reading()
    reading.feed(text)
    assert reading.open == []
    assert all(reference.startswith("#") for reference in reading.references)
    assert {reference[1:] for reference in reading.references} <= set(reading.ids)
    assert len(set(reading.ids)) == len(reading.ids)
    assert not {"script", "link", "img", "iframe", "b"} & set(reading.elements)
    assert reading.headings == ["A <report> & 100 %", *(section.title for section in document.sections)]
    assert reading.elements.count("table") == sum(len(section.tables) for section in document.sections)
    pictures = [picture for section in document.sections for picture in section.pictures]
    assert len(pictures) >= 10
    assert reading.elements.count("svg") == reading.elements.count("figure") == len(pictures)
    assert set(re.findall(r"https?://[^\"'<> ]+", text)) == {"http://www.w3.org/2000/svg"}
    assert "a&lt;b&gt;&amp;_%" in text


def test_markdown_has_the_same_tables_and_names_files_that_are_there(
    written: Dict[str, bytes], document: Document
) -> None:
    text = written["report.md"].decode()
    images = re.findall(r"!\[.+\]\((.+)\)", text)
    assert images == [picture.drawing and f"{picture.key}.svg" for s in document.sections for picture in s.pictures]
    for image in images:
        ElementTree.fromstring(written[image].decode())
    tables = [table for section in document.sections for table in section.tables]
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == sum(len(table.rows) + 2 for table in tables)
    read = iter(rows)
    for table in tables:
        for cells in [[*table.header], None, *([cell.text for cell in row] for row in table.rows)]:
            line = re.split(r"(?<!\\) \| ", next(read)[2:-2])
            assert len(line) == len(table.header)
            if cells is not None:
                plain = [re.sub(r"\\(.)", r"\1", cell) for cell in line]
                assert all(cell.startswith(text) for cell, text in zip(plain, cells, strict=True))
    assert "Each row is a method. `macro` is the mean" in text
    assert r"a\<b\>&\_%" in text


def test_latex_has_the_same_tables(written: Dict[str, bytes], document: Document) -> None:
    text = written["tables.tex"].decode()
    tables = [table for section in document.sections for table in section.tables]
    bodies = re.findall(r"\\toprule\n(.*?)\\bottomrule", text, re.DOTALL)
    assert len(bodies) == len(tables)
    for body, table in zip(bodies, tables, strict=True):
        lines = [line for line in body.splitlines() if line != r"\midrule"]
        assert len(lines) == len(table.rows) + 1
        for line in lines:
            assert line.endswith(r" \\")
            assert len(re.findall(r"(?<!\\)&", line)) == len(table.header) - 1
    labels = re.findall(r"\\label\{(.+)\}", text)
    assert len(set(labels)) == len(tables)
    assert text.count(r"\begin{") == text.count(r"\end{")
    # Nothing that LaTeX would take for its own: every brace has its partner, a per cent sign has a backslash.
    plain = re.sub(r"\\[{}\\&%$#_]", "", text.partition("\n")[2])
    assert plain.count("{") == plain.count("}")
    assert not set(plain) & set("#%_~^|<>±–")
    assert r"a\textless{}b\textgreater{}\&\_\%" in text


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        (r"a\b", r"a\textbackslash{}b"),
        ("50 % & $x_1^2$ {#} ~", r"50 \% \& \$x\_1\textasciicircum{}2\$ \{\#\} \textasciitilde{}"),
        ("± – ", r"$\pm$ --"),
        ('"x"\n<y|z>', r"\textquotedbl{}x\textquotedbl{} \textless{}y\textbar{}z\textgreater{}"),
    ],
)
def test_latex_escapes(text: str, latex: str) -> None:
    assert escaped(text) == latex


def hostile(text: str) -> Document:
    section = Section(
        "s", text, text, [Table("t", text, ["x", text], [[Cell(text), Cell(text, text)]])], [text], [text]
    )
    return Document(text, text, (section,))


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "a|b", "[x](http://y)", "*a* _b_ ~c~", "{{ 7 * 7 }}", "名"]
)
def test_texts_of_others_stay_texts(text: str) -> None:
    document = hostile(text)
    html = page(document)
    assert "<script" not in html
    assert "49" not in html
    reading = Reading()
    reading.feed(html)
    assert reading.headings == [text, text]
    assert not reading.references or all(reference == "#s" for reference in reading.references)
    lines = [line for line in markdown(document).splitlines() if line.startswith("| ")]
    assert [len(re.split(r"(?<!\\)\|", line)) for line in lines] == [4, 4, 4]
    assert not re.search(r"(?<!\\)\]\(http", markdown(document))
    assert r"\begin{table}" in latex_tables(document)


def test_the_figures_are_unrounded_json(written: Dict[str, bytes], runs: Path) -> None:
    figures = json.loads(written["report.json"])
    sections = figures["sections"]
    record = json.loads((runs / "baseline" / "evaluation.json").read_text())
    value = sections["overview"]["figures"]["methods"]["baseline"]["scores"]["de"]["value"]
    assert value == record["languages"]["de"]["accuracy"]
    assert set(sections) == {
        "overview", "gap", "learning", "types", "lengths", "seen", "calibration", "confusion", "costs", "configurations"
    }  # fmt: skip
    assert sections["gap"]["figures"]["baseline"] == "baseline"
    assert sections["learning"]["figures"]["student"][1]["curves"]["nll"]["training"][0] == [0, 20.0]


def test_what_cannot_be_written(document: Document, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"cannot write to .*file"):
        write_report(document, str(tmp_path / "file"))
    (tmp_path / "folder" / "index.html").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match=r"cannot write .*index\.html"):
        write_report(document, str(tmp_path / "folder"))
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["index.html"]


def test_a_table_is_as_wide_as_its_header() -> None:
    with pytest.raises(ValueError, match="a row of 1 cells under 2 heads"):
        Table("t", "c", ["a", "b"], [[Cell("x")]])
