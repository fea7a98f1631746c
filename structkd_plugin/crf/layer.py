"""The module that owns a CRF's tables, and puts constraints where they are asked for."""

from typing import Any, Dict, List, Optional, Tuple

import torch

from structkd_plugin.crf.constraints import ChainConstraints
from structkd_plugin.crf.linear_chain import LinearChainCRF

CONSTRAINTS_IN = ("decoding", "everywhere")


class LinearChainCRFLayer(torch.nn.Module):
    """
    The tables of a linear-chain CRF as parameters; called with emissions it gives the distribution.

    Its parameters have the names and the meaning of AllenNLP's `ConditionalRandomField`, so that
    `load_state_dict` takes the weights of a stock `crf_tagger` unchanged, with or without start and end tables.

    # Parameters

    num_labels : `int`
        L.
    constraints : `ChainConstraints`, optional (default = everything is allowed)
        Which labels may follow each other.
    constraints_in : `str`, optional (default = "decoding")
        "decoding": training sees the unconstrained distribution, decoding and the probabilities it reports the
        constrained one. "everywhere": one constrained distribution for all.
    learn_transitions : `bool`, optional (default = True)
        Without, the layer has no parameters and the distribution is that of a softmax tagger.
    """

    def __init__(
        self,
        num_labels: int,
        constraints: Optional[ChainConstraints] = None,
        constraints_in: str = "decoding",
        learn_transitions: bool = True,
    ) -> None:
        super().__init__()
        if constraints_in not in CONSTRAINTS_IN:
            raise ValueError(f"constraints must be in one of {CONSTRAINTS_IN}, not {constraints_in!r}")
        self.num_labels = num_labels
        self.constraints_in = constraints_in
        self.learn_transitions = learn_transitions
        if learn_transitions:
            self.transitions = torch.nn.Parameter(torch.empty(num_labels, num_labels))
            self.start_transitions = torch.nn.Parameter(torch.empty(num_labels))
            self.end_transitions = torch.nn.Parameter(torch.empty(num_labels))
            self.reset_parameters()
        self.constrained = constraints is not None
        if constraints is not None:
            # (L, L), (L,), (L,): 0 where allowed, −inf where not. Derived from the labels, so not part of the weights.
            for name, allowed in zip(("transitions", "start", "end"), constraints, strict=True):
                self.register_buffer(f"_{name}_barrier", _barrier(allowed), persistent=False)

    def reset_parameters(self) -> None:
        """Draw new tables as AllenNLP does: Xavier-normal transitions, standard normal start and end."""
        torch.nn.init.xavier_normal_(self.transitions)
        torch.nn.init.normal_(self.start_transitions)
        torch.nn.init.normal_(self.end_transitions)

    def forward(
        self, emissions: torch.Tensor, mask: Optional[torch.Tensor] = None, decoding: bool = False
    ) -> LinearChainCRF:
        """
        The distribution over taggings.

        # Parameters

        emissions : `torch.Tensor`
            Shape (B, T, L), any floating-point type.
        mask : `torch.Tensor`, optional
            Shape (B, T), boolean.
        decoding : `bool`, optional (default = False)
            Whether this is for decoding and reporting; decides on the constraints where they are for decoding only.
        """
        if self.learn_transitions:
            distribution = LinearChainCRF(
                emissions, self.transitions, self.start_transitions, self.end_transitions, mask
            )
        else:
            distribution = LinearChainCRF(emissions, mask=mask)
        return self.constrain(distribution, decoding)

    def constrain(self, distribution: LinearChainCRF, decoding: bool = False) -> LinearChainCRF:
        """`distribution` (the student's or a teacher's) under this layer's constraints, where they hold."""
        if not self.constrained or not (decoding or self.constraints_in == "everywhere"):
            return distribution
        return distribution.forbid(
            self.get_buffer("_transitions_barrier"),
            self.get_buffer("_start_barrier"),
            self.get_buffer("_end_barrier"),
        )

    def tables(self, decoding: bool = False) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        The tables of the distribution that training sees: what, with emissions, determines it.

        # Parameters

        decoding : `bool`, optional (default = False)
            Whether those are wanted of the distribution that decoding sees.

        # Returns

        `Tuple[torch.Tensor, torch.Tensor, torch.Tensor]` : transitions (L, L), start and end (L,), without gradient; 0
            without learnt transitions, −inf where constraints hold (for training, everywhere) and forbid.
        """
        names = ("transitions", "start_transitions", "end_transitions")
        shapes = ((self.num_labels, self.num_labels), (self.num_labels,), (self.num_labels,))
        barriers = ("_transitions_barrier", "_start_barrier", "_end_barrier")
        tables = []
        for name, shape, barrier in zip(names, shapes, barriers, strict=True):
            table = getattr(self, name).detach() if self.learn_transitions else torch.zeros(shape)
            if self.constrained and (decoding or self.constraints_in == "everywhere"):
                limits = self.get_buffer(barrier)
                table = table.to(limits.device) + limits
            tables.append(table)
        return tables[0], tables[1], tables[2]

    def _load_from_state_dict(
        self,
        state_dict: Dict[str, Any],
        prefix: str,
        local_metadata: Dict[str, Any],
        strict: bool,
        missing_keys: List[str],
        unexpected_keys: List[str],
        error_msgs: List[str],
    ) -> None:
        # AllenNLP keeps its constraint mask among the weights; ours follows from the labels.
        state_dict.pop(prefix + "_constraint_mask", None)
        if self.learn_transitions and prefix + "transitions" in state_dict:
            # A stock CRF made without start and end tables scores as if they were 0.
            for name in ("start_transitions", "end_transitions"):
                state_dict.setdefault(prefix + name, torch.zeros(self.num_labels))
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


def _barrier(allowed: torch.Tensor) -> torch.Tensor:
    """0 where allowed, −inf where not, float32."""
    return torch.zeros(allowed.shape).masked_fill(~allowed, float("-inf"))
