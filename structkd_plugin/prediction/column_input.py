"""Column files as an input: a word a line among other columns, and the column that a tag is written to."""

import re
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

from structkd_plugin.prediction.input_sentence import (
    InputSentence,
    Problem,
    SourceLines,
    encoding_problem,
    split_line_end,
)

_DOCUMENT_START = "-DOCSTART-"
_FIELD = re.compile(r"[^ \t]+")
_SENTENCE_ID = re.compile(r"#\s*sent_id\s*=\s*(.+?)\s*")


class ColumnFormat(NamedTuple):
    """
    What the columns of files are, as `structkd_plugin.readers.column_reader.ColumnReader` has it.

    # Parameters

    word_column : `int`
        Of the word; negative numbers count from the right.
    tag_column : `Optional[int]`
        Where tags are written, in files that have such a column beside that of the words; `None` adds a column.
    delimiter : `Optional[str]`
        What separates columns; `None` for any run of spaces and tabs.
    comment_prefix : `Optional[str]`
        Every line that begins with it is a comment.
    word_prefix : `bool`
        Whether words are written `de:Haus`.
    """

    word_column: int = 0
    tag_column: Optional[int] = -1
    delimiter: Optional[str] = None
    comment_prefix: Optional[str] = None
    word_prefix: bool = False

    @classmethod
    def of_reader(cls, reader: Any) -> "ColumnFormat":
        """That of the files that `reader` reads; the usual one for a reader of other files."""
        found: Dict[str, Any] = {
            name: getattr(reader, f"_{name}") for name in cls._fields if hasattr(reader, f"_{name}")
        }
        return cls(**found)

    def fields(self, line: str) -> List[Tuple[int, int]]:
        """Where the columns of a line (without its end) begin and end."""
        if self.delimiter is None:
            return [match.span() for match in _FIELD.finditer(line)]
        found, start = [], 0
        for field in line.split(self.delimiter):
            found.append((start, start + len(field)))
            start += len(field) + len(self.delimiter)
        return found

    def width(self, lines: List[str]) -> Tuple[int, bool]:
        """
        The number of columns of the first row, which all others of a file must have.

        # Returns

        `Tuple[int, bool]` : 0 where there is no row; and whether the row is one for certain, rather than a line that
            begins with `#` in a file of which nothing else has been seen.
        """
        guess = 0
        for raw in lines:
            line, _ = split_line_end(raw)
            fields = self.fields(line)
            if not line.strip() or self._starts_document(line, fields):
                continue
            if not line.startswith(self.comment_prefix or "#"):
                return len(fields), True
            if self.comment_prefix is None:
                guess = guess or len(fields)
        return guess, False

    def sentences(
        self, lines: List[str], first: int, language: str, width: int
    ) -> Iterator[Union[InputSentence, Problem]]:
        """
        The sentences of lines, with the lines between them.

        # Parameters

        lines : `List[str]`
            With their ends; whole sentences.
        first : `int`
            The number of the first line.
        language : `str`
        width : `int`
            See `width`.
        """
        block = _Block(self, language, width)
        for number, raw in enumerate(lines, start=first):
            line, _ = split_line_end(raw)
            fields = self.fields(line)
            if not line.strip():
                block.lines.append(raw)
                if block.begun:
                    yield block.finished()
                    block = _Block(self, language, width)
            elif self._starts_document(line, fields):
                if block.begun:
                    yield block.finished()
                    block = _Block(self, language, width)
                block.lines.append(raw)
            elif self._is_comment(line, fields, width, at_start=not block.begun):
                block.comment(raw, line)
            else:
                block.row(raw, line, number, fields)
        if block.lines:
            yield block.finished()

    def replaced(self, raw: str, tag: str, width: int) -> str:
        """The line of a word with `tag` in its column, all else as it is."""
        line, end = split_line_end(raw)
        column = self._tag_place(width)
        if column is None:
            delimiter = self.delimiter or "\t"
            return f"{line}{delimiter}{tag}{end}"
        start, stop = self.fields(line)[column]
        return line[:start] + tag + line[stop:] + end

    def _tag_place(self, width: int) -> Optional[int]:
        if self.tag_column is None or not -width <= self.tag_column < width:
            return None
        column = self.tag_column % width
        return None if column == self.word_column % width else column

    def _starts_document(self, line: str, fields: List[Tuple[int, int]]) -> bool:
        if not line.startswith(_DOCUMENT_START) and _DOCUMENT_START not in line:
            return False
        words = [line[start:end] for start, end in fields]
        at_word = -len(words) <= self.word_column < len(words) and words[self.word_column] == _DOCUMENT_START
        return at_word or (bool(words) and words[0] == _DOCUMENT_START)

    def _is_comment(self, line: str, fields: List[Tuple[int, int]], width: int, at_start: bool) -> bool:
        if self.comment_prefix is not None:
            return line.startswith(self.comment_prefix)
        return at_start and line.startswith("#") and len(fields) != width


class _Block:
    """The lines of a sentence, and those before it."""

    def __init__(self, columns: ColumnFormat, language: str, width: int) -> None:
        self._format = columns
        self._language = language
        self._width = width
        self.lines: List[str] = []
        self._rows: List[int] = []
        self._words: List[str] = []
        self._first = 0
        self._sentence_id: Optional[str] = None
        self._problem: Optional[Problem] = None
        self._prefix = None if language == "und" else f"{language}:"

    @property
    def begun(self) -> bool:
        """Whether the sentence has a word, or what should be one."""
        return bool(self._words) or self._problem is not None

    def comment(self, raw: str, line: str) -> None:
        self.lines.append(raw)
        named = _SENTENCE_ID.fullmatch(line)
        if named and not self.begun:
            self._sentence_id = named[1]

    def row(self, raw: str, line: str, number: int, fields: List[Tuple[int, int]]) -> None:
        """Add the line of a word."""
        self.lines.append(raw)
        if self._problem is not None:
            return
        word, wrong = self._word(line, fields)
        if wrong is not None:
            self._problem = Problem(number, wrong)
            return
        self._first = self._first or number
        self._rows.append(len(self.lines) - 1)
        self._words.append(word)

    def finished(self) -> Union[InputSentence, Problem]:
        if self._problem is not None:
            return self._problem
        carried = {} if self._sentence_id is None else {"sentence_id": self._sentence_id}
        source = SourceLines(self.lines, self._rows)
        return InputSentence(self._first, self._language, self._words, carried=carried, source=source)

    def _word(self, line: str, fields: List[Tuple[int, int]]) -> Tuple[str, Optional[str]]:
        """The word of a line, and what is wrong with it."""
        wrong = encoding_problem(line)
        if wrong is not None:
            return "", wrong
        if len(fields) != self._width:
            return "", (
                f"the line has {len(fields)} column(s) where the file's first row has {self._width}; correct the line, "
                "or say by --dataset-reader how the file is to be read"
            )
        if not -self._width <= self._format.word_column < self._width:
            return "", f"word_column is {self._format.word_column}, but the line has {self._width} column(s)"
        start, end = fields[self._format.word_column]
        word = line[start:end]
        if self._format.word_prefix and word:
            before, colon, _ = word.partition(":")
            if self._prefix is None and before and colon:
                self._prefix = before + colon
            if self._prefix is None or not word.startswith(self._prefix):
                expected = "a language and a colon" if self._prefix is None else repr(self._prefix)
                return "", f"the word {word!r} does not begin with {expected}, as word_prefix promises"
            word = word[len(self._prefix) :]
        return word, None if word else "the word is empty"
