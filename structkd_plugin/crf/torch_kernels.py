"""
The CRF in plain torch, on any device: the recursions of `reference` as products of probabilities.

With P = exp(a) and w_t = exp(e_t), each shifted so that its largest entry is 1, the forward recursion is a product,

    α̂_t ∝ (α̂_{t−1} P) ⊙ w_t,

normalised to sum 1 at every word; log Z is the sum of the logarithms of what was divided out. The backward messages are
the same product from the right. Every gradient is a closed form of marginals and of conditional expectations
(docs/mathematics.md, "Gradients"). Sentences are sorted by length, so that step t is a product of the rows that have
a word t, and of no others.

**When it is exact.** A probability below 1e-38 is lost in float32, and what comes through it later may be all that is
left. So every message of a label that can be reached must be at least `HELD`: then what the next word makes of it is
held too, and nothing is lost but what is smaller than rounding. Other sentences are redone in log space.

The functions have the names and the meaning of those in `cpu_kernels`.
"""

from typing import List, NamedTuple, Optional, Tuple

import torch

from structkd_plugin.crf import reference, rescue
from structkd_plugin.crf.chain import Chain, Counts
from structkd_plugin.crf.reference import FORBIDDEN, FORBIDDEN_BELOW, Potentials

HELD = 1e-30
# Of a message before it is normalised: where float32 begins to lose digits, with room to spare.
NORMAL = 1e-36


class Words(NamedTuple):
    """Where the words of a batch are: sentences by length, longest first, their words in front."""

    lengths: torch.Tensor  # (B,), int64, descending
    order: torch.Tensor  # (B,): which sentence of the batch each one is
    positions: torch.Tensor  # (B, T): where each word comes from

    def active(self) -> List[int]:
        """How many sentences have a word t, for every t; this waits for the device."""
        position = torch.arange(self.positions.shape[1], device=self.lengths.device)
        counts_: List[int] = (self.lengths.unsqueeze(1) > position).sum(dim=0).tolist()
        return counts_


def words_of(chain: Chain) -> Words:
    """The words of a chain."""
    batch, words, _ = chain.emissions.shape
    device = chain.emissions.device
    if chain.mask is None:
        everywhere = torch.arange(words, device=device).expand(batch, words)
        lengths = torch.full((batch,), words, dtype=torch.long, device=device)
        return Words(lengths, torch.arange(batch, device=device), everywhere)
    lengths, order = chain.mask.sum(dim=1).sort(descending=True, stable=True)
    # (B, T): positions of the words, then those of the rest
    positions = (~chain.mask[order]).to(torch.uint8).argsort(dim=1, stable=True)
    return Words(lengths, order, positions)


def potentials_of(chain: Chain, words: Words) -> Potentials:
    """The chain's potentials in the order of `words`, forbidden ones as `reference.FORBIDDEN`."""
    batch = len(chain.emissions)
    emissions = chain.emissions[words.order.unsqueeze(1), words.positions]
    inside = torch.arange(emissions.shape[1], device=emissions.device) < words.lengths.unsqueeze(1)
    emissions = torch.where(inside.unsqueeze(2), emissions, torch.zeros_like(emissions))

    def table(values: torch.Tensor, dimensions: int) -> torch.Tensor:
        values = _finite(values)
        return values.expand(batch, *values.shape) if values.dim() < dimensions else values[words.order]

    return Potentials(
        _finite(emissions), table(chain.transitions, 3), table(chain.start, 2), table(chain.end, 2), words.lengths
    )


def _finite(values: torch.Tensor) -> torch.Tensor:
    return torch.where(values < FORBIDDEN_BELOW, torch.full_like(values, FORBIDDEN), values)


class Messages(NamedTuple):
    """Forward and backward messages, in the order of `Words`; what lies beyond a sentence is 0."""

    words: Words
    inside: torch.Tensor  # (T, B, 1), bool
    log_weights: torch.Tensor  # (T, B, L): emissions less the word's largest
    table: torch.Tensor  # (L, L) or (B, L, L): P
    alpha: torch.Tensor  # (T, B, L), sum 1 over labels
    right: torch.Tensor  # (T, B, L): w_t ⊙ β̂_t
    beta: torch.Tensor  # (T, B, L), sum 1 over labels
    totals: torch.Tensor  # (T, B, 1): what α̂_t was divided by
    agreement: torch.Tensor  # (T, B, 1): Σ α̂ β̂
    reduced: torch.Tensor  # (B,): log Z less what was taken out of the potentials
    log_partition: torch.Tensor  # (B,), −inf where nothing is allowed
    possible: torch.Tensor  # (B,): a word, and an allowed labelling
    held: torch.Tensor  # (B,): nothing was lost


def _full_precision(values: torch.Tensor) -> torch.autocast:
    """Autocast would make the products half precision."""
    return torch.autocast(values.device.type, enabled=False)


def messages(chain: Chain) -> Messages:
    """The messages of both directions; of a batch with at least one sentence and one position."""
    with _full_precision(chain.emissions):
        return _messages(chain, words_of(chain))


def _messages(chain: Chain, words: Words) -> Messages:
    length = chain.emissions.shape[1]
    new = chain.emissions.new_zeros
    # (T, B, L)
    gathered = chain.emissions[words.order.unsqueeze(0), words.positions.t()]
    # (T, B, 1)
    inside = (torch.arange(length, device=gathered.device).unsqueeze(1) < words.lengths).unsqueeze(2)
    emissions = torch.where(inside, gathered, new(()))
    forbids = bool((emissions < FORBIDDEN_BELOW).any())
    top = emissions.amax(dim=2, keepdim=True).clamp(min=FORBIDDEN)
    log_weights = emissions - top
    if forbids:
        log_weights = torch.where(emissions < FORBIDDEN_BELOW, FORBIDDEN, log_weights)
    weights = log_weights.exp()
    shared = chain.transitions.dim() == 2
    # (L, L) or (B, L, L)
    table = _finite(chain.transitions if shared else chain.transitions[words.order])
    shift = table.amax(dim=(-2, -1), keepdim=True)
    matrix = torch.where(table > FORBIDDEN_BELOW, (table - shift).exp(), new(()))
    shift = shift.reshape(-1)
    # (B, L), (B, 1)
    start, start_top = _edge(chain.start, words)
    end, end_top = _edge(chain.end, words)

    alpha, right, totals = _sweep(words, inside, weights, matrix, start, end)
    # (T, B, L): β̂ before it is normalised, that of a last word being the end potentials
    is_last = (torch.arange(length, device=gathered.device).unsqueeze(1) == words.lengths - 1).unsqueeze(2)
    beta = torch.where(is_last, end, new(()))
    beta[:-1] += _rows_times(right[1:], matrix.transpose(-2, -1))
    backward_sums = torch.where(inside & ~is_last, beta.sum(dim=2, keepdim=True), new(()) + 1)
    beta = beta / backward_sums
    right = weights * beta

    # (B, L)
    last = _at_last(alpha, words.lengths)
    ending = (last * end).sum(dim=1)
    has_words = words.lengths > 0
    no_way_here, no_way_on, possible = _reach(chain, words, log_weights, inside, forbids)
    agreement = (alpha * beta).sum(dim=2, keepdim=True)
    held = _held(alpha, beta, totals, backward_sums, agreement, ending, no_way_here, no_way_on, inside, possible)
    one = torch.ones_like(ending)
    # (T, B)
    steps = torch.where(inside, totals.clamp(min=torch.finfo(totals.dtype).tiny).log(), new(())).squeeze(2)
    reduced = steps.sum(dim=0) + torch.where(possible & (ending > 0), ending, one).log()
    log_z = reduced + torch.where(inside, top, new(())).sum(dim=0).squeeze(1) + (start_top + end_top).squeeze(1)
    log_z = log_z + shift * (words.lengths - 1).clamp(min=0)
    log_z = torch.where(possible, log_z, torch.where(has_words, -float("inf"), new(())))
    possible_words = inside & possible.view(1, -1, 1)
    # A division of 0 by 0 where nothing is allowed.
    alpha, beta, right = (torch.where(possible_words, x, new(())) for x in (alpha, beta, right))
    return Messages(
        words, inside, log_weights, matrix, alpha, right, beta, totals, agreement, reduced, log_z, possible, held
    )


def _sweep(
    words: Words,
    inside: torch.Tensor,
    weights: torch.Tensor,
    matrix: torch.Tensor,
    start: torch.Tensor,
    end: torch.Tensor,
) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    The recursion from both sides at once: a sentence read backwards is one with the transposed table.

    # Returns

    α̂ (T, B, L) and w ⊙ β̂ (T, B, L), both adding up to 1 at words and 0 beyond, and what α̂ was divided by, (T, B, 1).
    """
    length, batch, labels = weights.shape
    active = [count for count in words.active() if count > 0]
    total_words = sum(active)
    # Step t of all sentences that have a word t is one block of rows, (Σ lengths, 2 L) in all.
    time, sentence = inside.squeeze(2).nonzero(as_tuple=True)
    mirrored = words.lengths[sentence] - 1 - time
    factors = torch.cat([weights[time, sentence], weights[mirrored, sentence]], dim=1)
    states = torch.empty_like(factors)
    sums = states.new_empty(total_words, 2, 1)
    both = torch.cat([start, end], dim=1)
    if matrix.dim() == 2:
        # (2 L, 2 L)
        table = matrix.new_zeros(2 * labels, 2 * labels)
        table[:labels, :labels], table[labels:, labels:] = matrix, matrix.t()
    else:
        # (2 B, L, L)
        table = torch.stack([matrix, matrix.transpose(1, 2)], dim=1).view(2 * batch, labels, labels)
    before = states
    steps = zip(
        active,
        torch.split(factors, active),
        torch.split(states, active),
        torch.split(states.view(total_words, 2, labels), active),
        torch.split(sums, active),
        strict=True,
    )
    for t, (count, factor, state, pair, total) in enumerate(steps):
        if t == 0:
            torch.mul(both[:count], factor, out=state)
        else:
            if matrix.dim() == 2:
                torch.mm(before[:count], table, out=state)
            else:
                rows = before[:count].view(2 * count, 1, labels)
                torch.bmm(rows, table[: 2 * count], out=state.view(2 * count, 1, labels))
            state.mul_(factor)
        torch.sum(pair, dim=2, keepdim=True, out=total)
        pair.div_(total)
        before = state
    alpha, right = weights.new_zeros(2, length, batch, labels)
    alpha[time, sentence] = states[:, :labels]
    right[mirrored, sentence] = states[:, labels:]
    totals = weights.new_ones(length, batch, 1)
    totals[time, sentence] = sums[:, 0]
    return alpha, right, totals


def _rows_times(rows: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Rows (T, B, L) times one matrix, or each sentence's times its own."""
    if matrix.dim() == 2:
        return rows @ matrix
    return torch.bmm(rows.transpose(0, 1), matrix).transpose(0, 1)


def _edge(table: torch.Tensor, words: Words) -> Tuple[torch.Tensor, torch.Tensor]:
    """Start or end potentials as exp(a − largest), (B, L), and the largest, (B, 1)."""
    batch = len(words.order)
    table = _finite(table)
    table = table.expand(batch, -1) if table.dim() == 1 else table[words.order]
    top = table.amax(dim=1, keepdim=True)
    return torch.where(table > FORBIDDEN_BELOW, (table - top).exp(), torch.zeros_like(table)), top


def _times(rows: torch.Tensor, matrix: torch.Tensor, out: torch.Tensor) -> None:
    """Rows (N, L) times one matrix (L, L), or each times its own of (B, L, L)."""
    if matrix.dim() == 2:
        torch.mm(rows, matrix, out=out)
    else:
        torch.bmm(rows.unsqueeze(1), matrix[: len(rows)], out=out.unsqueeze(1))


def _at_last(values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """The rows of (T, B, L) at each sentence's last word, 0 for a sentence without words; (B, L)."""
    index = (lengths - 1).clamp(min=0).view(1, -1, 1).expand(1, -1, values.shape[2])
    return values.gather(0, index).squeeze(0) * (lengths > 0).unsqueeze(1)


def _reach(
    chain: Chain, words: Words, log_weights: torch.Tensor, inside: torch.Tensor, emissions_forbid: bool
) -> Tuple[Optional[torch.Tensor], Optional[torch.Tensor], torch.Tensor]:
    """
    Which labels no allowed way leads to, and which none leads on from, (T, B, L); `None` where nothing is forbidden.

    And which sentences have a word and an allowed labelling, (B,).
    """
    has_words = words.lengths > 0
    table, start, end = (x > FORBIDDEN_BELOW for x in (chain.transitions, chain.start, chain.end))
    if not emissions_forbid and bool(table.all() & start.all() & end.all()):
        return None, None, has_words
    length, batch, labels = log_weights.shape
    number = log_weights.dtype
    matrix = (table if table.dim() == 2 else table[words.order]).to(number)
    start, end = (x.expand(batch, labels) if x.dim() == 1 else x[words.order] for x in (start, end))
    allowed = log_weights > FORBIDDEN_BELOW
    forward = [start & allowed[0]]
    for t in range(1, length):
        ways = log_weights.new_empty((batch, labels))
        _times(forward[-1].to(number), matrix, ways)
        forward.append(torch.where(inside[t], (ways > 0) & allowed[t], forward[-1]))
        # Nothing changes any more once two words are the same, if words differ in nothing.
        if not emissions_forbid and t < words.lengths[-1] and torch.equal(forward[-1], forward[-2]):
            forward.extend(forward[-1:] * (length - t - 1))
            break
    backward = [end]
    for t in range(length - 2, -1, -1):
        ways = log_weights.new_empty((batch, labels))
        _times((backward[-1] & allowed[t + 1]).to(number), matrix.transpose(-2, -1), ways)
        backward.append(torch.where(inside[t + 1], ways > 0, end))
        if not emissions_forbid and t + 1 < words.lengths[-1] and torch.equal(backward[-1], backward[-2]):
            backward.extend(backward[-1:] * t)
            break
    here, on = torch.stack(forward), torch.stack(backward[::-1])
    possible = has_words & (_at_last(here.to(number), words.lengths).bool() & end).any(dim=1)
    return ~here, ~on, possible


def _held(
    alpha: torch.Tensor,
    beta: torch.Tensor,
    totals: torch.Tensor,
    backward_sums: torch.Tensor,
    agreement: torch.Tensor,
    ending: torch.Tensor,
    no_way_here: Optional[torch.Tensor],
    no_way_on: Optional[torch.Tensor],
    inside: torch.Tensor,
    possible: torch.Tensor,
) -> torch.Tensor:
    """(B,): whether every message of a label that can be reached, from its side, is large enough; False for NaN."""
    one = torch.ones_like(alpha)
    if no_way_here is not None and no_way_on is not None:
        alpha, beta = torch.where(no_way_here, one, alpha), torch.where(no_way_on, one, beta)
    # (T, B)
    low = torch.minimum(alpha, beta).amin(dim=2)
    raw = torch.minimum(alpha * totals, beta * backward_sums).amin(dim=2)
    enough = (low > HELD) & (raw > NORMAL) & ((totals * agreement).squeeze(2) > HELD)
    return (enough | ~inside.squeeze(2)).all(dim=0) & (ending > HELD) | ~possible


def _marginals(m: Messages) -> torch.Tensor:
    """q_t(y), shape (T, B, L), 0 beyond the sentence; each word divided by its own sum."""
    q = m.alpha * m.beta
    return torch.where(m.inside & m.possible.view(1, -1, 1), q / m.agreement, torch.zeros_like(q))


def _left(m: Messages) -> torch.Tensor:
    """Factors of the edge marginals, (T−1, B, L): q_t(i, j) = left_t(i) P(i, j) right_{t+1}(j)."""
    left = m.alpha[:-1] / (m.totals[1:] * m.agreement[1:])
    return torch.where(m.inside[1:] & m.possible.view(1, -1, 1), left, torch.zeros_like(left))


def _pair_sums(left: torch.Tensor, right: torch.Tensor, m: Messages) -> torch.Tensor:
    """Σ_t left_t(i) right_t(j) P(i, j): (B, L, L)."""
    return torch.bmm(left.permute(1, 2, 0), right.transpose(0, 1)) * m.table


def _expected(m: Messages) -> Counts:
    """Expected counts in the order of `Words`, emissions (T, B, L)."""
    q = _marginals(m)
    return Counts(q, _pair_sums(_left(m), m.right[1:], m), q[0], _at_last(q, m.words.lengths))


def _words_back(values: torch.Tensor, words: Words) -> torch.Tensor:
    """(T, B, L) as (B, T, L), words where they came from."""
    result = torch.empty_like(values.transpose(0, 1), memory_format=torch.contiguous_format)
    result[words.order.unsqueeze(0), words.positions.t()] = values
    return result


def _back(values: torch.Tensor, words: Words) -> torch.Tensor:
    """(B, ...) in the batch's order."""
    result = torch.empty_like(values)
    result[words.order] = values
    return result


def _counts_back(counts: Counts, words: Words) -> Counts:
    return Counts(_words_back(counts.emissions, words), *(_back(x, words) for x in counts[1:]))


def _failed(m: Messages, *others: Messages) -> Optional[torch.Tensor]:
    """Which sentences of the batch have to be redone, or `None`."""
    held = torch.stack([x.held for x in (m, *others)]).all(dim=0)
    return None if bool(held.all()) else _back(~held, m.words)


def _is_empty(chain: Chain) -> bool:
    return chain.emissions.numel() == 0


def log_partition(chain: Chain) -> torch.Tensor:
    """log Z, (B,)."""
    if _is_empty(chain):
        return chain.emissions.new_zeros(len(chain.emissions))
    m = messages(chain)
    log_z = _back(m.log_partition, m.words)
    failed = _failed(m)
    if failed is not None:
        rescue.redo(failed, [log_z], rescue.log_partition, chain)
    return log_z


def counts(chain: Chain) -> Tuple[torch.Tensor, Counts]:
    """log Z (B,) and the expected counts: its gradient."""
    return _log_z_and_counts(chain, words_of(chain))


def _log_z_and_counts(chain: Chain, words: Words) -> Tuple[torch.Tensor, Counts]:
    if _is_empty(chain):
        return log_partition(chain), Counts(*map(torch.zeros_like, Counts.empty(chain)))
    with _full_precision(chain.emissions):
        m = _messages(chain, words)
        log_z, found = _back(m.log_partition, m.words), _counts_back(_expected(m), m.words)
    failed = _failed(m)
    if failed is not None:
        rescue.redo(failed, [log_z, *found], rescue.counts, chain)
    return log_z, found


def log_prob(chain: Chain, tags: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor, Counts]:
    """log p of `tags` (B, T) and log Z, both (B,), and observed less expected counts: the gradient of log p."""
    words = words_of(chain)
    log_z, expected = _log_z_and_counts(chain, words)
    paths = tags.unsqueeze(1)
    scores = _score(chain, paths, words)
    allowed = (scores > -float("inf")).to(scores.dtype)
    observed = _score_gradient(chain, paths, allowed, words)
    difference = (
        mine - theirs * allowed.view(-1, *[1] * (theirs.dim() - 1))
        for mine, theirs in zip(observed, expected, strict=True)
    )
    return log_ratio(scores.squeeze(1), log_z), log_z, Counts(*difference)


def log_ratio(score_: torch.Tensor, log_z: torch.Tensor) -> torch.Tensor:
    """score − log Z, −inf where the score is: log Z may be −inf there too."""
    return torch.where(score_ == -float("inf"), score_, score_ - log_z)


def scaled(counts_: Counts, scale: torch.Tensor, chain: Chain) -> Counts:
    """
    The gradients of the potentials of `chain`, in their shapes.

    Of a scalar for each sentence whose gradient is `counts_`, times `scale` (B,).
    """
    return Counts(
        *(
            (scale @ values.flatten(1)).view(potentials.shape)
            if potentials.dim() < values.dim()
            else values * scale.view(-1, *[1] * (values.dim() - 1))
            for values, potentials in zip(counts_, chain[:4], strict=True)
        )
    )


def marginals(chain: Chain) -> torch.Tensor:
    """q_t(y), (B, T, L), 0 at masked words and where nothing is allowed."""
    if _is_empty(chain):
        return torch.zeros_like(chain.emissions)
    m = messages(chain)
    q = _words_back(_marginals(m), m.words)
    failed = _failed(m)
    if failed is not None:
        rescue.redo(failed, [q], rescue.marginals, chain)
    return q


def log_marginals(chain: Chain) -> Tuple[torch.Tensor, Optional[Messages]]:
    """log q_t(y), (B, T, L), −inf where y is forbidden, 0 at masked words; and what its gradient needs."""
    if _is_empty(chain):
        return torch.zeros_like(chain.emissions), None
    m = messages(chain)
    # A product of two messages may be too small where neither is; their logarithms are not.
    log_q = m.alpha.log() + m.beta.log() - m.agreement.log()
    log_q = torch.where(m.possible.view(1, -1, 1), log_q, -float("inf"))
    log_q = _words_back(torch.where(m.inside, log_q, torch.zeros_like(log_q)), m.words)
    failed = _failed(m)
    if failed is not None:
        rescue.redo(failed, [log_q], rescue.log_marginals, chain)
    return log_q, m


def log_marginals_gradient(chain: Chain, saved: Optional[Messages], gradient: torch.Tensor) -> Counts:
    """
    The vector-Jacobian product of `gradient` (B, T, L) and the log-marginals.

    For weights g on the log-marginals let G(y) = Σ_t g_t(y_t) / q_t(y_t). The gradient of Σ g · log q is a covariance,

        ∂/∂e_t(y) = q_t(y) (E[G | y_t = y] − E[G]),     ∂/∂a(i→j) = Σ_t q_t(i, j) (E[G | i, j] − E[G]),

    and the conditional expectations are two linear recursions along the chain, one from each side.
    """
    if saved is None:
        return Counts(*map(torch.zeros_like, Counts.empty(chain)))
    m = saved
    with _full_precision(gradient):
        found, held = _covariance(m, gradient[m.words.order.unsqueeze(0), m.words.positions.t()])
        found = _counts_back(found, m.words)
    failed = _failed(m._replace(held=held))
    if failed is not None:
        rescue.redo(failed, found, rescue.log_marginals_gradient, chain, gradient)
    return found


def _covariance(m: Messages, gradient: torch.Tensor) -> Tuple[Counts, torch.Tensor]:
    """In the order of `Words`; and for which sentences nothing was lost, (B,)."""
    q = _marginals(m)
    length = len(q)
    reachable = (m.alpha > 0) & (m.beta > 0)
    held = m.held & ((q > HELD) | ~reachable).all(dim=2).all(dim=0)
    # (T, B, L): g / q, 0 beyond the sentence. Constants do not change a covariance: with every word's mean taken
    # out E[G] is 0, and partial sums do not grow with the sentence, nor does their rounding.
    zero = torch.zeros_like(q)
    gradient = torch.where(q > 0, gradient, zero)
    gain = torch.where(q > 0, gradient / q, zero)
    gain = torch.where(m.inside, gain - gradient.sum(dim=2, keepdim=True), zero)
    # before_t(j) = E[the part of G up to word t | y_t = j], after_t(i) = E[the part of G after word t | y_t = i]
    before, after = torch.zeros_like(q), torch.zeros_like(q)
    before[0] = gain[0]
    ways, carried = torch.empty_like(q[0]), torch.empty_like(q[0])
    sentences = m.words.active()
    for t in range(1, length):
        active = sentences[t]
        if active == 0:
            break
        row, weighted = m.alpha[t - 1][:active], (m.alpha[t - 1] * before[t - 1])[:active]
        _times(row, m.table, ways[:active])
        _times(weighted, m.table, carried[:active])
        before[t][:active] = gain[t][:active] + _ratio(carried[:active], ways[:active])
    transposed = m.table.transpose(-2, -1)
    for t in range(length - 2, -1, -1):
        active = sentences[t + 1]
        if active == 0:
            continue
        row, weighted = m.right[t + 1][:active], (m.right[t + 1] * (gain[t + 1] + after[t + 1]))[:active]
        _times(row, transposed, ways[:active])
        _times(weighted, transposed, carried[:active])
        after[t][:active] = _ratio(carried[:active], ways[:active])
    emissions = q * (before + after)
    left, right = _left(m), m.right[1:]
    edges = _pair_sums(left * before[:-1], right, m) + _pair_sums(left, right * (gain[1:] + after[1:]), m)
    return Counts(emissions, edges, emissions[0], _at_last(emissions, m.words.lengths)), held


def _ratio(numerator: torch.Tensor, denominator: torch.Tensor) -> torch.Tensor:
    return torch.where(denominator > 0, numerator / denominator, torch.zeros_like(numerator))


def divergence(teacher: Chain, student: Chain, subtract_entropy: bool) -> Tuple[torch.Tensor, Counts]:
    """
    KL(teacher ‖ student), or the cross-entropy, (B,), and its gradient in the student's potentials.

    KL = Σ q (e − e') + Σ q(i, j) (a − a') − (log Z − log Z') with every largest potential taken out of all of it: what
    is left is small, and 0 exactly where the two are equal.
    """
    if _is_empty(teacher):
        return log_partition(teacher), Counts(*map(torch.zeros_like, Counts.empty(student)))
    with _full_precision(teacher.emissions):
        p, s = messages(teacher), messages(student)
        expected, predicted = _expected(p), _expected(s)
        value = _divergence(p, s, teacher, student, expected, subtract_entropy)
        taught = p.possible
        gradient = Counts(
            *(
                torch.where(
                    taught.view(1, -1, 1) if i == 0 else taught.view(-1, *[1] * (mine.dim() - 1)),
                    mine - theirs,
                    torch.zeros_like(mine),
                )
                for i, (mine, theirs) in enumerate(zip(predicted, expected, strict=True))
            )
        )
        value, gradient = _back(value, p.words), _counts_back(gradient, p.words)
    failed = _failed(p, s)
    if failed is not None:
        rescue.redo(failed, [value, *gradient], rescue.divergence, teacher, student, subtract_entropy)
    return value, gradient


def _divergence(
    p: Messages, s: Messages, teacher: Chain, student: Chain, expected: Counts, subtract_entropy: bool
) -> torch.Tensor:
    own = 1.0 if subtract_entropy else 0.0
    words = p.words
    batch = len(words.order)
    parts = [(expected.emissions.transpose(0, 1), p.log_weights.transpose(0, 1), s.log_weights.transpose(0, 1))]
    for name, weight in (
        ("transitions", expected.transitions),
        ("start", expected.start),
        ("end", expected.end),
    ):
        mine, theirs = (_reduced(getattr(chain, name), weight.dim(), words) for chain in (teacher, student))
        parts.append((weight, mine, theirs))
    value = s.reduced - own * p.reduced
    impossible = ~s.possible
    for weight, mine, theirs in parts:
        used = weight > 0
        impossible = impossible | (used & (theirs < FORBIDDEN_BELOW)).reshape(batch, -1).any(dim=1)
        term = torch.where(used, weight * (own * mine - theirs), torch.zeros_like(weight))
        value = value + term.flatten(1).sum(dim=1)
    # Neither is below 0, but its rounding may be.
    value = torch.where(impossible, float("inf"), value.clamp(min=0.0))
    return torch.where(p.possible, value, torch.zeros_like(value))


def _reduced(table: torch.Tensor, dimensions: int, words: Words) -> torch.Tensor:
    """A table for each sentence, less its largest."""
    table = _finite(table)
    table = table.unsqueeze(0) if table.dim() < dimensions else table[words.order]
    top = table.flatten(1).amax(dim=1).view(-1, *[1] * (dimensions - 1))
    return torch.where(table > FORBIDDEN_BELOW, table - top, FORBIDDEN)


def argmax(chain: Chain) -> torch.Tensor:
    """The tags of largest score, (B, T), int64, ties as in `reference.best_path`."""
    if _is_empty(chain):
        return torch.zeros(chain.emissions.shape[:2], dtype=torch.long, device=chain.emissions.device)
    words = words_of(chain)
    tags = reference.best_path(potentials_of(chain, words))
    return _words_back(tags.t().unsqueeze(2), words).squeeze(2)


def k_best(chain: Chain, k: int) -> Tuple[torch.Tensor, torch.Tensor]:
    """The k labellings of largest score, (B, K, T), int64, and their scores, (B, K), as `reference.k_best_paths`."""
    words = words_of(chain)
    tags, scores = reference.k_best_paths(potentials_of(chain, words), k)
    return _words_back(tags.permute(2, 0, 1), words).transpose(1, 2).contiguous(), _back(scores, words)


def sample(chain: Chain, uniforms: torch.Tensor) -> torch.Tensor:
    """Labellings (B, n, T), int64, at the quantiles `uniforms` (B, n, T), float32 in [0, 1)."""
    words = words_of(chain)
    p = potentials_of(chain, words)
    index = words.positions.unsqueeze(1).expand_as(uniforms)
    ordered = uniforms[words.order].gather(2, index)
    tags = reference.sample_paths(p, reference.backward_messages(p), ordered)
    return _words_back(tags.permute(2, 0, 1), words).transpose(1, 2).contiguous()


def score(chain: Chain, tags: torch.Tensor) -> torch.Tensor:
    """Scores (B, M) of `tags` (B, M, T), int64; −inf where forbidden."""
    return _score(chain, tags, words_of(chain))


def _score(chain: Chain, tags: torch.Tensor, words: Words) -> torch.Tensor:
    scores = reference.path_scores(potentials_of(chain, words), _paths(tags, words))
    return _back(torch.where(scores > FORBIDDEN_BELOW, scores, -float("inf")), words)


def score_gradient(chain: Chain, tags: torch.Tensor, scale: torch.Tensor) -> Counts:
    """The counts of `tags` (B, M, T), each labelling's times its `scale` (B, M)."""
    return _score_gradient(chain, tags, scale, words_of(chain))


def _score_gradient(chain: Chain, tags: torch.Tensor, scale: torch.Tensor, words: Words) -> Counts:
    batch, length, labels = chain.emissions.shape
    found = Counts(*map(torch.zeros_like, Counts.empty(chain)))
    if length == 0:
        return found
    # (B, M, T), (B, M)
    paths, scale = _paths(tags, words), scale[words.order]
    inside = (torch.arange(length, device=paths.device) < words.lengths.unsqueeze(1)).unsqueeze(1)
    weight = torch.where(inside, scale.unsqueeze(2), torch.zeros_like(scale).unsqueeze(2))
    found.emissions.scatter_add_(2, paths.transpose(1, 2), weight.transpose(1, 2))
    steps = (paths[:, :, :-1] * labels + paths[:, :, 1:]).flatten(1)
    found.transitions.view(batch, -1).scatter_add_(1, steps, weight[:, :, 1:].flatten(1))
    last = (words.lengths - 1).clamp(min=0).view(-1, 1, 1).expand(-1, paths.shape[1], 1)
    found.start.scatter_add_(1, paths[:, :, 0], weight[:, :, 0])
    found.end.scatter_add_(1, paths.gather(2, last).squeeze(2), weight[:, :, 0])
    return _counts_back(found._replace(emissions=found.emissions.transpose(0, 1)), words)


def _paths(tags: torch.Tensor, words: Words) -> torch.Tensor:
    """Tags in the order of `words`, 0 beyond the sentence."""
    paths = tags[words.order].gather(2, words.positions.unsqueeze(1).expand(-1, tags.shape[1], -1))
    inside = torch.arange(tags.shape[2], device=tags.device) < words.lengths.unsqueeze(1)
    return torch.where(inside.unsqueeze(1), paths, torch.zeros_like(paths))
