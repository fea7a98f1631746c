"""An evaluation as tables, for people: lines for a terminal, or Markdown."""

from typing import List, NamedTuple, Optional, Sequence

from structkd_plugin.evaluation.evaluation import Evaluation, SentenceGroup
from structkd_plugin.evaluation.score import Score

# Confusions that are shown.
_CONFUSIONS = 20
UNDEFINED = "–"


class Table(NamedTuple):
    """A title, the names of the columns, and the cells of the rows; the first column names the row."""

    title: str
    header: List[str]
    rows: List[List[str]]


def evaluation_text(evaluation: Evaluation, name: str, details: bool = False) -> str:
    """
    An evaluation as lines for a terminal.

    # Parameters

    evaluation : `Evaluation`
    name : `str`
        Of what was evaluated.
    details : `bool`, optional (default = `False`)
        Whether to show all tables, and not only that by language.

    # Returns

    `str` : lines without one at the end that is empty.
    """
    tables = [overview(evaluation), *(detail_tables(evaluation) if details else ())]
    lines = [name, definition(evaluation)]
    for table in tables:
        lines += ["", *([table.title] if details else ()), *_aligned(table)]
    if evaluation.notes:
        lines += ["", *(f"note: {note}" for note in evaluation.notes)]
    return "\n".join(lines)


def evaluation_markdown(evaluation: Evaluation, name: str) -> str:
    """All tables of an evaluation as a page of Markdown."""
    blocks = [f"# {_escaped(name)}", definition(evaluation)]
    for table in [overview(evaluation), *detail_tables(evaluation)]:
        rule = ["---", *("---:" for _ in table.header[1:])]
        rows = [[_escaped(cell) for cell in row] for row in [table.header, *table.rows]]
        rows.insert(1, rule)
        blocks += [f"## {table.title}", "\n".join(f"| {' | '.join(row)} |" for row in rows)]
    blocks += [f"- {_escaped(note)}" for note in evaluation.notes]
    return "\n\n".join(blocks) + "\n"


def definition(evaluation: Evaluation) -> str:
    """One line that says what the figures are of."""
    overall = evaluation.overall
    size = f"{overall.sentences:,} sentences, {overall.words:,} words"
    if evaluation.metric == "accuracy":
        return f"accuracy of words, %; {size}"
    what = {"strict": "seqeval's mode strict", "conlleval": "conlleval of CoNLL-2003"}[str(evaluation.convention)]
    return f"F1 of spans, %, {evaluation.label_encoding}, convention {evaluation.convention} ({what}); {size}"


def overview(evaluation: Evaluation) -> Table:
    """By language, and the averages."""
    known = evaluation.trained_languages is not None
    rows = []
    for language, group in evaluation.languages.items():
        trained = ["zero-shot" if evaluation.zero_shot(language) else "trained"] if known else []
        rows.append([language, *trained, *_group_cells(group)])
    blank = [""] if known else []
    rows.append(["micro", *blank, *_group_cells(evaluation.overall)])
    columns = len(_score_header(evaluation))
    averages = [("macro", evaluation.macro)]
    for name, of_these in (evaluation.groups or {}).items():
        if of_these.languages and len(of_these.languages) < len(evaluation.languages):
            averages.append((f"macro, {name.replace('_', '-')}", of_these.macro))
    for name, average in averages:
        rows.append([name, *blank, "", "", *[""] * (columns - 1), percent(average)])
    header = ["language", *(["training"] if known else []), "sentences", "words", *_score_header(evaluation)]
    return Table("By language", header, rows)


def detail_tables(evaluation: Evaluation) -> List[Table]:
    """Every other table that there is something to show in."""
    spans = evaluation.metric == "f1"
    header = _score_header(evaluation)
    tables = [
        Table(
            "By type" if spans else "By label",
            ["type" if spans else "label", "gold", "predicted", "right", "precision", "recall", "F1"],
            [[label, *_span_cells(score)] for label, score in evaluation.types.items()],
        )
    ]
    groups = evaluation.groups
    if groups is not None:
        rows = [
            [
                name.replace("_", "-"),
                " ".join(of_these.languages) or UNDEFINED,
                *_score_cells(of_these.score),
                percent(of_these.macro),
            ]
            for name, of_these in groups.items()
        ]
        tables.append(Table("Languages trained on, and others", ["", "languages", *header, "macro"], rows))
    if evaluation.seen is not None:
        rows = [["seen" if known else "unseen", *_score_cells(score)] for known, score in evaluation.seen.items()]
        things = ("entities" if evaluation.seen_by == "entities" else "entities by their words") if spans else "words"
        tables.append(Table(f"Seen in training: {things}", ["", *header], rows))
    rows = [
        [f"{one.shortest}–{one.longest}" if one.longest else f"{one.shortest}+", *_group_cells(one.group)]
        for one in evaluation.lengths
        if one.group.sentences
    ]
    tables.append(Table("By length of the sentence, in words", ["length", "sentences", "words", *header], rows))
    if evaluation.span_errors is not None:
        rows = [[kind.replace("_", " "), f"{number:,}"] for kind, number in evaluation.span_errors.items()]
        tables.append(Table("What is wrong with spans", ["", "spans"], rows))
    wrong = [row for row in evaluation.confusion if row[0] != row[1]]
    rows = [[gold, predicted, f"{number:,}"] for gold, predicted, number in wrong[:_CONFUSIONS]]
    more = f", the first {_CONFUSIONS} of {len(wrong):,}" if len(wrong) > _CONFUSIONS else ""
    tables.append(
        Table(
            f"Confusions{more}" + (" (O: no span of exactly these words)" if spans else ""),
            ["gold", "predicted", "spans" if spans else "words"],
            rows,
        )
    )
    for name, figures in (evaluation.calibration or {}).items():
        if figures is None:
            continue
        rows = [
            [
                f"{row['from']:.2f}–{row['to']:.2f}",
                f"{row['words']:,}",
                percent(row["probability"]),
                percent(row["right"]),
            ]
            for row in figures["rows"]
        ]
        what = "words" if name == "token" else "predicted spans"
        title = f"Calibration of {what}: ECE {percent(figures['ece'])} %"
        tables.append(Table(title, ["probability", what, "mean probability", "right"], rows))
    return [table for table in tables if table.rows]


def percent(value: Optional[float]) -> str:
    """A fraction as per cent."""
    return UNDEFINED if value is None else f"{100 * value:.2f}"


def _score_header(evaluation: Evaluation) -> List[str]:
    if evaluation.metric == "accuracy":
        return ["right", "accuracy"]
    return ["gold", "predicted", "right", "precision", "recall", "F1"]


def _score_cells(score: Score) -> List[str]:
    if score.metric == "accuracy":
        return [f"{score.counts[0]:,}", percent(score.value)]
    return _span_cells(score)


def _span_cells(score: Score) -> List[str]:
    correct, predicted, gold = score.counts
    return [
        *(f"{number:,}" for number in (gold, predicted, correct)),
        *map(percent, (score.precision, score.recall, score.value)),
    ]


def _group_cells(group: SentenceGroup) -> List[str]:
    return [f"{group.sentences:,}", f"{group.words:,}", *_score_cells(group.score)]


def _aligned(table: Table) -> List[str]:
    rows: Sequence[Sequence[str]] = [table.header, *table.rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
