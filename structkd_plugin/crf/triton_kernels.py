"""
The recursions of a linear-chain CRF on a GPU: a few kernels for an operation, however long the sentences are.

The functions are those of `structkd_plugin.crf.reference` and of `LinearChainCRF`, without autograd, for potentials as
they are: a `Chain` with its mask; two that need no recursion are those in torch. What they compute with is in
`triton_likelihood` (sums over labellings) and `triton_decoding` (choices among them). Nothing here waits for the
device, and all shapes follow from those of the arguments, so that calls may be captured as a CUDA graph once they have
run.

This module needs Triton and is to be imported only where tensors are on a GPU (or in Triton's interpreter).
Labels are at most `MOST_LABELS`; more raise `ValueError`.
"""

from contextlib import nullcontext
from typing import Any, ContextManager, NamedTuple, Tuple

import torch
import triton

from structkd_plugin.crf import triton_decoding as decoding
from structkd_plugin.crf import triton_likelihood as likelihood
from structkd_plugin.crf.chain import Chain, Counts
from structkd_plugin.crf.torch_kernels import scaled, score_gradient

__all__ = [
    "argmax",
    "counts",
    "divergence",
    "k_best",
    "log_marginals",
    "log_marginals_gradient",
    "log_partition",
    "log_prob",
    "marginals",
    "sample",
    "scaled",
    "score",
    "score_gradient",
]

MOST_LABELS = 128
# Words that are worked on together where there is no recursion, and samples that are drawn together.
_BLOCK = 16


class _Messages(NamedTuple):
    """What one sweep over a batch leaves."""

    work: torch.Tensor  # (slots, B, T, L), see `triton_likelihood`
    log_partition: torch.Tensor  # (B,)


class SavedLogMarginals(NamedTuple):
    """What `log_marginals` leaves for its gradient."""

    messages: _Messages
    log_marginals: torch.Tensor  # (B, T, L)


# ------------------------------------------------------------------------------------------------- functions


def log_partition(chain: Chain) -> torch.Tensor:
    """log Z, shape (B,), nats: 0 without words, −inf where nothing is allowed."""
    return _messages(chain, likelihood.SAVE_NOTHING).log_partition


def counts(chain: Chain) -> Tuple[torch.Tensor, Counts]:
    """log Z, shape (B,), and its gradient: the expected counts of all potentials."""
    messages = _messages(chain, likelihood.SAVE_FOR_COUNTS)
    return messages.log_partition, _counts(chain, messages)


def log_prob(chain: Chain, tags: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor, Counts]:
    """
    log p(tags), log Z and the gradient of the former.

    # Parameters

    tags : `torch.Tensor`
        Shape (B, T), int64, in [0, L) at words. A word's tag outside makes its sentence's log p NaN.

    # Returns

    log p (B,), −inf where the tags are forbidden; log Z (B,); the observed less the expected counts, 0 where log p is
    not finite.
    """
    batch, words, labels = _shape(chain)
    tags = _indices(tags)
    result = _empty(chain, batch)
    gold = _empty(chain, batch)
    out = _empty_counts(chain)
    if batch == 0:
        return result, gold, out
    work = _empty(chain, likelihood.SLOTS[likelihood.SAVE_FOR_COUNTS], batch, words, labels)
    log_z = _empty(chain, batch)
    pad = _padded(labels)
    with _on(chain.emissions):
        likelihood.messages[(batch, 3)](
            *_pointers(chain),
            work,
            log_z,
            tags,
            gold,
            out.transitions,
            *_sizes(chain),
            PAD=pad,
            HAS_MASK=chain.mask is not None,
            SAVE=likelihood.SAVE_FOR_COUNTS,
            GOLD=True,
            BACKWARD_ONLY=False,
            num_warps=_warps(pad),
        )
        _launch_counts(
            chain, _Messages(work, log_z), out, likelihood.OBSERVED_LESS_EXPECTED, tags=tags, gold=gold, result=result
        )
    return result, log_z, out


def marginals(chain: Chain) -> torch.Tensor:
    """q_t(y), shape (B, T, L), each word's adding up to 1; 0 at masked words and where nothing is allowed."""
    return _marginals(chain, _messages(chain, likelihood.SAVE_FOR_COUNTS), logarithm=False)


def log_marginals(chain: Chain) -> Tuple[torch.Tensor, SavedLogMarginals]:
    """log q_t(y), shape (B, T, L), −inf where forbidden, 0 at masked words; and what its gradient needs."""
    messages = _messages(chain, likelihood.SAVE_ALL)
    result = _marginals(chain, messages, logarithm=True)
    return result, SavedLogMarginals(messages, result)


def log_marginals_gradient(chain: Chain, saved: SavedLogMarginals, gradient: torch.Tensor) -> Counts:
    """
    The gradient in the potentials, given that in log q.

    # Parameters

    saved : `SavedLogMarginals`
        Of the same chain.
    gradient : `torch.Tensor`
        Shape (B, T, L); what stands at masked words and where log q is −inf is left out.
    """
    batch, words, labels = _shape(chain)
    gradient = gradient.to(torch.float32).contiguous()
    parts = Counts(
        _empty(chain, 2, batch, words, labels),
        _empty(chain, 2, batch, labels, labels),
        _empty(chain, 2, batch, labels),
        _empty(chain, 2, batch, labels),
    )
    if batch > 0:
        pad = _padded(labels)
        with _on(chain.emissions):
            likelihood.log_marginals_gradient[(batch, 2)](
                saved.messages.work,
                saved.messages.log_partition,
                saved.log_marginals,
                gradient,
                chain.transitions,
                _mask(chain),
                *parts,
                words,
                labels,
                _stride(chain.transitions, 2),
                PAD=pad,
                HAS_MASK=chain.mask is not None,
                num_warps=_warps(pad),
            )
    return Counts(*(part[0] + part[1] for part in parts))


def argmax(chain: Chain) -> torch.Tensor:
    """
    The tags of largest score, shape (B, T), int64, 0 at masked words.

    Among equals the last word takes the lowest label, then the word before it, and so on.
    """
    batch, words, labels = _shape(chain)
    tags = _empty(chain, batch, words, dtype=torch.int64)
    if batch > 0:
        pointers = _empty(chain, batch, words, labels, dtype=torch.int8)
        pad = _padded(labels)
        with _on(chain.emissions):
            decoding.best_path[(batch,)](
                *_pointers(chain),
                pointers,
                tags,
                *_sizes(chain),
                PAD=pad,
                HAS_MASK=chain.mask is not None,
                num_warps=_warps(pad),
            )
    return tags


def k_best(chain: Chain, k: int) -> Tuple[torch.Tensor, torch.Tensor]:
    """
    The K distinct labellings of largest score, best first; equal scores as in `reference.k_best_paths`.

    # Returns

    tags (B, K, T), int64, 0 at masked words; scores (B, K), −inf (and tags 0) where fewer than K labellings exist.
    """
    batch, words, labels = _shape(chain)
    tags = _empty(chain, batch, k, words, dtype=torch.int64)
    scores = _empty(chain, batch, k)
    if batch > 0:
        narrow = labels * k <= torch.iinfo(torch.int16).max
        ways = _empty(chain, batch, 2, labels, k)
        pointers = _empty(chain, batch, words, labels, k, dtype=torch.int16 if narrow else torch.int32)
        pad = _padded(labels)
        with _on(chain.emissions):
            decoding.best_paths[(batch,)](
                *_pointers(chain),
                ways,
                pointers,
                tags,
                scores,
                *_sizes(chain),
                k,
                PAD=pad,
                PAD_K=triton.next_power_of_2(k),
                HAS_MASK=chain.mask is not None,
                num_warps=_ranking_warps(pad),
            )
    return tags, scores


def divergence(teacher: Chain, student: Chain, subtract_entropy: bool) -> Tuple[torch.Tensor, Counts]:
    """
    KL(teacher ‖ student), or the cross-entropy, and its gradient in the student's potentials.

    The words are the teacher's. +inf where the student forbids what the teacher allows; 0 where that allows nothing.

    # Returns

    Values (B,), nats; the student's expected counts less the teacher's.
    """
    student = student._replace(mask=teacher.mask)
    batch, words, labels = _shape(teacher)
    of_teacher, of_student = _messages(teacher, likelihood.SAVE_ALL), _messages(student, likelihood.SAVE_ALL)
    blocks = max(triton.cdiv(words, _BLOCK), 1)
    shares = _empty(teacher, batch, blocks)
    out = _counts(teacher, of_teacher)
    if batch > 0:
        pad = _padded(labels)
        with _on(teacher.emissions):
            likelihood.divergence[(batch, blocks)](
                *of_teacher,
                teacher.transitions,
                *of_student,
                student.transitions,
                _mask(teacher),
                shares,
                words,
                labels,
                _stride(teacher.transitions, 2),
                _stride(student.transitions, 2),
                blocks,
                PAD=pad,
                BLOCK=_BLOCK,
                HAS_MASK=teacher.mask is not None,
                SUBTRACT_ENTROPY=subtract_entropy,
                num_warps=_wide_warps(pad),
            )
            _launch_counts(student, of_student, out, likelihood.EXPECTED_LESS_GIVEN)
    return shares.sum(dim=1), out


def sample(chain: Chain, uniforms: torch.Tensor) -> torch.Tensor:
    """
    Labellings drawn with given numbers.

    # Parameters

    uniforms : `torch.Tensor`
        Shape (B, n, T), float32, in [0, 1): the t-th column is used for position t.

    # Returns

    `torch.Tensor` : shape (B, n, T), int64, 0 at masked words; never a forbidden label.
    """
    batch, words, labels = _shape(chain)
    samples = uniforms.shape[1]
    tags = _empty(chain, batch, samples, words, dtype=torch.int64)
    if batch == 0 or samples == 0:
        return tags
    messages = _messages(chain, likelihood.SAVE_ALL, backward_only=True)
    pad = _padded(labels)
    with _on(chain.emissions):
        decoding.draw[(batch, triton.cdiv(samples, _BLOCK))](
            messages.work,
            chain.transitions,
            chain.start,
            _mask(chain),
            uniforms.to(torch.float32).contiguous(),
            tags,
            words,
            labels,
            _stride(chain.transitions, 2),
            _stride(chain.start, 1),
            samples,
            PAD=pad,
            BLOCK=_BLOCK,
            HAS_MASK=chain.mask is not None,
            num_warps=_wide_warps(pad),
        )
    return tags


def score(chain: Chain, tags: torch.Tensor) -> torch.Tensor:
    """
    score(y) of labellings `tags`, (B, M, T), int64: shape (B, M), nats, −inf where forbidden.

    A word's tag outside [0, L) makes its labelling's score NaN.
    """
    batch, _, _ = _shape(chain)
    paths = tags.shape[1]
    result = _empty(chain, batch, paths)
    if batch > 0 and paths > 0:
        with _on(chain.emissions):
            likelihood.scores[(batch, paths)](
                *_pointers(chain),
                _indices(tags),
                result,
                *_sizes(chain),
                paths,
                HAS_MASK=chain.mask is not None,
                num_warps=1,
            )
    return result


# ------------------------------------------------------------------------------------------------- launches


def _messages(chain: Chain, save: int, backward_only: bool = False) -> _Messages:
    batch, words, labels = _shape(chain)
    work = _empty(chain, likelihood.SLOTS[save], batch, words, labels)
    log_z = _empty(chain, batch)
    if batch > 0:
        pad = _padded(labels)
        with _on(chain.emissions):
            likelihood.messages[(batch, 1 if save == likelihood.SAVE_NOTHING or backward_only else 2)](
                *_pointers(chain),
                work,
                log_z,
                log_z,
                log_z,
                log_z,
                *_sizes(chain),
                PAD=pad,
                HAS_MASK=chain.mask is not None,
                SAVE=save,
                GOLD=False,
                BACKWARD_ONLY=backward_only,
                num_warps=_warps(pad),
            )
    return _Messages(work, log_z)


def _marginals(chain: Chain, messages: _Messages, logarithm: bool) -> torch.Tensor:
    batch, words, labels = _shape(chain)
    result = _empty(chain, *chain.emissions.shape)
    if result.numel() > 0:
        pad = _padded(labels)
        with _on(chain.emissions):
            likelihood.marginals[(batch, triton.cdiv(words, _BLOCK))](
                *messages,
                _mask(chain),
                result,
                words,
                labels,
                PAD=pad,
                BLOCK=_BLOCK,
                HAS_MASK=chain.mask is not None,
                LOG=logarithm,
                num_warps=_warps(pad),
            )
    return result


def _counts(chain: Chain, messages: _Messages) -> Counts:
    out = _empty_counts(chain)
    if messages.log_partition.shape[0] > 0:
        with _on(chain.emissions):
            _launch_counts(chain, messages, out, likelihood.EXPECTED)
    return out


def _launch_counts(
    chain: Chain,
    messages: _Messages,
    out: Counts,
    kind: int,
    tags: Any = None,
    gold: Any = None,
    result: Any = None,
) -> None:
    batch, words, labels = _shape(chain)
    unused = messages.log_partition
    pad = _padded(labels)
    likelihood.counts[(batch,)](
        *messages,
        chain.transitions,
        _mask(chain),
        unused if tags is None else tags,
        unused if gold is None else gold,
        unused if result is None else result,
        *out,
        words,
        labels,
        _stride(chain.transitions, 2),
        PAD=pad,
        BLOCK=_BLOCK,
        HAS_MASK=chain.mask is not None,
        KIND=kind,
        num_warps=_wide_warps(pad),
    )


def _empty(chain: Chain, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Memory that a kernel writes; whatever stands in it before is never read."""
    return torch.empty(shape, dtype=dtype, device=chain.emissions.device)


def _empty_counts(chain: Chain) -> Counts:
    batch, _, labels = _shape(chain)
    return Counts(
        _empty(chain, *chain.emissions.shape),
        _empty(chain, batch, labels, labels),
        _empty(chain, batch, labels),
        _empty(chain, batch, labels),
    )


def _shape(chain: Chain) -> Tuple[int, int, int]:
    batch, words, labels = chain.emissions.shape
    if labels > MOST_LABELS:
        raise ValueError(f"the kernels take at most {MOST_LABELS} labels, not {labels}: use the recursions in torch")
    return batch, words, labels


def _padded(labels: int) -> int:
    """The power of two that a programme works with; products of tiles need at least 16."""
    return max(16, int(triton.next_power_of_2(labels)))


def _warps(pad: int) -> int:
    """One warp passes messages between its own threads; more only where a table has no room in its registers."""
    return {16: 1, 32: 1, 64: 4, 128: 8}[pad]


def _wide_warps(pad: int) -> int:
    """Where nothing is passed from word to word."""
    return {16: 4, 32: 8, 64: 8, 128: 16}[pad]


def _ranking_warps(pad: int) -> int:
    """Where words follow each other and two tables are held."""
    return {16: 1, 32: 1, 64: 8, 128: 16}[pad]


def _pointers(chain: Chain) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    return chain.emissions, chain.transitions, chain.start, chain.end, _mask(chain)


def _sizes(chain: Chain) -> Tuple[int, int, int, int, int]:
    _, words, labels = chain.emissions.shape
    return words, labels, _stride(chain.transitions, 2), _stride(chain.start, 1), _stride(chain.end, 1)


def _stride(table: torch.Tensor, dimensions: int) -> int:
    """From one sentence's table to the next one's: 0 where all share it."""
    return table.stride(0) if table.dim() > dimensions else 0


def _mask(chain: Chain) -> torch.Tensor:
    # Bytes, since not every way into a kernel takes booleans; what stands for no mask is never read.
    return chain.emissions if chain.mask is None else chain.mask.view(torch.uint8)


def _indices(tags: torch.Tensor) -> torch.Tensor:
    return tags.to(torch.int64).contiguous()


def _on(values: torch.Tensor) -> ContextManager[Any]:
    """Kernels start on the current device, which need not be that of the tensors."""
    return torch.cuda.device(values.device) if values.is_cuda else nullcontext()
