"""Words by the vectors of an encoder that is not trained further."""

from typing import Any, Dict, List, Optional

import numpy as np
import torch
from allennlp.data import Token, Vocabulary
from allennlp.data.token_indexers.token_indexer import IndexedTokenList, TokenIndexer

from structkd_plugin.frozen_encoders.feature_cache import FeatureCache
from structkd_plugin.frozen_encoders.frozen_encoder import FrozenEncoder

_VECTORS = "tokens"


@TokenIndexer.register("structkd_frozen_encoder")
class FrozenEncoderIndexer(TokenIndexer):
    """
    Gives each word of a sentence its vector of a frozen encoder, for the embedder `pass_through`:

        token_indexers: { encoder: { type: 'structkd_frozen_encoder', encoder: 'universal_sentence_encoder',
                                     cache: 'runs/vectors' } }
        token_embedders: { encoder: { type: 'pass_through', hidden_dim: 2560 } }

    Registered as a `TokenIndexer` with name "structkd_frozen_encoder".

    # Parameters

    encoder : `FrozenEncoder`
    cache : `Optional[str]`, optional (default = `None`)
        A directory for what was computed, so that it is not computed again, in this run or another; about 2 D bytes a
        word. Without, sentences are encoded anew in every epoch. Whether there is a cache makes no difference to the
        numbers: they are rounded to float16 in any case. Trainings, captures and `allennlp score` have it; taggers of
        new text (`allennlp tag`, `predict`, the service) do not: what they read may have no end.
    """

    def __init__(self, encoder: FrozenEncoder, cache: Optional[str] = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._encoder = encoder
        self._cache_path = cache
        # Opened when it is needed: an archive may be where there is no such directory, and none can be made.
        self._opened: Optional[FeatureCache] = None

    def without_cache(self) -> None:
        """Encode every sentence anew from now on."""
        self._cache_path = None

    def count_vocab_items(self, token: Token, counter: Dict[str, Dict[str, int]]) -> None:
        """There is no vocabulary."""

    def tokens_to_indices(self, tokens: List[Token], vocabulary: Vocabulary) -> IndexedTokenList:
        """The words themselves: vectors are looked up when a batch is made, so that memory does not hold them all."""
        return {_VECTORS: [token.text for token in tokens]}

    def get_empty_token_list(self) -> IndexedTokenList:
        """That of no words."""
        return {_VECTORS: []}

    def as_padded_tensor_dict(
        self, tokens: IndexedTokenList, padding_lengths: Dict[str, int]
    ) -> Dict[str, torch.Tensor]:
        """`tokens`: shape (padded length, D), float32."""
        words = tokens[_VECTORS]
        padded = torch.zeros(padding_lengths[_VECTORS], self._encoder.size)
        if words:
            # torch makes them longer several times faster than numpy; it asks for arrays that may be written.
            padded[: len(words)] = torch.from_numpy(np.require(self._vectors(words), requirements="W"))
        return {_VECTORS: padded}

    def _vectors(self, words: List[str]) -> np.ndarray:
        """(T, D), float16"""
        cache = self._cache()
        found = None if cache is None else cache.get(words)
        if found is None:
            found = self._encoder.encode(words).astype(np.float16)
            if cache is not None:
                cache.put(words, found)
        return found

    def _cache(self) -> Optional[FeatureCache]:
        if self._cache_path is None:
            return None
        if self._opened is None:
            self._opened = FeatureCache(self._cache_path, self._encoder.name, self._encoder.size)
        return self._opened
