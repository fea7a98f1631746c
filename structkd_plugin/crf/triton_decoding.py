"""
GPU programmes that choose labellings: the best, the K best, and samples.

Scores are made with the same additions in the same order as in `reference`, so that equal scores are equal here too and
ties fall alike: to the lowest label of the last word, then of the word before it, and so on.
"""

import triton
import triton.language as tl

from structkd_plugin.crf.triton_likelihood import (
    CHUNK,
    FORBIDDEN,
    FORBIDDEN_BELOW,
    INFINITY,
    SIZES,
    finite_top,
    is_word_at,
    load_row,
    load_table,
    plain,
    span,
)


@triton.jit
def clear(tags, first, last, words):
    """0 at the places before the first and after the last word."""
    for begin in range(0, words, CHUNK):
        place = begin + tl.arange(0, CHUNK)
        outside = (place < words) & ((place < first) | (place > last))
        tl.store(tags + place, tl.zeros((CHUNK,), tl.int64), mask=outside)


@triton.jit(do_not_specialize=SIZES)
def best_path(
    emissions,
    transitions,
    start,
    end,
    mask,
    pointers,
    tags,
    words,
    labels,
    transitions_stride,
    start_stride,
    end_stride,
    PAD: tl.constexpr,
    HAS_MASK: tl.constexpr,
):
    """Viterbi's recursion and its way back: `tags` (B, T), int64; `pointers` (B, T, L), int8, is scratch. Grid (B,)."""
    sentence = tl.program_id(0).to(tl.int64)
    emissions += sentence * words * labels
    transitions += sentence * transitions_stride
    pointers += sentence * words * labels
    tags += sentence * words
    if HAS_MASK:
        mask += sentence * words
    first, last = span(mask, words, HAS_MASK)
    count = last - first + 1
    clear(tags, first, last, words)

    label = tl.arange(0, PAD)
    real = label < labels
    table = load_table(transitions, labels, PAD)
    begin = plain(tl.load(start + sentence * start_stride + label, mask=real, other=FORBIDDEN))
    finish = plain(tl.load(end + sentence * end_stride + label, mask=real, other=FORBIDDEN))
    # Padding must lose against what is forbidden too.
    score = tl.where(real, begin + load_row(emissions, first, count > 0, label, labels), -INFINITY)
    upcoming = load_row(emissions, first + 1, count > 1, label, labels)
    later = load_row(emissions, first + 2, count > 2, label, labels)
    for place in range(first + 1, last + 1):
        emission = upcoming
        upcoming = later
        later = load_row(emissions, place + 2, place + 2 <= last, label, labels)
        is_word = is_word_at(mask, place, True, HAS_MASK)
        best, source = tl.max(score[:, None] + table, axis=0, return_indices=True, return_indices_tie_break_left=True)
        score = tl.where(is_word & real, best + emission, score)
        tl.store(pointers + place * labels + label, source.to(tl.int8), mask=real & is_word)
    tl.debug_barrier()

    _, tag = tl.max(score + finish, axis=0, return_indices=True, return_indices_tie_break_left=True)
    # A row of pointers does not depend on the tag that is looked up in it, so it can be on its way early.
    row = tl.load(pointers + last * labels + label, mask=real & (count > 1), other=0).to(tl.int32)
    for k in range(count):
        place = last - k
        is_word = is_word_at(mask, place, True, HAS_MASK)
        ahead = tl.load(pointers + (place - 1) * labels + label, mask=real & (place - 1 > first), other=0).to(tl.int32)
        tl.store(tags + place, tl.where(is_word, tag, 0).to(tl.int64))
        previous = tl.sum(tl.where(label == tag, row, 0), axis=0)
        tag = tl.where(is_word, previous, tag)
        row = ahead


@triton.jit(do_not_specialize=[*SIZES, "k"])
def best_paths(
    emissions,
    transitions,
    start,
    end,
    mask,
    ways,
    pointers,
    tags,
    scores,
    words,
    labels,
    transitions_stride,
    start_stride,
    end_stride,
    k,
    PAD: tl.constexpr,
    PAD_K: tl.constexpr,
    HAS_MASK: tl.constexpr,
):
    """
    The K best labellings: `tags` (B, K, T), int64, and `scores` (B, K). Grid (B,).

    Each label keeps its K best ways, in order, in `ways` (B, 2, L, K), float32, of this word and of the last. The next
    word's are merged from the L sorted lists that lead there: of each list only the best way not yet taken competes.
    `pointers` (B, T, L, K), int16 or int32, hold label · K + rank of the way that was taken.
    """
    sentence = tl.program_id(0).to(tl.int64)
    emissions += sentence * words * labels
    transitions += sentence * transitions_stride
    ways += sentence * 2 * labels * k
    pointers += sentence * words * labels * k
    tags += sentence * k * words
    scores += sentence * k
    if HAS_MASK:
        mask += sentence * words
    first, last = span(mask, words, HAS_MASK)
    count = last - first + 1
    rank = tl.arange(0, PAD_K)
    asked = rank < k
    for path in range(k):
        clear(tags + path * words, first, last, words)

    label = tl.arange(0, PAD)
    real = label < labels
    table = load_table(transitions, labels, PAD)
    begin = plain(tl.load(start + sentence * start_stride + label, mask=real, other=FORBIDDEN))
    finish = plain(tl.load(end + sentence * end_stride + label, mask=real, other=FORBIDDEN))
    # The first word's labels are reached in one way each.
    here = ways + label[:, None] * k + rank[None, :]
    only = begin + load_row(emissions, first, count > 0, label, labels)
    tl.store(here, tl.where((rank == 0)[None, :], only[:, None], FORBIDDEN), mask=real[:, None] & asked[None, :])
    tl.debug_barrier()

    side = labels * 0
    for place in range(first + 1, last + 1):
        if is_word_at(mask, place, True, HAS_MASK):
            emission = load_row(emissions, place, True, label, labels)
            old = ways + side * labels * k
            new = ways + (1 - side) * labels * k
            taken = tl.zeros((PAD, PAD), tl.int32)
            competing = tl.load(old + label * k, mask=real, other=-INFINITY)[:, None] + table
            for number in range(k):
                best, source = tl.max(competing, axis=0, return_indices=True, return_indices_tie_break_left=True)
                hit = label[:, None] == source[None, :]
                place_in_list = tl.sum(tl.where(hit, taken, 0), axis=0)
                state = source * k + place_in_list
                tl.store(new + label * k + number, best + emission, mask=real)
                tl.store(
                    pointers + (place * labels + label).to(tl.int64) * k + number,
                    state.to(pointers.dtype.element_ty),
                    mask=real,
                )
                taken += hit.to(tl.int32)
                following = tl.load(old + state + 1, mask=real & (place_in_list + 1 < k), other=-INFINITY)
                moved = plain(tl.load(transitions + source * labels + label, mask=real, other=0.0))
                competing = tl.where(hit, (following + moved)[None, :], competing)
            side = 1 - side
        # Also those who wait here must not write before all have read.
        tl.debug_barrier()

    old = ways + side * labels * k
    has_words = count > 0
    taken_last = tl.zeros((PAD,), tl.int32)
    competing_last = tl.load(old + label * k, mask=real & has_words, other=FORBIDDEN) + finish
    competing_last = tl.where(real, competing_last, -INFINITY)
    states = tl.zeros((PAD_K,), tl.int32)
    values = tl.full((PAD_K,), FORBIDDEN, tl.float32)
    for number in range(k):
        best, source = tl.max(competing_last, axis=0, return_indices=True, return_indices_tie_break_left=True)
        hit = label == source
        place_in_list = tl.sum(tl.where(hit, taken_last, 0), axis=0)
        state = source * k + place_in_list
        states = tl.where(rank == number, state, states)
        values = tl.where(rank == number, best, values)
        taken_last += hit.to(tl.int32)
        following = tl.load(old + state + 1, mask=has_words & (place_in_list + 1 < k), other=-INFINITY)
        ended = plain(tl.load(end + sentence * end_stride + source))
        competing_last = tl.where(hit, following + ended, competing_last)
    # The empty labelling is the only one of no words.
    values = tl.where(has_words, values, tl.where(rank == 0, 0.0, FORBIDDEN))
    exists = (values > FORBIDDEN_BELOW) & asked
    tl.store(scores + rank, tl.where(exists, values, -INFINITY), mask=asked)
    for step in range(count):
        place = last - step
        is_word = is_word_at(mask, place, True, HAS_MASK)
        tl.store(tags + rank * words + place, tl.where(is_word & exists, states // k, 0).to(tl.int64), mask=asked)
        found = asked & is_word & (place > first)
        previous = tl.load(pointers + (place * labels).to(tl.int64) * k + states, mask=found, other=0).to(tl.int32)
        states = tl.where(found, previous, states)


@triton.jit(do_not_specialize=[*SIZES, "samples"])
def draw(
    work,
    transitions,
    start,
    mask,
    uniforms,
    tags,
    words,
    labels,
    transitions_stride,
    start_stride,
    samples,
    PAD: tl.constexpr,
    BLOCK: tl.constexpr,
    HAS_MASK: tl.constexpr,
):
    """
    Labellings drawn word by word given `uniforms` (B, n, T): `tags` (B, n, T), int64. Grid (B, blocks of n).

    Of p(y_1) and p(y_{t+1} | y_t) the first label is taken at which the sum up to it is above the uniform number.
    """
    sentence = tl.program_id(0).to(tl.int64)
    right = work + (3 * tl.num_programs(0).to(tl.int64) + sentence) * words * labels
    transitions += sentence * transitions_stride
    if HAS_MASK:
        mask += sentence * words
    first, _ = span(mask, words, HAS_MASK)
    label = tl.arange(0, PAD)
    real = label < labels
    sample = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    asked = sample < samples
    rows = (sentence * samples + sample) * words
    # (BLOCK, PAD): what leads into the word, from its left
    leading = tl.load(start + sentence * start_stride + label, mask=real, other=FORBIDDEN)
    tag = tl.zeros((BLOCK,), tl.int32)
    for place in range(words):
        is_word = is_word_at(mask, place, True, HAS_MASK)
        entries = transitions + tag[:, None] * labels + label[None, :]
        moves = tl.load(entries, mask=real[None, :] & asked[:, None] & (place > first), other=FORBIDDEN)
        into = plain(tl.where(place > first, moves, leading[None, :]))
        rest = tl.load(right + place * labels + label, mask=real & is_word, other=FORBIDDEN)
        weights = plain(into + rest[None, :])
        weights = tl.exp(weights - finite_top(tl.max(weights, axis=1))[:, None])
        sums = tl.cumsum(weights, axis=1)
        point = tl.load(uniforms + rows + place, mask=asked & is_word, other=0.0) * tl.max(sums, axis=1)
        # Sums may be rounded in any direction: neither may a label without weight be taken, nor none at all.
        possible = weights > 0.0
        chosen = tl.min(tl.where(possible & (sums > point[:, None]), label[None, :], PAD), axis=1)
        largest = tl.max(tl.where(possible, label[None, :], 0), axis=1)
        chosen = tl.where(chosen < PAD, chosen, largest)
        tag = tl.where(is_word, chosen, tag)
        tl.store(tags + rows + place, tl.where(is_word, tag, 0).to(tl.int64), mask=asked)
