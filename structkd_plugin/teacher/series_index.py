"""
Where each record of a writer's series is: a table on disk, sorted by key, of which a look-up reads one small piece.

The entries lie in buckets by the first bits of their keys. In memory stand the beginning and the checksum of each
bucket: 8 bytes for 16 to 32 sentences.
"""

import zlib
from array import array
from itertools import pairwise
from pathlib import Path
from struct import Struct
from typing import Dict, Optional, Sequence, Tuple

import numpy as np
from allennlp.common.checks import ConfigurationError
from safetensors.numpy import save

from structkd_plugin.teacher.format import (
    KEY_BYTES,
    IndexEntry,
    ShardEntry,
    ShardIndex,
    Teacher,
    checksum_of_index,
    index_file,
    read_arrays,
    read_shard_index,
    refuse_other_size,
)
from structkd_plugin.teacher.open_files import FileBytes, MemoryFile, OpenFile

ENTRY_BYTES = 40
# At most so many entries lie in a bucket on average, and more than half as many where there is more than one bucket.
BUCKET_ENTRIES = 32
INDEX_REMEDY = "Remove it and run the same `allennlp cache-teacher` again, which makes it anew from the shards."
_HEAD_ARRAYS = ("starts", "checksums")

_ENTRY = np.dtype(
    [("key", ("V", KEY_BYTES))] + [(name, "<u4") for name in ("shard", "row", "start", "words", "language", "checksum")]
)
_AFTER_KEY = Struct("<6I")


# Where a record is, and what a check of it needs: number of the shard within the series, of the record within the
# shard, of its first row in the shard's `emissions`; words T; position of the language among the shard's; checksum.
# (Not a class with names: to make one takes longer than to look it up.)
Location = Tuple[int, int, int, int, int, int]


def make_index(path: Path, writer: str, shards: Sequence[ShardEntry], teacher: Teacher) -> Tuple[IndexEntry, bytes]:
    """
    The index of a series, from its shards.

    # Parameters

    path : `Path`
        Directory of the store.
    writer : `str`
        Name of the series.
    shards : `Sequence[ShardEntry]`
        All its shards in order; at least one.
    teacher : `Teacher`

    # Returns

    `Tuple[IndexEntry, bytes]` : what the manifest says of the index, and the content of its file.

    # Raises

    `ConfigurationError` : for a shard that is missing, truncated or altered.
    """
    entries = np.empty(sum(shard.sentences for shard in shards), dtype=_ENTRY)
    first = 0
    for number, shard in enumerate(shards):
        found = read_shard_index(OpenFile(path / shard.file), shard, teacher)
        _fill(entries[first : first + shard.sentences], number, found)
        first += shard.sentences
    entries = _sorted(entries)
    bits = _bits(len(entries))
    # (number of buckets + 1,)
    starts = np.searchsorted(_prefixes(entries["key"], bits), np.arange((1 << bits) + 1, dtype=np.uint64))
    # (N, bytes)
    raw = entries.view(np.uint8).reshape(-1, ENTRY_BYTES)
    checksums = [zlib.crc32(raw[begin:end]) for begin, end in pairwise(starts.tolist())]
    arrays: Dict[str, np.ndarray] = {
        "starts": starts.astype(np.uint32),
        "checksums": np.array(checksums, dtype=np.uint32),
        "entries": raw,
    }
    content = save(arrays)
    crc = checksum_of_index(content, arrays, _HEAD_ARRAYS)
    return IndexEntry(index_file(writer, len(shards)), len(content), len(entries), crc), content


def _fill(entries: np.ndarray, number: int, shard: ShardIndex) -> None:
    entries["key"] = np.ascontiguousarray(shard.keys).view(("V", KEY_BYTES))[:, 0]
    entries["shard"] = number
    entries["row"] = np.arange(len(entries))
    entries["start"] = shard.offsets[:-1]
    entries["words"] = np.diff(shard.offsets)
    entries["language"] = shard.languages
    entries["checksum"] = shard.checksums


def _sorted(entries: np.ndarray) -> np.ndarray:
    """By key; of equal keys the first stays."""
    # (N, 2)
    halves = np.ascontiguousarray(entries["key"]).view(">u8").reshape(-1, 2).astype(np.uint64)
    order = np.lexsort((halves[:, 1], halves[:, 0]))
    halves = halves[order]
    first = np.ones(len(entries), dtype=bool)
    first[1:] = (halves[1:] != halves[:-1]).any(axis=1)
    return entries[order[first]]


def _bits(entries: int) -> int:
    """How many bits of a key say in which bucket it is."""
    return ((max(entries, 1) - 1) // BUCKET_ENTRIES).bit_length()


def _prefixes(keys: np.ndarray, bits: int) -> np.ndarray:
    """The first `bits` bits of each key, as numbers."""
    tops = np.ascontiguousarray(keys).view(">u4").reshape(-1, 4)[:, 0].astype(np.uint64)
    return tops >> np.uint64(32 - bits)


class SeriesIndex:
    """
    The index of one series, for looking up.

    Opening checks the table of buckets, and a look-up the bucket that it reads.

    # Parameters

    path : `Path`
        Directory of the store.
    writer : `str`
        Name of the series.
    entry : `IndexEntry`, optional
        What the manifest says of its index; without, one is made in memory, 40 bytes a sentence.
    shards : `Sequence[ShardEntry]`
        All shards of the series.
    teacher : `Teacher`

    # Raises

    `ConfigurationError` : for an index that is missing, truncated or altered.
    """

    def __init__(
        self,
        path: Path,
        writer: str,
        entry: Optional[IndexEntry],
        shards: Sequence[ShardEntry],
        teacher: Teacher,
    ) -> None:
        # Open as long as it is in use: where sentences are added to the store, an index of all takes its place.
        if entry is None:
            entry, content = make_index(path, writer, shards, teacher)
            file: FileBytes = MemoryFile(content, path / entry.file)
        else:
            file = OpenFile(path / entry.file)
        refuse_other_size(file, entry.bytes)
        self._file = file
        self._sentences = entry.sentences
        bits = _bits(entry.sentences)
        expected = {
            "starts": ("U32", ((1 << bits) + 1,)),
            "checksums": ("U32", (1 << bits,)),
            "entries": ("U8", (entry.sentences, ENTRY_BYTES)),
        }
        head, places = read_arrays(file, expected, _HEAD_ARRAYS, entry.head_crc32)
        self._bits, self._shift = bits, 32 - bits
        # What is read one by one is read from here in a third of the time.
        self._starts, self._checksums = (array("I", head[name].tobytes()) for name in _HEAD_ARRAYS)
        self._place = places["entries"]
        self._last = (-1, b"")

    def __len__(self) -> int:
        """Number of sentences."""
        return self._sentences

    def find(self, key: bytes) -> Optional[Location]:
        """
        Where the record of a sentence is, or `None`.

        # Raises

        `ConfigurationError` : for an index that was altered where it is read.
        """
        bucket = int.from_bytes(key[:4], "big") >> self._shift
        number, entries = self._last
        if number != bucket:
            entries = self._read(bucket)
            self._last = (bucket, entries)
        position = entries.find(key)
        while position % ENTRY_BYTES and position >= 0:
            # By chance the same bytes stand across entries.
            position = entries.find(key, position + 1)
        return _AFTER_KEY.unpack_from(entries, position + KEY_BYTES) if position >= 0 else None

    def keys(self, prefix: int, bits: int) -> np.ndarray:
        """
        The keys whose first `bits` bits are `prefix`, ascending: of type "S16", shape (n,).

        # Raises

        `ConfigurationError` : for an index that was altered where it is read.
        """
        if bits <= self._bits:
            finer = self._bits - bits
            buckets = range(prefix << finer, (prefix + 1) << finer)
        else:
            bucket = prefix >> (bits - self._bits)
            buckets = range(bucket, bucket + 1)
        raw = b"".join(map(self._read, buckets))
        keys = np.frombuffer(raw, dtype=_ENTRY)["key"]
        return np.ascontiguousarray(keys[_prefixes(keys, bits) == prefix]).view(("S", KEY_BYTES))

    def _read(self, bucket: int) -> bytes:
        start = self._starts[bucket]
        size = (self._starts[bucket + 1] - start) * ENTRY_BYTES
        raw = self._file.read(size, self._place + start * ENTRY_BYTES)
        if zlib.crc32(raw) != self._checksums[bucket]:
            raise ConfigurationError(
                f"{self._file.path} was altered: bucket {bucket:,} does not have its checksum. {INDEX_REMEDY}"
            )
        return raw
