"""A sentence on its way from a file to the tagger, with what is needed to write it out again."""

import re
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from structkd_plugin.prediction.json_sentences import PlacedSentence

# What stands for bytes that are no UTF-8 in text that was decoded with `surrogateescape`.
_ESCAPED = re.compile("[\udc80-\udcff]")


class SourceLines(NamedTuple):
    """The lines of a file that a sentence came from."""

    # With their line ends; those around its words too, such as comments before and the blank line behind.
    lines: List[str]
    # Of each word, the index of its line.
    rows: List[int]


class InputSentence(PlacedSentence):
    """
    One sentence of an input.

    # Parameters

    line : `int`
        Where it stands, from 1.
    language : `str`
    words : `Sequence[str]`
        None for lines that hold no sentence, but are to be in the output.
    text : `Optional[str]`, optional
        What the words are of, as `split_words` gives them; without it, they are joined by spaces.
    offset : `Optional[int]`, optional
        Where in its line `text` begins, if the input is raw text.
    carried : `Optional[Dict[str, Any]]`, optional
        What else is known of it.
    source : `Optional[SourceLines]`, optional
        If the input has a word a line.
    """

    __slots__ = ("line", "offset", "source")

    def __init__(
        self,
        line: int,
        language: str,
        words: Sequence[str],
        text: Optional[str] = None,
        offset: Optional[int] = None,
        carried: Optional[Dict[str, Any]] = None,
        source: Optional[SourceLines] = None,
    ) -> None:
        super().__init__(text, words, language, carried or {})
        self.line = line
        self.offset = offset
        self.source = source


class Problem(NamedTuple):
    """What is wrong with an input, and where; `line` counts from 1."""

    line: int
    message: str


def split_line_end(line: str) -> Tuple[str, str]:
    """A line, and the LF or CR LF that ends it."""
    body = line.removesuffix("\n").removesuffix("\r")
    return body, line[len(body) :]


def encoding_problem(line: str) -> Optional[str]:
    """What is wrong with a line that was decoded with `surrogateescape` if it is no UTF-8."""
    found = None if line.isascii() else _ESCAPED.search(line)
    if found is None:
        return None
    before = len(line[: found.start()].encode())
    return (
        f"byte {before + 1} of the line is not utf-8 text (0x{ord(found[0]) - 0xDC00:02x}); convert the file to utf-8"
    )
