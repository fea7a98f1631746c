"""An inspection as one HTML page that needs no other file."""

from html import escape
from typing import List, Sequence

from structkd_plugin.inspection.diagrams import (
    STORED_COLOUR,
    TEMPERED_COLOUR,
    confidence_histogram,
    reliability_diagram,
)
from structkd_plugin.inspection.quality import TeacherQuality, merged
from structkd_plugin.inspection.report import Inspection
from structkd_plugin.inspection.text import (
    content_lines,
    distribution_lines,
    language_rows,
    quality_lines,
    teacher_lines,
)

# Labels of the confusion table: those with most words.
_LABELS = 30

_STYLE = """
body { font: 15px/1.5 sans-serif; color: #333; max-width: 60em; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.4em; } h2 { font-size: 1.1em; margin-top: 2em; }
pre { font-size: 13px; line-height: 1.45; overflow-x: auto; background: #f6f6f6; padding: .8em; }
.verdict { padding: .7em 1em; border-left: 5px solid; }
.works { border-color: #3a8f4d; background: #eef7f0; } .fails { border-color: #b8433c; background: #fbeeed; }
table { border-collapse: collapse; font-size: 13px; } td, th { padding: .2em .6em; text-align: right; }
th { font-weight: 600; } tr > :first-child { text-align: left; } thead th { border-bottom: 1px solid #999; }
.confusion { overflow-x: auto; } .confusion td { border: 1px solid #eee; min-width: 1.8em; }
figure { display: inline-block; margin: 0 1em 1em 0; vertical-align: top; } figcaption { font-size: 13px; }
.key { display: inline-block; width: .8em; height: .8em; }
"""


def inspection_page(inspection: Inspection) -> str:
    """
    What was found, with diagrams of the calibration and a table of confused labels where there are gold tags.

    # Returns

    `str` : HTML.
    """
    name = escape(inspection.path)
    header, rows = language_rows(inspection)
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f"<title>Teacher store {name}</title><style>{_STYLE}</style></head>",
        f"<body><h1>Teacher store {name}</h1>",
        f'<p class="verdict {"works" if inspection.works else "fails"}">{escape(inspection.verdict)}</p>',
        *(f"<p>{escape(note)}</p>" for note in inspection.notes),
        "<h2>The store</h2>",
        _preformatted([*teacher_lines(inspection), *content_lines(inspection)]),
        "<h2>By language</h2>",
        _table(header, rows),
    ]
    if inspection.quality is not None:
        parts += ["<h2>Against gold tags</h2>", _preformatted(quality_lines(inspection)), *_figures(inspection.quality)]
    if inspection.distributions is not None:
        parts += ["<h2>The teacher's distributions</h2>", _preformatted(distribution_lines(inspection))]
    if inspection.quality is not None:
        parts += _confusion(inspection.quality)
    return "\n".join([*parts, "</body></html>", ""])


def _preformatted(lines: Sequence[str]) -> str:
    return f"<pre>{escape(chr(10).join(lines).strip(chr(10)))}</pre>"


def _figures(quality: TeacherQuality) -> List[str]:
    stored = merged(quality.bins)
    tempered = merged(quality.tempered_bins) if quality.tempered_bins else None
    key = f'<span class="key" style="background:{STORED_COLOUR}"></span> as stored'
    if tempered is not None:
        key += f', <span class="key" style="background:{TEMPERED_COLOUR}"></span> divided by the temperature'
    return [
        f"<figure>{reliability_diagram(stored, tempered)}<figcaption>Reliability: on the diagonal the teacher is "
        f"right as often as it says. {key}.</figcaption></figure>",
        f"<figure>{confidence_histogram(stored, tempered)}<figcaption>Confidence: words by the probability of their "
        "most probable label.</figcaption></figure>",
    ]


def _confusion(quality: TeacherQuality) -> List[str]:
    """Rows are gold labels, columns what was decoded; the darker, the larger the share of the row."""
    of_gold = {gold: 0 for gold, _ in quality.confusion}
    for (gold, _), words in quality.confusion.items():
        of_gold[gold] += words
    predicted = {label for _, label in quality.confusion}
    labels = sorted({*of_gold, *predicted}, key=lambda label: (-of_gold.get(label, 0), label))
    shown = sorted(labels[:_LABELS])
    body = []
    for gold in shown:
        cells = [f"<th>{escape(gold)}</th>", f"<td>{of_gold.get(gold, 0):,}</td>"]
        for label in shown:
            words = quality.confusion[gold, label]
            share = words / of_gold[gold] if words else 0.0
            colour = "58, 143, 77" if gold == label else "184, 67, 60"
            style = f' style="background: rgba({colour}, {0.1 + 0.6 * share:.2f})"' if words else ""
            cells.append(f"<td{style}>{words:,}</td>" if words else "<td></td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    head = "".join(f"<th>{escape(label)}</th>" for label in ("gold \\ decoded", "words", *shown))
    rest = f" The {_LABELS} labels with most words of {len(labels)}." if len(labels) > _LABELS else ""
    return [
        "<h2>Confusion by label</h2>",
        f"<p>Words with each gold label (row) by the label that the teacher decodes (column).{rest}</p>",
        f'<div class="confusion"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>',
    ]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
