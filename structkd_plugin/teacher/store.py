"""Reading a teacher store: open, check, and find records by key."""

import os
import zlib
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from allennlp.common.checks import ConfigurationError
from safetensors import safe_open
from safetensors.torch import load

from structkd_plugin.teacher.format import (
    KEY_BYTES,
    TABLE_NAMES,
    TABLES_FILE,
    Calibration,
    Manifest,
    ShardEntry,
    Teacher,
    agreed_calibration,
    manifest_file,
    read_shard_keys,
    record_crc32,
)

# Compared byte by byte, like the keys themselves.
_KEY = np.dtype(("S", KEY_BYTES))


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


class _Shard(NamedTuple):
    """One shard, mapped into memory: the system reads from disk what is touched, and drops it at will."""

    offsets: np.ndarray  # (N + 1,), int64: record i has the rows offsets[i] to offsets[i + 1]
    languages: np.ndarray  # (N,), uint16, index into the shard's languages
    checksums: np.ndarray  # (N,), uint32
    emissions: np.ndarray  # (W, L)
    k_best_tags: np.ndarray  # (W, K), int16
    k_best_scores: np.ndarray  # (N, K), float32

    def record(self, row: int) -> StoredRecord:
        """Record number `row`."""
        words = slice(self.offsets[row], self.offsets[row + 1])
        return StoredRecord(self.emissions[words], self.k_best_tags[words], self.k_best_scores[row])


class TeacherStore:
    """
    A teacher's potentials, and its K best labellings if captured, by sentence key, on disk, read only.

    Opening checks everything but the records, which are checked as they are read, so that no altered bit
    goes unnoticed. A process maps the shards when it first reads from them, also after a fork. In memory stands
    the index alone: 24 bytes a sentence.

    Made by `TeacherStore.open`.
    """

    def __init__(self, path: Path, manifests: Sequence[Manifest]) -> None:
        self.path = path
        self._teacher = manifests[0].teacher
        self._calibration = agreed_calibration(path, manifests)
        self._shards: List[ShardEntry] = [shard for manifest in manifests for shard in manifest.shards]
        self._tables = _read_tables(path, manifests)
        keys, ordinals, starts = _build_index(path, self._shards, self._teacher)
        self._keys = keys  # (N,), ascending
        self._ordinals = ordinals  # (N,): position of the record among all of all shards
        self._starts = starts  # (number of shards + 1,): ordinal of each shard's first record
        self._languages = tuple(sorted({language for shard in self._shards for language in shard.languages}))
        self._maps: Dict[int, _Shard] = {}
        self._maps_pid = os.getpid()

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
        manifests = [Manifest.read(file) for file in sorted(directory.glob(manifest_file("*")))]
        if not manifests:
            raise ConfigurationError(
                f"{path} is not a teacher store: it holds no {manifest_file('*')}. "
                "Make one with `allennlp cache-teacher ARCHIVE FILES... --output STORE`."
            )
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
        return len(self._keys)

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
        for key in self._keys.view(np.uint8).reshape(-1, KEY_BYTES):
            yield key.tobytes().hex()

    def contains(self, keys: Sequence[str]) -> np.ndarray:
        """Which of `keys` have a record: boolean, shape (len(keys),). Reads the index alone."""
        return self._locate(keys) >= 0

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
        ordinals = self._locate(keys)
        shard_numbers = np.searchsorted(self._starts, ordinals, side="right") - 1
        rows = ordinals - self._starts[shard_numbers]
        records: List[Optional[StoredRecord]] = []
        for position, (ordinal, number, row) in enumerate(
            zip(ordinals.tolist(), shard_numbers.tolist(), rows.tolist(), strict=True)
        ):
            if ordinal < 0:
                records.append(None)
                continue
            shard = self._map(number)
            record = shard.record(row)
            language = self._shards[number].languages[shard.languages[row]]
            if record_crc32(bytes.fromhex(keys[position]), language, *record) != shard.checksums[row]:
                raise ConfigurationError(
                    f"{self.path / self._shards[number].file} was altered: the record of the sentence with key "
                    f"{keys[position]} does not have its checksum. Restore the file, or capture again."
                )
            if num_words is not None and len(record.emissions) != num_words[position]:
                raise RecordLengthError(position, len(record.emissions))
            records.append(record)
        return records

    def _locate(self, keys: Sequence[str]) -> np.ndarray:
        """Ordinals of the records, int64, shape (len(keys),); −1 where there is none."""
        if not len(self._keys) or not len(keys):
            return np.full(len(keys), -1, dtype=np.int64)
        wanted = _keys_from_hex(keys)
        positions = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        return np.where(self._keys[positions] == wanted, self._ordinals[positions], -1)

    def _map(self, number: int) -> _Shard:
        """Shard `number`, mapped by this very process."""
        if self._maps_pid != os.getpid():
            self._maps, self._maps_pid = {}, os.getpid()
        shard = self._maps.get(number)
        if shard is None:
            shard = _map_shard(self.path / self._shards[number].file)
            self._maps[number] = shard
        return shard


class RecordLengthError(Exception):
    """A record has another number of words than the sentence it is asked for; who has the sentence can show it."""

    def __init__(self, position: int, num_words: int) -> None:
        super().__init__(f"the record at position {position} of the batch has {num_words} words")
        self.position = position
        self.num_words = num_words


def _keys_from_hex(keys: Sequence[str]) -> np.ndarray:
    joined = "".join(keys)
    if len(joined) != 2 * KEY_BYTES * len(keys):
        raise ValueError(f"a sentence key has {2 * KEY_BYTES} hexadecimal digits; got one that has not")
    return np.frombuffer(bytes.fromhex(joined), dtype=_KEY)


def _read_tables(path: Path, manifests: Sequence[Manifest]) -> Tables:
    file = path / TABLES_FILE
    if not file.exists():
        raise ConfigurationError(f"{file} is missing. Restore it, or capture again.")
    raw = file.read_bytes()
    if any(zlib.crc32(raw) != manifest.tables_crc32 for manifest in manifests):
        raise ConfigurationError(
            f"{file} was altered: it does not have the checksum that the manifest gives. Restore it, or capture again."
        )
    tables = load(raw)
    return Tables(*(tables[name] for name in TABLE_NAMES))


def _build_index(
    path: Path, shards: Sequence[ShardEntry], teacher: Teacher
) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    parts = [read_shard_keys(path, shard, teacher).reshape(-1).view(_KEY) for shard in shards]
    starts = np.cumsum([0] + [len(part) for part in parts], dtype=np.int64)
    # Of a sentence that two writers captured, the first in the order of the shards counts.
    keys, ordinals = np.unique(np.concatenate([np.empty(0, dtype=_KEY), *parts]), return_index=True)
    return keys, ordinals.astype(np.int64), starts


def _map_shard(file: Path) -> _Shard:
    # Of the library's frameworks torch is the one whose tensors stay on disk until they are touched.
    with safe_open(file, framework="pt") as content:
        names = set(_Shard._fields).intersection(content.keys())
        arrays = {name: content.get_tensor(name).numpy() for name in names}
    # Where the store was captured without them, there are none of the K best labellings.
    arrays.setdefault("k_best_tags", np.empty((len(arrays["emissions"]), 0), dtype=np.int16))
    arrays.setdefault("k_best_scores", np.empty((len(arrays["checksums"]), 0), dtype=np.float32))
    for array in arrays.values():
        array.flags.writeable = False
    return _Shard(**arrays)
