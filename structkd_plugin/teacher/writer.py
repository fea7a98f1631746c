"""Writing a teacher store: shard by shard, so that a kill at any moment loses the unfinished shard alone."""

import zlib
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Type

import numpy as np
import torch
from allennlp.common.checks import ConfigurationError
from filelock import FileLock, Timeout
from safetensors.numpy import save

from structkd_plugin.teacher.format import (
    ENCODINGS,
    INDEX_ARRAYS,
    KINDS,
    MAX_LABELS_WITH_K_BEST,
    START_LOCK,
    TABLE_NAMES,
    TABLES_FILE,
    WRITER_NAME,
    Manifest,
    ShardEntry,
    Teacher,
    agreed_calibration,
    checksum_of_index,
    index_file,
    manifest_file,
    read_manifests,
    read_shard_keys,
    record_crc32,
    shard_file,
    write_and_rename,
)
from structkd_plugin.teacher.parts import Part, without_part
from structkd_plugin.teacher.series_index import SeriesIndex, make_index

# Rows and words of a shard are counted in 32 bits by the index.
MOST_WORDS_OF_A_SHARD = 2**32 - 1
# How long one writer's start may keep others from starting: it reads manifests.
_START_SECONDS = 60


class Record(NamedTuple):
    """What the teacher says of one sentence."""

    key: str  # 32 hexadecimal digits
    language: str
    words: Sequence[str]  # not stored; an error shows the sentence
    emissions: np.ndarray  # float32, shape (T, L), columns in the order of the teacher's labels
    # Where the store holds the K best labellings: best first, computed from the emissions as they are stored.
    k_best_tags: Optional[np.ndarray] = None  # integers, shape (T, K), positions among the teacher's labels
    k_best_scores: Optional[np.ndarray] = None  # float32, shape (K,), nats; −inf where there are fewer than K


class TeacherStoreWriter:
    """
    Adds one writer's series of shards to a store, or goes on with it.

    Several writers, each with a name of its own, may add to one store at the same time: each has its own files.
    A context manager; what was committed stays on leaving it, and `finish` says that nothing is to come.

    # Parameters

    path : `str`
        Directory of the store; made if there is none.
    teacher : `Teacher`
        Who the records are from. Must be who the store's records are from already.
    tables : `Dict[str, torch.Tensor]`
        float32 `transitions` (L, L), `start_transitions` (L,), `end_transitions` (L,); zeros for a softmax tagger.
    reader : `Dict[str, Any]`
        Settings of the reader, kept in the manifest for the record.
    writer : `str`, optional (default = "main")
        Name of the series.
    part : `Part`, optional
        The part of the sentences that this writer takes, where several share the work: the store opens when all parts
        are complete. The part's numbers are added to the name of the series.

    # Raises

    `ConfigurationError` : for a directory that is of something else, of another teacher, in use by a writer of the same
        name, damaged, or not writable.
    """

    def __init__(
        self,
        path: str,
        teacher: Teacher,
        tables: Dict[str, torch.Tensor],
        reader: Dict[str, Any],
        writer: str = "main",
        part: Optional[Part] = None,
    ) -> None:
        writer = writer if part is None else part.writer(writer)
        if not WRITER_NAME.fullmatch(writer):
            raise ConfigurationError(
                f"{writer!r} is no name for a writer: use up to 64 letters, digits, hyphens and underscores."
            )
        if teacher.encoding not in ENCODINGS:
            raise ConfigurationError(f"encoding is {teacher.encoding!r}; choose one of {', '.join(ENCODINGS)}.")
        if teacher.kind not in KINDS:
            raise ConfigurationError(f"kind is {teacher.kind!r}; choose one of {', '.join(KINDS)}.")
        if teacher.k_best < 0:
            raise ConfigurationError(f"k_best is {teacher.k_best}; it is how many labellings to store, 0 for none.")
        if teacher.k_best and len(teacher.labels) > MAX_LABELS_WITH_K_BEST:
            raise ConfigurationError(
                f"the teacher has {len(teacher.labels):,} labels, and the K best labellings can be stored of "
                f"{MAX_LABELS_WITH_K_BEST:,} at most. Capture without --k-best."
            )
        self._path = Path(path)
        self._writer = writer
        self._part = part
        with self._writing():
            self._path.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(str(self._path / f".lock.{writer}"))
        self._refuse_foreign_directory()
        try:
            with self._writing():
                self._lock.acquire(timeout=0)
        except Timeout:
            raise ConfigurationError(
                f"{path} is being written by another process. Wait for it, or give this one a writer name of its own."
            ) from None
        try:
            with self._writing(), FileLock(str(self._path / START_LOCK), timeout=_START_SECONDS):
                self._manifest, others = self._start(teacher, tables, reader)
            self._committed = {
                key.tobytes()
                for shard in self._manifest.shards
                for key in read_shard_keys(self._path, shard, self._manifest.teacher)
            }
            self._others = self._indexes(others)
        except Timeout:
            self._lock.release()
            raise ConfigurationError(f"{path} is being begun by another process. Try again.") from None
        except BaseException:
            self._lock.release()
            raise

    def _start(
        self, teacher: Teacher, tables: Dict[str, torch.Tensor], reader: Dict[str, Any]
    ) -> Tuple[Manifest, List[Manifest]]:
        """The manifest of this series, begun or gone on with, and those of the others."""
        for leftover in self._path.glob(f"*.{self._writer}.tmp"):
            leftover.unlink()
        # A series of this name that was begun and holds nothing, say because a file was not found, binds nobody.
        manifests = [
            manifest for manifest in read_manifests(self._path) if manifest.shards or manifest.writer != self._writer
        ]
        for other in manifests:
            differences = teacher.differences(other.teacher)
            if differences:
                same = teacher.fingerprint == other.teacher.fingerprint
                what = "was captured with other settings" if same else "is the store of another teacher"
                raise ConfigurationError(
                    f"{self._path} {what}: {'; '.join(differences)} as in the store. "
                    "Capture into a directory of its own."
                )
        content = save({name: _as_table(tables[name]) for name in TABLE_NAMES})
        tables_crc32 = zlib.crc32(content)
        if not manifests:
            write_and_rename(self._path / TABLES_FILE, content, self._writer)
        others = [manifest for manifest in manifests if manifest.writer != self._writer]
        if len(others) < len(manifests):
            [own] = [manifest for manifest in manifests if manifest.writer == self._writer]
            if (own.part, own.parts) != (tuple(self._part) if self._part else (None, None)):
                raise ConfigurationError(
                    f"{self._path} has a series {self._writer!r} that is of {'no part' if self._part else 'a part'}. "
                    "Give this writer another name."
                )
            return own, others
        manifest = Manifest(
            writer=self._writer,
            complete=False,
            teacher=teacher,
            reader=reader,
            tables_crc32=tables_crc32,
            sentences={},
            words={},
            shards=(),
            part=self._part and self._part.number,
            parts=self._part and self._part.parts,
            # Of the same teacher, so that it holds for what is added too.
            calibration=agreed_calibration(self._path, others),
        )
        self._write_manifest(manifest)
        return manifest, others

    def _indexes(self, others: Sequence[Manifest]) -> List[Tuple[Optional[Part], SeriesIndex]]:
        """
        Of the other series those whose sentences need no other capture, with the part that each takes.

        Only those that are complete, and none that shares the work with this one, which has other sentences: what is
        there already must not depend on how far another process has come.
        """
        indexes = []
        for other in others:
            part = None if other.part is None or other.parts is None else Part(other.part, other.parts)
            shares = part is not None and self._part is not None and part.parts == self._part.parts
            if shares and without_part(other.writer) == without_part(self._writer):
                continue
            if other.complete:
                indexes.append((part, SeriesIndex(self._path, other.writer, other.index, other.shards, other.teacher)))
        return indexes

    def __enter__(self) -> "TeacherStoreWriter":
        return self

    def __exit__(
        self,
        exception_type: Optional[Type[BaseException]],
        exception: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self._lock.release()

    def __contains__(self, key: str) -> bool:
        """Whether the store has the sentence already: this series has it, or another had when this writer began."""
        binary = bytes.fromhex(key)
        return binary in self._committed or any(
            index.find(binary) is not None for part, index in self._others if part is None or part.takes(binary)
        )

    def commit(self, records: Sequence[Record]) -> None:
        """
        Write one shard and put it in the manifest; once this returns, the records survive whatever comes.

        # Raises

        `ConfigurationError` : for emissions or labellings that cannot be stored, with the sentence, and when writing
            fails.
        `ValueError` : for a record that is not of this writer's part.
        """
        if not records:
            return
        for record in records:
            if self._part is not None and not self._part.takes(bytes.fromhex(record.key)):
                raise ValueError(f"the sentence {_show(record)} is not in {self._part}")
        if sum(len(record.words) for record in records) > MOST_WORDS_OF_A_SHARD:
            raise ConfigurationError(
                f"a shard holds at most {MOST_WORDS_OF_A_SHARD:,} words. Lower --sentences-per-shard."
            )
        records = sorted(records, key=lambda record: record.key)
        teacher = self._manifest.teacher
        encoded = [encode_emissions(record, teacher.labels, teacher.encoding) for record in records]
        k_best = [_encode_k_best(record, teacher) for record in records]
        languages = sorted({record.language for record in records})
        keys = [bytes.fromhex(record.key) for record in records]
        arrays: Dict[str, np.ndarray] = {
            "keys": np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(records), -1),
            "offsets": np.cumsum([0] + [len(emissions) for emissions in encoded], dtype=np.int64),
            "languages": np.array([languages.index(record.language) for record in records], dtype=np.uint16),
            "checksums": np.array(
                [
                    record_crc32(key, record.language, len(emissions), emissions, *best)
                    for key, record, emissions, best in zip(keys, records, encoded, k_best, strict=True)
                ],
                dtype=np.uint32,
            ),
            "emissions": np.concatenate(encoded),
        }
        if teacher.k_best:
            arrays["k_best_tags"] = np.concatenate([tags for tags, _ in k_best])
            arrays["k_best_scores"] = np.stack([scores for _, scores in k_best])
        file = self._path / shard_file(self._writer, len(self._manifest.shards))
        content = save(arrays)
        with self._writing():
            write_and_rename(file, content, self._writer)
        entry = ShardEntry(
            file=file.name,
            bytes=len(content),
            sentences=len(records),
            words=len(arrays["emissions"]),
            languages=tuple(languages),
            index_crc32=checksum_of_index(content, arrays, INDEX_ARRAYS),
        )
        sentences, words = dict(self._manifest.sentences), dict(self._manifest.words)
        for record in records:
            sentences[record.language] = sentences.get(record.language, 0) + 1
            words[record.language] = words.get(record.language, 0) + len(record.emissions)
        self._write_manifest(
            replace(
                self._manifest,
                complete=False,
                index=None,
                sentences=sentences,
                words=words,
                shards=(*self._manifest.shards, entry),
            )
        )
        self._committed.update(keys)

    def finish(self) -> None:
        """Write the index of this series, and say that it is complete: without that the store does not open."""
        if not self._manifest.complete or self._index_is_gone():
            index = None
            if self._manifest.shards:
                index, content = make_index(self._path, self._writer, self._manifest.shards, self._manifest.teacher)
                with self._writing():
                    write_and_rename(self._path / index.file, content, self._writer)
            self._write_manifest(replace(self._manifest, complete=True, index=index))
        # Those of fewer shards.
        named = self._manifest.index and self._manifest.index.file
        for file in self._path.glob(index_file(self._writer, 0).replace("00000", "*")):
            if file.name != named:
                with self._writing():
                    file.unlink(missing_ok=True)

    def _index_is_gone(self) -> bool:
        index = self._manifest.index
        if index is None:
            # Earlier versions wrote none.
            return bool(self._manifest.shards)
        file = self._path / index.file
        return not file.exists() or file.stat().st_size != index.bytes

    def _write_manifest(self, manifest: Manifest) -> None:
        with self._writing():
            write_and_rename(self._path / manifest_file(self._writer), manifest.to_bytes(), self._writer)
        self._manifest = manifest

    def _refuse_foreign_directory(self) -> None:
        ours = ("manifest.", "shard.", "index.", "tables.")
        # Hidden files are marks of workflow engines and file managers.
        names = (file.name for file in self._path.iterdir() if not file.name.startswith("."))
        foreign = sorted(name for name in names if not name.startswith(ours))
        if foreign:
            raise ConfigurationError(
                f"{self._path} is not a teacher store: it holds {foreign[0]!r}. Name a new or empty directory."
            )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except Timeout:  # which is an OSError too
            raise
        except OSError as error:
            raise ConfigurationError(
                f"cannot write the teacher store {self._path}: {error.strerror or error}. "
                "What was committed before is intact."
            ) from error


def _as_table(table: torch.Tensor) -> np.ndarray:
    return table.detach().to(device="cpu", dtype=torch.float32).contiguous().numpy()


def encode_emissions(record: Record, labels: Sequence[str], encoding: str) -> np.ndarray:
    """
    The emissions as they are stored, after a check that they can be.

    # Parameters

    record : `Record`
    labels : `Sequence[str]`
        The teacher's L labels in the order of the columns.
    encoding : `str`
        "float16" or "float32".

    # Returns

    `numpy.ndarray` : of the type `encoding`, shape (T, L).

    # Raises

    `ConfigurationError` : for another shape, NaN, +inf, and numbers that float16 cannot hold, with the sentence.
    """
    emissions = np.asarray(record.emissions)
    if emissions.shape != (len(record.words), len(labels)) or not record.words:
        raise ConfigurationError(
            f"the emissions of the sentence {_show(record)} have shape {emissions.shape}, "
            f"not (words, labels) = {(len(record.words), len(labels))}."
        )
    # What float16 cannot hold becomes infinite, and is refused below.
    with np.errstate(over="ignore"):
        encoded = np.ascontiguousarray(emissions, dtype=encoding)
    _refuse(record, labels, np.isnan(emissions), "NaN")
    _refuse(record, labels, np.isposinf(emissions), "+inf")
    _refuse(
        record,
        labels,
        np.isinf(encoded) & np.isfinite(emissions),
        "a number that float16 cannot hold (use --encoding float32)",
    )
    return encoded


def _encode_k_best(record: Record, teacher: Teacher) -> Tuple[np.ndarray, np.ndarray]:
    """Tags (T, K), int16, and scores (K,), float32, as they are stored, after a check that they can be."""
    words, k = len(record.words), teacher.k_best
    tags = np.empty((words, 0)) if record.k_best_tags is None else np.asarray(record.k_best_tags)
    scores = np.empty(0) if record.k_best_scores is None else np.asarray(record.k_best_scores)
    if tags.shape != (words, k) or scores.shape != (k,):
        raise ConfigurationError(
            f"the best labellings of the sentence {_show(record)} have tags of shape {tags.shape} and scores of shape "
            f"{scores.shape}, not (words, K) = {(words, k)} and (K,) = {(k,)}."
        )
    if not np.all((tags >= 0) & (tags < len(teacher.labels))) or not np.all(scores < np.inf):
        raise ConfigurationError(
            f"the best labellings of the sentence {_show(record)} have a tag that is not the position of one of the "
            f"{len(teacher.labels)} labels, or a score that is NaN or +inf."
        )
    return np.ascontiguousarray(tags, dtype=np.int16), np.ascontiguousarray(scores, dtype=np.float32)


def _refuse(record: Record, labels: Sequence[str], wrong: np.ndarray, what: str) -> None:
    if wrong.any():
        word, label = np.argwhere(wrong)[0].tolist()
        raise ConfigurationError(
            f"the teacher gives {what} for the label {labels[label]!r} of the word {record.words[word]!r} (number "
            f"{word + 1}) in the {record.language!r} sentence {_show(record)}."
        )


def _show(record: Record) -> str:
    return repr(" ".join(record.words))
