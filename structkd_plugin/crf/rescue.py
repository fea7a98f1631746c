"""
The functions of the fast implementations in log space: slow, and exact for whatever potentials.

The fast ones hand over the sentences that they cannot hold in exponential space. Everything here is what
`reference` defines, and its derivatives by autograd.
"""

from typing import Any, Callable, List, Optional, Sequence, Tuple

import torch

from structkd_plugin.crf.chain import Chain, Counts


def redo(
    failed: torch.Tensor, outputs: Sequence[Optional[torch.Tensor]], function: Callable[..., Any], *arguments: Any
) -> None:
    """
    Run `function` on some sentences of `arguments`, and put what it returns into their rows of `outputs`.

    # Parameters

    failed : `torch.Tensor`
        Shape (B,): not 0 where a sentence has to be redone.
    outputs : `Sequence[Optional[torch.Tensor]]`
        Each (B, ...), in the order of what the function returns, flattened; `None` for what is not wanted.
    arguments : `Any`
        Chains and tensors (B, ...), of which the function gets the rows, and other things, which it gets as they are.
    """
    index = failed.nonzero().squeeze(1)
    with torch.no_grad():
        rows = [a.rows(index) if isinstance(a, Chain) else a[index] if torch.is_tensor(a) else a for a in arguments]
        for output, value in zip(outputs, _flat(function(*rows)), strict=True):
            if output is not None:
                output[index] = value.to(output.dtype)


def _flat(values: Any) -> List[torch.Tensor]:
    if isinstance(values, torch.Tensor):
        return [values]
    return [tensor for value in values for tensor in _flat(value)]


def _crf(chain: Chain) -> Any:
    # The front end imports the implementations, and they this file.
    from structkd_plugin.crf.linear_chain import LinearChainCRF

    return LinearChainCRF(*chain).plain()


def _per_sentence(chain: Chain) -> Chain:
    """The chain with tables of each sentence's own, all with gradient."""
    batch = len(chain.emissions)
    emissions, transitions, start, end, mask = chain

    def own(table: torch.Tensor, dimensions: int) -> torch.Tensor:
        table = table if table.dim() == dimensions else table.expand(batch, *table.shape)
        return table.clone().requires_grad_()

    return Chain(emissions.clone().requires_grad_(), own(transitions, 3), own(start, 2), own(end, 2), mask)


def _gradient(chain: Chain, value: torch.Tensor) -> Counts:
    """The gradient of the finite ones of `value`, each of which depends on its own sentence."""
    value = torch.where(value.isfinite(), value, torch.zeros_like(value)).sum()
    potentials = chain[:4]
    if not value.requires_grad:
        return Counts(*(torch.zeros_like(x) for x in potentials))
    return Counts(*torch.autograd.grad(value, potentials, materialize_grads=True, allow_unused=True))


def counts(chain: Chain) -> Tuple[torch.Tensor, Counts]:
    """log Z (B,) and the expected counts."""
    with torch.enable_grad():
        chain = _per_sentence(chain)
        log_z = _crf(chain).log_partition
        return log_z.detach(), _gradient(chain, log_z)


def log_partition(chain: Chain) -> torch.Tensor:
    """log Z, (B,)."""
    result: torch.Tensor = _crf(chain).log_partition
    return result


def log_prob(chain: Chain, tags: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor, Counts]:
    """log p of `tags` (B, T) and log Z, both (B,), and observed less expected counts: the gradient of log p."""
    with torch.enable_grad():
        chain = _per_sentence(chain)
        crf = _crf(chain)
        log_p = crf.log_prob(tags)
        return log_p.detach(), crf.log_partition.detach(), _gradient(chain, log_p)


def marginals(chain: Chain) -> torch.Tensor:
    """q_t(y), (B, T, L)."""
    result: torch.Tensor = _crf(chain).marginals
    return result


def log_marginals(chain: Chain) -> torch.Tensor:
    """log q_t(y), (B, T, L)."""
    result: torch.Tensor = _crf(chain).log_marginals
    return result


def log_marginals_gradient(chain: Chain, gradient: torch.Tensor) -> Counts:
    """The vector-Jacobian product of `gradient` (B, T, L) and the log-marginals."""
    with torch.enable_grad():
        chain = _per_sentence(chain)
        log_q = _crf(chain).log_marginals
        finite = log_q.isfinite()
        weighted = torch.where(finite, log_q, torch.zeros_like(log_q)) * torch.where(
            finite, gradient, torch.zeros_like(gradient)
        )
        return _gradient(chain, weighted.flatten(1).sum(dim=1))


def divergence(teacher: Chain, student: Chain, subtract_entropy: bool) -> Tuple[torch.Tensor, Counts]:
    """KL(teacher ‖ student), or the cross-entropy, (B,), and its gradient in the student's potentials."""
    with torch.enable_grad():
        student = _per_sentence(student)
        p = _crf(teacher)
        value = (p.kl if subtract_entropy else p.cross_entropy)(_crf(student))
        return value.detach(), _gradient(student, value)


def sample(chain: Chain, uniforms: torch.Tensor) -> torch.Tensor:
    """Labellings (B, n, T) at the quantiles `uniforms` (B, n, T)."""
    result: torch.Tensor = _crf(chain).sample_at(uniforms)
    return result
