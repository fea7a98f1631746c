"""Vectors of words from a transformer, a long sentence in windows that overlap."""

from typing import Any, Dict, List, NamedTuple, Optional

import torch
from allennlp.common.checks import ConfigurationError
from allennlp.data.tokenizers import PretrainedTransformerTokenizer
from allennlp.modules.token_embedders import PretrainedTransformerEmbedder, TokenEmbedder

from structkd_plugin.checked_options import CheckedOptions
from structkd_plugin.subwords.room import room

_REGISTERED = "structkd_windowed_transformer"
SUB_TOKEN_MODES = ("first", "avg")


class _Rows(NamedTuple):
    """Windows as the rows of a batch: R of them, of S' subwords at most."""

    token_ids: torch.Tensor  # (R, S')
    mask: torch.Tensor  # (R, S')
    type_ids: torch.Tensor  # (R, S')
    places: torch.Tensor  # (B, S): for each subword of the sentences its index into the rows, laid end to end


@TokenEmbedder.register(_REGISTERED)
class WindowedTransformerEmbedder(CheckedOptions, TokenEmbedder):
    """
    Embeds words with a transformer, given by the indexer of the same name, which says how long sentences are windowed.

    The vectors of a sentence do not depend on the batch that it is in. At most as many windows are computed at a time
    as there are sentences, so that a long sentence costs time, not memory (in training, windows are kept for the
    gradient). The parameters have the names that they have in AllenNLP's `pretrained_transformer_mismatched`.

    # Parameters

    model_name : `str`
        Name or folder of the transformer; the indexer's.
    sub_token_mode : `str`, optional (default = "avg")
        What of its subwords' vectors is a word's: the "first", or their "avg", the mean.
    tokenizer_kwargs : `Dict[str, Any]`, optional
        The indexer's.
    sub_module, train_parameters, last_layer_only, override_weights_file, override_weights_strip_prefix, load_weights,
    gradient_checkpointing, transformer_kwargs :
        As in `PretrainedTransformerEmbedder` of AllenNLP.

    # Raises

    `ConfigurationError` : for a `sub_token_mode` that is none.
    """

    def __init__(
        self,
        model_name: str,
        sub_token_mode: str = "avg",
        sub_module: Optional[str] = None,
        train_parameters: bool = True,
        last_layer_only: bool = True,
        override_weights_file: Optional[str] = None,
        override_weights_strip_prefix: Optional[str] = None,
        load_weights: bool = True,
        gradient_checkpointing: Optional[bool] = None,
        tokenizer_kwargs: Optional[Dict[str, Any]] = None,
        transformer_kwargs: Optional[Dict[str, Any]] = None,
    ) -> None:
        super().__init__()
        if sub_token_mode not in SUB_TOKEN_MODES:
            raise ConfigurationError(
                f"sub_token_mode must be one of {', '.join(SUB_TOKEN_MODES)}, not {sub_token_mode!r}"
            )
        self.sub_token_mode = sub_token_mode
        self._matched_embedder = PretrainedTransformerEmbedder(
            model_name,
            sub_module=sub_module,  # type: ignore[arg-type]
            train_parameters=train_parameters,
            last_layer_only=last_layer_only,
            override_weights_file=override_weights_file,
            override_weights_strip_prefix=override_weights_strip_prefix,
            load_weights=load_weights,
            gradient_checkpointing=gradient_checkpointing,
            tokenizer_kwargs=tokenizer_kwargs,
            transformer_kwargs=transformer_kwargs,
        )
        tokenizer = PretrainedTransformerTokenizer(model_name, tokenizer_kwargs=tokenizer_kwargs).tokenizer
        self._room = room(self._matched_embedder, tokenizer)
        self._padding = tokenizer.pad_token_id or 0

    def get_output_dim(self) -> int:
        """Size of a word's vector."""
        return self._matched_embedder.get_output_dim()

    def forward(
        self,
        token_ids: torch.Tensor,
        mask: torch.Tensor,
        wordpiece_mask: torch.Tensor,
        type_ids: torch.Tensor,
        windows: Optional[torch.Tensor] = None,
        owners: Optional[torch.Tensor] = None,
        **others: Any,
    ) -> torch.Tensor:
        """
        The vectors of words.

        # Parameters

        token_ids, wordpiece_mask, type_ids, windows, owners : `torch.Tensor`
            Shape (B, S): the subwords of each sentence's windows, as the indexer gives them.
        mask : `torch.Tensor`
            Shape (B, T), bool: where there are words.

        # Returns

        `torch.Tensor` : shape (B, T, D); zeros for words without subwords, and where there are no words.
        """
        if windows is None or owners is None:
            raise ConfigurationError(
                f"the embedder {_REGISTERED} needs the token indexer {_REGISTERED}: give the reader's token_indexers "
                "that type"
            )
        rows = self._rows(token_ids, wordpiece_mask, type_ids, windows)
        if rows.mask.shape[1] > self._room:
            raise ConfigurationError(
                f"the token indexer makes windows of {rows.mask.shape[1]} subwords, and the transformer takes "
                f"{self._room}: give indexer and embedder the same model_name"
            )
        at_once = len(token_ids)
        embedded: List[torch.Tensor] = [
            self._matched_embedder(*(tensor[start : start + at_once] for tensor in rows[:3]))
            for start in range(0, len(rows.token_ids), at_once)
        ]
        # (R, S', D)
        return self._pooled(torch.cat(embedded) if len(embedded) > 1 else embedded[0], rows.places, owners, mask)

    def _rows(
        self, token_ids: torch.Tensor, inside: torch.Tensor, type_ids: torch.Tensor, windows: torch.Tensor
    ) -> _Rows:
        steps = torch.arange(token_ids.shape[1], device=token_ids.device).expand_as(token_ids)
        # (B,)
        counts = windows.amax(dim=1) + 1
        num_rows = int(counts.sum())
        if num_rows == len(token_ids):
            places = steps + steps.shape[1] * torch.arange(num_rows, device=steps.device).unsqueeze(1)
            return _Rows(token_ids, inside, type_ids, places)
        begins = torch.ones_like(inside)
        begins[:, 1:] = windows[:, 1:] != windows[:, :-1]
        # (B, S): which row a subword is in, and where in it
        row = windows + (counts.cumsum(0) - counts).unsqueeze(1)
        column = steps - torch.where(begins, steps, torch.zeros_like(steps)).cummax(dim=1).values
        shape = (num_rows, int(column[inside].max()) + 1)
        at = row[inside], column[inside]
        ids = token_ids.new_full(shape, self._padding).index_put(at, token_ids[inside])
        types = type_ids.new_zeros(shape).index_put(at, type_ids[inside])
        mask = inside.new_zeros(shape).index_put(at, inside[inside])
        return _Rows(ids, mask, types, row * shape[1] + column)

    def _pooled(
        self, embedded: torch.Tensor, places: torch.Tensor, owners: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        batch_size, num_words = mask.shape
        # (R * S', D)
        vectors = embedded.flatten(0, 1)
        owned = owners >= 0
        if not bool(owned.any()):
            return vectors.new_zeros((batch_size, num_words, vectors.shape[1]))
        # (N,): subwords that are taken, those of a word one after another, and the word that each is of
        chosen = places[owned]
        of = (owners + num_words * torch.arange(batch_size, device=owners.device).unsqueeze(1))[owned]
        # (B * T,)
        sizes = torch.bincount(of, minlength=batch_size * num_words)
        firsts = sizes.cumsum(0) - sizes
        if self.sub_token_mode == "avg":
            # Zeros for words without subwords; in one pass whose memory does not grow with the longest word.
            pooled = torch.nn.functional.embedding_bag(chosen, vectors, firsts, mode="mean")
        else:
            pooled = vectors[chosen[firsts.clamp(max=len(chosen) - 1)]] * (sizes > 0).unsqueeze(1)
        return pooled.view(batch_size, num_words, -1)
