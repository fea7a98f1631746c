"""
The operations of the fast implementations as autograd functions: each finds its gradient in the forward sweep.

`implementation` is a module with the functions of `cpu_kernels`. Gradients have the shapes of what was passed in: those
of a table that sentences share are summed over sentences.
"""

from types import ModuleType
from typing import Any, Optional, Tuple

import torch

from structkd_plugin.crf.chain import Chain, Counts
from structkd_plugin.crf.torch_kernels import log_ratio

# What the functions pass on for their arguments that have no gradient.
Gradients = Tuple[Optional[torch.Tensor], ...]


def log_partition(chain: Chain, implementation: ModuleType) -> torch.Tensor:
    """log Z, (B,)."""
    if not _wanted(chain):
        return _given(implementation.log_partition(detached(chain)))
    return _given(LogPartition.apply(*chain, implementation))  # type: ignore[no-untyped-call]


def log_prob(chain: Chain, tags: torch.Tensor, implementation: ModuleType) -> torch.Tensor:
    """log p(tags), (B,), of `tags` (B, T), int64 and contiguous."""
    if not _wanted(chain):
        plain = detached(chain)
        scores = implementation.score(plain, tags.unsqueeze(1)).squeeze(1)
        return log_ratio(scores, implementation.log_partition(plain))
    return _given(LogProb.apply(*chain, tags, implementation))  # type: ignore[no-untyped-call]


def score(chain: Chain, tags: torch.Tensor, implementation: ModuleType) -> torch.Tensor:
    """Scores (B, M) of `tags` (B, M, T), int64 and contiguous."""
    if not _wanted(chain):
        return _given(implementation.score(detached(chain), tags))
    return _given(Score.apply(*chain, tags, implementation))  # type: ignore[no-untyped-call]


def expected_log_prob(
    chain: Chain, tags: torch.Tensor, weights: torch.Tensor, implementation: ModuleType
) -> torch.Tensor:
    """Σ_m w_m log p(y_m), (B,), of `tags` (B, M, T), int64 and contiguous, with `weights` (B, M) without gradient."""
    weights = weights.detach()
    if not _wanted(chain):
        plain = detached(chain)
        return _weighted(implementation.score(plain, tags), implementation.log_partition(plain), weights)[0]
    return _given(ExpectedLogProb.apply(*chain, tags, weights, implementation))  # type: ignore[no-untyped-call]


def _weighted(scores: torch.Tensor, log_z: torch.Tensor, weights: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
    """Σ_m w_m log p(y_m), (B,), and the weights (B, M) that count in its gradient: none where it is infinite."""
    counted = weights > 0
    impossible = (counted & (scores == -float("inf"))).any(dim=1)
    # Where nothing is allowed log Z is infinite too.
    scale = weights.masked_fill(impossible.unsqueeze(1), 0.0)
    log_probs = (scores - log_z.unsqueeze(1)).masked_fill_(scale <= 0, 0.0)
    return (scale * log_probs).sum(dim=1).masked_fill_(impossible, -float("inf")), scale


def log_marginals(chain: Chain, implementation: ModuleType) -> torch.Tensor:
    """log q_t(y), (B, T, L)."""
    if not _wanted(chain):
        return _given(implementation.log_marginals(detached(chain))[0])
    return _given(LogMarginals.apply(*chain, implementation))  # type: ignore[no-untyped-call]


def divergence(teacher: Chain, student: Chain, subtract_entropy: bool, implementation: ModuleType) -> torch.Tensor:
    """KL(teacher ‖ student), or the cross-entropy, (B,), with gradient in the student's potentials alone."""
    teacher = detached(teacher)
    if not _wanted(student):
        return _given(implementation.divergence(teacher, detached(student), subtract_entropy)[0])
    return _given(Divergence.apply(*student, teacher, subtract_entropy, implementation))  # type: ignore[no-untyped-call]


def _given(result: Any) -> torch.Tensor:
    assert isinstance(result, torch.Tensor)
    return result


def _wanted(chain: Chain) -> bool:
    return torch.is_grad_enabled() and any(x.requires_grad for x in chain[:4])


def detached(chain: Chain) -> Chain:
    """The chain as the implementations take it: without gradient, contiguous."""
    emissions, transitions, start, end, mask = chain
    return Chain(
        emissions.detach().contiguous(),
        transitions.detach().contiguous(),
        start.detach().contiguous(),
        end.detach().contiguous(),
        mask,
    )


def _refuse_second_derivatives() -> None:
    # torch's own check lets a gradient of constants pass as one without a second derivative.
    if torch.is_grad_enabled():
        raise RuntimeError(
            "the fast path of LinearChainCRF has no second derivatives (create_graph=True): "
            "take them of the distribution's plain(), which is slower"
        )


def _gradients(ctx: Any, counts: Counts, scale: Optional[torch.Tensor], others: int) -> Gradients:
    """What `backward` returns: the gradients of the potentials, and none for the mask and `others`."""
    if scale is None:
        scale = torch.ones(len(counts.emissions), dtype=counts.emissions.dtype, device=counts.emissions.device)
    return (*ctx.implementation.scaled(counts, scale, ctx.chain), *[None] * (others + 1))


class LogPartition(torch.autograd.Function):
    """log Z; its gradient is the expected counts."""

    @staticmethod
    def forward(ctx, emissions, transitions, start, end, mask, implementation):  # type: ignore[no-untyped-def]
        """(B,)"""
        ctx.chain = detached(Chain(emissions, transitions, start, end, mask))
        ctx.implementation = implementation
        log_z, ctx.counts = implementation.counts(ctx.chain)
        return log_z

    @staticmethod
    def backward(ctx, scale):  # type: ignore[no-untyped-def]
        """`scale` (B,)."""
        _refuse_second_derivatives()
        return _gradients(ctx, ctx.counts, scale, 1)


class LogProb(torch.autograd.Function):
    """log p(y); its gradient is the counts of y less the expected ones."""

    @staticmethod
    def forward(ctx, emissions, transitions, start, end, mask, tags, implementation):  # type: ignore[no-untyped-def]
        """(B,)"""
        ctx.chain = detached(Chain(emissions, transitions, start, end, mask))
        ctx.implementation = implementation
        log_p, _, ctx.counts = implementation.log_prob(ctx.chain, tags)
        return log_p

    @staticmethod
    def backward(ctx, scale):  # type: ignore[no-untyped-def]
        """`scale` (B,)."""
        _refuse_second_derivatives()
        return _gradients(ctx, ctx.counts, scale, 2)


class Score(torch.autograd.Function):
    """score(y); its gradient is the counts of y."""

    @staticmethod
    def forward(ctx, emissions, transitions, start, end, mask, tags, implementation):  # type: ignore[no-untyped-def]
        """(B, M)"""
        ctx.chain = detached(Chain(emissions, transitions, start, end, mask))
        ctx.tags, ctx.implementation = tags, implementation
        return implementation.score(ctx.chain, tags)

    @staticmethod
    def backward(ctx, scale):  # type: ignore[no-untyped-def]
        """`scale` (B, M)."""
        _refuse_second_derivatives()
        return _gradients(ctx, ctx.implementation.score_gradient(ctx.chain, ctx.tags, scale), None, 2)


class ExpectedLogProb(torch.autograd.Function):
    """Σ_m w_m log p(y_m); its gradient is the weighted counts of the y_m less the expected ones times Σ_m w_m."""

    @staticmethod
    def forward(ctx, emissions, transitions, start, end, mask, tags, weights, implementation):  # type: ignore[no-untyped-def]
        """(B,)"""
        ctx.chain = detached(Chain(emissions, transitions, start, end, mask))
        ctx.implementation = implementation
        log_z, expected = implementation.counts(ctx.chain)
        value, scale = _weighted(implementation.score(ctx.chain, tags), log_z, weights)
        observed = implementation.score_gradient(ctx.chain, tags, scale)
        total = scale.sum(dim=1)
        ctx.counts = Counts(
            *(
                mine.addcmul_(theirs, total.view(-1, *[1] * (theirs.dim() - 1)), value=-1.0)
                for mine, theirs in zip(observed, expected, strict=True)
            )
        )
        return value

    @staticmethod
    def backward(ctx, scale):  # type: ignore[no-untyped-def]
        """`scale` (B,)."""
        _refuse_second_derivatives()
        return _gradients(ctx, ctx.counts, scale, 3)


class LogMarginals(torch.autograd.Function):
    """
    log q_t(y); its gradient is a covariance (docs/mathematics.md, "Gradients").
    """

    @staticmethod
    def forward(ctx, emissions, transitions, start, end, mask, implementation):  # type: ignore[no-untyped-def]
        """(B, T, L)"""
        ctx.chain = detached(Chain(emissions, transitions, start, end, mask))
        ctx.implementation = implementation
        log_q, ctx.saved = implementation.log_marginals(ctx.chain)
        return log_q

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        """`gradient` (B, T, L)."""
        _refuse_second_derivatives()
        return _gradients(ctx, ctx.implementation.log_marginals_gradient(ctx.chain, ctx.saved, gradient), None, 1)


class Divergence(torch.autograd.Function):
    """KL or cross-entropy; the gradient is the student's expected counts less the teacher's."""

    @staticmethod
    def forward(ctx, emissions, transitions, start, end, mask, teacher, subtract_entropy, implementation):  # type: ignore[no-untyped-def]
        """(B,)"""
        ctx.chain = detached(Chain(emissions, transitions, start, end, mask))
        ctx.implementation = implementation
        value, ctx.counts = implementation.divergence(teacher, ctx.chain, subtract_entropy)
        return value

    @staticmethod
    def backward(ctx, scale):  # type: ignore[no-untyped-def]
        """`scale` (B,)."""
        _refuse_second_derivatives()
        return _gradients(ctx, ctx.counts, scale, 3)
