"""Files with one word a line and its tag in a column."""

import re
from typing import Any, Iterator, List, NamedTuple, Optional, Tuple

from allennlp.common.checks import ConfigurationError
from allennlp.data.dataset_readers.dataset_reader import DatasetReader

from structkd_plugin.readers.errors import data_error
from structkd_plugin.readers.sentence import Sentence
from structkd_plugin.readers.sentence_reader import SentenceReader
from structkd_plugin.readers.tag_conversion import TagConversion
from structkd_plugin.readers.text_lines import text_lines

_DOCUMENT_START = "-DOCSTART-"
# Not `\s`: a no-break space stands inside words.
_BLANKS = re.compile(r"[ \t]+")
_SENTENCE_ID = re.compile(r"#\s*sent_id\s*=\s*(.+?)\s*")


class _Row(NamedTuple):
    line: int
    word: str
    tag: str


class _Block(NamedTuple):
    """One sentence of a file, not yet looked at."""

    rows: List[_Row]
    sentence_id: Optional[str]

    def tags_and_lines(self) -> Tuple[List[str], List[int]]:
        """The tag and the line of each word."""
        return [row.tag for row in self.rows], [row.line for row in self.rows]


@DatasetReader.register("structkd_column")
class ColumnReader(SentenceReader):
    """
    A reader of column files: one word a line, its tag in another column, blank lines between sentences.

    All rows of a file have the same number of columns. Sentences end at a line of nothing but white space and at a
    `-DOCSTART-` line. A line that begins with `#` is a word like any other, unless `comment_prefix` says otherwise, or
    it stands before a sentence's first word and has another number of columns than the file's rows; a
    `# sent_id = ...` among such lines names the sentence.

    Registered as a `DatasetReader` with name "structkd_column".

    # Parameters

    word_column : `int`, optional (default=`0`)
        Column of the word; negative numbers count from the right.
    tag_column : `Optional[int]`, optional (default=`-1`)
        Column of the tag; `None` reads the file as unlabelled.
    delimiter : `Optional[str]`, optional (default=`None`)
        What separates columns, such as `"\t"`; `None` for any run of spaces and tabs.
    comment_prefix : `Optional[str]`, optional (default=`None`)
        Every line that begins with it is a comment.
    word_prefix : `bool`, optional (default=`False`)
        Whether words are written `de:Haus`. The prefix is taken off, after a check that it is the language of the
        file, or, where the language is "und", that it is the same throughout.
    scheme : `Optional[str]`, optional (default=`None`)
        The scheme to write spans in, see `structkd_plugin.tag_schemes`; `None` where words have plain labels.
    input_scheme : `Optional[str]`, optional (default=`None`)
        The scheme the files are in; `None` detects it, file by file.
    ill_formed : `str`, optional (default=`"error"`)
        What to do with tags that break the scheme: `"error"` or `"repair"`.
    labels : `Optional[List[str]]`, optional (default=`None`)
        All the tags that may come out; any other is an error.
    **kwargs :
        See `SentenceReader`.
    """

    def __init__(
        self,
        word_column: int = 0,
        tag_column: Optional[int] = -1,
        delimiter: Optional[str] = None,
        comment_prefix: Optional[str] = None,
        word_prefix: bool = False,
        scheme: Optional[str] = None,
        input_scheme: Optional[str] = None,
        ill_formed: str = "error",
        labels: Optional[List[str]] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if delimiter == "":
            raise ConfigurationError("delimiter is empty; give a character, or null for runs of white space")
        if comment_prefix == "":
            raise ConfigurationError("comment_prefix is empty, which makes every line a comment; give null")
        if word_column == tag_column:
            raise ConfigurationError(
                f"word_column and tag_column are both {word_column}; give null as tag_column for unlabelled files"
            )
        self._word_column = word_column
        self._tag_column = tag_column
        self._delimiter = delimiter
        self._comment_prefix = comment_prefix
        self._word_prefix = word_prefix
        self._tags = TagConversion(scheme, input_scheme, ill_formed, labels)

    def parse(self, file: str, language: str) -> Iterator[Sentence]:
        """The sentences of one file."""
        file_tags = None
        if self._tag_column is not None:
            tags_of_file = (block.tags_and_lines() for block in self._blocks(file))
            file_tags = self._tags.for_file(file, tags_of_file)
        prefix = None if language == "und" else f"{language}:"
        for block in self._blocks(file):
            words = [row.word for row in block.rows]
            if self._word_prefix:
                prefix = prefix or _language_prefix(words[0])
                words = [_without_prefix(file, row, prefix) for row in block.rows]
            tags = None
            if file_tags is not None:
                tags = file_tags.converted(*block.tags_and_lines())
            yield Sentence(tuple(words), tags, language, file, block.rows[0].line, block.sentence_id)
        if file_tags is not None:
            file_tags.report()

    def _blocks(self, file: str) -> Iterator[_Block]:
        width = self._width(file)
        rows: List[_Row] = []
        sentence_id: Optional[str] = None
        for number, line in text_lines(file, self._encoding):
            columns = self._columns(line)
            if not line.strip() or self._starts_document(columns):
                if rows:
                    yield _Block(rows, sentence_id)
                    rows, sentence_id = [], None
            elif self._is_comment(line, columns, width, at_start=not rows):
                named = _SENTENCE_ID.fullmatch(line)
                if named and not rows:
                    sentence_id = named[1]
            else:
                rows.append(self._row(file, number, columns, width))
        if rows:
            yield _Block(rows, sentence_id)

    def _columns(self, line: str) -> List[str]:
        if self._delimiter is not None:
            return line.split(self._delimiter)
        return _BLANKS.split(line.strip(" \t"))

    def _width(self, file: str) -> int:
        """The number of columns of the file's first row, which all others must have."""
        width = 0
        for _, line in text_lines(file, self._encoding):
            columns = self._columns(line)
            if not line.strip() or self._starts_document(columns):
                continue
            if not line.startswith(self._comment_prefix or "#"):
                return len(columns)
            if self._comment_prefix is None:
                # A file all of whose words begin with '#' has only such rows to judge by.
                width = width or len(columns)
        return width

    def _starts_document(self, columns: List[str]) -> bool:
        if columns[0] == _DOCUMENT_START:
            return True
        return -len(columns) <= self._word_column < len(columns) and columns[self._word_column] == _DOCUMENT_START

    def _is_comment(self, line: str, columns: List[str], width: int, at_start: bool) -> bool:
        if self._comment_prefix is not None:
            return line.startswith(self._comment_prefix)
        return at_start and line.startswith("#") and len(columns) != width

    def _row(self, file: str, number: int, columns: List[str], width: int) -> _Row:
        if len(columns) != width:
            raise data_error(
                file,
                number,
                f"the line has {len(columns)} column(s) where the file's first row has {width}; "
                "correct the line, or declare the file's `delimiter` or `comment_prefix`",
            )
        for name, column in (("word_column", self._word_column), ("tag_column", self._tag_column)):
            if column is not None and not -width <= column < width:
                raise data_error(file, number, f"{name} is {column}, but the line has {width} column(s)")
        word = columns[self._word_column]
        tag = ""
        if self._tag_column is not None:
            if self._tag_column % width == self._word_column % width:
                raise data_error(
                    file,
                    number,
                    f"the line has {width} column(s), so that word_column and tag_column are the same; "
                    "give null as tag_column for unlabelled files",
                )
            tag = columns[self._tag_column]
            if not tag:
                raise data_error(file, number, f"the word {word!r} has an empty tag")
        if not word:
            raise data_error(file, number, "the word is empty")
        return _Row(number, word, tag)


def _language_prefix(word: str) -> Optional[str]:
    language, colon, _ = word.partition(":")
    return language + colon if language and colon else None


def _without_prefix(file: str, row: _Row, prefix: Optional[str]) -> str:
    if prefix is None or not row.word.startswith(prefix):
        expected = "a language and a colon" if prefix is None else repr(prefix)
        raise data_error(
            file, row.line, f"the word {row.word!r} does not begin with {expected}, as word_prefix promises"
        )
    if row.word == prefix:
        raise data_error(file, row.line, f"the word is empty behind its prefix {prefix!r}")
    return row.word[len(prefix) :]
