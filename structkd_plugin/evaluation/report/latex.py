"""The tables of a report, for a paper."""

from typing import List

from structkd_plugin.evaluation.report.document import Cell, Document, Table

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    '"': r"\textquotedbl{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": "--",
    "±": r"$\pm$",
    "−": "$-$",
}


def latex_tables(document: Document) -> str:
    r"""
    Every table of figures as a `table` that can be copied or read by `\input`.

    # Returns

    `str` : LaTeX that needs `\usepackage{booktabs}`, and `\usepackage[T1]{fontenc}` for quotation marks.
    """
    lines = [
        r"% \usepackage{booktabs}, \usepackage[T1]{fontenc}; letters of other scripts need LuaLaTeX or XeLaTeX.",
    ]
    for section in document.sections:
        for table in section.tables:
            lines += ["", *_table(table)]
    return "\n".join([*lines, ""])


def escaped(text: str) -> str:
    """Text in which nothing has a meaning for LaTeX, on one line."""
    return "".join(_SPECIAL.get(letter, letter) for letter in " ".join(text.split()))


def _table(table: Table) -> List[str]:
    others = len(table.header) - 1
    # What is long may be broken.
    text = f"p{{{0.6 / max(others, 1):.3f}\\linewidth}}"
    columns = "p{0.3\\linewidth}" + text * others if table.texts else "l" + "r" * others
    return [
        r"\begin{table}",
        r"\centering",
        f"\\caption{{{escaped(table.caption)}}}",
        f"\\label{{tab:{table.key.replace('_', '-')}}}",
        f"\\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _row([escaped(head) for head in table.header]),
        r"\midrule",
        *(_row([_cell(cell) for cell in row]) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def _row(cells: List[str]) -> str:
    # A row that begins with a bracket would be an option of the line break before it.
    cells = [f"{{}}{cell}" if cell.startswith(("[", "*")) else cell for cell in cells]
    return " & ".join(cells) + r" \\"


def _cell(cell: Cell) -> str:
    text = escaped(cell.text)
    return f"{text} {{\\scriptsize {escaped(cell.detail)}}}" if cell.detail else text
