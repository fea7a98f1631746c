"""Capturing a teacher: from a trained tagger and files to a teacher store."""

import sys
import time
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple, Union

import torch
from allennlp.common.checks import ConfigurationError
from allennlp.common.tqdm import Tqdm, replace_cr_with_newline

from structkd_plugin.readers.sentence import Sentence
from structkd_plugin.readers.sentence_key import sentence_key
from structkd_plugin.readers.sharded_reader import ShardedReader
from structkd_plugin.readers.source import Source
from structkd_plugin.teacher.format import Teacher
from structkd_plugin.teacher.parts import Part
from structkd_plugin.teacher.sources.captured_teacher import CapturedTeacher
from structkd_plugin.teacher.writer import Record, TeacherStoreWriter

_tqdm: Any = Tqdm.tqdm
# In sentences. After so many shards the size doubles.
_FIRST_SHARD, _LARGEST_SHARD, _SHARDS_OF_A_SIZE = 2048, 65536, 64
# Between the lines that a part writes of its progress.
_SECONDS_A_LINE = 10.0


class CaptureSummary(NamedTuple):
    """What a capture did."""

    sentences: int  # in the files, each counted once
    words: int
    by_language: Dict[str, int]
    duplicates: int
    already_there: int
    bytes_on_disk: int
    seconds: float

    def __str__(self) -> str:
        languages = ", ".join(f"{language} {count:,}" for language, count in sorted(self.by_language.items()))
        return (
            f"{self.sentences:,} sentences ({languages}; {self.words:,} words), "
            f"{self.already_there:,} of them already there, {self.duplicates:,} duplicates skipped, "
            f"{self.bytes_on_disk / 1e6:.1f} MB on disk, {self.seconds:.1f} s"
        )


def capture(
    teacher: CapturedTeacher,
    sources: Sequence[Source],
    output: str,
    batch_size: int = 64,
    encoding: str = "float16",
    k_best: int = 0,
    sentences_per_shard: Optional[int] = None,
    writer: Optional[str] = None,
    part: Optional[Part] = None,
    quiet: bool = False,
) -> CaptureSummary:
    """
    Write to the store `output` what `teacher` says of all sentences in files, each different sentence once.

    May be killed at any moment: run again it goes on after the last whole shard, computing the same batches as an
    uninterrupted run of the same files, so that the store becomes the same, byte for byte on the same device.
    Sentences already in the store stay as they are; the files' labels, if they have any, are not used.

    # Parameters

    teacher : `CapturedTeacher`
        The teacher; it is put into evaluation mode.
    sources : `Sequence[Source]`
        The files.
    output : `str`
        Directory of the store, made if there is none.
    batch_size : `int`, optional (default = 64)
        Sentences a forward pass; sentences of similar length share one.
    encoding : `str`, optional (default = "float16")
        Type of the stored emissions, "float16" or "float32".
    k_best : `int`, optional (default = 0)
        How many of the best labellings that the teacher's constraint allows to store with each sentence.
    sentences_per_shard : `int`, optional
        How many sentences are held in memory and, at most, lost by a kill. Without, the first shards have 2,048, and
        later ones more and more, up to 65,536: a large store is read faster from few files, and what a kill loses
        stays below 4 % of what was done.
    writer : `str`, optional (default = "main", or "part" for a part)
        Name of this writer; processes that add to one store at the same time need different ones.
    part : `Part`, optional
        The part of the sentences to capture, where several processes share the work. Each has a writer of its own,
        whose name begins with `writer`; together they capture what one would, in other batches.
    quiet : `bool`, optional (default = False)
        Whether to show no progress.

    # Raises

    `ConfigurationError` : for files that cannot be read, a store that is of another teacher or cannot be
        written, and emissions that cannot be stored.
    """
    started = time.monotonic()
    for name, value in (("batch_size", batch_size), ("sentences_per_shard", sentences_per_shard)):
        if value is not None and value < 1:
            raise ConfigurationError(f"{name} must be at least 1, not {value}")
    description = teacher.describe(encoding, k_best)
    name = writer or ("main" if part is None else "part")
    with TeacherStoreWriter(output, description, teacher.tables(), teacher.reader_settings, name, part) as store:
        # Going through the files first costs little beside the forward passes, and finds a broken file at once.
        plan = _plan(teacher.reader, sources, store, part)
        if not quiet and plan.already_there:
            whose = "" if part is None else f"{part}: "
            print(f"{whose}{plan.already_there:,} of {plan.sentences:,} sentences were already there")
        teacher.eval()
        unique = _unique(_read(teacher.reader, sources), part)
        with torch.no_grad(), _progress(plan, part, quiet) as progress:
            for window in _windows(unique, shard_sizes(sentences_per_shard)):
                store.commit(list(_window_records(teacher, description, window, batch_size, store, progress)))
        store.finish()
    return CaptureSummary(
        sentences=plan.sentences,
        words=plan.words,
        by_language=plan.by_language,
        duplicates=plan.duplicates,
        already_there=plan.already_there,
        bytes_on_disk=sum(file.stat().st_size for file in Path(output).iterdir()),
        seconds=time.monotonic() - started,
    )


class _Plan(NamedTuple):
    sentences: int
    words: int
    by_language: Dict[str, int]
    duplicates: int
    already_there: int


def _plan(reader: ShardedReader, sources: Sequence[Source], store: TeacherStoreWriter, part: Optional[Part]) -> _Plan:
    total = of_part = words = sentences = already_there = 0
    by_language: Dict[str, int] = {}

    def counted() -> Iterator[Sentence]:
        nonlocal total, of_part
        for sentence in _read(reader, sources):
            total += 1
            of_part += part is None or part.takes(bytes.fromhex(sentence_key(sentence.language, sentence.words)))
            yield sentence

    for key, sentence in _unique(counted(), part):
        sentences += 1
        words += len(sentence.words)
        by_language[sentence.language] = by_language.get(sentence.language, 0) + 1
        already_there += key in store
    if not total:
        raise ConfigurationError("there are no sentences in the files")
    return _Plan(sentences, words, by_language, of_part - sentences, already_there)


def _progress(plan: _Plan, part: Optional[Part], quiet: bool) -> Any:
    """A bar; of a part a line now and then that names it, as others may be writing to the same terminal."""
    of_part = {} if part is None else {"desc": str(part), "file": _Lines(), "mininterval": _SECONDS_A_LINE}
    return _tqdm(total=plan.sentences, initial=plan.already_there, unit="sentence", disable=quiet, **of_part)


class _Lines:
    """The standard error stream for a bar of which each state is a line."""

    def write(self, message: str) -> None:
        sys.stderr.write(replace_cr_with_newline(message))

    def flush(self) -> None:
        sys.stderr.flush()


def _read(reader: ShardedReader, sources: Sequence[Source]) -> Iterable[Sentence]:
    paths: List[Union[List[str], Mapping[str, List[str]]]] = [
        [source.path] if source.language is None else {source.language: [source.path]} for source in sources
    ]
    return chain.from_iterable(map(reader.sentences, paths))


def _unique(sentences: Iterable[Sentence], part: Optional[Part]) -> Iterator[Tuple[str, Sentence]]:
    """Each different sentence of the part once, with its key, in the order of the files."""
    seen: Set[bytes] = set()
    for sentence in sentences:
        key = sentence_key(sentence.language, sentence.words)
        binary = bytes.fromhex(key)
        if binary not in seen and (part is None or part.takes(binary)):
            seen.add(binary)
            yield key, sentence


def shard_sizes(sentences_per_shard: Optional[int] = None) -> Iterator[int]:
    """How many sentences the shards of a capture have, one after the other, without end."""
    for number in count():
        doublings = number // _SHARDS_OF_A_SIZE
        yield sentences_per_shard or min(_FIRST_SHARD << doublings, _LARGEST_SHARD)


def _windows(sentences: Iterator[Tuple[str, Sentence]], sizes: Iterator[int]) -> Iterator[List[Tuple[str, Sentence]]]:
    for size in sizes:
        window = list(islice(sentences, size))
        if not window:
            return
        yield window


def _window_records(
    teacher: CapturedTeacher,
    description: Teacher,
    window: Sequence[Tuple[str, Sentence]],
    batch_size: int,
    store: TeacherStoreWriter,
    progress: Any,
) -> Iterator[Record]:
    """
    The records of a window that are not in the store.

    The composition of a batch changes the last bits of what is computed. So it must not depend on what is in the
    store: a batch is computed whole or not at all.
    """
    by_length = sorted(window, key=lambda item: len(item[1].words))
    for start in range(0, len(by_length), batch_size):
        batch = by_length[start : start + batch_size]
        if all(key in store for key, _ in batch):
            continue
        records = teacher.records([sentence for _, sentence in batch])
        if description.k_best:
            records = teacher.with_k_best(records, description.encoding, description.k_best)
        new = [record for record in records if record.key not in store]
        progress.update(len(new))
        yield from new
