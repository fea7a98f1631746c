"""Reading a teacher store: open, check, and find records by key."""

import os
import zlib
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from allennlp.common.checks import ConfigurationError
from safetensors.torch import load

from structkd_plugin.teacher.format import (
    KEY_BYTES,
    REMEDY,
    TABLE_NAMES,
    TABLES_FILE,
    Calibration,
    IndexEntry,
    Manifest,
    ShardEntry,
    agreed_calibration,
    manifest_file,
    read_manifests,
    read_shard_index,
    record_head,
)
from structkd_plugin.teacher.open_files import DirectoryFiles, OpenFile
from structkd_plugin.teacher.parts import part_number, without_part
from structkd_plugin.teacher.series_index import INDEX_REMEDY, Location, SeriesIndex

# Keys are listed in pieces of about this size.
_KEYS_AT_ONCE = 2**16
_TAGS, _SCORES = np.dtype("<i2"), np.dtype("<f4")
_NO_SCORES: np.ndarray = np.ndarray((0,), _SCORES, b"")


class Tables(NamedTuple):
    """What a teacher scores besides single words; float32, in the teacher's label order, 0 for a softmax tagger."""

    transitions: torch.Tensor  # (L, L), [from, to]
    start_transitions: torch.Tensor  # (L,)
    end_transitions: torch.Tensor  # (L,)


class StoredRecord(NamedTuple):
    """What the store has of one sentence; the arrays are read only."""

    emissions: np.ndarray  # (T, L), float16 or float32 as stored, columns in the order of the store's labels
    # Of the K best labellings, best first; K is 0 in a store without.
    k_best_tags: np.ndarray  # (T, K), int16, positions among the store's labels
    k_best_scores: np.ndarray  # (K,), float32, nats; −inf where there are fewer than K


class _Series(NamedTuple):
    """What one writer wrote."""

    number: int  # in the order of the manifests
    table: SeriesIndex
    first_shard: int  # its number among the shards of the store


class TeacherStore:
    """
    A teacher's potentials, and its K best labellings if captured, by sentence key, on disk, read only.

    Opening checks manifests, tables, the heads of the indexes, and that all files are there in their size; each shard
    is checked when it is first read from, each piece of an index and each record whenever it is read: no altered bit
    goes unnoticed in what is used. Nothing is mapped into memory, and nothing that was read is kept there.

    Made by `TeacherStore.open`.
    """

    def __init__(self, path: Path, manifests: Sequence[Manifest]) -> None:
        self.path = path
        self._teacher = manifests[0].teacher
        self._calibration = agreed_calibration(path, manifests)
        self._shards: List[ShardEntry] = [shard for manifest in manifests for shard in manifest.shards]
        self._tables = _read_tables(path, manifests)
        self._files = DirectoryFiles(path)
        _check_sizes(path, manifests)
        # Number of parts -> the series that may have the sentences of each; those of one writer are one part of one.
        self._series: Dict[int, List[List[_Series]]] = {}
        first_shard = 0
        for number, manifest in enumerate(manifests):
            index = SeriesIndex(path, manifest.writer, manifest.index, manifest.shards, self._teacher)
            parts = manifest.parts or 1
            by_part = self._series.setdefault(parts, [[] for _ in range(parts)])
            by_part[(manifest.part or 1) - 1].append(_Series(number, index, first_shard))
            first_shard += len(manifest.shards)
        series = [one for by_part in self._series.values() for of_part in by_part for one in of_part]
        # There is mostly one, in which everything is looked up at once.
        self._only = series[0] if len(series) == 1 else None
        self._languages = tuple(sorted({language for shard in self._shards for language in shard.languages}))
        self._length: Optional[int] = None
        self._dtype = np.dtype(self._teacher.encoding).newbyteorder("<")
        # Shard -> where its records begin, once it was checked.
        self._places: Dict[int, Dict[str, int]] = {}

    @classmethod
    def open(cls, path: str) -> "TeacherStore":
        """
        The store in the directory `path`.

        # Raises

        `ConfigurationError` : for a directory that is not a store, one of another format version, a capture that is
            not complete, manifests that differ in teacher or calibration, a shard that is missing or truncated, and
            for altered manifests, tables or shards; each with the file and what to do.
        """
        directory = Path(path)
        if not directory.is_dir():
            raise ConfigurationError(
                f"{path} is not a teacher store: there is no such directory. "
                "Make one with `allennlp cache-teacher ARCHIVE FILES... --output STORE`."
            )
        manifests = read_manifests(directory)
        if not manifests:
            raise ConfigurationError(
                f"{path} is not a teacher store: it holds no {manifest_file('*')}. "
                "Make one with `allennlp cache-teacher ARCHIVE FILES... --output STORE`."
            )
        refuse_missing_parts(path, manifests)
        for manifest in manifests:
            if not manifest.complete:
                raise ConfigurationError(
                    f"{path} is not complete: the capture by the writer {manifest.writer!r} was broken off after "
                    f"{sum(manifest.sentences.values())} sentences. Run the same `allennlp cache-teacher` again; "
                    "it goes on where it stopped."
                )
            differences = manifest.teacher.differences(manifests[0].teacher)
            if differences:
                raise ConfigurationError(
                    f"{path} mixes two teachers: in {manifest_file(manifest.writer)} {'; '.join(differences)} as in "
                    f"{manifest_file(manifests[0].writer)}. Capture each into a directory of its own."
                )
        return cls(directory, manifests)

    def __reduce__(self) -> Tuple[Any, ...]:
        # Another process opens the files itself.
        return (TeacherStore.open, (str(self.path),))

    def __len__(self) -> int:
        """Number of sentences."""
        if self._length is None:
            # What several series have counts once.
            self._length = len(self._only.table) if self._only is not None else sum(map(len, self._key_pieces()))
        return self._length

    @property
    def labels(self) -> Tuple[str, ...]:
        """The L labels in the order of the stored columns."""
        return self._teacher.labels

    @property
    def languages(self) -> Tuple[str, ...]:
        """Languages there are sentences of, sorted."""
        return self._languages

    @property
    def fingerprint(self) -> str:
        """Which teacher it is: 64 hexadecimal digits."""
        return self._teacher.fingerprint

    @property
    def kind(self) -> str:
        """ "potentials" (a CRF) or "log_probabilities" (a softmax tagger)."""
        return self._teacher.kind

    @property
    def label_encoding(self) -> Optional[str]:
        """Scheme of the labels, such as "BIO", or none."""
        return self._teacher.label_encoding

    @property
    def legal_k_best(self) -> int:
        """K of the K best labellings legal under `label_encoding` that each record has; 0 where it has none of them."""
        return self._teacher.k_best if self._teacher.k_best_scheme == self._teacher.label_encoding else 0

    @property
    def calibration(self) -> Optional[Calibration]:
        """What `allennlp calibrate-teacher` found, none before it was run. What the store returns is not tempered."""
        return self._calibration

    @property
    def tables(self) -> Tables:
        """The teacher's tables, float32, in its label order."""
        return self._tables

    def keys(self) -> Iterator[str]:
        """All keys, ascending."""
        for piece in self._key_pieces():
            for key in piece.view(np.uint8).reshape(-1, KEY_BYTES):
                yield key.tobytes().hex()

    def contains(self, keys: Sequence[str]) -> np.ndarray:
        """Which of `keys` have a record: boolean, shape (len(keys),). Reads the index alone."""
        wanted = _keys_from_hex(keys)
        found = np.zeros(len(wanted), dtype=bool)
        # In the order in which they are in the index.
        for position in sorted(range(len(wanted)), key=wanted.__getitem__):
            found[position] = self._locate(wanted[position]) is not None
        return found

    def get(self, key: str, num_words: Optional[int] = None) -> Optional[StoredRecord]:
        """`get_batch` for one key."""
        return self.get_batch([key], None if num_words is None else [num_words])[0]

    def get_batch(self, keys: Sequence[str], num_words: Optional[Sequence[int]] = None) -> List[Optional[StoredRecord]]:
        """
        The records of some sentences.

        # Parameters

        keys : `Sequence[str]`
            Sentence keys, 32 hexadecimal digits each.
        num_words : `Sequence[int]`, optional
            The sentences' lengths; a record of another length is refused.

        # Returns

        `List[Optional[StoredRecord]]` : for each key the record; `None` where the store has no such sentence.

        # Raises

        `ConfigurationError` : for a record that was altered.
        `RecordLengthError` : for a record of another length than `num_words` says.
        """
        shards, files, places = self._shards, self._files, self._places
        dtype, labels, k, crc32 = self._dtype, len(self._teacher.labels), self._teacher.k_best, zlib.crc32
        row_bytes = dtype.itemsize * labels
        records: List[Optional[StoredRecord]] = []
        for position, key in enumerate(_keys_from_hex(keys)):
            located = self._locate(key)
            if located is None:
                records.append(None)
                continue
            first_shard, (shard, row, start, words, language, checksum) = located
            number = first_shard + shard
            entry = shards[number]
            file = files[entry.file]
            place = places.get(number) or self._check(number, file)
            size = words * row_bytes
            try:
                emissions = os.pread(file.descriptor, size, place["emissions"] + start * row_bytes)
            except OSError:
                emissions = b""
            if len(emissions) < size:
                # Again, with all that can be said of what is wrong.
                emissions = file.read(size, place["emissions"] + start * row_bytes)
            crc = crc32(emissions, crc32(record_head(key, entry.languages[language], words)))
            tags = scores = b""
            if k:
                tags = file.read(words * 2 * k, place["k_best_tags"] + start * 2 * k)
                scores = file.read(4 * k, place["k_best_scores"] + row * 4 * k)
                crc = crc32(scores, crc32(tags, crc))
            if crc != checksum:
                raise ConfigurationError(
                    f"{file.path} was altered: the record of the sentence with key {keys[position]} does not have its "
                    "checksum. Restore the file, or capture again."
                )
            if num_words is not None and words != num_words[position]:
                raise RecordLengthError(position, words)
            # Of bytes, which makes them read only.
            records.append(
                StoredRecord(
                    np.ndarray((words, labels), dtype, emissions),
                    np.ndarray((words, k), _TAGS, tags),
                    np.ndarray((k,), _SCORES, scores) if k else _NO_SCORES,
                )
            )
        return records

    def _locate(self, key: bytes) -> Optional[Tuple[int, Location]]:
        """The first shard of the record's series, and where in the series it is; `None` where there is no record."""
        if self._only is not None:
            location = self._only.table.find(key)
            return None if location is None else (0, location)
        for series in self._series_of(key):
            location = series.table.find(key)
            if location is not None:
                return series.first_shard, location
        return None

    def _series_of(self, key: bytes) -> Sequence[_Series]:
        """Those that may have a sentence, in the order of the manifests: the first that has it counts."""
        if len(self._series) == 1:
            [(parts, by_part)] = self._series.items()
            return by_part[part_number(key, parts) - 1]
        return sorted(one for parts, by_part in self._series.items() for one in by_part[part_number(key, parts) - 1])

    def _check(self, number: int, file: OpenFile) -> Dict[str, int]:
        """Where the arrays of a shard begin, after a check of all of it but the records."""
        places = self._places[number] = read_shard_index(file, self._shards[number], self._teacher).places
        return places

    def _key_pieces(self) -> Iterator[np.ndarray]:
        """All keys, ascending, in pieces of type "S16"."""
        series = [one for by_part in self._series.values() for of_part in by_part for one in of_part]
        bits = (sum(len(one.table) for one in series) // _KEYS_AT_ONCE).bit_length()
        for prefix in range(1 << bits):
            yield np.unique(np.concatenate([one.table.keys(prefix, bits) for one in series]))


class RecordLengthError(Exception):
    """A record has another number of words than the sentence it is asked for; who has the sentence can show it."""

    def __init__(self, position: int, num_words: int) -> None:
        super().__init__(f"the record at position {position} of the batch has {num_words} words")
        self.position = position
        self.num_words = num_words


def _keys_from_hex(keys: Sequence[str]) -> List[bytes]:
    if any(len(key) != 2 * KEY_BYTES for key in keys):
        raise ValueError(f"a sentence key has {2 * KEY_BYTES} hexadecimal digits; got one that has not")
    joined = bytes.fromhex("".join(keys))
    return [joined[i : i + KEY_BYTES] for i in range(0, len(joined), KEY_BYTES)]


def refuse_missing_parts(path: str, manifests: Sequence[Manifest]) -> None:
    """Raise `ConfigurationError` where the manifests of the store `path` are not of all parts of a capture."""
    there: Dict[Tuple[str, int], List[int]] = {}
    for manifest in manifests:
        if manifest.part is not None and manifest.parts is not None:
            there.setdefault((without_part(manifest.writer), manifest.parts), []).append(manifest.part)
    for (writer, parts), numbers in there.items():
        missing = [str(number) for number in range(1, parts + 1) if number not in numbers]
        if missing:
            listed = " and ".join(filter(None, [", ".join(missing[:-1]), missing[-1]]))
            raise ConfigurationError(
                f"{path} is not complete: part{'s' if len(missing) > 1 else ''} {listed} of {parts} of the capture by "
                f"the writer {writer!r} {'are' if len(missing) > 1 else 'is'} missing. Run the same `allennlp "
                f"cache-teacher` with --part {missing[0]}/{parts}{' and so on' if len(missing) > 1 else ''}."
            )


def _read_tables(path: Path, manifests: Sequence[Manifest]) -> Tables:
    file = OpenFile(path / TABLES_FILE)
    raw = file.read(file.size, 0)
    if any(zlib.crc32(raw) != manifest.tables_crc32 for manifest in manifests):
        raise ConfigurationError(
            f"{file.path} was altered: it does not have the checksum that the manifest gives. Restore it, or capture "
            "again."
        )
    tables = load(raw)
    return Tables(*(tables[name] for name in TABLE_NAMES))


def _check_sizes(path: Path, manifests: Sequence[Manifest]) -> None:
    with os.scandir(path) as entries:
        sizes = {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
    for manifest in manifests:
        index: List[Union[ShardEntry, IndexEntry]] = [] if manifest.index is None else [manifest.index]
        for listed in index + list(manifest.shards):
            file, remedy = path / listed.file, REMEDY if isinstance(listed, ShardEntry) else INDEX_REMEDY
            if listed.file not in sizes:
                raise ConfigurationError(
                    f"{file} is missing: the manifest counts {listed.sentences} sentences in it. {remedy}"
                )
            if sizes[listed.file] != listed.bytes:
                raise ConfigurationError(
                    f"{file} is truncated or was altered: it has {sizes[listed.file]} bytes, the manifest says "
                    f"{listed.bytes}. {remedy}"
                )
