"""Which labels are taken for which."""

from collections import Counter
from typing import Counter as CounterType
from typing import Sequence, Tuple

from structkd_plugin.evaluation.report.document import Cell, Picture, Pictures, Section, Table
from structkd_plugin.evaluation.report.methods import Method
from structkd_plugin.evaluation.report.number_formats import UNDEFINED, count, percent
from structkd_plugin.evaluation.report.sections.missing import note_missing
from structkd_plugin.presentation.confusion import confusion_map, confusion_table, most_confused

# Labels of a map, and pairs of labels in the table.
_LABELS, _PAIRS = 30, 8


def confusion(methods: Sequence[Method], metric: str) -> Section:
    """A heat map of each method, and the pairs of labels that are confused most."""
    spans = metric == "f1"
    section = Section(
        "confusion",
        "Confusion",
        f"A row is a gold label, a column what was predicted: the per cent of the row's {'spans' if spans else 'words'}"
        ". Blue is right, orange is wrong; the colour of small shares is strengthened to be seen."
        + (" `O` is a span that was missed (as a column) or invented (as a row)." if spans else ""),
    )
    found = [method for method in methods if any(evaluation.confusion for evaluation in method.evaluations)]
    note_missing(section, methods, found)
    pictures, rows, figures = [], [], {}
    for number, method in enumerate(found):
        pairs: CounterType[Tuple[str, str]] = Counter()
        for evaluation in method.evaluations:
            pairs.update(evaluation.confusion)
        table = confusion_table(pairs, _LABELS)
        key = f"confusion-{number}"
        left_out = f"; the {_LABELS} most frequent labels of {_LABELS + table.left_out}" if table.left_out else ""
        pictures.append(
            Picture(key, f"{method.name}{left_out}", confusion_map(pairs, key, heading=method.name, most=_LABELS))
        )
        for gold, guess, words in most_confused(pairs, _PAIRS):
            share = words / table.words_of[gold] if table.words_of[gold] else None
            rows.append([Cell(method.name), Cell(gold), Cell(guess), Cell(count(words)), Cell(percent(share))])
        if not any(row[0].text == method.name for row in rows):
            rows.append([Cell(method.name), *[Cell(UNDEFINED)] * 4])
        figures[method.name] = [[gold, guess, words] for (gold, guess), words in sorted(pairs.items())]
    if found:
        section.items.append(Pictures(tuple(pictures)))
        unit = "spans" if spans else "words"
        header = ["method", "gold", "predicted", unit, "of the gold label, %"]
        section.items.append(Table("confused", "The labels that are confused most, over all runs", header, rows))
        section.figures = figures
    return section
