"""Word vectors of sentences on disk, so that no sentence is encoded twice, by any number of processes."""

import hashlib
import os
import zlib
from pathlib import Path
from threading import Lock
from typing import Dict, Optional, Sequence, Tuple

import lmdb
import numpy as np
from allennlp.common.checks import ConfigurationError

# Address space, not disk: the file grows as it is filled.
_LARGEST = 2**40
# Processes and threads that read at the same time; 64 bytes each.
_READERS = 4096
_ABOUT = b"encoder"
_CHECKSUM_BYTES = 4

# A process may open a directory once: by directory what is open, and the process that opened it.
_environments: Dict[str, Tuple[lmdb.Environment, int]] = {}
_opening = Lock()


class FeatureCache:
    """
    Vectors in float16 by the words that they are of, on a disk of this machine: its locks do not hold over a network.

    What is read is checked against a checksum. Processes may read and add at the same time; a kill loses at most what
    was not added yet.

    # Parameters

    path : `str`
        A directory; made if there is none.
    encoder : `str`
        Which encoder the vectors are of.
    size : `int`
        D, the length of a vector.

    # Raises

    `ConfigurationError` : for a directory with vectors of another encoder, or one that cannot be written.
    """

    def __init__(self, path: str, encoder: str, size: int) -> None:
        self._path = path
        self._size = size
        self._about = f"{encoder}; {size} numbers in float16".encode()
        self._directory = os.path.realpath(path)
        environment = self._environment()
        with environment.begin(write=True) as transaction:
            found = transaction.get(_ABOUT)
            if found is None:
                transaction.put(_ABOUT, self._about)
            elif found != self._about:
                raise ConfigurationError(
                    f"{path} has vectors of another encoder ({found.decode(errors='replace')}), not of "
                    f"{self._about.decode()}: name another directory."
                )

    def get(self, words: Sequence[str]) -> Optional[np.ndarray]:
        """
        The vectors of a sentence: (T, D), float16; `None` if there are none.

        # Raises

        `ConfigurationError` : for vectors that were altered, and a cache that cannot be read.
        """
        try:
            with self._environment().begin() as transaction:
                value = transaction.get(_key(words))
        except lmdb.Error as error:
            raise self._unusable(error) from error
        if value is None:
            return None
        content, checksum = value[:-_CHECKSUM_BYTES], int.from_bytes(value[-_CHECKSUM_BYTES:], "little")
        if zlib.crc32(content) != checksum or len(content) != 2 * len(words) * self._size:
            raise ConfigurationError(f"{self._path} was altered; remove it, and it is made anew.")
        return np.frombuffer(content, "<f2").reshape(len(words), self._size)

    def put(self, words: Sequence[str], vectors: np.ndarray) -> None:
        """
        Add the vectors (T, D) of a sentence.

        # Raises

        `ConfigurationError` : where they cannot be written.
        """
        content = np.ascontiguousarray(vectors, "<f2").tobytes()
        try:
            with self._environment().begin(write=True) as transaction:
                transaction.put(_key(words), content + zlib.crc32(content).to_bytes(_CHECKSUM_BYTES, "little"))
        except lmdb.Error as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> ConfigurationError:
        return ConfigurationError(
            f"the cache {self._path} cannot be used: {error}. Without space left, make some; else remove it, and it is "
            "made anew."
        )

    def _environment(self) -> lmdb.Environment:
        with _opening:
            opened = _environments.get(self._directory)
            if opened is not None:
                environment, process = opened
                if process == os.getpid():
                    return environment
                # What was opened before a fork belongs to the parent, which keeps its own.
                environment.close()
            try:
                Path(self._path).mkdir(parents=True, exist_ok=True)
                # Synchronised by the system in its own time: after a crash of the machine the last additions may be
                # missing, and are computed again.
                # Read ahead, although sentences are asked for in no order: the vectors of one, some 100 kB, lie
                # together.
                environment = lmdb.open(self._directory, map_size=_LARGEST, sync=False, max_readers=_READERS)
                # The places of processes that were killed.
                environment.reader_check()
            except (OSError, lmdb.Error) as error:
                raise self._unusable(error) from error
            _environments[self._directory] = (environment, os.getpid())
            return environment


def _key(words: Sequence[str]) -> bytes:
    return hashlib.blake2b("\0".join(words).encode("utf-8", "surrogatepass"), digest_size=16).digest()
