"""A report as Markdown, with its drawings in files beside it."""

import re
from typing import List

from structkd_plugin.evaluation.report.document import Cell, Document, Table


def markdown(document: Document) -> str:
    """
    The same sections, sentences and tables as in the page; a drawing is the file `<key>.svg`.

    # Returns

    `str` : Markdown with the tables that GitHub and most others know.
    """
    lines: List[str] = [f"# {_escaped(document.title)}", "", _escaped(document.subject)]
    for section in document.sections:
        lines += ["", f"## {_escaped(section.title)}", "", _prose(section.reading)]
        for warning in section.warnings:
            lines += ["", f"> **Mind:** {_prose(warning)}"]
        for note in section.notes:
            lines += ["", f"> {_prose(note)}"]
        for table in section.tables:
            lines += ["", f"**{_escaped(table.caption)}**", "", *_table(table)]
        for picture in section.pictures:
            alt = _escaped(picture.drawing.alt)
            lines += ["", f"![{alt}]({picture.key}.svg)", "", f"*{_escaped(picture.caption)}*"]
    return "\n".join([*lines, ""])


def _table(table: Table) -> List[str]:
    side = ":--" if table.texts else "--:"
    return [
        _row([_escaped(head) for head in table.header]),
        _row([":--", *[side] * (len(table.header) - 1)]),
        *(_row([_cell(cell) for cell in row]) for row in table.rows),
    ]


def _row(cells: List[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell) -> str:
    return _escaped(f"{cell.text} {cell.detail}" if cell.detail else cell.text)


def _escaped(text: str) -> str:
    """Text in which nothing has a meaning for Markdown, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>|#~$])", r"\\\1", re.sub(r"\s+", " ", text))


def _prose(text: str) -> str:
    """A sentence in which what stands between backticks is code, as Markdown has it too."""
    pieces = re.split(r"`([^`]+)`", text)
    return "".join(f"`{piece}`" if i % 2 else _escaped(piece) for i, piece in enumerate(pieces))
