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


class Rows(NamedTuple):
    """
    The words of a batch as the rows of matrices, W = Σ lengths of them: all first words, then all second words, ...

    Each block is in the order of `Words`: its rows are those of the block before it that have a next word.
    """

    time: torch.Tensor  # (W,): which word of its sentence
    sentence: torch.Tensor  # (W,): which sentence, in the order of `Words`
    place: torch.Tensor  # (W,): which of the B · T rows of the batch
    blocks: List[int]  # how many rows each block has
    left: torch.Tensor  # (W − blocks[0],): the word before each word that is no first one; these begin at blocks[0]
    last: torch.Tensor  # (blocks[0],): the last words
    mirrored: torch.Tensor  # (W,): the row of the word that is as far from the sentence's end

    @classmethod
    def of(cls, words: Words) -> "Rows":
        """The rows of `words`; this waits for the device."""
        length = words.positions.shape[1]
        position = torch.arange(length, device=words.lengths.device)
        # (T, B)
        inside = position.unsqueeze(1) < words.lengths
        counts_ = inside.sum(dim=1)
        time, sentence = inside.nonzero(as_tuple=True)
        begin = counts_.cumsum(0) - counts_
        place = (words.order.unsqueeze(1) * length + words.positions)[sentence, time]
        blocks = [count for count in counts_.tolist() if count]
        to_the_end = words.lengths[sentence] - 1 - time
        left = to_the_end.nonzero().squeeze(1)
        first = blocks[0] if blocks else 0
        last = begin[words.lengths[:first] - 1] + torch.arange(first, device=position.device)
        return cls(time, sentence, place, blocks, left, last, begin[to_the_end] + sentence)

    @property
    def first(self) -> int:
        """How many sentences have a word: the rows of their first words come first."""
        return self.blocks[0] if self.blocks else 0

    def spread(self, values: torch.Tensor, to: torch.Tensor, size: int) -> torch.Tensor:
        """Rows (W, L) at the places `to` (W,) of a matrix (size, L) of 0."""
        # Faster than writing to the places: rows are read where they are, and 0 from a row that is added.
        source = torch.full((size,), len(values), dtype=torch.long, device=values.device)
        source[to] = torch.arange(len(values), device=values.device)
        return torch.cat([values, values.new_zeros(1, values.shape[1])]).index_select(0, source)

    def per_sentence(self, values: torch.Tensor, batch: int) -> torch.Tensor:
        """The sums (B,) of values (W,) or (W, L)."""
        flat = values if values.dim() == 1 else values.sum(dim=1)
        return flat.new_zeros(batch).index_add_(0, self.sentence, flat)


class Messages(NamedTuple):
    """Forward and backward messages, one row for each word."""

    words: Words
    rows: Rows
    log_weights: torch.Tensor  # (W, L): emissions less the word's largest
    table: torch.Tensor  # (L, L) or (B, L, L): P
    alpha: torch.Tensor  # (W, L), sum 1
    right: torch.Tensor  # (W, L): w_t ⊙ β̂_t
    beta: torch.Tensor  # (W, L), sum 1; the end potentials at last words
    totals: torch.Tensor  # (W, 1): what α̂_t was divided by
    agreement: torch.Tensor  # (W, 1): Σ α̂ β̂
    reduced: torch.Tensor  # (B,): log Z less what was taken out of the potentials
    log_partition: torch.Tensor  # (B,), −inf where nothing is allowed
    possible: torch.Tensor  # (B,): a word, and an allowed labelling
    held: torch.Tensor  # (B,): nothing was lost


def _full_precision(values: torch.Tensor) -> torch.autocast:
    """Autocast would make the products half precision."""
    return torch.autocast(values.device.type, enabled=False)


def messages(chain: Chain) -> Messages:
    """The messages of both directions."""
    with _full_precision(chain.emissions):
        return _messages(chain, words_of(chain))


def _messages(chain: Chain, words: Words) -> Messages:
    batch, _, labels = chain.emissions.shape
    rows = Rows.of(words)
    new = chain.emissions.new_zeros
    # (W, L), (W, 1)
    emissions = chain.emissions.view(-1, labels).index_select(0, rows.place)
    forbids = bool((emissions < FORBIDDEN_BELOW).any())
    top = emissions.amax(dim=1, keepdim=True).clamp(min=FORBIDDEN)
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
    alpha, right, totals = _sweep(rows, weights, matrix, start, end)
    # (W, L): β̂, and what it was divided by
    beta, backward_sums = torch.empty_like(alpha), torch.ones_like(totals)
    beta[rows.last] = end[: rows.first]
    from_right = _rows_times(right[rows.first :], matrix.transpose(-2, -1), rows.blocks[1:])
    sums = from_right.sum(dim=1, keepdim=True)
    beta.index_copy_(0, rows.left, from_right / sums)
    backward_sums.index_copy_(0, rows.left, sums)

    ending = new(batch)
    ending[: rows.first] = (alpha[rows.last] * end[: rows.first]).sum(dim=1)
    has_words = words.lengths > 0
    no_way_here, no_way_on, possible = _reach(chain, words, rows, log_weights, forbids)
    agreement = (alpha * beta).sum(dim=1, keepdim=True)
    held = _held(alpha, beta, totals, backward_sums, agreement, ending, no_way_here, no_way_on, rows, possible)
    if not bool((possible | ~has_words).all()):
        # A division of 0 by 0 where nothing is allowed.
        fine = possible[rows.sentence].unsqueeze(1)
        alpha, beta = (torch.where(fine, x, new(())) for x in (alpha, beta))
        agreement, totals = (torch.where(fine, x, new(()) + 1) for x in (agreement, totals))
    reduced = rows.per_sentence(totals.clamp(min=torch.finfo(totals.dtype).tiny).log(), batch)
    reduced = reduced + torch.where(possible & (ending > 0), ending, torch.ones_like(ending)).log()
    log_z = reduced + rows.per_sentence(top, batch) + (start_top + end_top).squeeze(1)
    log_z = log_z + shift * (words.lengths - 1).clamp(min=0)
    log_z = torch.where(possible, log_z, torch.where(has_words, -float("inf"), new(())))
    return Messages(
        words,
        rows,
        log_weights,
        matrix,
        alpha,
        weights * beta,
        beta,
        totals,
        agreement,
        reduced,
        log_z,
        possible,
        held,
    )


def _sweep(
    rows: Rows, weights: torch.Tensor, matrix: torch.Tensor, start: torch.Tensor, end: torch.Tensor
) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    The recursion from both sides at once: a sentence read backwards is one with the transposed table.

    # Returns

    α̂ (W, L) and w ⊙ β̂ (W, L), both adding up to 1, and what α̂ was divided by, (W, 1).
    """
    total_words, labels = weights.shape
    factors = torch.cat([weights, weights.index_select(0, rows.mirrored)], dim=1)
    states = torch.empty_like(factors)
    sums = states.new_empty(total_words, 2, 1)
    both = torch.cat([start, end], dim=1)
    shared = matrix.dim() == 2
    if shared:
        # (2 L, 2 L)
        table = matrix.new_zeros(2 * labels, 2 * labels)
        table[:labels, :labels], table[labels:, labels:] = matrix, matrix.t()
    else:
        # (2 B, L, L)
        table = torch.stack([matrix, matrix.transpose(1, 2)], dim=1).view(-1, labels, labels)
    before = states
    steps = zip(
        rows.blocks,
        torch.split(factors, rows.blocks),
        torch.split(states, rows.blocks),
        torch.split(states.view(total_words, 2, labels), rows.blocks),
        torch.split(sums, rows.blocks),
        strict=True,
    )
    for t, (count, factor, state, pair, total) in enumerate(steps):
        if t == 0:
            torch.mul(both[:count], factor, out=state)
        else:
            if shared:
                torch.mm(before[:count], table, out=state)
            else:
                pairs = before[:count].view(2 * count, 1, labels)
                torch.bmm(pairs, table[: 2 * count], out=state.view(2 * count, 1, labels))
            state.mul_(factor)
        torch.sum(pair, dim=2, keepdim=True, out=total)
        pair.div_(total)
        before = state
    from_right = states[:, labels:].index_select(0, rows.mirrored)
    return states[:, :labels].contiguous(), from_right, sums[:, 0]


def _rows_times(values: torch.Tensor, matrix: torch.Tensor, blocks: List[int]) -> torch.Tensor:
    """Rows (N, L) times one matrix, or, block by block, each sentence's times its own."""
    if matrix.dim() == 2:
        return values @ matrix
    result = torch.empty_like(values)
    for block, to in zip(torch.split(values, blocks), torch.split(result, blocks), strict=True):
        torch.bmm(block.unsqueeze(1), matrix[: len(block)], out=to.unsqueeze(1))
    return result


def _edge(table: torch.Tensor, words: Words) -> Tuple[torch.Tensor, torch.Tensor]:
    """Start or end potentials as exp(a − largest), (B, L), and the largest, (B, 1)."""
    batch = len(words.order)
    table = _finite(table)
    table = table.expand(batch, -1) if table.dim() == 1 else table[words.order]
    top = table.amax(dim=1, keepdim=True)
    return torch.where(table > FORBIDDEN_BELOW, (table - top).exp(), torch.zeros_like(table)), top


def _times(values: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Rows (N, L), those of the first N sentences, times one matrix, or each times its own."""
    if matrix.dim() == 2:
        return values @ matrix
    return torch.bmm(values.unsqueeze(1), matrix[: len(values)]).squeeze(1)


def _reach(
    chain: Chain, words: Words, rows: Rows, log_weights: torch.Tensor, emissions_forbid: bool
) -> Tuple[Optional[torch.Tensor], Optional[torch.Tensor], torch.Tensor]:
    """
    Which labels no allowed way leads to, and which none leads on from, (W, L); `None` where nothing is forbidden.

    And which sentences have a word and an allowed labelling, (B,).
    """
    has_words = words.lengths > 0
    table, start, end = (x > FORBIDDEN_BELOW for x in (chain.transitions, chain.start, chain.end))
    if not rows.blocks or (not emissions_forbid and bool(table.all() & start.all() & end.all())):
        return None, None, has_words
    batch, labels, number = len(has_words), log_weights.shape[1], log_weights.dtype
    matrix = (table if table.dim() == 2 else table[words.order]).to(number)
    start, end = (x.expand(batch, labels) if x.dim() == 1 else x[words.order] for x in (start, end))
    allowed = log_weights > FORBIDDEN_BELOW
    mirrored = allowed[rows.mirrored]
    # From both sides, as in the sweep; from the right, labels of words that lead on and may be there themselves.
    forward, backward = [start[: rows.first] & allowed[: rows.first]], [end[: rows.first] & mirrored[: rows.first]]
    for here, there in zip(torch.split(allowed, rows.blocks)[1:], torch.split(mirrored, rows.blocks)[1:], strict=True):
        count = len(here)
        forward.append((_times(forward[-1][:count].to(number), matrix) > 0) & here)
        backward.append((_times(backward[-1][:count].to(number), matrix.transpose(-2, -1)) > 0) & there)
    reached = torch.cat(forward)
    from_right = torch.cat(backward)[rows.mirrored]
    leads_on = torch.empty_like(reached)
    leads_on[rows.last] = end[: rows.first]
    leads_on[rows.left] = (
        _rows_times(from_right[rows.first :].to(number), matrix.transpose(-2, -1), rows.blocks[1:]) > 0
    )
    possible = has_words.clone()
    possible[: rows.first] = (reached[rows.last] & end[: rows.first]).any(dim=1)
    return ~reached, ~leads_on, possible


def _held(
    alpha: torch.Tensor,
    beta: torch.Tensor,
    totals: torch.Tensor,
    backward_sums: torch.Tensor,
    agreement: torch.Tensor,
    ending: torch.Tensor,
    no_way_here: Optional[torch.Tensor],
    no_way_on: Optional[torch.Tensor],
    rows: Rows,
    possible: torch.Tensor,
) -> torch.Tensor:
    """(B,): whether every message of a label that can be reached, from its side, is large enough; False for NaN."""
    if no_way_here is not None and no_way_on is not None:
        alpha, beta = alpha.masked_fill(no_way_here, 1.0), beta.masked_fill(no_way_on, 1.0)
    # (W, 1)
    low_alpha, low_beta = alpha.amin(dim=1, keepdim=True), beta.amin(dim=1, keepdim=True)
    enough = (low_alpha > HELD) & (low_alpha * totals > NORMAL)
    enough &= (low_beta > HELD) & (low_beta * backward_sums > NORMAL) & (totals * agreement > HELD)
    held = torch.ones_like(possible)
    held[rows.sentence[~enough.squeeze(1)]] = False
    return held & (ending > HELD) | ~possible


def _marginals(m: Messages) -> torch.Tensor:
    """q_t(y), shape (W, L); each word divided by its own sum."""
    return m.alpha * m.beta / m.agreement


def _left(m: Messages) -> torch.Tensor:
    """Factors of the edge marginals, (W − first, L): q_t(i, j) = left_t(i) P(i, j) right_{t+1}(j), for each t + 1."""
    first = m.rows.first
    return m.alpha.index_select(0, m.rows.left) / (m.totals[first:] * m.agreement[first:])


def _pair_sums(left: torch.Tensor, right: torch.Tensor, m: Messages) -> torch.Tensor:
    """Σ_t left_t(i) right_t(j) P(i, j) of words but the first: (B, L, L)."""
    batch, length, labels = len(m.possible), len(m.rows.blocks), left.shape[1]
    index = (m.rows.sentence * length + m.rows.time)[m.rows.first :]
    padded = (m.rows.spread(values, index, batch * length) for values in (left, right))
    one, two = (values.view(batch, length, labels) for values in padded)
    return torch.bmm(one.transpose(1, 2), two) * m.table


def _expected(m: Messages) -> Counts:
    """Expected counts in the order of `Words`, emissions (W, L)."""
    q = _marginals(m)
    return Counts(q, _pair_sums(_left(m), m.right[m.rows.first :], m), *_first_and_last(q, m))


def _first_and_last(values: torch.Tensor, m: Messages) -> Tuple[torch.Tensor, torch.Tensor]:
    """The rows of first and of last words, (B, L) each."""
    first, last = (values.new_zeros(len(m.possible), values.shape[1]) for _ in range(2))
    first[: m.rows.first], last[: m.rows.first] = values[: m.rows.first], values[m.rows.last]
    return first, last


def _words_back(values: torch.Tensor, m: Messages) -> torch.Tensor:
    """(W, L) as (B, T, L), words where they came from, 0 elsewhere."""
    batch, length = m.words.positions.shape
    return m.rows.spread(values, m.rows.place, batch * length).view(batch, length, -1)


def _back(values: torch.Tensor, words: Words) -> torch.Tensor:
    """(B, ...) in the batch's order."""
    result = torch.empty_like(values)
    result[words.order] = values
    return result


def _counts_back(counts_: Counts, m: Messages) -> Counts:
    return Counts(_words_back(counts_.emissions, m), *(_back(x, m.words) for x in counts_[1:]))


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
    if _is_empty(chain):
        return log_partition(chain), Counts(*map(torch.zeros_like, Counts.empty(chain)))
    with _full_precision(chain.emissions):
        m = messages(chain)
        log_z, found = _back(m.log_partition, m.words), _counts_back(_expected(m), m)
    failed = _failed(m)
    if failed is not None:
        rescue.redo(failed, [log_z, *found], rescue.counts, chain)
    return log_z, found


def log_prob(chain: Chain, tags: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor, Counts]:
    """log p of `tags` (B, T) and log Z, both (B,), and observed less expected counts: the gradient of log p."""
    if _is_empty(chain):
        log_z, found = counts(chain)
        return torch.zeros_like(log_z), log_z, found
    with _full_precision(chain.emissions):
        m = messages(chain)
        scores, difference = _observed_less_expected(chain, tags, m)
        scores, log_z, found = _back(scores, m.words), _back(m.log_partition, m.words), _counts_back(difference, m)
    log_p = log_ratio(scores, log_z)
    failed = _failed(m)
    if failed is not None:
        rescue.redo(failed, [log_p, log_z, *found], rescue.log_prob, chain, tags)
    return log_p, log_z, found


def _observed_less_expected(chain: Chain, tags: torch.Tensor, m: Messages) -> Tuple[torch.Tensor, Counts]:
    """Scores (B,) of `tags` (B, T), −inf where forbidden, and the difference of counts, in the order of `Words`."""
    rows, (batch, _, labels) = m.rows, chain.emissions.shape
    first, length = rows.first, len(rows.blocks)
    # (W,), (W − first,), (first,), (first,)
    tag = tags.reshape(-1)[rows.place]
    step = tag[rows.left] * labels + tag[first:]
    begun, ended = tag[:first], tag[rows.last]
    # (first,): which sentence of the batch
    sentence = m.words.order[:first]

    def of_table(
        table: torch.Tensor, size: int, dimensions: int, index: torch.Tensor, of: torch.Tensor
    ) -> torch.Tensor:
        return table.reshape(-1)[index if table.dim() < dimensions else of * size + index]

    values = chain.emissions.view(-1)[rows.place * labels + tag]
    values[:first] += of_table(chain.start, labels, 2, begun, sentence)
    values[first:] += of_table(chain.transitions, labels**2, 3, step, m.words.order[rows.sentence[first:]])
    scores = values.new_zeros(batch * length).index_copy_(0, rows.sentence * length + rows.time, values)
    scores = scores.view(batch, length).sum(dim=1)
    scores[:first] += of_table(chain.end, labels, 2, ended, sentence)
    scores = torch.where(scores > FORBIDDEN_BELOW, scores, -float("inf"))

    found = _expected(m)
    one = values.new_ones(()).expand_as(values)
    places = (
        torch.arange(len(tag), device=tag.device) * labels + tag,
        rows.sentence[first:] * labels**2 + step,
        torch.arange(first, device=tag.device) * labels + begun,
        torch.arange(first, device=tag.device) * labels + ended,
    )
    for counted, place in zip(found, places, strict=True):
        counted.neg_().view(-1).index_add_(0, place, one[: len(place)])
    allowed = scores > -float("inf")
    if not bool(allowed.all()):
        words = torch.where(allowed[rows.sentence].unsqueeze(1), found.emissions, values.new_zeros(()))
        tables = (torch.where(allowed.view(-1, *[1] * (x.dim() - 1)), x, values.new_zeros(())) for x in found[1:])
        found = Counts(words, *tables)
    return scores, found


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
    q = _words_back(_marginals(m), m)
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
    if not bool(m.possible.all()):
        log_q = torch.where(m.possible[m.rows.sentence].unsqueeze(1), log_q, -float("inf"))
    log_q = _words_back(log_q, m)
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
        found, held = _covariance(m, gradient.reshape(-1, gradient.shape[2]).index_select(0, m.rows.place))
        found = _counts_back(found, m)
    failed = _failed(m._replace(held=held))
    if failed is not None:
        rescue.redo(failed, found, rescue.log_marginals_gradient, chain, gradient)
    return found


def _covariance(m: Messages, gradient: torch.Tensor) -> Tuple[Counts, torch.Tensor]:
    """In the order of `Words`, of `gradient` (W, L); and for which sentences nothing was lost, (B,)."""
    rows, table, transposed = m.rows, m.table, m.table.transpose(-2, -1)
    q = _marginals(m)
    unlikely = (q < HELD) & (m.alpha > 0) & (m.beta > 0)
    held = m.held.clone()
    held[rows.sentence[unlikely.any(dim=1)]] = False
    # (W, L): g / q. Constants do not change a covariance: with every word's mean taken out E[G] is 0, and partial sums
    # do not grow with the sentence, nor does their rounding.
    zero = q.new_zeros(())
    gradient = torch.where(q > 0, gradient, zero)
    gain = torch.where(q > 0, gradient / q, zero) - gradient.sum(dim=1, keepdim=True)
    # before_t(j) = E[the part of G up to word t | y_t = j], after_t(i) = E[the part of G after word t | y_t = i]
    before, after = torch.zeros_like(q), torch.zeros_like(q)
    before[: rows.first] = gain[: rows.first]
    # What the conditional expectations are divided by: all at once.
    ways_here = _rows_times(m.alpha.index_select(0, rows.left), table, rows.blocks[1:])
    ways_on = _rows_times(m.right[rows.first :], transposed, rows.blocks[1:])
    here, on = torch.split(ways_here, rows.blocks[1:]), torch.split(ways_on, rows.blocks[1:])
    alphas, rights, gains, befores, afters = (
        torch.split(values, rows.blocks) for values in (m.alpha, m.right, gain, before, after)
    )
    for t in range(1, len(rows.blocks)):
        count = rows.blocks[t]
        carried = _times(alphas[t - 1][:count] * befores[t - 1][:count], table)
        torch.add(gains[t], _ratio(carried, here[t - 1]), out=befores[t])
    for t in range(len(rows.blocks) - 1, 0, -1):
        carried = _times(rights[t] * (gains[t] + afters[t]), transposed)
        afters[t - 1][: rows.blocks[t]] = _ratio(carried, on[t - 1])
    emissions = q * (before + after)
    left, first = _left(m), rows.first
    edges = _pair_sums(left * before.index_select(0, rows.left), m.right[first:], m)
    edges = edges + _pair_sums(left, m.right[first:] * (gain[first:] + after[first:]), m)
    return Counts(emissions, edges, *_first_and_last(emissions, m)), held


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
        gradient = [mine - theirs for mine, theirs in zip(predicted, expected, strict=True)]
        # A teacher that allows nothing teaches nothing.
        for i, difference in enumerate(gradient):
            taught = p.possible[p.rows.sentence] if i == 0 else p.possible
            gradient[i] = difference * taught.view(-1, *[1] * (difference.dim() - 1))
        value, gradient_back = _back(value, p.words), _counts_back(Counts(*gradient), p)
    failed = _failed(p, s)
    if failed is not None:
        rescue.redo(failed, [value, *gradient_back], rescue.divergence, teacher, student, subtract_entropy)
    return value, gradient_back


def _divergence(
    p: Messages, s: Messages, teacher: Chain, student: Chain, expected: Counts, subtract_entropy: bool
) -> torch.Tensor:
    own = 1.0 if subtract_entropy else 0.0
    words, batch = p.words, len(p.possible)
    value = s.reduced - own * p.reduced
    impossible = ~s.possible

    def term(weight: torch.Tensor, mine: torch.Tensor, theirs: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        """Σ weight (own · mine − theirs) of each row, where 0 times −inf is 0; and whether there is more times that."""
        used = weight > 0
        total = torch.where(used, weight * (own * mine - theirs), torch.zeros_like(weight))
        return total.flatten(1).sum(dim=1), (used & (theirs < FORBIDDEN_BELOW)).flatten(1).any(dim=1)

    of_words, bad = term(expected.emissions, p.log_weights, s.log_weights)
    value = value + p.rows.per_sentence(of_words, batch)
    impossible[p.rows.sentence[bad]] = True
    for name in ("transitions", "start", "end"):
        weight = getattr(expected, name)
        mine, theirs = (_reduced(getattr(chain, name), weight.dim(), words) for chain in (teacher, student))
        of_table, bad = term(weight, mine, theirs)
        value, impossible = value + of_table, impossible | bad
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
    return _paths_back(tags.unsqueeze(1), words).squeeze(1)


def k_best(chain: Chain, k: int) -> Tuple[torch.Tensor, torch.Tensor]:
    """The k labellings of largest score, (B, K, T), int64, and their scores, (B, K), as `reference.k_best_paths`."""
    words = words_of(chain)
    tags, scores = reference.k_best_paths(potentials_of(chain, words), k)
    return _paths_back(tags, words), _back(scores, words)


def sample(chain: Chain, uniforms: torch.Tensor) -> torch.Tensor:
    """Labellings (B, n, T), int64, at the quantiles `uniforms` (B, n, T), float32 in [0, 1)."""
    words = words_of(chain)
    p = potentials_of(chain, words)
    index = words.positions.unsqueeze(1).expand_as(uniforms)
    ordered = uniforms[words.order].gather(2, index)
    tags = reference.sample_paths(p, reference.backward_messages(p), ordered)
    return _paths_back(tags, words)


def score(chain: Chain, tags: torch.Tensor) -> torch.Tensor:
    """Scores (B, M) of `tags` (B, M, T), int64; −inf where forbidden."""
    words = words_of(chain)
    scores = reference.path_scores(potentials_of(chain, words), _paths(tags, words))
    return _back(torch.where(scores > FORBIDDEN_BELOW, scores, -float("inf")), words)


def score_gradient(chain: Chain, tags: torch.Tensor, scale: torch.Tensor) -> Counts:
    """The counts of `tags` (B, M, T), each labelling's times its `scale` (B, M)."""
    words = words_of(chain)
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
    emissions = torch.empty_like(found.emissions)
    emissions[words.order.unsqueeze(1), words.positions] = found.emissions
    return Counts(emissions, *(_back(x, words) for x in found[1:]))


def _paths_back(tags: torch.Tensor, words: Words) -> torch.Tensor:
    """(B, M, T) in the batch's order, words where they came from."""
    placed = torch.empty_like(tags).scatter_(2, words.positions.unsqueeze(1).expand_as(tags), tags)
    return _back(placed, words)


def _paths(tags: torch.Tensor, words: Words) -> torch.Tensor:
    """Tags in the order of `words`, 0 beyond the sentence."""
    paths = tags[words.order].gather(2, words.positions.unsqueeze(1).expand(-1, tags.shape[1], -1))
    inside = torch.arange(tags.shape[2], device=tags.device) < words.lengths.unsqueeze(1)
    return torch.where(inside.unsqueeze(1), paths, torch.zeros_like(paths))
