"""
GPU programmes for sums over labellings: messages, counts, marginals and divergences.

Every programme serves one sentence and walks its words in a plain loop. Labels are padded to `PAD`, a power of two.

**Messages.** A word's message is kept in log space, one number for each label, the largest of which is 0. The step
to the next word is a product of probabilities with a table held in registers,

    sum(j) = Σ_i exp(carry(i)) P(i, j),     P(i, j) = exp(a(i→j) − shift(j)),     shift(j) = max_i a(i→j),

and where such a sum is below `RESCUE_BELOW` it is made again in log space, so that nothing is lost that float32 can
hold. The backward messages are the same with the table transposed, in programmes of their own beside the forward ones.

The workspace of a batch has `SLOTS` arrays of shape (B, T, L), written from a sentence's first word to its last:

    0  alpha   forward message with the word's emission, largest 0
    1  beta    backward message without it, up to a constant
    2  inner   log of the forward sum that led into the word
    3  right   backward message with the word's emission, largest 0
    4  outer   log of the backward sum that led into the word

A masked word between two others leaves the message as it is and has the sum that leads into the next word. So what
stands one place before a word always belongs to the word before it, masked ones left out.
"""

import math

import triton
import triton.language as tl

from structkd_plugin.crf import reference

FORBIDDEN = tl.constexpr(reference.FORBIDDEN)
FORBIDDEN_BELOW = tl.constexpr(reference.FORBIDDEN_BELOW)
INFINITY = tl.constexpr(math.inf)
# Of a sum of which no term is above 1: what is lost by underflow is smaller than its rounding.
RESCUE_BELOW = tl.constexpr(1e-30)
LOG_RESCUE_BELOW = tl.constexpr(math.log(1e-30))
# So that no logarithm is taken of 0. Anything below float32's normal numbers would make float64 of what it meets.
TINY = tl.constexpr(1e-37)
# Places of a sentence that are looked at together where there is no recursion.
CHUNK = tl.constexpr(128)

# How much of the workspace is written.
SAVE_NOTHING, SAVE_FOR_COUNTS, SAVE_ALL = 0, 1, 2
SLOTS = {SAVE_NOTHING: 0, SAVE_FOR_COUNTS: 3, SAVE_ALL: 5}
# What counts are made of.
EXPECTED, OBSERVED_LESS_EXPECTED, EXPECTED_LESS_GIVEN = 0, 1, 2

# Numbers that change from call to call, and must not each lead to a compilation.
SIZES = ["words", "labels", "transitions_stride", "start_stride", "end_stride"]


# ------------------------------------------------------------------------------------------------- shared pieces


@triton.jit
def plain(potential):
    """−inf, or less than any honest potential, as `FORBIDDEN`; NaN stays."""
    return tl.where(potential < FORBIDDEN_BELOW, FORBIDDEN, potential)


@triton.jit
def finite_top(top):
    """What to subtract from log-space weights whose largest is `top`: 0 where all of them are forbidden."""
    return tl.where(top < FORBIDDEN_BELOW, 0.0, top)


@triton.jit
def span(mask, words, HAS_MASK: tl.constexpr):
    """The places of the first and the last word of a sentence; the last is before the first where it has none."""
    first = words * 0
    last = words - 1
    if HAS_MASK:
        first = words
        last = words * 0 - 1
        for begin in range(0, words, CHUNK):
            place = begin + tl.arange(0, CHUNK)
            is_word = tl.load(mask + place, mask=place < words, other=0) != 0
            first = tl.minimum(first, tl.min(tl.where(is_word, place, words), axis=0))
            last = tl.maximum(last, tl.max(tl.where(is_word, place, -1), axis=0))
    return first, last


@triton.jit
def is_word_at(mask, place, exists, HAS_MASK: tl.constexpr):
    """Whether a word stands at `place`, a scalar or a block; False where it does not exist."""
    if HAS_MASK:
        return (tl.load(mask + place, mask=exists, other=0) != 0) & exists
    return exists


@triton.jit
def larger(one, other):
    """The operator of a running maximum."""
    return tl.maximum(one, other)


@triton.jit
def largest(values):
    """
    The largest of a message, with an instruction of the warp for integers: there is none for floats, but five shuffles.

    Floats are ordered as their bits are, once those of negative numbers are turned around.
    """
    bits = values.to(tl.int32, bitcast=True)
    top = tl.max(bits ^ ((bits >> 31) & 0x7FFFFFFF), axis=0)
    return (top ^ ((top >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)


@triton.jit
def any_of(flags):
    """Whether any of the flags is set."""
    return tl.max(flags.to(tl.int32), axis=0) > 0


@triton.jit
def load_row(emissions, place, exists, label, labels):
    """The potentials (PAD,) of one word; `FORBIDDEN` at padding."""
    row = tl.load(emissions + place * labels + label, mask=(label < labels) & exists, other=FORBIDDEN)
    return plain(row)


@triton.jit
def load_table(transitions, labels, PAD: tl.constexpr):
    """The table (PAD, PAD), [from, to]; `FORBIDDEN` at padding."""
    label = tl.arange(0, PAD)
    real = label < labels
    places = label[:, None] * labels + label[None, :]
    return plain(tl.load(transitions + places, mask=real[:, None] & real[None, :], other=FORBIDDEN))


@triton.jit
def turned(table, forward):
    """
    The table as [where the message comes from, where it goes], which for backward messages is transposed.

    Both ways are laid out alike, each thread with whole columns, which it adds up by itself; a table loaded with its
    strides exchanged would be laid out for the load, and every sum would pass between threads.
    """
    return tl.where(forward, table, tl.trans(table))


@triton.jit
def path_score(
    emissions, transitions, start, end, mask, tags, observed, words, labels, HAS_MASK: tl.constexpr, COUNT: tl.constexpr
):
    """
    score(y) of one labelling; below `FORBIDDEN_BELOW` where it is forbidden, NaN where a tag is not in [0, L).

    With `COUNT` its transitions are added to the table `observed` (L, L).
    """
    first, last = span(mask, words, HAS_MASK)
    total = 0.0
    # The place of the last word before the chunk.
    before = words * 0 - 1
    for begin in range(0, words, CHUNK):
        place = begin + tl.arange(0, CHUNK)
        is_word = is_word_at(mask, place, place < words, HAS_MASK)
        tag = tl.load(tags + place, mask=is_word, other=0)
        wrong = (tag < 0) | (tag >= labels)
        tag = tl.where(wrong, 0, tag)
        if HAS_MASK:
            previous = place - 1
            previous_is_word = is_word_at(mask, previous, (previous >= 0) & (previous < words), HAS_MASK)
            previous = tl.associative_scan(tl.where(previous_is_word, previous, -1), 0, larger)
            previous = tl.maximum(previous, before)
            before = tl.maximum(before, tl.max(tl.where(is_word, place, -1), axis=0))
            # The first place of the next chunk looks one place back itself.
        else:
            previous = place - 1
        has_previous = is_word & (previous >= 0)
        left = tl.load(tags + previous, mask=has_previous, other=0)
        left = tl.where((left < 0) | (left >= labels), 0, left)
        score = tl.where(is_word, plain(tl.load(emissions + place * labels + tag, mask=is_word, other=0.0)), 0.0)
        score += plain(tl.load(transitions + left * labels + tag, mask=has_previous, other=0.0))
        score += plain(tl.load(start + tag, mask=is_word & (place == first), other=0.0))
        score += plain(tl.load(end + tag, mask=is_word & (place == last), other=0.0))
        total += tl.sum(tl.where(wrong, float("nan"), score), axis=0)
        if COUNT:
            tl.atomic_add(observed + left * labels + tag, 1.0, mask=has_previous, sem="relaxed")
    return total


# ------------------------------------------------------------------------------------------------- messages


@triton.jit
def sweep(
    emissions,
    transitions,
    start,
    end,
    mask,
    work,
    slot,
    log_z,
    way,
    words,
    labels,
    PAD: tl.constexpr,
    HAS_MASK: tl.constexpr,
    SAVE: tl.constexpr,
):
    """The messages of one sentence: forward and log Z (way 0), or backward (way 1)."""
    first, last = span(mask, words, HAS_MASK)
    label = tl.arange(0, PAD)
    real = label < labels
    forward = way == 0
    origin = tl.where(forward, first, last)
    step = tl.where(forward, 1, -1)
    count = last - first + 1

    table = turned(load_table(transitions, labels, PAD), forward)
    shift = tl.max(table, axis=0)
    # Where nothing leads there is nothing to rescue.
    dead = shift < FORBIDDEN_BELOW
    shift = tl.where(dead, 0.0, shift)
    table = tl.exp(table - shift[None, :])

    far = plain(tl.load(end + label, mask=real, other=FORBIDDEN))
    near = plain(tl.load(start + label, mask=real, other=FORBIDDEN))
    near = tl.where(forward, near, far)
    message = plain(near + load_row(emissions, origin, count > 0, label, labels))
    top = finite_top(tl.max(message, axis=0))
    carry = message - top
    # log Z is the sum of what was taken out, with the rounding of that sum beside it.
    offset = top
    lost = top * 0.0
    if SAVE > 0:
        store = real & (count > 0)
        tl.store(
            work + tl.where(forward, 0, slot) + origin * labels + label, tl.where(forward, carry, near), mask=store
        )
        if SAVE > 1:
            tl.store(work + 3 * slot + origin * labels + label, carry, mask=store & (way == 1))

    # Two words are always on their way while one is worked on.
    upcoming = load_row(emissions, origin + step, count > 1, label, labels)
    upcoming_is_word = is_word_at(mask, origin + step, count > 1, HAS_MASK)
    later = load_row(emissions, origin + 2 * step, count > 2, label, labels)
    later_is_word = is_word_at(mask, origin + 2 * step, count > 2, HAS_MASK)
    for k in range(1, count):
        place = origin + step * k
        emission = upcoming
        is_word = upcoming_is_word
        upcoming = later
        upcoming_is_word = later_is_word
        later = load_row(emissions, place + 2 * step, k + 2 < count, label, labels)
        later_is_word = is_word_at(mask, place + 2 * step, k + 2 < count, HAS_MASK)

        sums = tl.sum(tl.exp(carry)[:, None] * table, axis=0)
        inner = tl.where(dead, FORBIDDEN, tl.log(tl.maximum(sums, TINY)))
        message = plain(inner + shift + emission)
        top = largest(message)
        lost_here = (sums < RESCUE_BELOW) & (dead == 0)
        if any_of(lost_here):
            again = turned(load_table(transitions, labels, PAD), forward) - shift[None, :] + carry[:, None]
            highest = tl.max(again, axis=0)
            again_sums = tl.sum(tl.exp(again - finite_top(highest)[None, :]), axis=0)
            again_log = tl.log(tl.maximum(again_sums, TINY)) + highest
            again_log = tl.where(highest < FORBIDDEN_BELOW, FORBIDDEN, again_log)
            inner = tl.where(lost_here, again_log, inner)
            message = plain(inner + shift + emission)
            top = largest(message)
        if SAVE > 0:
            beta = plain(inner + shift)

        top = finite_top(top)
        carry = tl.where(is_word, message - top, carry)
        top = tl.where(is_word, top, 0.0)
        total = offset + top
        part = total - offset
        lost += (offset - (total - part)) + (top - part)
        offset = total
        if SAVE > 0:
            here = place * labels + label
            tl.store(work + tl.where(forward, 0, slot) + here, tl.where(forward, carry, beta), mask=real)
            tl.store(work + 2 * slot + here, inner, mask=real & forward)
            if SAVE > 1:
                tl.store(work + 3 * slot + here, carry, mask=real & (way == 1))
                tl.store(work + 4 * slot + here, inner, mask=real & (way == 1))

    ending = carry + far
    top = tl.max(ending, axis=0)
    rest = tl.log(tl.sum(tl.exp(ending - finite_top(top)), axis=0) + TINY)
    result = tl.where(top < FORBIDDEN_BELOW, -INFINITY, top + (offset + (lost + rest)))
    tl.store(log_z, tl.where(count > 0, result, 0.0), mask=forward)


@triton.jit
def observe(
    emissions,
    transitions,
    start,
    end,
    mask,
    tags,
    gold,
    observed,
    words,
    labels,
    PAD: tl.constexpr,
    HAS_MASK: tl.constexpr,
):
    """The score of one sentence's tags, and how often they use each transition."""
    label = tl.arange(0, PAD)
    real = label < labels
    places = label[:, None] * labels + label[None, :]
    tl.store(observed + places, tl.zeros((PAD, PAD), tl.float32), mask=real[:, None] & real[None, :])
    tl.debug_barrier()
    score = path_score(emissions, transitions, start, end, mask, tags, observed, words, labels, HAS_MASK, True)
    tl.store(gold, score)


@triton.jit(do_not_specialize=SIZES)
def messages(
    emissions,
    transitions,
    start,
    end,
    mask,
    work,
    log_z,
    tags,
    gold,
    observed,
    words,
    labels,
    transitions_stride,
    start_stride,
    end_stride,
    PAD: tl.constexpr,
    HAS_MASK: tl.constexpr,
    SAVE: tl.constexpr,
    GOLD: tl.constexpr,
    BACKWARD_ONLY: tl.constexpr,
):
    """
    Messages of a batch. Grid (B, 1): forward without saving, or backward; (B, 2): both; (B, 3) with `GOLD`: and tags.

    `work` (slots, B, T, L), `log_z` (B,), `tags` (B, T) int64, `gold` (B,), `observed` (B, L, L).
    """
    sentence = tl.program_id(0).to(tl.int64)
    way = tl.program_id(1)
    if BACKWARD_ONLY:
        way += 1
    emissions += sentence * words * labels
    transitions += sentence * transitions_stride
    start += sentence * start_stride
    end += sentence * end_stride
    if HAS_MASK:
        mask += sentence * words
    slot = tl.num_programs(0).to(tl.int64) * words * labels
    work += sentence * words * labels
    log_z += sentence
    if GOLD:
        tags += sentence * words
        gold += sentence
        observed += sentence * labels * labels
        if way == 2:
            observe(emissions, transitions, start, end, mask, tags, gold, observed, words, labels, PAD, HAS_MASK)
        else:
            sweep(emissions, transitions, start, end, mask, work, slot, log_z, way, words, labels, PAD, HAS_MASK, SAVE)
    else:
        sweep(emissions, transitions, start, end, mask, work, slot, log_z, way, words, labels, PAD, HAS_MASK, SAVE)


@triton.jit(do_not_specialize=[*SIZES, "paths"])
def scores(
    emissions,
    transitions,
    start,
    end,
    mask,
    tags,
    result,
    words,
    labels,
    transitions_stride,
    start_stride,
    end_stride,
    paths,
    HAS_MASK: tl.constexpr,
):
    """score(y) of labellings `tags` (B, M, T), int64, as `result` (B, M). Grid (B, M)."""
    sentence = tl.program_id(0).to(tl.int64)
    path = sentence * paths + tl.program_id(1)
    if HAS_MASK:
        mask += sentence * words
    score = path_score(
        emissions + sentence * words * labels,
        transitions + sentence * transitions_stride,
        start + sentence * start_stride,
        end + sentence * end_stride,
        mask,
        tags + path * words,
        result,
        words,
        labels,
        HAS_MASK,
        False,
    )
    tl.store(result + path, tl.where(score < FORBIDDEN_BELOW, -INFINITY, score))


# ------------------------------------------------------------------------------------------------- marginals, counts


@triton.jit
def log_marginal_rows(work, slot, place, exists, label, labels):
    """log q (BLOCK, PAD) of words at `place` (BLOCK,): around −1e30 where forbidden; normalised word by word."""
    real = (label < labels)[None, :] & exists[:, None]
    here = place[:, None] * labels + label[None, :]
    both = tl.load(work + here, mask=real, other=FORBIDDEN) + tl.load(work + slot + here, mask=real, other=FORBIDDEN)
    both = both - finite_top(tl.max(both, axis=1))[:, None]
    return both - tl.log(tl.sum(tl.exp(both), axis=1) + TINY)[:, None]


@triton.jit
def marginal_row(work, slot, place, exists, label, labels):
    """log q (PAD,) of one word, as `log_marginal_rows`."""
    real = (label < labels) & exists
    here = place * labels + label
    both = tl.load(work + here, mask=real, other=FORBIDDEN) + tl.load(work + slot + here, mask=real, other=FORBIDDEN)
    both = both - finite_top(tl.max(both, axis=0))
    return both - tl.log(tl.sum(tl.exp(both), axis=0) + TINY)


@triton.jit(do_not_specialize=["words", "labels"])
def marginals(
    work,
    log_z,
    mask,
    result,
    words,
    labels,
    PAD: tl.constexpr,
    BLOCK: tl.constexpr,
    HAS_MASK: tl.constexpr,
    LOG: tl.constexpr,
):
    """q or log q of every word as `result` (B, T, L). Grid (B, blocks of T)."""
    sentence = tl.program_id(0).to(tl.int64)
    slot = tl.num_programs(0).to(tl.int64) * words * labels
    work += sentence * words * labels
    if HAS_MASK:
        mask += sentence * words
    possible = tl.load(log_z + sentence) > FORBIDDEN_BELOW
    label = tl.arange(0, PAD)
    place = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    is_word = is_word_at(mask, place, place < words, HAS_MASK)
    log_q = log_marginal_rows(work, slot, place, is_word, label, labels)
    if LOG:
        value = tl.where((log_q < FORBIDDEN_BELOW) | (possible == 0), -INFINITY, log_q)
    else:
        value = tl.exp(log_q)
        value = tl.where(possible, value / (tl.sum(value, axis=1) + TINY)[:, None], 0.0)
    value = tl.where(is_word[:, None], value, 0.0)
    stored = (place < words)[:, None] & (label < labels)[None, :]
    tl.store(result + sentence * words * labels + place[:, None] * labels + label[None, :], value, mask=stored)


@triton.jit(do_not_specialize=["words", "labels", "transitions_stride"])
def counts(
    work,
    log_z,
    transitions,
    mask,
    tags,
    gold,
    log_prob,
    out_emissions,
    out_transitions,
    out_start,
    out_end,
    words,
    labels,
    transitions_stride,
    PAD: tl.constexpr,
    BLOCK: tl.constexpr,
    HAS_MASK: tl.constexpr,
    KIND: tl.constexpr,
):
    """
    Counts of every potential from the messages. Grid (B,).

    `KIND` 0: expected counts. 1: those of `tags` less the expected, with `log_prob`; `out_transitions` has the
    tags' transitions before. 2: expected counts less those that stand in the outputs.
    """
    sentence = tl.program_id(0).to(tl.int64)
    slot = tl.num_programs(0).to(tl.int64) * words * labels
    work += sentence * words * labels
    transitions += sentence * transitions_stride
    out_emissions += sentence * words * labels
    out_transitions += sentence * labels * labels
    out_start += sentence * labels
    out_end += sentence * labels
    if HAS_MASK:
        mask += sentence * words
    first, last = span(mask, words, HAS_MASK)
    label = tl.arange(0, PAD)
    real = label < labels
    normaliser = tl.load(log_z + sentence)
    possible = normaliser > FORBIDDEN_BELOW
    if KIND == 1:
        tags += sentence * words
        score = tl.load(gold + sentence)
        possible = possible & (score > FORBIDDEN_BELOW)
        difference = tl.where(score < FORBIDDEN_BELOW, -INFINITY, score - normaliser)
        difference = tl.where(normaliser < FORBIDDEN_BELOW, -INFINITY, difference)
        tl.store(log_prob + sentence, difference)

    # Without words there is no first and no last one to write these.
    nothing = real & (last < first)
    tl.store(out_start + label, tl.zeros((PAD,), tl.float32), mask=nothing)
    tl.store(out_end + label, tl.zeros((PAD,), tl.float32), mask=nothing)

    table = load_table(transitions, labels, PAD)
    shift = finite_top(tl.max(table, axis=0))
    table = table - shift[None, :]
    # An edge's probability is exp(alpha(i)) P(i, j) q(j) / sum(j): P is the same everywhere, and multiplied in the end.
    pairs = tl.zeros((PAD, PAD), tl.float32)
    # What had to be made in log space, with P in it.
    rescued = tl.zeros((PAD, PAD), tl.float32)
    for begin in range(0, words, BLOCK):
        place = begin + tl.arange(0, BLOCK)
        is_word = is_word_at(mask, place, place < words, HAS_MASK)
        q = tl.exp(log_marginal_rows(work, slot, place, is_word, label, labels))
        q = q / (tl.sum(q, axis=1) + TINY)[:, None]
        q = tl.where(is_word[:, None] & possible, q, 0.0)
        value = q
        here = place[:, None] * labels + label[None, :]
        stored = (place < words)[:, None] & real[None, :]
        if KIND == 1:
            tag = tl.load(tags + place, mask=is_word, other=-1)
            value = tl.where((tag[:, None] == label[None, :]) & is_word[:, None] & possible, 1.0, 0.0) - q
        if KIND == 2:
            value = q - tl.load(out_emissions + here, mask=stored, other=0.0)
        tl.store(out_emissions + here, value, mask=stored)
        ends = place * 0
        tl.store(out_start + ends[:, None] + label[None, :], value, mask=stored & (place == first)[:, None])
        tl.store(out_end + ends[:, None] + label[None, :], value, mask=stored & (place == last)[:, None])

        has_left = is_word & (place > first)
        edges = has_left[:, None] & real[None, :]
        left = tl.exp(tl.load(work + here - labels, mask=edges, other=FORBIDDEN))
        inner = tl.load(work + 2 * slot + here, mask=edges, other=FORBIDDEN)
        held = inner > LOG_RESCUE_BELOW
        right = tl.where(held, q * tl.exp(tl.where(held, -inner, 0.0)), 0.0)
        pairs = tl.dot(tl.trans(left), right, pairs, input_precision="ieee")
        missing = edges & (held == 0) & (inner > FORBIDDEN_BELOW) & (q > 0.0)
        if tl.max(tl.max(missing.to(tl.int32), axis=1), axis=0) > 0:
            for row in range(begin, tl.minimum(begin + BLOCK, words)):
                row_is_word = is_word_at(mask, row, row > first, HAS_MASK)
                row_q = tl.exp(marginal_row(work, slot, row, row_is_word, label, labels))
                row_q = row_q / (tl.sum(row_q, axis=0) + TINY)
                loaded = real & row_is_word
                row_inner = tl.load(work + 2 * slot + row * labels + label, mask=loaded, other=FORBIDDEN)
                redo = loaded & (row_inner <= LOG_RESCUE_BELOW) & (row_inner > FORBIDDEN_BELOW) & possible
                row_left = tl.load(work + (row - 1) * labels + label, mask=loaded, other=FORBIDDEN)
                edge = row_left[:, None] + table - tl.where(redo, row_inner, 0.0)[None, :]
                rescued += tl.where(redo[None, :], tl.exp(edge) * row_q[None, :], 0.0)

    expected = tl.where(possible, pairs * tl.exp(table) + rescued, 0.0)
    places = label[:, None] * labels + label[None, :]
    stored = real[:, None] & real[None, :]
    if KIND == 1:
        seen = tl.load(out_transitions + places, mask=stored, other=0.0)
        expected = tl.where(possible, seen - expected, 0.0)
    if KIND == 2:
        expected = expected - tl.load(out_transitions + places, mask=stored, other=0.0)
    tl.store(out_transitions + places, expected, mask=stored)


# ------------------------------------------------------------------------------------------------- divergence


@triton.jit(do_not_specialize=["words", "labels", "teacher_stride", "student_stride", "blocks"])
def divergence(
    teacher_work,
    teacher_log_z,
    teacher_transitions,
    student_work,
    student_log_z,
    student_transitions,
    mask,
    result,
    words,
    labels,
    teacher_stride,
    student_stride,
    blocks,
    PAD: tl.constexpr,
    BLOCK: tl.constexpr,
    HAS_MASK: tl.constexpr,
    SUBTRACT_ENTROPY: tl.constexpr,
):
    """
    A block of words' share of KL(teacher ‖ student), or of the cross-entropy: `result` (B, blocks). Grid (B, blocks).

    Each word's is the divergence of p(y_t | y_{t−1}), the first's that of p(y_1); both workspaces are complete.
    """
    sentence = tl.program_id(0).to(tl.int64)
    slot = tl.num_programs(0).to(tl.int64) * words * labels
    teacher_work += sentence * words * labels
    student_work += sentence * words * labels
    if HAS_MASK:
        mask += sentence * words
    first, last = span(mask, words, HAS_MASK)
    possible = (tl.load(teacher_log_z + sentence) > FORBIDDEN_BELOW) & (first <= last)
    hopeless = possible & (tl.load(student_log_z + sentence) < FORBIDDEN_BELOW)
    label = tl.arange(0, PAD)
    real = label < labels
    teacher = load_table(teacher_transitions + sentence * teacher_stride, labels, PAD)
    teacher = teacher - finite_top(tl.max(teacher, axis=1))[:, None]
    student = load_table(student_transitions + sentence * student_stride, labels, PAD)
    student = student - finite_top(tl.max(student, axis=1))[:, None]

    total = 0.0
    begin = tl.program_id(1) * BLOCK
    for place in range(tl.maximum(begin, first), tl.minimum(begin + BLOCK, last + 1)):
        if is_word_at(mask, place, possible, HAS_MASK):
            if place == first:
                log_p = marginal_row(teacher_work, slot, place, True, label, labels)
                log_s = marginal_row(student_work, slot, place, True, label, labels)
                weight = tl.where(real, tl.exp(log_p), 0.0)
                gap = log_p - log_s if SUBTRACT_ENTROPY else -log_s
                gap = tl.where(log_s < FORBIDDEN_BELOW, INFINITY, gap)
                total += tl.sum(weight * tl.where(weight > 0.0, gap, 0.0), axis=0)
            else:
                before = place - 1
                log_q = marginal_row(teacher_work, slot, before, True, label, labels)
                outer = tl.load(teacher_work + 4 * slot + before * labels + label, mask=real, other=FORBIDDEN)
                right = tl.load(teacher_work + 3 * slot + place * labels + label, mask=real, other=FORBIDDEN)
                log_p2 = teacher + right[None, :] - outer[:, None]
                weight2 = tl.where(
                    (outer > FORBIDDEN_BELOW)[:, None], tl.exp(log_q)[:, None] * tl.exp(tl.minimum(log_p2, 1.0)), 0.0
                )
                outer = tl.load(student_work + 4 * slot + before * labels + label, mask=real, other=FORBIDDEN)
                right = tl.load(student_work + 3 * slot + place * labels + label, mask=real, other=FORBIDDEN)
                log_s2 = student + right[None, :] - outer[:, None]
                gap2 = log_p2 - log_s2 if SUBTRACT_ENTROPY else -log_s2
                barred = (log_s2 < FORBIDDEN_BELOW) | (outer < FORBIDDEN_BELOW)[:, None]
                gap2 = tl.where(barred, INFINITY, gap2)
                total += tl.sum(tl.sum(weight2 * tl.where(weight2 > 0.0, gap2, 0.0), axis=1), axis=0)
    total = tl.where(hopeless, INFINITY, total)
    tl.store(result + sentence * blocks + tl.program_id(1), total)


# ------------------------------------------------------------------------------------------------- gradient of log q


@triton.jit
def centred(log_q, gradient, place, exists, label, labels):
    """A word's weights (PAD,) on log q with their mean under q taken out: what does not change the gradient."""
    loaded = (label < labels) & exists
    log_row = tl.load(log_q + place * labels + label, mask=loaded, other=-INFINITY)
    weight = tl.load(gradient + place * labels + label, mask=loaded, other=0.0)
    # A forbidden label's log q is constant.
    weight = tl.where(log_row < FORBIDDEN_BELOW, 0.0, weight)
    return weight - tl.exp(log_row) * tl.sum(weight, axis=0)


@triton.jit(do_not_specialize=["words", "labels", "transitions_stride"])
def log_marginals_gradient(
    work,
    log_z,
    log_q,
    gradient,
    transitions,
    mask,
    out_emissions,
    out_transitions,
    out_start,
    out_end,
    words,
    labels,
    transitions_stride,
    PAD: tl.constexpr,
    HAS_MASK: tl.constexpr,
):
    """
    The gradient of Σ g log q in two parts, (2, ...) in every output, to be added. Grid (B, 2).

    With centred weights g, part 0 is what the words up to t contribute, part 1 what those after it do:

        x_t(j) = g_t(j) + Σ_i p(y_t=j | y_{t−1}=i) x_{t−1}(i)
        z_t(i) = Σ_j p(y_t=i | y_{t+1}=j) (g_{t+1}(j) + z_{t+1}(j))

    These are q times the conditional expectations of docs/mathematics.md. Nothing is divided by q, so that a label may
    be as unlikely as it likes.
    """
    sentence = tl.program_id(0).to(tl.int64)
    direction = tl.program_id(1)
    batch = tl.num_programs(0).to(tl.int64)
    slot = batch * words * labels
    work += sentence * words * labels
    log_q += sentence * words * labels
    gradient += sentence * words * labels
    transitions += sentence * transitions_stride
    part = direction * batch + sentence
    out_emissions += part * words * labels
    out_transitions += part * labels * labels
    out_start += part * labels
    out_end += part * labels
    if HAS_MASK:
        mask += sentence * words
    first, last = span(mask, words, HAS_MASK)
    possible = tl.load(log_z + sentence) > FORBIDDEN_BELOW
    forward = direction == 0
    origin = tl.where(forward, first, last)
    step = tl.where(forward, 1, -1)
    count = last - first + 1
    label = tl.arange(0, PAD)
    real = label < labels
    nothing = tl.zeros((PAD,), tl.float32)

    for place in range(first):
        tl.store(out_emissions + place * labels + label, nothing, mask=real & (place < words))
    for place in range(last + 1, words):
        tl.store(out_emissions + place * labels + label, nothing, mask=real)

    table = turned(load_table(transitions, labels, PAD), forward)
    # The sums that led the other way had this taken out.
    table = table - finite_top(tl.max(table, axis=1))[:, None]
    # alpha for what goes backward, right for what goes forward
    other_carry = work + tl.where(forward, 3 * slot, 0)
    # The sum that led the other way into where this comes from: outer, or inner.
    other_sum = work + tl.where(forward, 4 * slot, 2 * slot)

    state = centred(log_q, gradient, origin, (count > 0) & possible, label, labels)
    moved = nothing
    part_here = tl.where(forward, state, nothing)
    tl.store(out_emissions + origin * labels + label, part_here, mask=real & (count > 0))
    near = part_here
    pairs = tl.zeros((PAD, PAD), tl.float32)
    for k in range(1, count):
        place = origin + step * k
        is_word = is_word_at(mask, place, possible, HAS_MASK)
        carry = tl.load(other_carry + place * labels + label, mask=real, other=FORBIDDEN)
        sums = tl.load(other_sum + (place - step) * labels + label, mask=real, other=FORBIDDEN)
        sums = tl.where(sums < FORBIDDEN_BELOW, -FORBIDDEN, sums)
        share = tl.exp(table + carry[None, :] - sums[:, None]) * state[:, None]
        share = tl.where(is_word, share, 0.0)
        pairs += share
        arrived = tl.sum(share, axis=0)
        following = centred(log_q, gradient, place, is_word, label, labels) + arrived
        part_here = tl.where(forward, following, arrived)
        tl.store(out_emissions + place * labels + label, tl.where(is_word, part_here, 0.0), mask=real)
        state = tl.where(is_word, following, state)
        moved = tl.where(is_word, arrived, moved)
    tl.store(out_start + label, tl.where(forward, near, moved), mask=real)
    tl.store(out_end + label, tl.where(forward, state, 0.0), mask=real)
    places = label[:, None] * labels + label[None, :]
    tl.store(out_transitions + places, turned(pairs, forward), mask=real[:, None] & real[None, :])
