"""A report as one HTML page that needs no other file."""

from structkd_plugin.evaluation.report.document import Document
from structkd_plugin.presentation.pages import rendered


def page(document: Document) -> str:
    """
    A report as a page, light or dark as its reader has it.

    # Returns

    `str` : HTML.
    """
    return rendered("structkd_plugin.evaluation.report", "page.html", title=document.title, document=document)
