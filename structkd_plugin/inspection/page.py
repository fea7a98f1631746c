"""An inspection as one HTML page that needs no other file."""

from typing import List, NamedTuple, Optional, Sequence

from structkd_plugin.inspection.quality import TeacherQuality, merged
from structkd_plugin.inspection.report import Inspection
from structkd_plugin.inspection.text import (
    content_lines,
    distribution_lines,
    language_rows,
    quality_lines,
    teacher_lines,
)
from structkd_plugin.presentation.confusion import confusion_map, confusion_table
from structkd_plugin.presentation.drawing import Drawing
from structkd_plugin.presentation.pages import rendered
from structkd_plugin.presentation.reliability import (
    BAR_COLOUR,
    LINE_COLOUR,
    confidence_histogram,
    reliability_diagram,
)


class _Picture(NamedTuple):
    drawing: Drawing
    caption: str


def inspection_page(inspection: Inspection) -> str:
    """
    What was found, with diagrams of the calibration and a map of confused labels where there are gold tags.

    # Returns

    `str` : HTML.
    """
    quality = inspection.quality
    header, rows = language_rows(inspection)
    return rendered(
        "structkd_plugin.inspection",
        "inspection.html",
        title=f"Teacher store {inspection.path}",
        inspection=inspection,
        store=_text([*teacher_lines(inspection), *content_lines(inspection)]),
        header=header,
        rows=rows,
        quality=None if quality is None else _text(quality_lines(inspection)),
        pictures=[] if quality is None else _calibration(quality),
        bar_colour=BAR_COLOUR,
        line_colour=LINE_COLOUR,
        tempered=quality is not None and bool(quality.tempered_bins),
        distributions=None if inspection.distributions is None else _text(distribution_lines(inspection)),
        confusion=None if quality is None else _confusion(quality),
    )


def _text(lines: Sequence[str]) -> str:
    return "\n".join(lines).strip("\n")


def _calibration(quality: TeacherQuality) -> List[_Picture]:
    stored = merged(quality.bins).rows()
    tempered = merged(quality.tempered_bins).rows() if quality.tempered_bins else None
    return [
        _Picture(
            reliability_diagram(stored, "reliability", tempered),
            "Reliability: on the diagonal the teacher is right as often as it says.",
        ),
        _Picture(
            confidence_histogram(stored, "confidence", tempered),
            "Confidence: words by the probability of their most probable label.",
        ),
    ]


def _confusion(quality: TeacherQuality) -> Optional[_Picture]:
    if not quality.confusion:
        return None
    left_out = confusion_table(quality.confusion).left_out
    rest = f" {left_out:,} labels with fewer words are left out." if left_out else ""
    return _Picture(
        confusion_map(quality.confusion, "confusion", "teacher"),
        "Words with each gold label (row) by the label that the teacher decodes (column); numbers are per cent of the "
        f"row.{rest}",
    )
