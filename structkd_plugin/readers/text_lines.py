"""The lines of a text file, each with its number, so that an error can name the place."""

import gzip
import zlib
from contextlib import closing
from typing import BinaryIO, Iterator, Tuple, cast

from structkd_plugin.readers.errors import data_error

_GZIP_MAGIC = b"\x1f\x8b"
_BYTE_ORDER_MARK = "\ufeff"


def open_binary(file: str) -> BinaryIO:
    """The bytes of a file, unpacked if it is gzip, whatever it is called."""
    with open(file, "rb") as stream:
        packed = stream.read(2) == _GZIP_MAGIC
    return cast(BinaryIO, gzip.open(file)) if packed else open(file, "rb")


def text_lines(file: str, encoding: str = "utf-8") -> Iterator[Tuple[int, str]]:
    """
    The lines of a text file, plain or gzip.

    Lines end with LF or CR LF and nothing else: the other characters that Unicode counts as line breaks occur inside
    words. A byte order mark at the beginning is dropped.

    # Parameters

    file : `str`
        The file.
    encoding : `str`, optional (default=`"utf-8"`)
        One in which a line feed is the byte 0x0A, which UTF-16 and UTF-32 are not.

    # Returns

    `Iterator[Tuple[int, str]]` : line numbers from 1, and lines without their ends.

    # Raises

    `ConfigurationError` : naming file and line, if the file cannot be read or is not of this encoding.
    """
    number = 0
    try:
        with closing(open_binary(file)) as stream:
            for number, line in enumerate(stream, start=1):
                text = line.decode(encoding)
                if number == 1 and text.startswith(_BYTE_ORDER_MARK):
                    text = text[1:]
                yield number, text.removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise data_error(
            file,
            number,
            f"byte {error.start + 1} of the line is not {encoding} text (0x{error.object[error.start]:02x}); "
            "declare the file's `encoding` or convert the file",
        ) from error
    except (EOFError, zlib.error, OSError) as error:
        raise data_error(file, number + 1 if number else None, f"the file cannot be read ({error})") from error
