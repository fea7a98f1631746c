"""CoNLL-U files: Universal Dependencies, and whatever else is written in its ten columns."""

from typing import Any, Iterator, List, NamedTuple, Optional, Tuple

from allennlp.common.checks import ConfigurationError
from allennlp.data.dataset_readers.dataset_reader import DatasetReader
from conllu.exceptions import ParseException
from conllu.parser import parse_comment_line, parse_id_value

from structkd_plugin.readers.errors import data_error
from structkd_plugin.readers.sentence import Sentence
from structkd_plugin.readers.sentence_reader import SentenceReader
from structkd_plugin.readers.tag_conversion import TagConversion
from structkd_plugin.readers.text_lines import text_lines
from structkd_plugin.tag_schemes import OUTSIDE

_COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_UNSPECIFIED = "_"


class _Word(NamedTuple):
    line: int
    form: str
    label: str


class _Block(NamedTuple):
    words: List[_Word]
    sentence_id: Optional[str]

    def tags_and_lines(self) -> Tuple[List[str], List[int]]:
        """The tag and the line of each word."""
        return [word.label for word in self.words], [word.line for word in self.words]


@DatasetReader.register("structkd_conllu")
class ConlluReader(SentenceReader):
    """
    A reader of CoNLL-U files. A sentence's words are the syntactic words: the lines of multi-word tokens (`3-4`)
    and of empty nodes (`5.1`) are checked for their order and left out.

    Registered as a `DatasetReader` with name "structkd_conllu".

    # Parameters

    label : `Optional[str]`, optional (default=`"upos"`)
        What to take as a word's tag: `"upos"`, `"xpos"`, `"feats"` (the whole bundle as it is written), `"feats:KEY"`
        or `"misc:KEY"` (the value of one feature), or `None` to read the files as unlabelled. A word without the
        feature has the tag `_`, or `O` where `scheme` is given; a word without upos or xpos is an error.
    scheme : `Optional[str]`, optional (default=`None`)
        The scheme to write spans in, where `label` names a feature that holds such tags, as `"misc:NER"` may;
        `None` where words have plain labels.
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
        label: Optional[str] = "upos",
        scheme: Optional[str] = None,
        input_scheme: Optional[str] = None,
        ill_formed: str = "error",
        labels: Optional[List[str]] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        column, colon, key = (label or "").partition(":")
        known = bool(key) and column in ("feats", "misc") if colon else column in ("upos", "xpos", "feats")
        if label is not None and not known:
            raise ConfigurationError(
                f"label is {label!r}; choose upos, xpos, feats, feats:KEY, misc:KEY, or null for none"
            )
        self._label = label
        self._label_column = _COLUMNS.index(column) if label is not None else None
        self._key = key
        self._absent = _UNSPECIFIED if scheme is None else OUTSIDE
        self._tags = TagConversion(scheme, input_scheme, ill_formed, labels)

    def parse(self, file: str, language: str) -> Iterator[Sentence]:
        """The sentences of one file."""
        file_tags = None
        if self._label is not None:
            tags_of_file = (block.tags_and_lines() for block in self._blocks(file))
            file_tags = self._tags.for_file(file, tags_of_file)
        for block in self._blocks(file):
            tags = None
            if file_tags is not None:
                tags = file_tags.converted(*block.tags_and_lines())
            forms = tuple(word.form for word in block.words)
            yield Sentence(forms, tags, language, file, block.words[0].line, block.sentence_id)
        if file_tags is not None:
            file_tags.report()

    def _blocks(self, file: str) -> Iterator[_Block]:
        words: List[_Word] = []
        order = IdOrder()
        sentence_id: Optional[str] = None
        number = 0
        for number, line in text_lines(file, self._encoding):
            if not line.strip():
                if order.begun:
                    order.finish(file, number)
                    yield _Block(words, sentence_id)
                words, order, sentence_id = [], IdOrder(), None
            elif line.startswith("#"):
                if order.begun:
                    raise data_error(
                        file, number, "a comment stands inside a sentence; put a blank line between sentences"
                    )
                sentence_id = dict(parse_comment_line(line)).get("sent_id", sentence_id)
            else:
                columns = line.split("\t")
                if len(columns) != len(_COLUMNS):
                    raise data_error(
                        file, number, f"the line has {len(columns)} tab-separated column(s) where CoNLL-U has 10"
                    )
                if order.is_word(file, number, columns[0]):
                    if not columns[1]:
                        raise data_error(file, number, "the word is empty")
                    words.append(_Word(number, columns[1], self._label_of(file, number, columns)))
        if order.begun:
            order.finish(file, number)
            yield _Block(words, sentence_id)

    def _label_of(self, file: str, line: int, columns: List[str]) -> str:
        if self._label_column is None:
            return ""
        value = columns[self._label_column]
        if self._key:
            # The library's dictionary would cut a value off at its second "=".
            for feature in value.split("|"):
                key, _, value = feature.partition("=")
                if key == self._key:
                    if not value:
                        raise data_error(file, line, f"{self._label} of word {columns[1]!r} has no value")
                    return value
            return self._absent
        if not value or (value == _UNSPECIFIED and self._label in ("upos", "xpos")):
            raise data_error(
                file,
                line,
                f"the word {columns[1]!r} has no {self._label}; set label to null to read the file as unlabelled",
            )
        return value


class IdOrder:
    """The order of ids in one sentence: words 1, 2, ...; `a-b` before its word a; `i.1`, `i.2` after word i."""

    def __init__(self) -> None:
        self._word = 0
        self._empty_node = 0
        self._range_end = 0

    @property
    def begun(self) -> bool:
        """Whether the sentence has had any line with an id."""
        return bool(self._word or self._empty_node or self._range_end)

    def is_word(self, file: Optional[str], line: Optional[int], text: str) -> bool:
        """Whether the id `text` is a word's; an id out of order is an error."""
        try:
            parsed = parse_id_value(text)
        except ParseException:
            parsed = None
        if isinstance(parsed, int) and parsed == self._word + 1:
            self._word, self._empty_node = parsed, 0
            return True
        if isinstance(parsed, tuple):
            first, kind, second = parsed
            if kind == "-" and first == self._word + 1 and first > self._range_end and second > first:
                self._range_end = second
                return False
            if kind == "." and first == self._word and second == self._empty_node + 1:
                self._empty_node = second
                return False
        raise data_error(
            file,
            line,
            f"the id {text!r} is out of order after word {self._word}; "
            "ids count from 1 in every sentence, and a blank line stands between sentences",
        )

    def finish(self, file: Optional[str], line: Optional[int]) -> None:
        """Check, at the sentence's end, that it has words, and its last multi-word token all of its own."""
        if not self._word:
            raise data_error(file, line, "the sentence that ends here has no words")
        if self._range_end > self._word:
            raise data_error(
                file,
                line,
                f"the sentence ends with word {self._word}, inside a multi-word token that goes to {self._range_end}",
            )
