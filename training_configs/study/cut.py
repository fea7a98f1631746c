"""
Writes the first sentences of a file: `cut.py LIMIT SOURCE TARGET`, where 0 takes all.

For files with blank lines between sentences, columns and CoNLL-U; comments stay with the sentence that they stand
before. What is packed with gzip is unpacked.
"""

import gzip
import sys
from typing import Iterable, Iterator, List, Sequence

_DOCUMENT_START = b"-DOCSTART-"
_PACKED = b"\x1f\x8b"


def first_sentences(lines: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """
    The lines of the first sentences.

    # Parameters

    lines : `Iterable[bytes]`
        Of a file, each with its line feed.
    limit : `int`
        How many sentences; 0 for all. A `-DOCSTART-` line is none.
    """
    found = 0
    block: List[bytes] = []
    for line in lines:
        if line.strip():
            block.append(line)
            continue
        yield from block
        yield line
        found += any(not inner.startswith(_DOCUMENT_START) for inner in block)
        block = []
        if limit and found == limit:
            return
    yield from block


def main(arguments: Sequence[str]) -> None:
    """Write TARGET."""
    limit, source, target = arguments
    with open(source, "rb") as stream:
        packed = stream.read(len(_PACKED)) == _PACKED
    opened = gzip.open if packed else open
    with opened(source, "rb") as lines, open(target, "wb") as output:
        output.writelines(first_sentences(lines, int(limit)))


if __name__ == "__main__":
    main(sys.argv[1:])
