"""A file that is there when it is complete, and not before; or the standard output."""

import gzip
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Iterator, Optional, cast

from allennlp.common.checks import ConfigurationError


@contextmanager
def complete_file(path: Optional[str]) -> Iterator[BinaryIO]:
    """
    A stream to write to: what is written becomes the file at the end of the `with` block, unless that raises.

    # Parameters

    path : `Optional[str]`
        The file, packed if it ends in `.gz`; `None` or `-` for the standard output, which has what was written at once.

    # Raises

    `ConfigurationError` : if the file cannot be written.
    """
    if path is None or path == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(path)
    try:
        if target.exists() and not target.is_file():
            # A device or a pipe, beside which nothing is written.
            with target.open("wb") as stream:
                yield stream
            return
        beside = target.with_name(f".{target.name}.{os.getpid()}.part")
        stream = beside.open("wb")
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror or error}") from None
    try:
        with stream:
            if target.suffix == ".gz":
                # Without a time, so that the same lines are the same bytes.
                with gzip.GzipFile("", "wb", fileobj=stream, mtime=0) as packed:
                    yield cast(BinaryIO, packed)
            else:
                yield stream
        os.replace(beside, target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
