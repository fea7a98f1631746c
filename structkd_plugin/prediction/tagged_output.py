"""Tagged sentences as lines of a file: JSON, columns, CoNLL-U, or their entities alone."""

import re
from typing import Any, Callable, Dict, List, NamedTuple, Sequence

from structkd_plugin.prediction.column_input import ColumnFormat
from structkd_plugin.prediction.conllu_input import UNSPECIFIED, ConlluLabel
from structkd_plugin.prediction.input_sentence import InputSentence
from structkd_plugin.prediction.json_lines import json_line, prediction_line
from structkd_plugin.prediction.json_sentences import DECIMALS, entity_object, prediction
from structkd_plugin.prediction.tagging import Tagging

OUTPUT_FORMATS = ("jsonl", "conll", "conllu", "entities", "entities-tsv")
# What cannot stand in a word of a column file, and of CoNLL-U: what separates, and halves of characters.
_NO_COLUMN = re.compile("[ \t\r\n\ud800-\udfff]")
_NO_FORM = re.compile("[\t\r\n\ud800-\udfff]")
_SEPARATORS = re.compile(r"[\t\r\n]")
_TSV_FIELDS = ("file", "line", "language", "label", "start", "end", "start_word", "end_word", "probability", "text")


class Place(NamedTuple):
    """Of the lines that are written: the file their sentences are from, its format, and the number of its columns."""

    file: str
    format: str
    width: int


class Unwritable(ValueError):
    """A sentence that the format has no way to write."""


class TaggedOutput:
    """
    Sentences and their tags as lines.

    # Parameters

    format : `str`
        One of `OUTPUT_FORMATS`.
    labels : `Sequence[str]`
        The model's, in index order.
    all_labels, k_best : `bool`, `int`
        What JSON objects have besides.
    columns : `ColumnFormat`
        Of column files that go in.
    conllu : `ConlluLabel`
        Where CoNLL-U has the tags.
    """

    def __init__(
        self,
        format: str,
        labels: Sequence[str],
        all_labels: bool,
        k_best: int,
        columns: ColumnFormat,
        conllu: ConlluLabel,
    ) -> None:
        self.format = format
        self._labels = labels
        self._all_labels = all_labels
        self._k_best = k_best
        self._columns = columns
        self._conllu = conllu
        writers: Dict[str, Callable[[InputSentence, Tagging, Place], str]] = {
            "jsonl": self._json,
            "conll": self._column_lines,
            "conllu": self._conllu_lines,
            "entities": self._entity_lines,
            "entities-tsv": self._entity_rows,
        }
        self.lines = writers[format]

    @property
    def header(self) -> str:
        """What stands before everything else."""
        return "\t".join(_TSV_FIELDS) + "\n" if self.format == "entities-tsv" else ""

    def error(self, file: str, line: int, message: str) -> str:
        """What stands in place of an input that could not be tagged."""
        if self.format != "jsonl":
            return ""
        return json_line({"error": message, "file": file, "line": line})

    def _json(self, sentence: InputSentence, tagging: Tagging, place: Place) -> str:
        if sentence.source is not None and not sentence.words:
            return ""
        return prediction_line(prediction(sentence, tagging, self._labels, self._all_labels, self._k_best))

    def _column_lines(self, sentence: InputSentence, tagging: Tagging, place: Place) -> str:
        if sentence.source is not None and place.format == "conll":
            lines = sentence.source.lines
            for row, tag in zip(sentence.source.rows, tagging.tags, strict=True):
                lines[row] = self._columns.replaced(lines[row], tag, place.width)
            return "".join(lines)
        _refuse(_NO_COLUMN, sentence, "conll", "white space")
        if not sentence.words:
            return ""
        rows = [f"{word}\t{tag}\n" for word, tag in zip(sentence.words, tagging.tags, strict=True)]
        return _sent_id(sentence) + "".join(rows) + "\n"

    def _conllu_lines(self, sentence: InputSentence, tagging: Tagging, place: Place) -> str:
        if sentence.source is not None and place.format == "conllu":
            lines = sentence.source.lines
            for row, tag in zip(sentence.source.rows, tagging.tags, strict=True):
                lines[row] = self._conllu.replaced(lines[row], tag)
            return "".join(lines)
        _refuse(_NO_FORM, sentence, "conllu", "a tab, a line's end")
        if not sentence.words:
            return ""
        adjoins = _adjoining(sentence)
        pieces = [word if joined else word + " " for word, joined in zip(sentence.words, adjoins, strict=True)]
        lines = [_sent_id(sentence), f"# text = {''.join(pieces).rstrip(' ')}\n"]
        for number, (word, tag, joined) in enumerate(zip(sentence.words, tagging.tags, adjoins, strict=True), start=1):
            columns = [str(number), word, *[UNSPECIFIED] * 8]
            if joined:
                columns[9] = "SpaceAfter=No"
            columns[self._conllu.column] = self._conllu.written(columns[self._conllu.column], tag)
            lines.append("\t".join(columns) + "\n")
        return "".join(lines) + "\n"

    def _entity_lines(self, sentence: InputSentence, tagging: Tagging, place: Place) -> str:
        return "".join(map(json_line, self._entities(sentence, tagging, place)))

    def _entity_rows(self, sentence: InputSentence, tagging: Tagging, place: Place) -> str:
        rows = []
        for entity in self._entities(sentence, tagging, place):
            values = [str(entity[name]) for name in _TSV_FIELDS]
            row = "\t".join(_SEPARATORS.sub(" ", value) for value in values)
            rows.append(row.encode("utf-8", "replace").decode() + "\n")
        return "".join(rows)

    def _entities(self, sentence: InputSentence, tagging: Tagging, place: Place) -> List[Dict[str, Any]]:
        """The entities of a sentence; of raw text, the offsets count from the beginning of the line."""
        if not tagging.entities:
            return []
        where = {"file": place.file, "line": sentence.line, "language": sentence.language}
        if "sentence_id" in sentence.carried:
            where["sentence_id"] = sentence.carried["sentence_id"]
        found = []
        for entity in tagging.entities:
            values = entity_object(sentence, entity)
            values["start"] += sentence.offset or 0
            values["end"] += sentence.offset or 0
            values["probability"] = round(values["probability"], DECIMALS)
            found.append({**where, **values})
        return found


def _sent_id(sentence: InputSentence) -> str:
    name = sentence.carried.get("sentence_id")
    return f"# sent_id = {name}\n" if isinstance(name, str) and not _NO_FORM.search(name) else ""


def _adjoining(sentence: InputSentence) -> List[bool]:
    """Of each word whether the next one follows without a space."""
    starts = sentence.starts
    return [*(sentence.end(number) == starts[number + 1] for number in range(len(starts) - 1)), False]


def _refuse(pattern: "re.Pattern[str]", sentence: InputSentence, format: str, what: str) -> None:
    if pattern.search("".join(sentence.words)):
        word = next(word for word in sentence.words if pattern.search(word))
        raise Unwritable(
            f"the word {word!r} has {what} or half a character in it, which {format} cannot hold; write jsonl"
        )
