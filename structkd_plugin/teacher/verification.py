"""Checking every byte of a teacher store, shard by shard, and saying all that is wrong rather than the first of it."""

import zlib
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

import numpy as np
from allennlp.common.checks import ConfigurationError
from allennlp.common.tqdm import Tqdm
from safetensors import safe_open

from structkd_plugin.teacher.format import (
    TABLES_FILE,
    Manifest,
    ShardEntry,
    Teacher,
    manifest_file,
    read_shard_keys,
    record_arrays,
    record_crc32,
)

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
    Check the manifests of a store, its tables, all its shards and every record in them.

    Memory does not grow with the store: shards are mapped one at a time.

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
            for shard in manifest.shards:
                damaged: List[str] = []
                try:
                    for key, language, length, intact in _records(directory, shard, manifest.teacher):
                        if intact:
                            sentences[language] += 1
                            words[language] += length
                        else:
                            damaged.append(key)
                        progress.update()
                except ConfigurationError as error:
                    problems.append(str(error.message))
                if damaged:
                    problems.append(
                        f"{directory / shard.file} was altered: {len(damaged)} of its {shard.sentences} records do not "
                        f"have their checksum, the first being that of the sentence with key {damaged[0]}. Restore the "
                        "file, or capture again."
                    )
    return Verification(
        manifests=tuple(manifests),
        sentences=dict(sorted(sentences.items())),
        words=dict(sorted(words.items())),
        bytes_on_disk=sum(file.stat().st_size for file in directory.iterdir()),
        problems=tuple(problems),
    )


def _disagreements(directory: Path, manifests: List[Manifest]) -> Iterator[str]:
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


def _records(directory: Path, shard: ShardEntry, teacher: Teacher) -> Iterator[Tuple[str, str, int, bool]]:
    """Of every record of a shard its key, language, number of words, and whether it has its checksum."""
    keys = read_shard_keys(directory, shard, teacher)
    # Of the library's frameworks torch is the one whose tensors stay on disk until they are touched.
    with safe_open(directory / shard.file, framework="pt") as content:
        offsets, languages, checksums = (
            content.get_tensor(name).numpy() for name in ("offsets", "languages", "checksums")
        )
        stored = {name: content.get_tensor(name).numpy() for name in record_arrays(shard, teacher)}
    nothing = np.empty(0, dtype=np.uint8)
    for row, key in enumerate(keys):
        words = slice(offsets[row], offsets[row + 1])
        language = shard.languages[languages[row]]
        data = (
            stored["emissions"][words],
            stored["k_best_tags"][words] if teacher.k_best else nothing,
            stored["k_best_scores"][row] if teacher.k_best else nothing,
        )
        intact = record_crc32(key.tobytes(), language, *data) == checksums[row]
        yield key.tobytes().hex(), language, len(data[0]), intact
