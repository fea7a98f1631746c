"""
Writes some sentences of a file: `cut.py SKIP LIMIT KIND SOURCE TARGET`, LIMIT after the first SKIP, where 0 takes all.

KIND is `lines` for text with a sentence a line, and `blocks` for files with blank lines between sentences, columns and
CoNLL-U, where comments stay with the sentence that they stand before. What is packed with gzip is unpacked.
"""

import gzip
import sys
from itertools import islice
from typing import Iterable, Iterator, List, Sequence

_DOCUMENT_START = b"-DOCSTART-"
_PACKED = b"\x1f\x8b"


def sentences(lines: Iterable[bytes]) -> Iterator[bytes]:
    """
    The sentences of a file, each with what stands around it, so that all together are the file.

    # Parameters

    lines : `Iterable[bytes]`
        Of a file, each with its line feed.
    """
    block: List[bytes] = []
    complete = False
    for line in lines:
        if line.strip() and complete:
            yield b"".join(block)
            block, complete = [], False
        block.append(line)
        # A `-DOCSTART-` line is no sentence.
        if not line.strip() and any(inner.strip() and not inner.startswith(_DOCUMENT_START) for inner in block):
            complete = True
    if block:
        yield b"".join(block)


def main(arguments: Sequence[str]) -> None:
    """Write TARGET; end with one sentence if nothing of SOURCE is left for it."""
    skip, limit = map(int, arguments[:2])
    kind, source, target = arguments[2:]
    with open(source, "rb") as stream:
        packed = stream.read(len(_PACKED)) == _PACKED
    opened = gzip.open if packed else open
    with opened(source, "rb") as lines, open(target, "wb") as output:
        found = (line for line in lines if line.strip()) if kind == "lines" else sentences(lines)
        output.writelines(islice(found, skip, skip + limit if limit else None))
        empty = output.tell() == 0
    if empty:
        sys.exit(
            f"error: {source} has no sentences" + (f" after the first {skip:,}, which are skipped" if skip else "")
        )


if __name__ == "__main__":
    main(sys.argv[1:])
