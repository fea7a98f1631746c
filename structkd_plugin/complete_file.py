"""A file that is there when it is complete, and not before."""

import errno
import gzip
import io
import os
import secrets
import stat
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Iterator, List, Optional, TextIO, Union, cast

from allennlp.common.checks import ConfigurationError


@contextmanager
def complete_file(path: Union[str, Path, None], *, make_folder: bool = False) -> Iterator[BinaryIO]:
    """
    A stream to write to: what is written becomes the file at the end of the `with` block, unless that raises.

    Until then, and after an error or Ctrl-C, the file is what it was before, and nothing is beside it. A symbolic link
    stays one: the file that it points to is replaced, and keeps its permissions. What is no file, such as a pipe, a
    device or a standard stream by its name, has what is written at once.

    # Parameters

    path : `Union[str, Path, None]`
        The file, packed if its name ends in `.gz`; `None` or `-` for the standard output.
    make_folder : `bool`, optional (default = `False`)
        Whether to make the folder of the file, where there is none.

    # Raises

    `ConfigurationError` : if the file cannot be written: at the start, for most reasons, or when the disk is full.
    """
    if path is None or str(path) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    name = str(path)
    with _said_of(name):
        there = _status(name)
        raw = None if there is None else _opened_as_it_is(name, there)
    if raw is not None:
        with _packed(raw, name) as stream:
            yield stream
        return
    target = Path(os.path.realpath(name))
    beside = path_beside(target)
    made: List[Path] = []
    try:
        with _said_of(name):
            if make_folder:
                _make(target.parent, made)
            # Of the permissions that the umask leaves; of a name that nobody has.
            raw = _File(name, str(beside), "xb")
            if there is not None and stat.S_IMODE(os.fstat(raw.fileno()).st_mode) != stat.S_IMODE(there.st_mode):
                os.fchmod(raw.fileno(), stat.S_IMODE(there.st_mode))
        with _packed(raw, name) as stream:
            yield stream
        with _said_of(name):
            os.replace(beside, target)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        for folder in reversed(made):
            # Somebody else may have put something there.
            with suppress(OSError):
                folder.rmdir()
        raise


@contextmanager
def complete_text_file(path: Union[str, Path], *, make_folder: bool = False) -> Iterator[TextIO]:
    """As `complete_file`, of text in UTF-8."""
    with complete_file(path, make_folder=make_folder) as stream:
        # It holds nothing back, so that it has nothing to write after an error.
        text = io.TextIOWrapper(stream, encoding="utf-8", newline="\n", write_through=True)
        try:
            yield text
        finally:
            text.detach()


def path_beside(target: Path) -> Path:
    """A hidden name in the folder of `target` that nothing has, for what is to be renamed to it."""
    # A name may have 255 bytes, and a character up to 4 of them.
    target = Path(os.path.abspath(target))
    return target.with_name(f".{target.name[:48]}.{secrets.token_hex(6)}.part")


class _File(io.FileIO):
    """An open file whose errors are sentences about the name that was given."""

    def __init__(self, given: str, file: Union[str, int], mode: str) -> None:
        self._given = given
        super().__init__(file, mode)

    def write(self, data: Any) -> int:
        with _said_of(self._given):
            return super().write(data)

    def sync(self) -> None:
        """Have all on the disk, which may be full, before another file is replaced by it."""
        if stat.S_ISREG(os.fstat(self.fileno()).st_mode):
            with _said_of(self._given):
                os.fsync(self.fileno())


@contextmanager
def _packed(raw: _File, name: str) -> Iterator[BinaryIO]:
    """A stream into an open file, which is closed at the end in any case."""
    buffered = io.BufferedWriter(raw)
    streams: List[Any] = [buffered]
    if name.endswith(".gz"):
        # Without a time, so that the same lines are the same bytes.
        streams.insert(0, gzip.GzipFile("", "wb", fileobj=buffered, mtime=0))
    try:
        yield cast(BinaryIO, streams[0])
        if len(streams) > 1:
            streams[0].close()
        buffered.flush()
        raw.sync()
        buffered.close()
    except BaseException:
        for stream in (*streams, raw):
            # It is to be closed, and what is left to write is not wanted.
            with suppress(Exception):
                stream.close()
        raise


def _status(name: str) -> Optional[os.stat_result]:
    """Of what is there, which must be something that one can write to; `None` where nothing is."""
    try:
        there = os.stat(name)
    except FileNotFoundError:
        if os.path.basename(name):
            return None
        raise
    if stat.S_ISDIR(there.st_mode):
        raise _error(errno.EISDIR)
    if not os.access(name, os.W_OK):
        # Its folder may let it be replaced: who took away the permission to write does not want that.
        raise _error(errno.EACCES)
    return there


def _opened_as_it_is(name: str, there: os.stat_result) -> Optional["_File"]:
    """What is there, if it is no file that another may take the place of."""
    for stream in (sys.stdout, sys.stderr):
        # A file that a standard stream was redirected to would be lost to that stream.
        with suppress(OSError, ValueError):
            if os.path.samestat(os.fstat(stream.fileno()), there):
                # What was printed before comes before it.
                stream.flush()
                return _File(name, os.dup(stream.fileno()), "wb")
    return None if stat.S_ISREG(there.st_mode) else _File(name, name, "wb")


def _make(folder: Path, made: List[Path]) -> None:
    """Make a folder with all above it; those that were made are added to `made`, the upper ones first."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        one.mkdir(exist_ok=True)
        made.append(one)


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@contextmanager
def _said_of(name: str) -> Iterator[None]:
    """Make one sentence of what the system refuses."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        folder = os.path.dirname(os.path.realpath(name))
        if isinstance(error, FileNotFoundError) and not os.path.isdir(folder):
            reason += f": there is no folder {folder}"
        elif error.errno == errno.EACCES and os.path.isdir(folder) and not os.access(folder, os.W_OK):
            reason += f" in the folder {folder}"
        raise ConfigurationError(f"cannot write {name}: {reason}") from None
