"""CoNLL-U files as an input, and how a tag is written into them."""

from typing import Any, Iterator, List, NamedTuple, Optional, Union

from allennlp.common.checks import ConfigurationError
from conllu.parser import parse_comment_line

from structkd_plugin.prediction.input_sentence import (
    InputSentence,
    Problem,
    SourceLines,
    encoding_problem,
    split_line_end,
)
from structkd_plugin.readers.conllu_reader import IdOrder
from structkd_plugin.tag_schemes import OUTSIDE

COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
UNSPECIFIED = "_"


class ConlluLabel(NamedTuple):
    """
    Where in CoNLL-U a word's tag is.

    # Parameters

    column : `int`
    key : `str`
        Of the feature among others in the column; empty where the tag is the column.
    spans : `bool`
        Whether tags write spans: `O` is then what a word without the feature has, and otherwise `_`.
    """

    column: int
    key: str
    spans: bool

    @classmethod
    def of(cls, reader: Any, label_encoding: Optional[str]) -> "ConlluLabel":
        """Where `reader` looks for tags; `misc:NER` for tags that write spans and `upos` for others, if it does not."""
        label = getattr(reader, "_label", None)
        if not hasattr(reader, "_label_column") or label is None:
            label = "upos" if label_encoding is None else "misc:NER"
        name, _, key = label.partition(":")
        return cls(COLUMNS.index(name), key, label_encoding is not None)

    def written(self, value: str, tag: str) -> str:
        """What becomes of the column's `value` with `tag` in it."""
        if not self.key:
            return tag
        features = [] if value == UNSPECIFIED or not value else value.split("|")
        keys = [feature.partition("=")[0] for feature in features]
        place = keys.index(self.key) if self.key in keys else None
        if tag == UNSPECIFIED and not self.spans:
            if place is None:
                return value
            del features[place]
        elif place is not None:
            features[place] = f"{self.key}={tag}"
        elif tag == OUTSIDE and self.spans:
            return value
        else:
            # Features are sorted by their names, letter case apart; those of MISC are in any order.
            behind = len(features)
            if COLUMNS[self.column] == "feats":
                behind = sum(key.lower() < self.key.lower() for key in keys)
            features.insert(behind, f"{self.key}={tag}")
        return "|".join(features) or UNSPECIFIED

    def replaced(self, raw: str, tag: str) -> str:
        """The line of a word with `tag` in its place, all else as it is."""
        line, end = split_line_end(raw)
        columns = line.split("\t")
        columns[self.column] = self.written(columns[self.column], tag)
        return "\t".join(columns) + end


def conllu_sentences(lines: List[str], first: int, language: str) -> Iterator[Union[InputSentence, Problem]]:
    """
    The sentences of lines, with the lines between them.

    # Parameters

    lines : `List[str]`
        With their ends; whole sentences.
    first : `int`
        The number of the first line.
    language : `str`
    """
    block = _Block(language)
    number = first
    for number, raw in enumerate(lines, start=first):
        line, _ = split_line_end(raw)
        block.lines.append(raw)
        if line.strip():
            block.add(line, number)
        else:
            yield block.finished(number)
            block = _Block(language)
    if block.lines:
        yield block.finished(number)


class _Block:
    def __init__(self, language: str) -> None:
        self._language = language
        self.lines: List[str] = []
        self._rows: List[int] = []
        self._words: List[str] = []
        self._first = 0
        self._order = IdOrder()
        self._sentence_id: Optional[str] = None
        self._problem: Optional[Problem] = None

    def add(self, line: str, number: int) -> None:
        """Add a line that is not blank, the last of `lines`."""
        if self._problem is not None:
            return
        try:
            wrong = encoding_problem(line)
            if wrong is None:
                wrong = self._comment(line) if line.startswith("#") else self._row(line, number)
        except ConfigurationError as error:
            wrong = error.message
        if wrong is not None:
            self._problem = Problem(number, wrong)

    def finished(self, number: int) -> Union[InputSentence, Problem]:
        """The sentence, which ends at line `number`."""
        if self._problem is None and self._order.begun:
            try:
                self._order.finish(None, None)
            except ConfigurationError as error:
                self._problem = Problem(number, error.message)
        if self._problem is not None:
            return self._problem
        carried = {} if self._sentence_id is None else {"sentence_id": self._sentence_id}
        source = SourceLines(self.lines, self._rows)
        return InputSentence(self._first, self._language, self._words, carried=carried, source=source)

    def _comment(self, line: str) -> Optional[str]:
        if self._order.begun:
            return "a comment stands inside a sentence; put a blank line between sentences"
        self._sentence_id = dict(parse_comment_line(line)).get("sent_id", self._sentence_id)
        return None

    def _row(self, line: str, number: int) -> Optional[str]:
        columns = line.split("\t")
        if len(columns) != len(COLUMNS):
            return f"the line has {len(columns)} tab-separated column(s) where CoNLL-U has 10"
        if self._order.is_word(None, None, columns[0]):
            if not columns[1]:
                return "the word is empty"
            self._first = self._first or number
            self._rows.append(len(self.lines) - 1)
            self._words.append(columns[1])
        return None
