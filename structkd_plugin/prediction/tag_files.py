"""Files of any size in, tagged files out."""

import sys
import time
from functools import partial
from typing import Any, BinaryIO, Callable, Iterable, List, NamedTuple, Optional, Sequence

from allennlp.common.checks import ConfigurationError
from allennlp.common.tqdm import Tqdm

from structkd_plugin.complete_file import complete_file
from structkd_plugin.prediction.chunk_tagger import ChunkTagger, TaggedChunk, TagOptions
from structkd_plugin.prediction.column_input import ColumnFormat
from structkd_plugin.prediction.conllu_input import ConlluLabel
from structkd_plugin.prediction.input_chunks import BLOCK_FORMATS, BYTE_ORDER_MARK, Chunk, InputFile, chunks
from structkd_plugin.prediction.sentence_tagger import WINDOW, SentenceTagger
from structkd_plugin.prediction.worker_processes import tagged_in_processes
from structkd_plugin.readers.errors import data_error

# Skipped inputs that are reported one by one.
_MOST_REPORTS = 20
_USUAL = TagOptions()
# AllenNLP leaves out its types.
_tqdm: Any = Tqdm.tqdm


class TagSummary(NamedTuple):
    """What was tagged."""

    sentences: int
    words: int
    skipped: int
    seconds: float

    def __str__(self) -> str:
        skipped = f", {self.skipped} input(s) skipped" if self.skipped else ""
        speed = f"{self.sentences / self.seconds:,.0f} sentences/s" if self.seconds > 0 else ""
        return f"{self.sentences} sentences, {self.words} words tagged in {self.seconds:.1f} s ({speed}){skipped}"


def tag_files(
    tagger: SentenceTagger,
    files: Sequence[InputFile],
    output: Optional[str] = None,
    options: TagOptions = _USUAL,
    reader: Any = None,
    processes: int = 1,
    reopen: Optional[Callable[[], SentenceTagger]] = None,
    quiet: bool = False,
) -> TagSummary:
    """
    Tag files and write what comes of it, in memory that does not grow with them.

    # Parameters

    tagger : `SentenceTagger`
    files : `Sequence[InputFile]`
    output : `Optional[str]`, optional (default = the standard output)
        A file, there when all is written.
    options : `TagOptions`, optional
        Its `columns` are replaced by those of `reader`.
    reader : `DatasetReader`, optional (default = the tagger's)
        What says where column files and CoNLL-U have words and tags.
    processes : `int`, optional (default = 1)
        How many processes tag; the output is the same.
    reopen : `Callable[[], SentenceTagger]`, optional
        Opens the same tagger in a process that is not forked.
    quiet : `bool`, optional (default = `False`)
        Whether to show no progress.

    # Raises

    `ConfigurationError` : naming file and line, for the first input that cannot be tagged, unless such are skipped;
        and for options that do not fit the model.
    """
    _check(options, tagger, processes)
    reader = tagger.reader if reader is None else reader
    options = options._replace(columns=ColumnFormat.of_reader(reader))
    conllu = ConlluLabel.of(reader, tagger.label_encoding)
    worker = ChunkTagger(tagger, options, conllu)
    pieces = chunks(files, options.batch_size * WINDOW, options.columns)
    done: Iterable[TaggedChunk]
    if processes == 1:
        done = map(worker.tagged, pieces)
    else:
        again = partial(_reopened, reopen or partial(SentenceTagger.of, tagger.model, tagger.reader), options, conllu)
        done = tagged_in_processes(pieces, processes, worker, again)
    with complete_file(output) as stream:
        return _written(done, stream, worker, options, quiet)


def _reopened(reopen: Callable[[], SentenceTagger], options: TagOptions, conllu: ConlluLabel) -> ChunkTagger:
    return ChunkTagger(reopen(), options, conllu)


def _written(
    done: Iterable[TaggedChunk], stream: BinaryIO, worker: ChunkTagger, options: TagOptions, quiet: bool
) -> TagSummary:
    begun = time.perf_counter()
    sentences = words = skipped = 0
    stream.write(worker.output.header.encode())
    ends = _FileEnds(options.output_format)
    # On a terminal a bar would stand among the lines that are written.
    hidden = quiet or stream is sys.stdout.buffer
    with _tqdm(unit=" sentences", disable=hidden, smoothing=0.05) as bar:
        for piece in done:
            stream.write(ends.before(piece.chunk, piece.output))
            stream.write(piece.output)
            if piece.problems and not options.skip:
                stream.flush()
                line, message = piece.problems[0]
                raise data_error(piece.chunk.file.name, line, message)
            for line, message in piece.problems:
                skipped += 1
                if skipped <= _MOST_REPORTS:
                    bar.write(f"skipped {piece.chunk.file.name}:{line}: {message}", file=sys.stderr)
            sentences += piece.sentences
            words += piece.words
            bar.update(piece.sentences)
            if stream is sys.stdout.buffer:
                stream.flush()
    if skipped > _MOST_REPORTS:
        print(f"skipped {skipped - _MOST_REPORTS} more", file=sys.stderr)
    return TagSummary(sentences, words, skipped, time.perf_counter() - begun)


class _FileEnds:
    """
    What stands between the output of two files, and before that of the first.

    Where sentences end at blank lines, there is one between two files too. The byte order mark of the first is kept if
    its format is.
    """

    def __init__(self, output_format: str) -> None:
        self._format = output_format
        self._blocks = output_format in BLOCK_FORMATS
        self._file: Optional[InputFile] = None
        self._end = b""

    def before(self, chunk: Chunk, output: bytes) -> bytes:
        """What to write before the output of a piece."""
        between = b""
        if self._file is None and chunk.marked and self._blocks and chunk.file.format == self._format:
            between = BYTE_ORDER_MARK
        if self._blocks and chunk.file is not self._file and output and self._end:
            lines = self._end.replace(b"\r", b"")
            between = b"" if lines.endswith(b"\n\n") else b"\n" if lines.endswith(b"\n") else b"\n\n"
        self._file = chunk.file
        self._end = (self._end + output)[-4:]
        return between


def _check(options: TagOptions, tagger: SentenceTagger, processes: int) -> None:
    """Refuse what cannot be, before anything is read."""
    problems: List[str] = []
    if options.batch_size < 1:
        problems.append(f"--batch-size is {options.batch_size}; give at least 1")
    if processes < 1:
        problems.append(f"--processes is {processes}; give at least 1")
    if options.k_best < 0:
        problems.append(f"--k-best is {options.k_best}; it is how many taggings to give, 0 for none")
    if processes > 1 and next(tagger.model.parameters()).device.type != "cpu":
        problems.append(f"{processes} processes cannot share a GPU: leave out --processes or --cuda-device")
    if options.output_format != "jsonl" and (options.k_best > 0 or options.all_labels):
        problems.append(
            f"--k-best and --all-labels are in JSON lines only: leave them out, or write jsonl instead of "
            f"{options.output_format}"
        )
    if options.output_format.startswith("entities") and tagger.label_encoding is None:
        problems.append(
            "the model's tags write no spans (it has no label_encoding), so that there are no entities: write jsonl, "
            "conll or conllu"
        )
    for problem in problems:
        raise ConfigurationError(problem)
