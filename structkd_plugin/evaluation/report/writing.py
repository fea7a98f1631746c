"""The files of a report."""

import json
import os
from pathlib import Path
from typing import Any, Dict, List

from allennlp.common.checks import ConfigurationError

from structkd_plugin.complete_file import complete_text_file
from structkd_plugin.evaluation.report.document import Document
from structkd_plugin.evaluation.report.latex import latex_tables
from structkd_plugin.evaluation.report.markdown import markdown
from structkd_plugin.evaluation.report.page import page

PAGE, MARKDOWN, LATEX, FIGURES = "index.html", "report.md", "tables.tex", "report.json"


def check_writable(folder: str) -> None:
    """
    Make the folder of a report.

    # Raises

    `ConfigurationError` : if that cannot be done.
    """
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"cannot write to {folder}: {error.strerror or error}") from None


def write_report(document: Document, folder: str) -> List[str]:
    """
    Write the page, the Markdown with its drawings, the tables and the figures; files of these names are replaced.

    # Parameters

    document : `Document`
    folder : `str`
        Made where there is none.

    # Returns

    `List[str]` : the names of the files.

    # Raises

    `ConfigurationError` : if a file cannot be written.
    """
    check_writable(folder)
    figures = {
        "title": document.title,
        "sections": {
            section.key: {
                "title": section.title,
                "warnings": section.warnings,
                "notes": section.notes,
                "figures": section.figures,
            }
            for section in document.sections
        },
    }
    files: Dict[str, str] = {
        PAGE: page(document),
        MARKDOWN: markdown(document),
        LATEX: latex_tables(document),
        FIGURES: json.dumps(_json(figures), indent=1, ensure_ascii=False, allow_nan=False) + "\n",
    }
    for section in document.sections:
        files.update({f"{picture.key}.svg": picture.drawing.file for picture in section.pictures})
    for name, text in files.items():
        with complete_text_file(Path(folder, name)) as stream:
            stream.write(text)
    return list(files)


def _json(value: Any) -> Any:
    """Without tuples as keys or the like; what is not is an error of ours."""
    if isinstance(value, dict):
        return {str(key): _json(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(inner) for inner in value]
    return value
