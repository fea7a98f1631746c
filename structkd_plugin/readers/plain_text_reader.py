"""Unlabelled text, one sentence a line."""

import re
from typing import Any, Iterator

from allennlp.data.dataset_readers.dataset_reader import DatasetReader

from structkd_plugin.readers.errors import data_error
from structkd_plugin.readers.sentence import Sentence
from structkd_plugin.readers.sentence_reader import SentenceReader
from structkd_plugin.readers.text_lines import text_lines
from structkd_plugin.tokenization import text_words

# Not `\s`: a no-break space stands inside words.
_BLANKS = re.compile(r"[ \t]+")


@DatasetReader.register("structkd_plain_text")
class PlainTextReader(SentenceReader):
    """
    A reader of text without labels, one sentence a line; lines of white space are no sentences.

    Registered as a `DatasetReader` with name "structkd_plain_text".

    # Parameters

    pretokenized : `bool`, optional (default=`False`)
        Whether the words stand between spaces or tabs already; otherwise they are found by spaCy's rules for the
        language.
    **kwargs :
        See `SentenceReader`.
    """

    def __init__(self, pretokenized: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._pretokenized = pretokenized

    def parse(self, file: str, language: str) -> Iterator[Sentence]:
        """The sentences of one file."""
        for number, line in text_lines(file, self._encoding):
            if not line.strip():
                continue
            if self._pretokenized:
                words = tuple(_BLANKS.split(line.strip(" \t")))
            else:
                words = tuple(word.text for word in text_words(line, language))
                if not words:
                    raise data_error(file, number, "the line has characters but no words; take it out")
            yield Sentence(words, None, language, file, number)
