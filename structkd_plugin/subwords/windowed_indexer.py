"""Words as the subwords of a transformer, a long sentence in windows that overlap."""

from typing import Any, Dict, List, Optional, Tuple

import torch
from allennlp.common.checks import ConfigurationError
from allennlp.data import Token, TokenIndexer, Vocabulary
from allennlp.data.token_indexers.token_indexer import IndexedTokenList
from allennlp.data.tokenizers import PretrainedTransformerTokenizer

from structkd_plugin.checked_options import CheckedOptions
from structkd_plugin.subwords.room import room_by_name
from structkd_plugin.subwords.windows import windows

# What the lists are filled up with, but for `token_ids`.
_FILLING: Dict[str, Any] = {"type_ids": 0, "mask": False, "wordpiece_mask": False, "windows": 0, "owners": -1}


@TokenIndexer.register("structkd_windowed_transformer")
class WindowedTransformerIndexer(CheckedOptions, TokenIndexer):
    """
    Cuts words into the subwords of a transformer, for the embedder of the same name.

    A sentence that the transformer has room for gives what AllenNLP's `pretrained_transformer_mismatched` gives. A
    longer one is computed in windows that overlap, cut between words, and each word is taken from the window where it
    has most context. No word is left out: one that is longer than a window is cut into parts, and is what its parts
    are together. A word that the tokenizer makes no subword of, such as a lone zero-width space, gets zeros.

    (`pretrained_transformer_mismatched` without `max_length` fails on a long sentence; with it, it cuts every
    `max_length` subwords, also within words, and no segment sees anything of the one beside it.)

    # Parameters

    model_name : `str`
        Name or folder of the transformer.
    max_length : `int`, optional (default = all that the model has room for)
        Most subwords a window, special tokens included.
    window_overlap : `int`, optional (default = a quarter of the room)
        How many subwords two windows share.
    tokenizer_kwargs : `Dict[str, Any]`, optional
        For the tokenizer; `{"add_prefix_space": true}` with RoBERTa and its like.

    # Raises

    `ConfigurationError` : for a `max_length` or a `window_overlap` that is not possible.
    """

    def __init__(
        self,
        model_name: str,
        max_length: Optional[int] = None,
        window_overlap: Optional[int] = None,
        tokenizer_kwargs: Optional[Dict[str, Any]] = None,
        token_min_padding_length: int = 0,
    ) -> None:
        super().__init__(token_min_padding_length)
        self._tokenizer = PretrainedTransformerTokenizer(model_name, tokenizer_kwargs=tokenizer_kwargs)
        special = self._tokenizer.num_special_tokens_for_sequence()
        most = room_by_name(model_name, self._tokenizer.tokenizer)
        if max_length is not None and not special < max_length <= most:
            raise ConfigurationError(
                f"max_length is {max_length}; {model_name} takes {most} subwords at most, and {special} of them are "
                "special tokens"
            )
        # How many subwords a window has room for.
        self._capacity = (most if max_length is None else max_length) - special
        self._overlap = self._capacity // 4 if window_overlap is None else window_overlap
        if not 0 <= self._overlap < self._capacity:
            raise ConfigurationError(
                f"window_overlap is {window_overlap}; it must be at least 0 and less than the {self._capacity} "
                "subwords that a window has room for"
            )

    def count_vocab_items(self, token: Token, counter: Dict[str, Dict[str, int]]) -> None:
        """Nothing: the transformer has its vocabulary."""

    def tokens_to_indices(self, tokens: List[Token], vocabulary: Vocabulary) -> IndexedTokenList:
        """
        The subwords of a sentence of T words, its windows one after another.

        # Returns

        `IndexedTokenList` : `mask` (T,); and for each of the S subwords, special tokens among them, `token_ids`,
            `type_ids`, `wordpiece_mask` (true), `windows` (the number of its window) and `owners` (the word that it is
            taken for, or −1: a special token, or a subword that is there as context).
        """
        subwords, offsets = self._tokenizer.intra_word_tokenize([token.ensure_text() for token in tokens])
        starts = len(self._tokenizer.single_sequence_start_tokens)
        before = subwords[:starts]
        after = subwords[len(subwords) - len(self._tokenizer.single_sequence_end_tokens) :]
        # Stretches of subwords that stay together, and whose they are: words, or parts of words without room.
        stretches: List[Tuple[int, List[Token]]] = []
        for word, offset in enumerate(offsets):
            if offset is not None:
                first, end = offset[0], offset[1] + 1
                for start in range(first, end, self._capacity):
                    stretches.append((word, subwords[start : min(start + self._capacity, end)]))
        found: List[Token] = []
        numbers: List[int] = []
        owners: List[int] = []
        for number, window in enumerate(windows([len(some) for _, some in stretches], self._capacity, self._overlap)):
            own = set(window.own)
            row, of = [*before], [-1] * len(before)
            for at in range(window.start, window.end):
                word, some = stretches[at]
                row += some
                of += [word if at in own else -1] * len(some)
            found += [*row, *after]
            owners += [*of, *[-1] * len(after)]
            numbers += [number] * (len(row) + len(after))
        return {
            "token_ids": [subword.text_id for subword in found],
            "type_ids": [subword.type_id or 0 for subword in found],
            "mask": [True] * len(tokens),
            "wordpiece_mask": [True] * len(found),
            "windows": numbers,
            "owners": owners,
        }

    def get_empty_token_list(self) -> IndexedTokenList:
        """What a sentence without words is."""
        return {name: [] for name in ("token_ids", *_FILLING)}

    def as_padded_tensor_dict(
        self, tokens: IndexedTokenList, padding_lengths: Dict[str, int]
    ) -> Dict[str, torch.Tensor]:
        """The lists as tensors, filled up to the given lengths."""
        padding = self._tokenizer.tokenizer.pad_token_id or 0
        result = {}
        for name, values in tokens.items():
            filling = _FILLING.get(name, padding)
            filled = [*values, *[filling] * (padding_lengths[name] - len(values))]
            result[name] = torch.tensor(filled, dtype=torch.bool if isinstance(filling, bool) else torch.long)
        return result
