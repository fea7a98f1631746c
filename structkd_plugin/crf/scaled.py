"""
The recursions of `reference` as products of probabilities, with analytic gradients: the fast path in plain torch.

With P = exp(a) and w_t = exp(e_t), each shifted so that its largest entry is 1, the forward recursion is a product,

    α̂_t ∝ (α̂_{t−1} P) ⊙ w_t,

normalised to sum 1 at every word; log Z is the sum of the logarithms of what was divided out. The backward messages are
the same product from the right. Nothing here is differentiated by recording operations: every gradient is a closed form
of marginals and of conditional expectations (docs/mathematics.md, "Gradients").

**When it is exact.** A probability below 1e-38 is lost in float32, and what comes through it later may be all that is
left. So every message of a label that can be reached must be at least `RESCUE_BELOW`: then what the next word makes of
it is held too, and nothing is lost but what is smaller than rounding. Otherwise the functions return `None`, and the
caller uses the reference.
"""

from typing import List, NamedTuple, Optional, Tuple

import torch

from structkd_plugin.crf.reference import FORBIDDEN_BELOW, Potentials

# Of a message, the sum or the largest of which is 1 for every word.
RESCUE_BELOW = 1e-30


class Messages(NamedTuple):
    """Forward and backward messages of a batch, each word's normalised."""

    log_partition: torch.Tensor  # (B,)
    alpha: torch.Tensor  # (T, B, L), sum 1 over labels
    right: torch.Tensor  # (T, B, L): w_t ⊙ β̂_t, up to a factor for each word
    beta: torch.Tensor  # (T, B, L), largest 1
    table: torch.Tensor  # (B, L, L) or (L, L): P
    inside: torch.Tensor  # (T, B, 1), 1 at words and 0 beyond


def messages(p: Potentials) -> Optional[Messages]:
    """The messages of both directions without gradient, or `None` where the reference has to be asked."""
    batch, words, _ = p.emissions.shape
    if words == 0 or batch == 0:
        return None
    with torch.no_grad(), _full_precision(p.emissions):
        # One table for all sentences is stored once and expanded: then the products are of two matrices.
        shared = p.transitions.stride(0) == 0 or batch == 1
        table = p.transitions[0] if shared else p.transitions
        shift = table.amax(dim=(-2, -1), keepdim=True)
        matrix = (table - shift).exp()
        # (B,) or (): what every transition has had taken out
        shift = shift.reshape(-1)
        # (T, B, L), (T, B, 1)
        emissions = p.emissions.transpose(0, 1)
        top = emissions.amax(dim=2, keepdim=True)
        weights = (emissions - top).exp()
        # (T, B, 1)
        inside = (torch.arange(words, device=p.lengths.device).unsqueeze(1) < p.lengths).unsqueeze(2)

        start_top = p.start.amax(dim=1, keepdim=True)
        current = (p.start - start_top).exp() * weights[0]
        total = current.sum(dim=1, keepdim=True)
        current = current / total
        alphas, totals = [current], [total]
        for t in range(1, words):
            following = _times(current, matrix) * weights[t]
            total = following.sum(dim=1, keepdim=True)
            # Beyond the sentence the last word's message stays.
            current = torch.where(inside[t], following / total, current)
            alphas.append(current)
            totals.append(total)
        end_top = p.end.amax(dim=1, keepdim=True)
        ending = (p.end - end_top).exp()
        last = (current * ending).sum(dim=1)

        transposed = matrix.transpose(-2, -1)
        beta = ending
        betas: List[torch.Tensor] = [beta]
        rights = [weights[words - 1] * beta]
        for t in range(words - 2, -1, -1):
            following = _times(rights[-1], transposed)
            largest = following.amax(dim=1, keepdim=True)
            beta = torch.where(inside[t + 1], following / largest, ending)
            betas.append(beta)
            rights.append(weights[t] * beta)
        betas.reverse()
        rights.reverse()

        # (T, B, L) each
        alpha, beta = torch.stack(alphas), torch.stack(betas)
        if not _all_held(p, alpha, beta, shared, inside, last):
            return None
        # (T, B, 1)
        sums = torch.stack(totals)
        has_words = p.lengths > 0
        log_partition = torch.where(inside, sums.log() + top, torch.zeros_like(sums)).sum(dim=0).squeeze(1)
        log_partition = log_partition + last.log() + (start_top + end_top).squeeze(1)
        log_partition = log_partition + shift * (p.lengths - 1).clamp(min=0)
        return Messages(
            torch.where(has_words, log_partition, torch.zeros_like(log_partition)),
            alpha,
            torch.stack(rights),
            beta,
            matrix,
            inside,
        )


def _all_held(
    p: Potentials, alpha: torch.Tensor, beta: torch.Tensor, shared: bool, inside: torch.Tensor, last: torch.Tensor
) -> bool:
    """Whether every message of a label that can be reached, from its side, is large enough; False for NaN."""
    one = torch.ones_like(alpha)
    forbidden = torch.stack([(x < FORBIDDEN_BELOW).any() for x in (p.emissions, p.transitions, p.start, p.end)]).any()
    if bool(forbidden):
        # 0 is right for what cannot be reached: follow what is allowed through the sentence, from both sides.
        words = alpha.shape[0]
        allowed_table = (p.transitions[0] if shared else p.transitions) > FORBIDDEN_BELOW
        table = allowed_table.to(alpha.dtype)
        allowed = (p.emissions > FORBIDDEN_BELOW).transpose(0, 1)
        forward = [(p.start > FORBIDDEN_BELOW) & allowed[0]]
        for t in range(1, words):
            reached = (_times(forward[-1].to(alpha.dtype), table) > 0) & allowed[t]
            forward.append(torch.where(inside[t], reached, forward[-1]))
        ending = p.end > FORBIDDEN_BELOW
        backward = [ending]
        for t in range(words - 2, -1, -1):
            reached = _times((backward[-1] & allowed[t + 1]).to(alpha.dtype), table.transpose(-2, -1)) > 0
            backward.append(torch.where(inside[t + 1], reached, ending))
        backward.reverse()
        alpha = torch.where(torch.stack(forward), alpha, one)
        beta = torch.where(torch.stack(backward), beta, one)
    # (B,)
    last = torch.where(p.lengths > 0, last, torch.ones_like(last))
    smallest = torch.stack([torch.where(inside, torch.minimum(alpha, beta), one).amin(), last.amin()]).amin()
    return bool(smallest > RESCUE_BELOW)


def _full_precision(values: torch.Tensor) -> torch.autocast:
    """Autocast would make the products half precision."""
    return torch.autocast(values.device.type, enabled=False)


def _times(rows: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Rows (B, L) times one matrix (L, L), or each times its own of (B, L, L)."""
    return rows @ matrix if matrix.dim() == 2 else torch.bmm(rows.unsqueeze(1), matrix).squeeze(1)


def marginals(m: Messages) -> torch.Tensor:
    """q_t(y), shape (T, B, L), 0 beyond the sentence; each word divided by its own sum."""
    q = m.alpha * m.beta
    return torch.where(m.inside, q / q.sum(dim=2, keepdim=True), torch.zeros_like(q))


def nothing_unlikely(m: Messages) -> bool:
    """Whether every label of every word has a probability that float32 holds with room to spare."""
    q = marginals(m)
    return bool(torch.where(m.inside, q, torch.ones_like(q)).amin() > RESCUE_BELOW)


def _edge_weights(m: Messages) -> Tuple[torch.Tensor, torch.Tensor]:
    """
    Factors of the edge marginals: q_t(i, j) = left_t(i) P(i, j) right_t(j), shapes (T−1, B, L), 0 beyond the sentence.
    """
    left, right = m.alpha[:-1], m.right[1:]
    # (T-1, B, 1)
    total = (_rows_times(left, m.table) * right).sum(dim=2, keepdim=True)
    return torch.where(m.inside[1:], left / total, torch.zeros_like(left)), right


def _rows_times(rows: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Rows (T, B, L) times one matrix, or each sentence's times its own."""
    if matrix.dim() == 2:
        return rows @ matrix
    return torch.bmm(rows.transpose(0, 1), matrix).transpose(0, 1)


def _pair_sums(left: torch.Tensor, right: torch.Tensor, m: Messages, over_sentences: bool) -> torch.Tensor:
    """Σ_t left_t(i) right_t(j) P(i, j): (B, L, L), or (L, L) if also over sentences, which share P then."""
    if over_sentences:
        labels = left.shape[2]
        return (left.reshape(-1, labels).t() @ right.reshape(-1, labels)) * m.table
    return torch.bmm(left.permute(1, 2, 0), right.transpose(0, 1)) * m.table


def _at_last(values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """The rows of (T, B, L) at each sentence's last word, 0 for a sentence without words; (B, L)."""
    index = (lengths - 1).clamp(min=0).view(1, -1, 1).expand(1, -1, values.shape[2])
    return values.gather(0, index).squeeze(0) * (lengths > 0).unsqueeze(1)


def log_partition(p: Potentials, m: Messages) -> torch.Tensor:
    """log Z, shape (B,), of potentials whose messages are known."""
    result: torch.Tensor = LogPartition.apply(*p, m)  # type: ignore[no-untyped-call]
    return result


def log_marginals(p: Potentials, m: Messages) -> torch.Tensor:
    """log q_t(y), shape (B, T, L), −inf beyond the sentence; where `nothing_unlikely`."""
    result: torch.Tensor = LogMarginals.apply(*p, m)  # type: ignore[no-untyped-call]
    return result


def divergence(student: Potentials, m: Messages, value: torch.Tensor, expected: "ExpectedCounts") -> torch.Tensor:
    """`value` (B,), a divergence from a fixed teacher, with its gradient in the student's potentials."""
    result: torch.Tensor = Divergence.apply(*student, m, value, expected)  # type: ignore[no-untyped-call]
    return result


def _refuse_second_derivatives() -> None:
    # torch's own check lets a gradient of constants pass as one without a second derivative.
    if torch.is_grad_enabled():
        raise RuntimeError(
            "the fast path of LinearChainCRF has no second derivatives (create_graph=True): "
            "take them of the distribution's plain(), which is slower"
        )


class LogPartition(torch.autograd.Function):
    """log Z with its gradient: marginals, expected transitions, and the marginals of the first and last word."""

    @staticmethod
    def forward(ctx, emissions, transitions, start, end, lengths, found):  # type: ignore[no-untyped-def]
        """Of messages that were found before."""
        ctx.found, ctx.lengths = found, lengths
        return found.log_partition.clone()

    @staticmethod
    def backward(ctx, scale):  # type: ignore[no-untyped-def]
        """`scale` (B,)."""
        _refuse_second_derivatives()
        with _full_precision(scale):
            return (*expected_counts(ctx.found, ctx.lengths, scale), None, None)


class Divergence(torch.autograd.Function):
    """
    A cross-entropy or divergence from a fixed teacher, of known value, with its gradient in the student's potentials.

    The gradient is the student's expected counts less the teacher's, of every emission, transition, start and end.
    """

    @staticmethod
    def forward(ctx, emissions, transitions, start, end, lengths, found, value, expected):  # type: ignore[no-untyped-def]
        """`value` (B,); `expected` are the teacher's `ExpectedCounts`."""
        ctx.found, ctx.lengths, ctx.expected = found, lengths, expected
        return value.clone()

    @staticmethod
    def backward(ctx, scale):  # type: ignore[no-untyped-def]
        """`scale` (B,)."""
        _refuse_second_derivatives()
        with _full_precision(scale):
            student = expected_counts(ctx.found, ctx.lengths, scale)
        # Where the student's table is shared, it does not matter in which rows its gradient stands.
        gradients = (
            mine - theirs * scale.view(-1, *[1] * (theirs.dim() - 1))
            for mine, theirs in zip(student, ctx.expected, strict=True)
        )
        return (*gradients, None, None, None, None)


class ExpectedCounts(NamedTuple):
    """How often a distribution uses each potential: the gradient of its log Z."""

    emissions: torch.Tensor  # (B, T, L)
    transitions: torch.Tensor  # (B, L, L)
    start: torch.Tensor  # (B, L)
    end: torch.Tensor  # (B, L)


def expected_counts(m: Messages, lengths: torch.Tensor, scale: Optional[torch.Tensor] = None) -> ExpectedCounts:
    """
    The expected counts of every sentence.

    With `scale` (B,), each sentence's times its scale, as a gradient: then those of a shared table are summed over
    sentences and stand in row 0.
    """
    q = marginals(m)
    left, right = _edge_weights(m)
    if scale is not None:
        q, left = q * scale.view(1, -1, 1), left * scale.view(1, -1, 1)
    over_sentences = scale is not None and m.table.dim() == 2
    table = _for_table(_pair_sums(left, right, m, over_sentences), q.shape[1])
    return ExpectedCounts(q.transpose(0, 1), table, q[0], _at_last(q, lengths))


def _for_table(gradient: torch.Tensor, batch: int) -> torch.Tensor:
    """A gradient for the (B, L, L) table: that of a shared one in row 0, since rows of a shared table are added up."""
    if gradient.dim() == 3:
        return gradient
    full = gradient.new_zeros((batch, *gradient.shape))
    full[0] = gradient
    return full


class LogMarginals(torch.autograd.Function):
    """
    log q_t(y), (B, T, L), with its gradient.

    For weights g on the log-marginals let G(y) = Σ_t g_t(y_t) / q_t(y_t). The gradient of Σ g · log q is a covariance,

        ∂/∂e_t(y) = q_t(y) (E[G | y_t = y] − E[G]),     ∂/∂a(i→j) = Σ_t q_t(i, j) (E[G | i, j] − E[G]),

    and the conditional expectations are two linear recursions along the chain, one from each side. To be used where
    `nothing_unlikely`, since g is divided by q.
    """

    @staticmethod
    def forward(ctx, emissions, transitions, start, end, lengths, found):  # type: ignore[no-untyped-def]
        """Of messages that were found before."""
        ctx.found, ctx.lengths = found, lengths
        ctx.q = marginals(found)
        return ctx.q.log().transpose(0, 1)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        """`gradient` (B, T, L)."""
        _refuse_second_derivatives()
        with _full_precision(gradient):
            return (*LogMarginals.gradients(ctx.found, ctx.q, ctx.lengths, gradient), None, None)

    @staticmethod
    def gradients(
        m: Messages, q: torch.Tensor, lengths: torch.Tensor, gradient: torch.Tensor
    ) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """The gradients of emissions, transitions, start and end."""
        words = q.shape[0]
        # (T, B, L): g / q, 0 beyond the sentence. Constants do not change a covariance: with every word's mean taken
        # out E[G] is 0, and partial sums do not grow with the sentence, nor does their rounding.
        gain = gradient.transpose(0, 1) / q
        gain = torch.where(m.inside, gain - (q * gain).sum(dim=2, keepdim=True), torch.zeros_like(q))
        # u_t(j) = E[the part of G up to word t | y_t = j]
        u = gain[0]
        us = [u]
        for t in range(1, words):
            carried = _times(m.alpha[t - 1] * u, m.table) / _times(m.alpha[t - 1], m.table)
            u = torch.where(m.inside[t], gain[t] + carried, u)
            us.append(u)
        # v_t(i) = E[the part of G after word t | y_t = i]
        transposed = m.table.transpose(-2, -1)
        v = torch.zeros_like(u)
        vs = [v]
        for t in range(words - 2, -1, -1):
            right = m.right[t + 1]
            carried = _times(right * (gain[t + 1] + v), transposed) / _times(right, transposed)
            v = torch.where(m.inside[t + 1], carried, v)
            vs.append(v)
        vs.reverse()
        before, after = torch.stack(us), torch.stack(vs)
        emissions = q * (before + after)
        left, right = _edge_weights(m)
        shared = m.table.dim() == 2
        table = _pair_sums(left * before[:-1], right, m, shared)
        table = table + _pair_sums(left, right * (gain[1:] + after[1:]), m, shared)
        return (
            emissions.transpose(0, 1),
            _for_table(table, q.shape[1]),
            emissions[0],
            _at_last(emissions, lengths),
        )
