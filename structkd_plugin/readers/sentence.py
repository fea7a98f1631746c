"""What every reader makes of its files."""

from dataclasses import dataclass
from typing import Optional, Tuple


@dataclass(frozen=True)
class Sentence:
    """
    One sentence as it stood in a file.

    # Parameters

    words : `Tuple[str, ...]`
        The words exactly as they are in the file; none is empty.
    tags : `Optional[Tuple[str, ...]]`
        One tag per word; `None` for a sentence without labels.
    language : `str`
        The code the run's configuration gave to the file.
    file, line : `Optional[str]`, `Optional[int]`
        Where the sentence came from; `line` counts from 1 and is that of the sentence's first word.
    sentence_id : `Optional[str]`
        The file's own name for the sentence.
    """

    words: Tuple[str, ...]
    tags: Optional[Tuple[str, ...]]
    language: str
    file: Optional[str] = None
    line: Optional[int] = None
    sentence_id: Optional[str] = None
