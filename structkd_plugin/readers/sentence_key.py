"""The key of a sentence: the same words in the same language have the same key, in every process and for ever."""

from hashlib import blake2b
from typing import Sequence


def sentence_key(language: str, words: Sequence[str]) -> str:
    """
    The 128-bit key of a sentence.

    The language, then each word, is hashed as UTF-8 after its length in bytes (8 bytes, little-endian), so that
    no two sentences share an encoding. Nothing is normalised: words that differ in any code point differ.

    # Parameters

    language : `str`
        The language's code.
    words : `Sequence[str]`
        The words exactly as they are.

    # Returns

    `str` : 32 hexadecimal digits.
    """
    digest = blake2b(digest_size=16)
    for text in (language, *words):
        # A lone surrogate is no Unicode text, but JSON can carry one; it must have a key rather than end a run.
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.hexdigest()
