"""Input files of any size as pieces of whole sentences, a small part of them in memory at a time."""

import sys
import zlib
from contextlib import nullcontext
from typing import BinaryIO, ContextManager, Iterator, List, NamedTuple, Optional, Sequence

from allennlp.common.checks import ConfigurationError

from structkd_plugin.prediction.column_input import ColumnFormat
from structkd_plugin.readers.errors import data_error
from structkd_plugin.readers.text_lines import open_binary

STANDARD_INPUT = "-"
INPUT_FORMATS = ("text", "words", "jsonl", "conll", "conllu")
# Formats of which a sentence has many lines, and ends at a blank one.
BLOCK_FORMATS = ("conll", "conllu")
_SUFFIXES = {
    ".txt": "text",
    ".text": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".conll": "conll",
    ".tsv": "conll",
    ".bio": "conll",
    ".iob": "conll",
    ".iob2": "conll",
    ".conllu": "conllu",
}
BYTE_ORDER_MARK = "\ufeff".encode()


class InputFile(NamedTuple):
    """A file to tag, `-` for the standard input; its language, and one of `INPUT_FORMATS`."""

    path: str
    language: str
    format: str

    @property
    def name(self) -> str:
        """For messages."""
        return "standard input" if self.path == STANDARD_INPUT else self.path


class Chunk(NamedTuple):
    """Lines of a file: whole sentences."""

    file: InputFile
    # The number of the first line, from 1.
    first: int
    # Without the byte order mark that a file may begin with, which `marked` tells of.
    data: bytes
    marked: bool
    # The number of columns of the file's rows; 0 where that is of no matter.
    width: int


def format_of(path: str) -> str:
    """
    The format that a file's name tells.

    # Raises

    `ConfigurationError` : if it tells none.
    """
    if path == STANDARD_INPUT:
        return "text"
    name = path.lower().removesuffix(".gz")
    for suffix, found in _SUFFIXES.items():
        if name.endswith(suffix):
            return found
    raise ConfigurationError(
        f"{path}: the name does not tell the file's format; say it by --input-format, one of {', '.join(INPUT_FORMATS)}"
    )


def chunks(files: Sequence[InputFile], sentences: int, columns: ColumnFormat) -> Iterator[Chunk]:
    """
    The lines of files, in pieces of about as many sentences.

    # Parameters

    files : `Sequence[InputFile]`
    sentences : `int`
        Lines of a piece, or sentences where these have several lines.
    columns : `ColumnFormat`
        Of files in columns.

    # Raises

    `ConfigurationError` : naming file and line, for a file that cannot be read.
    """
    for file in files:
        yield from _chunks_of(file, sentences, columns)


def _chunks_of(file: InputFile, sentences: int, columns: ColumnFormat) -> Iterator[Chunk]:
    number = 0
    width, certain = 0, file.format != "conll"
    try:
        with _opened(file) as stream:
            for lines in _pieces(stream, sentences, file.format in BLOCK_FORMATS):
                marked = number == 0 and lines[0].startswith(BYTE_ORDER_MARK)
                if marked:
                    lines[0] = lines[0][len(BYTE_ORDER_MARK) :]
                if not certain:
                    width, certain = columns.width([line.decode("utf-8", "surrogateescape") for line in lines])
                yield Chunk(file, number + 1, b"".join(lines), marked, width)
                number += len(lines)
    except (EOFError, zlib.error, OSError) as error:
        raise data_error(file.name, number + 1 if number else None, f"the file cannot be read ({error})") from error


def _opened(file: InputFile) -> ContextManager[BinaryIO]:
    return nullcontext(sys.stdin.buffer) if file.path == STANDARD_INPUT else open_binary(file.path)


def _pieces(stream: BinaryIO, sentences: int, blocks: bool) -> Iterator[List[bytes]]:
    """Lines of the stream; a piece ends with a blank line where sentences are blocks."""
    lines: List[bytes] = []
    ended = 0
    before: Optional[bytes] = None
    for line in stream:
        lines.append(line)
        rest = line.strip()
        if not blocks or (before and not rest):
            ended += 1
        before = rest
        if ended == sentences:
            yield lines
            lines, ended = [], 0
    if lines:
        yield lines
