"""
The plain recursions of a linear-chain CRF: the definition every faster path is held to.

A chain scores the labelling y of T words by

    score(y) = a0(y_1) + Σ_t e_t(y_t) + Σ_t a(y_{t-1} → y_t) + a1(y_T),      p(y) = exp(score(y) − log Z).

Every function takes potentials that `LinearChainCRF` has made plain: words of a sentence lie at positions
0..length−1, tables are per sentence, and a forbidden potential is the finite number `FORBIDDEN`, so that
nothing here can become NaN.

Shapes: emissions (B, T, L), transitions (B, L, L) as [from, to], start and end (B, L), lengths (B,).
Cost: O(T L²) time for each sentence, O(K) times that for the K best. No loop runs over sentences.
"""

from typing import List, NamedTuple, Tuple

import torch

# Stands for −∞ inside: exp() of it is exactly 0, sums of thousands of it stay finite in float32, and 0 times it is 0.
FORBIDDEN = -1e30

# A score below this contains at least one forbidden potential, since honest ones add up to far less than 1e29.
FORBIDDEN_BELOW = FORBIDDEN / 2


class Potentials(NamedTuple):
    """Finite potentials of a batch of chains, words first, in one floating-point type."""

    emissions: torch.Tensor  # (B, T, L)
    transitions: torch.Tensor  # (B, L, L), [from, to]
    start: torch.Tensor  # (B, L)
    end: torch.Tensor  # (B, L)
    lengths: torch.Tensor  # (B,), int64


def log_partition(p: Potentials) -> torch.Tensor:
    """
    log Z by the forward recursion α_t(j) = logsumexp_i(α_{t-1}(i) + a(i→j)) + e_t(j).

    # Returns

    `torch.Tensor` : shape (B,), nats; 0 for a sentence without words, below `FORBIDDEN_BELOW` where nothing is allowed.
    """
    batch, words, _ = p.emissions.shape
    if words == 0:
        return p.emissions.new_zeros(batch)
    # (B, L)
    alpha = p.start + p.emissions[:, 0]
    # (B,)
    offset = p.emissions.new_zeros(batch)
    for t in range(1, words):
        # The largest entry is taken out at every step, so that rounding is that of a step and not that of log Z.
        # (B, 1)
        top = alpha.detach().amax(dim=1, keepdim=True)
        # (B, L)
        following = torch.logsumexp((alpha - top).unsqueeze(2) + p.transitions, dim=1) + p.emissions[:, t]
        # (B, 1)
        inside = (t < p.lengths).unsqueeze(1)
        alpha = torch.where(inside, following, alpha)
        offset = offset + torch.where(inside, top, torch.zeros_like(top)).squeeze(1)
    result = torch.logsumexp(alpha + p.end, dim=1) + offset
    return torch.where(p.lengths > 0, result, torch.zeros_like(result))


def backward_messages(p: Potentials) -> torch.Tensor:
    """
    β_t(i) = logsumexp_j(a(i→j) + e_{t+1}(j) + β_{t+1}(j)), β_T = a1, each word's messages up to a constant.

    The constant is chosen so that the largest message of a word is 0: everything made of β below is a ratio.

    # Returns

    `torch.Tensor` : shape (B, T, L).
    """
    _, words, _ = p.emissions.shape
    if words == 0:
        return p.emissions
    beta = p.end
    messages = [beta - beta.detach().amax(dim=1, keepdim=True)]
    for t in range(words - 2, -1, -1):
        # (B, L): what lies to the right of word t, one label of word t + 1 each
        right = p.emissions[:, t + 1] + messages[-1]
        # (B, L)
        beta = torch.logsumexp(p.transitions + right.unsqueeze(1), dim=2)
        # Words at or beyond the sentence's last one carry the end potentials.
        beta = torch.where((t + 1 < p.lengths).unsqueeze(1), beta, p.end)
        messages.append(beta - beta.detach().amax(dim=1, keepdim=True))
    messages.reverse()
    return torch.stack(messages, dim=1)


def log_first(p: Potentials, beta: torch.Tensor) -> torch.Tensor:
    """log p(y_1), shape (B, L); the sentence must have a word."""
    return torch.log_softmax(p.start + p.emissions[:, 0] + beta[:, 0], dim=1)


def log_conditionals(p: Potentials, beta: torch.Tensor) -> torch.Tensor:
    """
    log p(y_{t+1} = j | y_t = i), shape (B, T−1, L, L) as [from, to].

    Given the words, a chain CRF is a Markov chain with these transition probabilities. Rows of labels no allowed path
    visits hold some distribution, and nothing may weigh them by more than 0.
    """
    # (B, T-1, 1, L)
    right = (p.emissions[:, 1:] + beta[:, 1:]).unsqueeze(2)
    # (B, T-1, L, L)
    return torch.log_softmax(p.transitions.unsqueeze(1) + right, dim=3)


def log_marginals(p: Potentials, beta: torch.Tensor) -> torch.Tensor:
    """
    log q_t(y) = log softmax_y(α_t(y) + β_t(y)), shape (B, T, L); meaningless beyond the sentence.

    Normalised word by word: exp(α + β − log Z) would carry the rounding of |log Z|.
    """
    _, words, _ = p.emissions.shape
    if words == 0:
        return p.emissions
    # (B, L)
    alpha = p.start + p.emissions[:, 0]
    rows: List[torch.Tensor] = [alpha]
    for t in range(1, words):
        top = alpha.detach().amax(dim=1, keepdim=True)
        alpha = torch.logsumexp((alpha - top).unsqueeze(2) + p.transitions, dim=1) + p.emissions[:, t]
        rows.append(alpha)
    return torch.log_softmax(torch.stack(rows, dim=1) + beta, dim=2)


def best_path(p: Potentials) -> torch.Tensor:
    """
    The tags of largest score by Viterbi's recursion, shape (B, T), int64; 0 beyond the sentence.

    Among equal scores the last word takes the lowest label, then the word before it, and so on.
    """
    batch, words, _ = p.emissions.shape
    tags = torch.zeros((batch, words), dtype=torch.long, device=p.emissions.device)
    if words == 0:
        return tags
    # (B, L)
    delta = p.start + p.emissions[:, 0]
    pointers = []
    for t in range(1, words):
        # (B, L) each: best predecessor of every label
        best, pointer = (delta.unsqueeze(2) + p.transitions).max(dim=1)
        delta = torch.where((t < p.lengths).unsqueeze(1), best + p.emissions[:, t], delta)
        pointers.append(pointer)
    # (B,)
    label = (delta + p.end).argmax(dim=1)
    for t in range(words - 1, -1, -1):
        # (B,): a sentence is entered from its last word on
        tags[:, t] = torch.where(t < p.lengths, label, torch.zeros_like(label))
        if t > 0:
            previous = pointers[t - 1].gather(1, label.unsqueeze(1)).squeeze(1)
            label = torch.where(t < p.lengths, previous, label)
    return tags


def k_best_paths(p: Potentials, k: int) -> Tuple[torch.Tensor, torch.Tensor]:
    """
    The K distinct labellings of largest score, best first.

    Each label of each word keeps the K best ways to reach it; a labelling is reached in exactly one way, so that
    the K best are distinct. A sentence without words has one labelling, the empty one, of score 0.

    # Returns

    tags : `torch.Tensor`
        Shape (B, K, T), int64; 0 beyond the sentence and where fewer than K labellings are allowed.
    scores : `torch.Tensor`
        Shape (B, K); −inf where fewer than K labellings are allowed.
    """
    batch, words, labels = p.emissions.shape
    device = p.emissions.device
    # (B, L, K): each label of the first word is reached in one way
    delta = p.emissions.new_full((batch, labels, k), FORBIDDEN)
    if words > 0:
        delta[:, :, 0] = p.start + p.emissions[:, 0]
    pointers = []
    for t in range(1, words):
        # (B, L_from, K, L_to) -> (B, L_from * K, L_to); a stable sort gives equal scores to the lowest label
        ways = (delta.unsqueeze(3) + p.transitions.unsqueeze(2)).reshape(batch, labels * k, labels)
        best, pointer = ways.sort(dim=1, descending=True, stable=True)
        # (B, L_to, K)
        following = best[:, :k].transpose(1, 2) + p.emissions[:, t].unsqueeze(2)
        delta = torch.where((t < p.lengths).view(-1, 1, 1), following, delta)
        pointers.append(pointer[:, :k].transpose(1, 2))
    # (B, K) each: state is label * K + rank
    scores, state = (delta + p.end.unsqueeze(2)).reshape(batch, labels * k).sort(dim=1, descending=True, stable=True)
    scores, state = scores[:, :k], state[:, :k]
    if scores.shape[1] < k:
        missing = k - scores.shape[1]
        scores = torch.nn.functional.pad(scores, (0, missing), value=FORBIDDEN)
        state = torch.nn.functional.pad(state, (0, missing))
    # (B, K): the empty labelling
    empty = torch.full_like(scores, float("-inf"))
    empty[:, 0] = 0.0
    scores = torch.where((p.lengths > 0).unsqueeze(1), scores, empty)
    exists = scores > FORBIDDEN_BELOW
    tags = torch.zeros((batch, k, words), dtype=torch.long, device=device)
    for t in range(words - 1, -1, -1):
        inside = (t < p.lengths).unsqueeze(1)
        tags[:, :, t] = torch.where(inside & exists, state.div(k, rounding_mode="floor"), torch.zeros_like(state))
        if t > 0:
            # (B, K)
            previous = pointers[t - 1].reshape(batch, labels * k).gather(1, state)
            state = torch.where(inside, previous, state)
    return tags, torch.where(exists, scores, torch.full_like(scores, float("-inf")))


def path_scores(p: Potentials, tags: torch.Tensor) -> torch.Tensor:
    """
    score(y) of M labellings for each sentence.

    # Parameters

    tags : `torch.Tensor`
        Shape (B, M, T), int64, in [0, L); what stands beyond the sentence is not read.

    # Returns

    `torch.Tensor` : shape (B, M), nats; below `FORBIDDEN_BELOW` where the labelling is forbidden.
    """
    batch, paths, words = tags.shape
    if words == 0:
        return p.emissions.new_zeros((batch, paths))
    labels = p.emissions.shape[2]
    # (1, T), (B, 1, T)
    position = torch.arange(words, device=tags.device).unsqueeze(0)
    inside = (position < p.lengths.unsqueeze(1)).unsqueeze(1)
    # (B, T, M) -> (B, M, T)
    emitted = p.emissions.gather(2, tags.transpose(1, 2)).transpose(1, 2)
    # (B, M, T-1)
    step = tags[:, :, :-1] * labels + tags[:, :, 1:]
    moved = p.transitions.reshape(batch, labels * labels).gather(1, step.flatten(1)).view_as(step)
    # (B, M)
    last = (p.lengths - 1).clamp(min=0).view(-1, 1, 1).expand(-1, paths, -1)
    started = p.start.gather(1, tags[:, :, 0])
    ended = p.end.gather(1, tags.gather(2, last).squeeze(2))
    zero = emitted.new_zeros(())
    total = torch.where(inside, emitted, zero).sum(dim=2)
    total = total + torch.where(inside[:, :, 1:], moved, zero).sum(dim=2)
    return torch.where((p.lengths > 0).unsqueeze(1), total + started + ended, zero)


def sample_paths(p: Potentials, beta: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """
    Labellings drawn word by word from p(y_1) and p(y_{t+1} | y_t), by inverting the cumulative distributions.

    # Parameters

    beta : `torch.Tensor`
        Shape (B, T, L): the backward messages.
    uniforms : `torch.Tensor`
        Shape (B, n, T), in [0, 1): the quantile of each word.

    # Returns

    `torch.Tensor` : shape (B, n, T), int64; 0 beyond the sentence.
    """
    batch, words, labels = p.emissions.shape
    n = uniforms.shape[1]
    tags = torch.zeros((batch, n, words), dtype=torch.long, device=p.emissions.device)
    if words == 0:
        return tags
    # (B, n, L)
    logits = (p.start + p.emissions[:, 0] + beta[:, 0]).unsqueeze(1).expand(batch, n, labels)
    label = _quantile(logits, uniforms[:, :, 0])
    tags[:, :, 0] = torch.where((p.lengths > 0).unsqueeze(1), label, torch.zeros_like(label))
    for t in range(1, words):
        # (B, n, L): the row of the label drawn for the word before
        rows = p.transitions.gather(1, label.unsqueeze(2).expand(batch, n, labels))
        label = _quantile(rows + (p.emissions[:, t] + beta[:, t]).unsqueeze(1), uniforms[:, :, t])
        tags[:, :, t] = torch.where((t < p.lengths).unsqueeze(1), label, torch.zeros_like(label))
    return tags


def _quantile(logits: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """One label for each row of log-space weights (B, n, L): the first whose cumulative share is above (B, n)."""
    weights = (logits - logits.amax(dim=2, keepdim=True)).exp()
    cumulative = weights.cumsum(dim=2)
    label = (cumulative <= uniforms.unsqueeze(2) * cumulative[:, :, -1:]).sum(dim=2)
    # Rounding may lead beyond the last label that has a weight.
    last = weights.shape[2] - 1 - (weights > 0).flip(2).to(torch.uint8).argmax(dim=2)
    return torch.minimum(label, last)
