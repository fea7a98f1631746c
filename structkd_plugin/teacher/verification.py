"""Checking every byte of a teacher store, shard by shard, and saying all that is wrong rather than the first of it."""

import zlib
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

from allennlp.common.checks import ConfigurationError
from allennlp.common.tqdm import Tqdm

from structkd_plugin.teacher.format import (
    TABLES_FILE,
    TYPES,
    Manifest,
    ShardEntry,
    Teacher,
    manifest_file,
    read_shard_index,
    record_arrays,
    record_crc32,
)
from structkd_plugin.teacher.open_files import OpenFile
from structkd_plugin.teacher.series_index import INDEX_REMEDY, SeriesIndex
from structkd_plugin.teacher.store import refuse_missing_parts

_tqdm: Any = Tqdm.tqdm


class Verification(NamedTuple):
    """What a check of a whole store found."""

    manifests: Tuple[Manifest, ...]  # those that can be read, by name
    sentences: Dict[str, int]  # by language: records whose checksum is right, those of all writers
    words: Dict[str, int]
    bytes_on_disk: int
    problems: Tuple[str, ...]  # one sentence each, with the file; none where all is well


def verify_store(path: str, quiet: bool = False) -> Verification:
    """
    Check the manifests of a store, its tables, its indexes, all its shards and every record in them.

    One shard at a time is in memory.

    # Parameters

    path : `str`
        Directory of the store.
    quiet : `bool`, optional (default = False)
        Whether to show no progress.

    # Raises

    `ConfigurationError` : for a directory that holds no manifest. All else is among the problems that are returned.
    """
    directory = Path(path)
    files = sorted(directory.glob(manifest_file("*")))
    if not files:
        what = f"it holds no {manifest_file('*')}" if directory.is_dir() else "there is no such directory"
        raise ConfigurationError(
            f"{path} is not a teacher store: {what}. "
            "Make one with `allennlp cache-teacher ARCHIVE FILES... --output STORE`."
        )
    manifests: List[Manifest] = []
    problems: List[str] = []
    for file in files:
        try:
            manifests.append(Manifest.read(file))
        except ConfigurationError as error:
            problems.append(str(error.message))
    problems += _disagreements(directory, manifests)
    sentences: Counter[str] = Counter()
    words: Counter[str] = Counter()
    total = sum(shard.sentences for manifest in manifests for shard in manifest.shards)
    with _tqdm(total=total, unit="sentence", desc="checksums", disable=quiet) as progress:
        for manifest in manifests:
            index = _Index(directory, manifest)
            for number, shard in enumerate(manifest.shards):
                damaged: List[str] = []
                try:
                    for row, (key, language, length, intact) in enumerate(_records(directory, shard, manifest.teacher)):
                        if intact:
                            sentences[language] += 1
                            words[language] += length
                        else:
                            damaged.append(key.hex())
                        index.check(key, number, row)
                        progress.update()
                except ConfigurationError as error:
                    problems.append(str(error.message))
                if damaged:
                    problems.append(
                        f"{directory / shard.file} was altered: {len(damaged)} of its {shard.sentences} records do not "
                        f"have their checksum, the first being that of the sentence with key {damaged[0]}. Restore the "
                        "file, or capture again."
                    )
            problems += index.problems
    return Verification(
        manifests=tuple(manifests),
        sentences=dict(sorted(sentences.items())),
        words=dict(sorted(words.items())),
        bytes_on_disk=sum(file.stat().st_size for file in directory.iterdir()),
        problems=tuple(problems),
    )


class _Index:
    """Whether the index of a series leads to each of its records; the first that is wrong with it is enough."""

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self.problems: List[str] = []
        self._index = None
        # A series that is not complete has none, nor has one of an earlier version.
        if manifest.index is not None:
            self._file = directory / manifest.index.file
            try:
                self._index = SeriesIndex(directory, manifest.writer, manifest.index, manifest.shards, manifest.teacher)
            except ConfigurationError as error:
                self.problems.append(str(error.message))

    def check(self, key: bytes, shard: int, row: int) -> None:
        """Look up record `row` of shard `shard`, or one of the same sentence in a shard before."""
        if self._index is None or self.problems:
            return
        try:
            found = self._index.find(key)
        except ConfigurationError as error:
            self.problems.append(str(error.message))
            return
        if found is None or found[:2] > (shard, row):
            self.problems.append(
                f"{self._file} does not lead to the record of the sentence with key {key.hex()}. {INDEX_REMEDY}"
            )


def _disagreements(directory: Path, manifests: List[Manifest]) -> Iterator[str]:
    try:
        refuse_missing_parts(str(directory), manifests)
    except ConfigurationError as error:
        yield str(error.message)
    for manifest in manifests:
        if not manifest.complete:
            yield (
                f"{directory / manifest_file(manifest.writer)} is not complete: its capture was broken off after "
                f"{sum(manifest.sentences.values())} sentences. Run the same `allennlp cache-teacher` again; it goes "
                "on where it stopped."
            )
    if not manifests:
        return
    tables = directory / TABLES_FILE
    if not tables.exists():
        yield f"{tables} is missing. Restore it, or capture again."
    elif any(zlib.crc32(tables.read_bytes()) != manifest.tables_crc32 for manifest in manifests):
        yield (
            f"{tables} was altered: it does not have the checksum that the manifest gives. Restore it, or capture "
            "again."
        )


def _records(directory: Path, shard: ShardEntry, teacher: Teacher) -> Iterator[Tuple[bytes, str, int, bool]]:
    """Of every record of a shard its key, language, number of words, and whether it has its checksum."""
    file = OpenFile(directory / shard.file)
    index = read_shard_index(file, shard, teacher)
    data = {}
    for name, (kind, (rows, columns)) in record_arrays(shard, teacher).items():
        size = TYPES[kind].itemsize * columns
        data[name] = (memoryview(file.read(rows * size, index.places[name])), size)
    offsets = index.offsets.tolist()
    for row, key in enumerate(map(bytes, index.keys)):
        words = slice(offsets[row], offsets[row + 1])
        language = shard.languages[index.languages[row]]
        pieces = [
            raw[size * span.start : size * span.stop]
            for name, (raw, size) in data.items()
            for span in [slice(row, row + 1) if name == "k_best_scores" else words]
        ]
        intact = record_crc32(key, language, words.stop - words.start, *pieces) == index.checksums[row]
        yield key, language, words.stop - words.start, intact
