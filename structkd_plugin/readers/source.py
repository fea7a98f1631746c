"""What a command reads: files, and the language they are in."""

from typing import NamedTuple, Optional


class Source(NamedTuple):
    """Files to read: a path or glob, and its language if the reader is not to decide."""

    path: str
    language: Optional[str] = None
