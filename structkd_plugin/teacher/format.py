"""
The files of a teacher store: names, manifest and checksums. docs/teacher_store.md specifies them for other languages.

    STORE/
      manifest.WRITER.json             what is committed; replaced as a whole after each shard
      tables.safetensors               transitions, start and end table of the teacher
      shard.WRITER.00000.safetensors   records, immutable
      index.WRITER.00001.safetensors   where each record of the series is; immutable, made from the shards

Reader and writer share this file, `series_index` and `parts`, and nothing else.
"""

import hashlib
import json
import math
import os
import re
import zlib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import (
    Any,
    Dict,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Type,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

import numpy as np
from allennlp.common.checks import ConfigurationError
from typing_extensions import Buffer

from structkd_plugin.teacher.open_files import FileBytes, OpenFile
from structkd_plugin.teacher.parts import Part

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
# Held by a writer while it begins.
START_LOCK = ".lock"
TABLE_NAMES = ("transitions", "start_transitions", "end_transitions")
# In this order they go into a shard's index checksum.
INDEX_ARRAYS = ("keys", "offsets", "languages", "checksums")
WRITER_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
# What to do about a file that is gone or damaged.
REMEDY = "Restore it, or capture again into an empty directory."

# Of safetensors' types those that occur in a store.
TYPES = {
    name: np.dtype(code)
    for name, code in (
        ("U8", "u1"),
        ("U16", "<u2"),
        ("U32", "<u4"),
        ("I16", "<i2"),
        ("I64", "<i8"),
        ("F16", "<f2"),
        ("F32", "<f4"),
    )
}
_Made = TypeVar("_Made")
_CHECKSUM_LINE = re.compile(rb'\n "checksum": "([0-9a-f]{64})",(?=\n)')


def manifest_file(writer: str) -> str:
    """Name of the manifest of the series that `writer` wrote."""
    return f"manifest.{writer}.json"


def shard_file(writer: str, number: int) -> str:
    """Name of shard `number` (from 0) of the series that `writer` wrote."""
    return f"shard.{writer}.{number:05d}.safetensors"


def index_file(writer: str, shards: int) -> str:
    """Name of the index of the first `shards` shards of the series that `writer` wrote."""
    return f"index.{writer}.{shards:05d}.safetensors"


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
class IndexEntry:
    """What a manifest says of the index of its series."""

    file: str
    bytes: int
    sentences: int
    head_crc32: int


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
        potentials were divided, was in [r/R, (r + 1)/R); the last of them includes 1.
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
    index: Optional[IndexEntry] = None  # of a series that is complete and has shards
    # Where several writers share the work: this is part `part` of `parts`, counted from 1.
    part: Optional[int] = None
    parts: Optional[int] = None
    calibration: Optional[Calibration] = None  # the same in all manifests of a store

    def to_bytes(self) -> bytes:
        """The manifest as the bytes of its file: JSON in one form only, so that no altered byte goes unnoticed."""
        content: Dict[str, Any] = {
            "format": FORMAT_NAME,
            "version": FORMAT_VERSION,
            **vars(self),
            "teacher": asdict(self.teacher),
            # Not `asdict`, which takes ten times as long: there may be thousands.
            "shards": [vars(shard) for shard in self.shards],
            "index": self.index and vars(self.index),
            "calibration": self.calibration and asdict(self.calibration),
        }
        text = _canonical(content)
        line = f'\n "checksum": "{hashlib.sha256(text).hexdigest()}",'.encode()
        # No string has a line feed in it, and what is nested is indented further: this is the key of the manifest.
        position = text.index(b'\n "complete": ')
        return text[:position] + line + text[position:]

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """
        The manifest in the file `path`.

        # Raises

        `ConfigurationError` : for a file that cannot be read, is not a manifest, is of another format version, or was
            altered.
        """
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from error
        try:
            content = json.loads(raw)
            name, version, _ = content["format"], content["version"], content.pop("checksum")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
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
        line = _CHECKSUM_LINE.search(raw)
        if line is None or hashlib.sha256(raw[: line.start()] + raw[line.end() :]).hexdigest().encode() != line[1]:
            raise ConfigurationError(
                f"{path} was altered: its content does not have its checksum. Restore it, or capture again."
            )
        del content["format"], content["version"]
        try:
            return _made(
                cls,
                {
                    **content,
                    "teacher": _made(Teacher, content["teacher"]),
                    "shards": [_made(ShardEntry, shard) for shard in content["shards"]],
                    "index": _optional(IndexEntry, content.get("index")),
                    "calibration": _optional(Calibration, content.get("calibration")),
                },
            )
        except ValueError as error:
            raise ConfigurationError(
                f"{path} cannot be used: {error}. Use the version of the plugin that wrote it, or capture again."
            ) from None
        except (TypeError, KeyError) as error:
            raise ConfigurationError(
                f"{path} has not the fields that this version of the plugin writes ({error}). Capture the teacher "
                "again, or use the plugin that wrote the store."
            ) from None


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


def read_manifests(directory: Path) -> List[Manifest]:
    """
    All manifests of a store, in the order of their names.

    # Raises

    `ConfigurationError` : for a manifest that cannot be read or was altered, is another's under this name, or lists
        files that are not of its series.
    """
    manifests = []
    for file in sorted(directory.glob(manifest_file("*"))):
        manifest = Manifest.read(file)
        writer = manifest.writer
        part = Part(manifest.part or 0, manifest.parts or 0)
        if part != (0, 0) and (not 1 <= part.number <= part.parts or not writer.endswith(part.writer(""))):
            raise ConfigurationError(f"{file} says that it is of {part}, which its name does not. {REMEDY}")
        own = [manifest_file(writer), *(shard_file(writer, number) for number in range(len(manifest.shards)))]
        named = [file.name, *(shard.file for shard in manifest.shards)]
        if manifest.index is not None:
            own.append(index_file(writer, len(manifest.shards)))
            named.append(manifest.index.file)
        if named != own:
            raise ConfigurationError(f"{file} is not the manifest of its series: it names other files. {REMEDY}")
        manifests.append(manifest)
    return manifests


def _made(kind: Type[_Made], content: Mapping[str, Any]) -> _Made:
    """A dataclass from JSON, after a check of the types."""
    values = {}
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name in content:
            value = content[field.name]
            values[field.name] = tuple(value) if isinstance(value, list) else value
            if not _is_of(values[field.name], field.type):
                raise TypeError(f"{field.name} is {value!r}")
    unknown = sorted(set(content) - set(values))
    if unknown:
        raise TypeError(f"{unknown[0]!r} is unknown")
    return kind(**values)


def _optional(kind: Type[_Made], content: Optional[Mapping[str, Any]]) -> Optional[_Made]:
    return None if content is None else _made(kind, content)


def _is_of(value: Any, annotation: Any) -> bool:
    """Whether a value from JSON, lists being tuples, is of a type as the dataclasses of this file use them."""
    if annotation is Any or type(value) is annotation:
        return True
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Union:
        return any(_is_of(value, argument) for argument in arguments)
    if origin is tuple:
        return isinstance(value, tuple) and all(_is_of(one, arguments[0]) for one in value)
    if origin is dict:
        return isinstance(value, dict) and all(_is_of(one, arguments[1]) for one in value.values())
    return annotation is float and type(value) is int


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


def record_head(key: bytes, language: str, words: int) -> bytes:
    """What a record's checksum goes over before its data: key (16 bytes), number of words T, language code."""
    return key + words.to_bytes(4, "little") + language.encode()


def record_crc32(key: bytes, language: str, words: int, *data: Buffer) -> int:
    """
    Checksum of one record: over its key, its header (length, language) and its data.

    # Parameters

    key : `bytes`
        16 bytes.
    language : `str`
        Language code.
    words : `int`
        T.
    data : `Buffer`
        As the store has them: emissions, shape (T, L), and where it has them tags, shape (T, K), and scores, shape
        (K,), of the K best labellings.
    """
    crc = zlib.crc32(record_head(key, language, words))
    for part in data:
        crc = zlib.crc32(part, crc)
    return crc


class ShardIndex(NamedTuple):
    """All of a shard but its records, and where in the file those are."""

    keys: np.ndarray  # (N, 16), uint8, ascending
    offsets: np.ndarray  # (N + 1,), int64
    languages: np.ndarray  # (N,), uint16
    checksums: np.ndarray  # (N,), uint32
    places: Dict[str, int]  # for each of `record_arrays` the offset of its first byte in the file


def read_shard_index(file: FileBytes, shard: ShardEntry, teacher: Teacher) -> ShardIndex:
    """
    All of a shard but its records, after a check that it is as it was written.

    # Raises

    `ConfigurationError` : for a shard that is truncated or was altered.
    """
    refuse_other_size(file, shard.bytes)
    expected = {
        "keys": ("U8", (shard.sentences, KEY_BYTES)),
        "offsets": ("I64", (shard.sentences + 1,)),
        "languages": ("U16", (shard.sentences,)),
        "checksums": ("U32", (shard.sentences,)),
        **record_arrays(shard, teacher),
    }
    arrays, places = read_arrays(file, expected, INDEX_ARRAYS, shard.index_crc32)
    if arrays["languages"].max(initial=0) >= len(shard.languages):
        raise ConfigurationError(f"{file.path} was altered: it has more languages than the manifest says. {REMEDY}")
    return ShardIndex(**arrays, places={name: places[name] for name in record_arrays(shard, teacher)})


def refuse_other_size(file: FileBytes, size: int) -> None:
    """Raise `ConfigurationError` unless `file` has `size` bytes."""
    if file.size != size:
        raise ConfigurationError(
            f"{file.path} is truncated or was altered: it has {file.size} bytes, the manifest says {size}. {REMEDY}"
        )


def read_arrays(
    file: FileBytes, expected: Mapping[str, Tuple[str, Tuple[int, ...]]], wanted: Sequence[str], crc32: int
) -> Tuple[Dict[str, np.ndarray], Dict[str, int]]:
    """
    Some arrays of a safetensors file, and where the others are.

    The file is not mapped into memory, as the library would: to touch a page of a mapped file that was cut short
    kills the process.

    # Parameters

    file : `FileBytes`
    expected : `Mapping[str, Tuple[str, Tuple[int, ...]]]`
        By name type, in safetensors' words, and shape of all arrays that the file has.
    wanted : `Sequence[str]`
        Names of arrays to read.
    crc32 : `int`
        Checksum of the file's header and then the wanted arrays in this order.

    # Returns

    `Tuple[Dict[str, np.ndarray], Dict[str, int]]` : by name the wanted arrays, read only; and for all arrays the offset
        of their first byte in the file.

    # Raises

    `ConfigurationError` : for a file that is not exactly so.
    """
    try:
        length = file.read(8, 0)
        size = int.from_bytes(length, "little")
        if size > file.size - 8:
            raise ValueError("its header is longer than the file")
        head = length + file.read(size, 8)
        places = _places(json.loads(head[8:]), expected, len(head), file.size)
        crc, arrays = zlib.crc32(head), {}
        for name in wanted:
            kind, shape = expected[name]
            raw = file.read(math.prod(shape) * TYPES[kind].itemsize, places[name])
            crc = zlib.crc32(raw, crc)
            arrays[name] = np.frombuffer(raw, dtype=TYPES[kind]).reshape(shape)
        if crc != crc32:
            raise ValueError("its index does not have the checksum that the manifest gives")
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{file.path} was altered: {error}. {REMEDY}") from None
    return arrays, places


def _places(header: Any, expected: Mapping[str, Tuple[str, Tuple[int, ...]]], start: int, end: int) -> Dict[str, int]:
    """Where each array begins in the file, after a check that the header says what is expected and nothing else."""
    try:
        found = {name: (entry["dtype"], tuple(entry["shape"])) for name, entry in header.items()}
        begins = {name: int(entry["data_offsets"][0]) for name, entry in header.items()}
        ends = {name: int(entry["data_offsets"][1]) for name, entry in header.items()}
    except (AttributeError, TypeError, KeyError, IndexError, OverflowError):
        raise ValueError("its header is none of safetensors") from None
    if found != dict(expected):
        raise ValueError("its header does not describe the arrays that the manifest says it has")
    position = 0
    for name in sorted(begins, key=lambda name: (begins[name], ends[name])):
        kind, shape = expected[name]
        if begins[name] != position:
            raise ValueError(f"its arrays overlap, or have something between them, before {name}")
        position += math.prod(shape) * TYPES[kind].itemsize
        if ends[name] != position:
            raise ValueError(f"its array {name} does not have the size of its shape")
    if start + position != end:
        raise ValueError("there is something after its arrays")
    return {name: start + begin for name, begin in begins.items()}


def checksum_of_index(content: bytes, arrays: Mapping[str, np.ndarray], names: Sequence[str]) -> int:
    """Checksum of the header of the safetensors file `content`, and then of the arrays `names`."""
    crc = zlib.crc32(content[: 8 + int.from_bytes(content[:8], "little")])
    for name in names:
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
    return read_shard_index(OpenFile(directory / shard.file), shard, teacher).keys
