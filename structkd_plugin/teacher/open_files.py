"""
Reading files of which there may be more than a process may hold open.

Files are read at given places and not mapped into memory: of a mapped file that was cut short the system kills who
reads it, where a descriptor says so; and a process has in memory what it keeps of what it read, and nothing else.
"""

import os
import resource
import weakref
from collections import OrderedDict
from pathlib import Path
from typing import Dict, Union

from allennlp.common.checks import ConfigurationError

_soft_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
# Of all directories together; the rest is for who opens sockets and the files of trainings.
MOST_OPEN = 4096 if _soft_limit == resource.RLIM_INFINITY else max(16, min(4096, _soft_limit // 2))


class OpenFile:
    """
    A file, open for reading as long as somebody holds this object.

    A process that was forked reads by the same object, as reading has no position.

    # Raises

    `ConfigurationError` : for a file that is missing or cannot be opened.
    """

    __slots__ = ("descriptor", "path", "size")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = -1
        try:
            self.descriptor = os.open(path, os.O_RDONLY)
            self.size = os.fstat(self.descriptor).st_size
        except FileNotFoundError:
            raise ConfigurationError(
                f"{path} is missing. Restore it, or capture again into an empty directory."
            ) from None
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from error

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)

    def read(self, size: int, offset: int) -> bytes:
        """
        `size` bytes from `offset` on.

        # Raises

        `ConfigurationError` : for a file that ends before, or fails.
        """
        try:
            data = os.pread(self.descriptor, size, offset)
            # One call reads at most two gigabytes.
            while len(data) < size:
                piece = os.pread(self.descriptor, size - len(data), offset + len(data))
                if not piece:
                    raise ConfigurationError(
                        f"{self.path} is truncated: it ends before byte {offset + size:,}. Restore it, or capture "
                        "again into an empty directory."
                    )
                data += piece
        except OSError as error:
            raise ConfigurationError(f"{self.path} cannot be read: {error.strerror}.") from error
        return data


class MemoryFile:
    """What would be in a file, read like one."""

    __slots__ = ("content", "path", "size")

    def __init__(self, content: bytes, path: Path) -> None:
        self.path = path
        self.size = len(content)
        self.content = content

    def read(self, size: int, offset: int) -> bytes:
        """`size` bytes from `offset` on."""
        return self.content[offset : offset + size]


FileBytes = Union[OpenFile, MemoryFile]

# What is open of all directories, oldest first, each with the directory that it is of.
_open: "OrderedDict[OpenFile, weakref.ref[DirectoryFiles]]" = OrderedDict()


class DirectoryFiles(Dict[str, OpenFile]):
    """
    The files of a directory, by name, opened when they are asked for. (A dictionary, to be quick for what is open.)

    At most `MOST_OPEN` files of all directories stay open; the one that was opened first is closed.

    # Raises

    `ConfigurationError` : when asked for a file that is missing or cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def __missing__(self, name: str) -> OpenFile:
        while len(_open) >= MOST_OPEN:
            # It stays open until nobody is reading from it.
            oldest, reference = _open.popitem(last=False)
            files = reference()
            if files is not None:
                files.pop(oldest.path.name, None)
        file = self[name] = OpenFile(self.path / name)
        _open[file] = weakref.ref(self)
        return file

    def __del__(self) -> None:
        for file in self.values():
            _open.pop(file, None)
