"""Pieces of input tagged by several processes, in order."""

import gc
import signal
import sys
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Callable, Deque, Iterable, Iterator, Optional

import torch
from allennlp.common.checks import ConfigurationError

from structkd_plugin.prediction.chunk_tagger import ChunkTagger, TaggedChunk
from structkd_plugin.prediction.input_chunks import Chunk

# Pieces for each process that wait to be tagged or written.
_AHEAD = 2

# Of a process that tags.
_tagger: Optional[ChunkTagger] = None


def tagged_in_processes(
    pieces: Iterable[Chunk], processes: int, tagger: ChunkTagger, open_tagger: Callable[[], ChunkTagger]
) -> Iterator[TaggedChunk]:
    """
    What comes of pieces of input, in their order.

    # Parameters

    pieces : `Iterable[Chunk]`
        Read no faster than they are tagged.
    processes : `int`
        How many processes tag, each with one thread.
    tagger : `ChunkTagger`
        What they share where a process can be forked.
    open_tagger : `Callable[[], ChunkTagger]`
        Makes the same tagger elsewhere; can be pickled.

    # Raises

    `ConfigurationError` : if a process came to an end.
    """
    forks = sys.platform.startswith("linux")
    pool = ProcessPoolExecutor(
        processes,
        get_context("fork" if forks else "spawn"),
        initializer=_begin,
        initargs=(tagger if forks else None, None if forks else open_tagger),
    )
    waiting: "Deque[Future[TaggedChunk]]" = deque()
    try:
        for piece in pieces:
            waiting.append(pool.submit(_work, piece))
            if len(waiting) > _AHEAD * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise ConfigurationError(
            "a process that tags was ended, perhaps for want of memory: give fewer --processes or less --batch-size"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(tagger: Optional[ChunkTagger], open_tagger: Optional[Callable[[], ChunkTagger]]) -> None:
    global _tagger
    # Ctrl-C goes to all processes of a terminal: the one that gives out the work ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    if tagger is None:
        assert open_tagger is not None
        tagger = open_tagger()
        gc.freeze()
    _tagger = tagger


def _work(piece: Chunk) -> TaggedChunk:
    assert _tagger is not None
    return _tagger.tagged(piece)
