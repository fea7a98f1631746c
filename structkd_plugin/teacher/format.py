"""
The files of a teacher store: names, manifest and checksums. docs/teacher_store.md specifies them for other languages.

    STORE/
      manifest.WRITER.json             what is committed; replaced as a whole after each shard
      tables.safetensors               transitions, start and end table of the teacher
      shard.WRITER.00000.safetensors   records, immutable

Reader and writer share this file, and nothing else.
"""

import hashlib
import json
import os
import re
import zlib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
from allennlp.common.checks import ConfigurationError
from safetensors import SafetensorError, safe_open

FORMAT_NAME = "structkd teacher store"
FORMAT_VERSION = 1

POTENTIALS = "potentials"
LOG_PROBABILITIES = "log_probabilities"
KINDS = (POTENTIALS, LOG_PROBABILITIES)

# name in configurations and manifests -> type of the array `emissions` in safetensors' words
ENCODINGS = {"float16": "F16", "float32": "F32"}

# Tags of the K best labellings are int16.
MAX_LABELS_WITH_K_BEST = 2**15 - 1

KEY_BYTES = 16
TABLES_FILE = "tables.safetensors"
TABLE_NAMES = ("transitions", "start_transitions", "end_transitions")
# In this order they go into a shard's index checksum.
INDEX_ARRAYS = ("keys", "offsets", "languages", "checksums")
WRITER_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def manifest_file(writer: str) -> str:
    """Name of the manifest of the series that `writer` wrote."""
    return f"manifest.{writer}.json"


def shard_file(writer: str, number: int) -> str:
    """Name of shard `number` (from 0) of the series that `writer` wrote."""
    return f"shard.{writer}.{number:05d}.safetensors"


@dataclass(frozen=True)
class ShardEntry:
    """What a manifest says of one shard."""

    file: str
    bytes: int
    sentences: int
    words: int
    languages: Tuple[str, ...]  # the array `languages` of the shard indexes this list
    index_crc32: int


@dataclass(frozen=True)
class Teacher:
    """
    Who the records are from: equal in every manifest of a store, and compared before anything is added to one.

    # Parameters

    fingerprint : `str`
        Hash of parameters, ordered labels, constraint and tokenisation, 64 hexadecimal digits.
    labels : `Tuple[str, ...]`
        The L labels in the order of the columns of the emissions.
    kind : `str`
        "potentials" (a CRF) or "log_probabilities" (a softmax tagger, whose tables are 0).
    label_encoding : `str`, optional
        Scheme of the labels, such as "BIO"; none for labels of words.
    constraints : `str`, optional
        Where the teacher holds its labels to the scheme: "decoding", "everywhere", or none.
    encoding : `str`
        Type of the stored emissions: "float16" or "float32".
    k_best : `int`
        K of the K best labellings that are stored with each record; 0 without.
    k_best_scheme : `str`, optional
        Scheme that those labellings keep to; none where they are taken from all labellings, and where there are none.
    """

    fingerprint: str
    labels: Tuple[str, ...]
    kind: str
    label_encoding: Optional[str]
    constraints: Optional[str]
    encoding: str
    k_best: int
    k_best_scheme: Optional[str]

    def differences(self, other: "Teacher") -> List[str]:
        """What differs, one phrase a field: `fingerprint is 'a', not 'b'`, where `self` has 'a'."""
        return [
            f"{field.name} is {getattr(self, field.name)!r}, not {getattr(other, field.name)!r}"
            for field in fields(self)
            if getattr(self, field.name) != getattr(other, field.name)
        ]


@dataclass(frozen=True)
class Calibration:
    """
    How far a teacher's probabilities are to be trusted, from development data; of the teacher, so of the whole store.

    # Parameters

    temperature : `float`
        What the potentials are to be divided by; above 0.
    reliability : `Tuple[float, ...]`
        R shares: entry r is how often the most probable label of a word was right where its probability, once the
        potentials were divided, was in [r/R, (r + 1)/R).
    """

    temperature: float
    reliability: Tuple[float, ...]

    def __post_init__(self) -> None:
        numbers = (self.temperature, *self.reliability)
        if not all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in numbers):
            raise ValueError("a calibration has a number as temperature and numbers as reliability")
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"the temperature of a calibration is a finite number above 0, not {self.temperature}")
        if not self.reliability or not all(0 <= share <= 1 for share in self.reliability):
            raise ValueError("the reliability of a calibration is at least one number, and all are from 0 to 1")


@dataclass(frozen=True)
class Manifest:
    """What is committed of one writer's series: the only thing that says which files count."""

    writer: str
    complete: bool
    teacher: Teacher
    reader: Dict[str, Any]
    tables_crc32: int
    sentences: Dict[str, int]  # by language
    words: Dict[str, int]  # by language
    shards: Tuple[ShardEntry, ...]
    calibration: Optional[Calibration] = None  # the same in all manifests of a store

    def to_bytes(self) -> bytes:
        """The manifest as the bytes of its file: JSON in one form only, so that no altered byte goes unnoticed."""
        content: Dict[str, Any] = {"format": FORMAT_NAME, "version": FORMAT_VERSION, **asdict(self)}
        content["checksum"] = hashlib.sha256(_canonical(content)).hexdigest()
        return _canonical(content)

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """
        The manifest in the file `path`.

        # Raises

        `ConfigurationError` : for a file that is not a manifest, is of another format version, or was altered.
        """
        raw = path.read_bytes()
        try:
            content = json.loads(raw)
            name, version, checksum = content["format"], content["version"], content.pop("checksum")
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ConfigurationError(
                f"{path} is damaged: it is not the manifest of a teacher store. Restore it, or capture again."
            ) from None
        if name != FORMAT_NAME:
            raise ConfigurationError(f"{path} is not the manifest of a teacher store: its format is {name!r}.")
        if version != FORMAT_VERSION:
            raise ConfigurationError(
                f"{path} has format version {version!r}, this version of the plugin reads version "
                f"{FORMAT_VERSION}. Capture the teacher again, or use the plugin that wrote the store."
            )
        # Also the white space counts: what is not written exactly so was not written by us.
        if (
            hashlib.sha256(_canonical(content)).hexdigest() != checksum
            or _canonical({**content, "checksum": checksum}) != raw
        ):
            raise ConfigurationError(
                f"{path} was altered: its content does not have its checksum. Restore it, or capture again."
            )
        del content["format"], content["version"]
        teacher = content.pop("teacher")
        shards = content.pop("shards")
        calibration = content.pop("calibration", None)
        try:
            return cls(
                teacher=Teacher(**{**teacher, "labels": tuple(teacher["labels"])}),
                shards=tuple(ShardEntry(**{**shard, "languages": tuple(shard["languages"])}) for shard in shards),
                calibration=None if calibration is None else _calibration(calibration),
                **content,
            )
        except ValueError as error:
            raise ConfigurationError(
                f"{path} cannot be used: {error}. Use the version of the plugin that wrote it, or capture again."
            ) from None
        except TypeError as error:
            raise ConfigurationError(
                f"{path} has not the fields that this version of the plugin writes ({error}). Capture the teacher "
                "again, or use the plugin that wrote the store."
            ) from None


def _calibration(content: Dict[str, Any]) -> Calibration:
    return Calibration(**{**content, "reliability": tuple(content.get("reliability", ()))})


def agreed_calibration(directory: Path, manifests: Sequence[Manifest]) -> Optional[Calibration]:
    """
    The calibration of the store in `directory`, none where it was not calibrated.

    # Raises

    `ConfigurationError` : where its manifests differ, as after a calibration that was broken off.
    """
    for manifest in manifests:
        if manifest.calibration != manifests[0].calibration:
            raise ConfigurationError(
                f"{directory} has two calibrations: {manifest_file(manifest.writer)} has another than "
                f"{manifest_file(manifests[0].writer)}, because `allennlp calibrate-teacher` was broken off, or a "
                f"capture joined meanwhile. Run `allennlp calibrate-teacher {directory} FILES...` again, or "
                f"`allennlp calibrate-teacher {directory} --remove`."
            )
    return manifests[0].calibration if manifests else None


def _canonical(content: Dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def write_and_rename(path: Path, content: bytes, writer: str) -> None:
    """Put `content` in the file `path` such that a reader, or a kill at any moment, finds all of it or none."""
    beside = path.with_name(f"{path.name}.{writer}.tmp")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    # The new name is in the directory, which has to reach the disk too.
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def record_arrays(shard: ShardEntry, teacher: Teacher) -> Dict[str, Tuple[str, Tuple[int, int]]]:
    """
    The arrays of a shard that hold its records, in the order in which a record's checksum takes them.

    # Returns

    `Dict[str, Tuple[str, Tuple[int, int]]]` : by name the type, in safetensors' words, and the shape.
    """
    arrays = {"emissions": (ENCODINGS[teacher.encoding], (shard.words, len(teacher.labels)))}
    if teacher.k_best:
        arrays["k_best_tags"] = ("I16", (shard.words, teacher.k_best))
        arrays["k_best_scores"] = ("F32", (shard.sentences, teacher.k_best))
    return arrays


def record_crc32(key: bytes, language: str, emissions: np.ndarray, tags: np.ndarray, scores: np.ndarray) -> int:
    """
    Checksum of one record: over its key, its header (length, language) and its data.

    # Parameters

    key : `bytes`
        16 bytes.
    language : `str`
        Language code.
    emissions : `numpy.ndarray`
        Shape (T, L), as encoded in the store.
    tags, scores : `numpy.ndarray`
        Those of the K best labellings: shape (T, K), int16, and (K,), float32; K may be 0.
    """
    crc = zlib.crc32(key + len(emissions).to_bytes(4, "little") + language.encode())
    for data in (emissions, tags, scores):
        crc = zlib.crc32(data, crc)
    return crc


def index_crc32(path: Path, arrays: Dict[str, np.ndarray]) -> int:
    """Checksum of all of the shard `path` that no record's checksum covers: the file's header and `INDEX_ARRAYS`."""
    with open(path, "rb") as file:
        size = file.read(8)
        crc = zlib.crc32(file.read(int.from_bytes(size, "little")), zlib.crc32(size))
    for name in INDEX_ARRAYS:
        crc = zlib.crc32(arrays[name], crc)
    return crc


def read_shard_keys(directory: Path, shard: ShardEntry, teacher: Teacher) -> np.ndarray:
    """
    The keys of a shard, after a check of everything in it but the records.

    # Returns

    `numpy.ndarray` : uint8, shape (N, 16), ascending.

    # Raises

    `ConfigurationError` : for a shard that is missing, truncated or altered.
    """
    file = directory / shard.file
    remedy = "Restore it, or capture again into an empty directory."
    if not file.exists():
        raise ConfigurationError(f"{file} is missing: the manifest counts {shard.sentences} sentences in it. {remedy}")
    if file.stat().st_size != shard.bytes:
        raise ConfigurationError(
            f"{file} is truncated or was altered: it has {file.stat().st_size} bytes, the manifest says "
            f"{shard.bytes}. {remedy}"
        )
    try:
        with safe_open(file, framework="numpy") as content:
            arrays = {name: content.get_tensor(name) for name in INDEX_ARRAYS}
            slices = {name: content.get_slice(name) for name in record_arrays(shard, teacher)}
            records = {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
    except SafetensorError as error:
        raise ConfigurationError(f"{file} was altered: {error}. {remedy}") from None
    if index_crc32(file, arrays) != shard.index_crc32 or records != record_arrays(shard, teacher):
        raise ConfigurationError(
            f"{file} was altered: its index does not have the checksum that the manifest gives. {remedy}"
        )
    keys: np.ndarray = arrays["keys"]
    return keys
