"""The interface of pretrained encoders that are not trained further."""

from typing import Sequence

import numpy as np
from allennlp.common.registrable import Registrable


class FrozenEncoder(Registrable):
    """
    Words of a sentence in, a vector for each out; always the same for the same sentence.

    # Attributes

    size : `int`
        D, the length of a word's vector.
    name : `str`
        Tells what is computed from anything else that could be: package, version, settings.
    """

    size: int
    name: str

    def encode(self, words: Sequence[str]) -> np.ndarray:
        """
        The vectors of the words of one sentence.

        # Parameters

        words : `Sequence[str]`
            T words, none of them empty.

        # Returns

        `numpy.ndarray` : shape (T, D), float32.
        """
        raise NotImplementedError
