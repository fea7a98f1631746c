"""
The GPU kernels against the plain recursions in float64: on a GPU, or in Triton's interpreter.

Triton decides at its import whether kernels are compiled or interpreted, so that these checks are not collected by
themselves: `test_triton_kernels.py` takes them over where there is a GPU, and otherwise runs this file in a process
that has TRITON_INTERPRET set.
"""

from typing import NamedTuple, Optional, Sequence, Tuple

import pytest
import torch

from structkd_plugin.crf import LinearChainCRF, chain_constraints
from structkd_plugin.crf import triton_kernels as kernels
from structkd_plugin.crf.chain import Chain, Counts
from tests.crf.enumeration import random_potentials

INF = float("inf")
EPS = torch.finfo(torch.float32).eps
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
on_gpu = pytest.mark.skipif(DEVICE == "cpu", reason="needs a CUDA device: takes minutes in Triton's interpreter")


def mend_interpreter() -> None:
    """
    Two slips of the interpreter in Triton 3.6, harmless to mend where they are mended already.

    It makes Python integers of arrays with one element, which numpy 2.4 refuses (triton-lang/triton#9171), and a
    block of floats of a scalar that was compared.
    """
    import numpy as np
    from triton.runtime import interpreter

    patch_tensor = interpreter._patch_lang_tensor

    def patch(tensor, scope):
        patch_tensor(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: self.handle.data.item())

    def splat(self, kind, value):
        block = np.full(kind.shape, value.data.item(), dtype=value.data.dtype)
        return interpreter.TensorHandle(block, value.dtype.scalar)

    interpreter._patch_lang_tensor = patch
    interpreter.InterpreterBuilder.create_splat = splat


if DEVICE == "cpu":
    mend_interpreter()


@pytest.fixture(autouse=True)
def _poisoned_memory(monkeypatch):
    """What kernels are to write is full of NaN, or of the largest number, before they do."""

    def poisoned(chain, *shape, dtype=torch.float32):
        worst = float("nan") if dtype.is_floating_point else torch.iinfo(dtype).max
        return torch.full(shape, worst, dtype=dtype, device=chain.emissions.device)

    monkeypatch.setattr(kernels, "_empty", poisoned)


class Case(NamedTuple):
    """A batch to be made."""

    batch: int
    words: int
    labels: int
    deviation: float = 1.0
    per_sentence: bool = False
    masked: bool = False
    constrained: bool = False

    def __str__(self) -> str:
        extras = [
            name
            for name, here in (
                ("tables", self.per_sentence),
                ("holes", self.masked),
                ("constrained", self.constrained),
            )
            if here
        ]
        return "-".join([f"{self.batch}x{self.words}x{self.labels}", f"sd{self.deviation:g}", *extras])


CASES = [
    Case(1, 1, 1),
    Case(3, 5, 2, masked=True),
    Case(3, 5, 2, 300.0, per_sentence=True, masked=True),
    Case(4, 16, 9, masked=True),
    Case(2, 6, 9, 20.0, constrained=True),
    Case(3, 7, 9, 100.0, masked=True, constrained=True),
    Case(2, 7, 20, 20.0, per_sentence=True, masked=True),
    Case(2, 7, 20, 300.0),
    Case(2, 5, 33, masked=True),
    Case(1, 3, 100, 20.0),
]
for_cases = pytest.mark.parametrize("case", CASES, ids=str)


class Batch(NamedTuple):
    """One batch as the kernels take it, and as distributions."""

    chain: Chain  # on the device
    exact: LinearChainCRF  # the plain recursions in float64
    single: LinearChainCRF  # the same in float32
    rounding: float  # of potentials of this size


def bio(labels: int) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    tags = ["O"] + [f"{place}-{kind}" for kind in range(labels // 2) for place in "BI"]
    return chain_constraints(tags[:labels], "BIO")


def make(case: Case, seed: int = 0) -> Batch:
    batch, words, labels = case[:3]
    drawn = random_potentials(seed + words, batch, words, labels, case.deviation, case.per_sentence)
    potentials = {name: value.float() for name, value in drawn.items()}
    generator = torch.Generator().manual_seed(seed)
    if case.constrained:
        names = ("transitions", "start_transitions", "end_transitions")
        for name, allowed in zip(names, bio(labels), strict=True):
            potentials[name] = potentials[name].masked_fill(~allowed, -INF)
    if case.constrained or case.deviation > 100:
        forbidden = torch.rand(batch, words, labels, generator=generator) < 0.1
        forbidden[..., 0] = False
        potentials["emissions"] = potentials["emissions"].masked_fill(forbidden, -INF)
    mask: Optional[torch.Tensor] = None
    if case.masked:
        mask = torch.rand(batch, words, generator=generator) < 0.7
        # A sentence without words, one with a hole on the left, one with two words at the ends, and whatever comes.
        mask[0] = False
        mask[1, 0], mask[1, -1] = False, True
        if batch > 2:
            mask[2] = False
            mask[2, 0] = mask[2, -1] = True
    return batch_of(list(potentials.values()), mask, case.deviation)


def batch_of(potentials: Sequence[torch.Tensor], mask: Optional[torch.Tensor] = None, deviation: float = 1.0) -> Batch:
    """Of emissions, transitions, start and end in float32."""
    emissions, transitions, start, end = potentials
    seen = emissions
    if mask is not None:
        seen = torch.where(mask.unsqueeze(2), emissions, torch.full_like(emissions, float("nan")))
    chain = Chain(*(x.contiguous().to(DEVICE) for x in (seen, transitions, start, end)), move(mask))
    exact = LinearChainCRF(*(x.double() for x in (emissions, transitions, start, end)), mask).plain()
    return Batch(chain, exact, LinearChainCRF(emissions, transitions, start, end, mask).plain(), 8 * EPS * deviation)


def move(values: Optional[torch.Tensor]) -> Optional[torch.Tensor]:
    return None if values is None else values.to(DEVICE)


def assert_near(found: torch.Tensor, exact: torch.Tensor, single: torch.Tensor, rounding: float) -> None:
    """Infinite where it should be, and off by at most twice as much as plain float32, or by a few roundings."""
    found, exact, single = found.cpu().double(), exact.detach(), single.detach().double()
    assert found.shape == exact.shape
    finite = exact.isfinite()
    assert torch.equal(found[~finite], exact[~finite])
    assert not found.isnan().any()
    if not finite.any():
        return
    error = (found - exact)[finite].abs().max()
    plain = (single - exact)[finite & single.isfinite()].abs().max()
    size = exact[finite].abs().max()
    assert error <= 2 * plain + 16 * EPS * size + rounding


def gradients(crf: LinearChainCRF, total) -> Counts:
    """Of `total(crf)`, sentence by sentence, by autograd through the plain recursions."""
    p = crf._potentials
    leaves = [x.detach().clone().requires_grad_() for x in (crf._emissions, p.transitions, p.start, p.end)]
    other = crf._with(*leaves)
    value = total(other)
    if not value.requires_grad:
        return Counts(*(torch.zeros_like(leaf) for leaf in leaves))
    found = torch.autograd.grad(value, leaves, allow_unused=True)
    filled = [torch.zeros_like(leaf) if x is None else x for leaf, x in zip(leaves, found, strict=True)]
    return Counts(*filled)


def assert_counts(found: Counts, batch: Batch, total) -> None:
    exact, single = gradients(batch.exact, total), gradients(batch.single, total)
    for name, mine, right, plain in zip(Counts._fields, found, exact, single, strict=True):
        try:
            assert_near(mine, right, plain, batch.rounding)
        except AssertionError as error:
            raise AssertionError(f"{name}: {mine.cpu()} instead of {right}") from error


def random_tags(case: Case, *lead: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.randint(case.labels, (case.batch, *lead, case.words), generator=generator)


def with_junk(tags: torch.Tensor, chain: Chain) -> torch.Tensor:
    """Tags with numbers at masked words that are no labels."""
    if chain.mask is None:
        return tags.to(DEVICE)
    mask = chain.mask.cpu() if tags.dim() == 2 else chain.mask.cpu().unsqueeze(1)
    return torch.where(mask, tags, torch.full_like(tags, -100)).to(DEVICE)


def finite_sum(values: torch.Tensor) -> torch.Tensor:
    return torch.where(values.isfinite(), values, torch.zeros_like(values)).sum()


# ------------------------------------------------------------------------------------------------- values, gradients


@for_cases
def test_log_partition(case):
    batch = make(case)
    found = kernels.log_partition(batch.chain)
    assert_near(found, batch.exact.log_partition, batch.single.log_partition, batch.rounding)


@for_cases
def test_counts(case):
    batch = make(case)
    log_z, counts = kernels.counts(batch.chain)
    assert_near(log_z, batch.exact.log_partition, batch.single.log_partition, batch.rounding)
    assert_counts(counts, batch, lambda crf: finite_sum(crf.log_partition))


@for_cases
def test_log_prob(case):
    batch = make(case)
    # Of a labelling that is allowed, but for one of some other sentence.
    tags = batch.exact.k_best(3)[0][:, -1]
    tags[-1] = random_tags(case)[-1]
    log_p, log_z, counts = kernels.log_prob(batch.chain, with_junk(tags, batch.chain))
    size = batch.exact.log_partition[batch.exact.log_partition.isfinite()].abs().max()
    rounding = batch.rounding + 4 * EPS * float(size)
    assert_near(log_p, batch.exact.log_prob(tags), batch.single.log_prob(tags), rounding)
    assert_near(log_z, batch.exact.log_partition, batch.single.log_partition, batch.rounding)
    allowed = batch.exact.log_prob(tags).isfinite()
    assert_counts(counts, batch, lambda crf: crf.log_prob(tags)[allowed].sum())


@for_cases
def test_marginals(case):
    batch = make(case)
    found = kernels.marginals(batch.chain)
    assert_near(found, batch.exact.marginals, batch.single.marginals, batch.rounding)
    sums = found.sum(2).cpu()
    torch.testing.assert_close(sums, batch.exact.marginals.sum(2).float(), rtol=0, atol=4 * EPS)


@for_cases
def test_log_marginals_and_their_gradient(case):
    batch = make(case)
    found, saved = kernels.log_marginals(batch.chain)
    assert_near(found, batch.exact.log_marginals, batch.single.log_marginals, batch.rounding)
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    if batch.chain.mask is not None:
        weights[~batch.chain.mask.cpu()] = float("nan")
    counts = kernels.log_marginals_gradient(batch.chain, saved, weights.to(DEVICE))
    weights = torch.nan_to_num(weights)
    assert_counts(counts, batch, lambda crf: finite_sum(crf.log_marginals * weights.to(crf.log_marginals.dtype)))


@for_cases
def test_divergence(case):
    # Either, by turns; a student with constraints forbids what its teacher allows.
    subtract_entropy = case.words % 2 == 1
    teacher = make(case)
    barrier = case.constrained and subtract_entropy
    student = make(case._replace(per_sentence=not case.per_sentence, constrained=barrier), seed=1)
    mask = None if teacher.chain.mask is None else teacher.chain.mask.cpu()
    potentials = [torch.nan_to_num(student.chain.emissions.cpu(), neginf=-INF), *(x.cpu() for x in student.chain[1:4])]
    student = batch_of(potentials, mask, case.deviation)
    value, counts = kernels.divergence(teacher.chain, student.chain, subtract_entropy)

    def divergence(one, other):
        return one.kl(other) if subtract_entropy else one.cross_entropy(other)

    size = 16 * EPS * max(case.deviation, 1.0) * case.words
    exact, single = divergence(teacher.exact, student.exact), divergence(teacher.single, student.single)
    # What the student forbids may have a probability that float32 does not hold.
    agreed = exact.isfinite() == single.isfinite()
    assert agreed.any()
    assert_near(value[move(agreed)], exact[agreed], single[agreed], student.rounding + size)
    teachers = {student.exact: teacher.exact, student.single: teacher.single}
    finite = exact.isfinite()
    for crf, of_teacher in teachers.items():
        truth = gradients(crf, lambda other: divergence(of_teacher, other)[finite].sum())  # noqa: B023
        if crf is student.exact:
            right = truth
        else:
            for mine, exactly, plain in zip(counts, right, truth, strict=True):
                assert_near(mine[move(finite)], exactly[finite], plain[finite], student.rounding)
    assert all(x.isfinite().all() for x in counts)


# ------------------------------------------------------------------------------------------------- decoding


@for_cases
def test_argmax(case):
    batch = make(case)
    assert torch.equal(kernels.argmax(batch.chain).cpu(), batch.single.argmax)


@pytest.mark.parametrize("k", [1, 5], ids="k{}".format)
@for_cases
def test_k_best(case, k):
    batch = make(case)
    tags, scores = kernels.k_best(batch.chain, k)
    right, truth = batch.single.k_best(k)
    assert torch.equal(tags.cpu(), right)
    assert_near(scores, truth.double(), truth, 0.0)


@for_cases
def test_scores(case):
    batch = make(case)
    tags = torch.cat([random_tags(case, 2), batch.exact.argmax.unsqueeze(1)], dim=1)
    found = kernels.score(batch.chain, with_junk(tags, batch.chain))
    assert_near(found, batch.exact.score(tags), batch.single.score(tags), batch.rounding * case.words)


@for_cases
def test_samples_are_the_inverse_of_the_distribution(case):
    batch = make(case)
    uniforms = torch.rand(case.batch, 3, case.words, generator=torch.Generator().manual_seed(4))
    uniforms[:, 0, :] = 0.0
    uniforms[:, 1, 0] = 1 - EPS / 2
    tags = kernels.sample(batch.chain, uniforms.to(DEVICE)).cpu()
    rounding = 16 * EPS + 4 * batch.rounding
    for b in range(case.batch):
        mask = batch.chain.mask
        places = list(range(case.words)) if mask is None else mask[b].nonzero().squeeze(1).tolist()
        conditionals = batch.exact.log_conditionals[b].exp()
        for row, uniform in zip(tags[b], uniforms[b], strict=True):
            assert row.sum() == row[places].sum()
            for t, place in enumerate(places):
                p = batch.exact.marginals[b, place] if t == 0 else conditionals[t - 1, row[places[t - 1]]]
                label = int(row[place])
                upper = float(p[: label + 1].sum())
                assert upper - float(p[label]) - rounding <= float(uniform[place]) <= upper + rounding
    assert batch.exact.score(tags)[batch.exact.log_partition.isfinite()].isfinite().all()


# ------------------------------------------------------------------------------------------------- edges


def plain_chain(emissions, transitions, start=None, end=None, mask=None) -> Chain:
    labels = emissions.shape[2]
    zeros = torch.zeros(labels)
    start, end = zeros if start is None else start, zeros if end is None else end
    return Chain(*(x.to(DEVICE) for x in (emissions, transitions, start, end)), move(mask))


def test_equal_scores_go_to_the_lowest_labels():
    chain = plain_chain(torch.zeros(2, 3, 3), torch.zeros(3, 3))
    assert kernels.argmax(chain).tolist() == [[0, 0, 0]] * 2
    tags, scores = kernels.k_best(chain, 4)
    assert tags[0].tolist() == [[0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0]]
    assert scores[0].tolist() == [0.0] * 4
    whole = torch.Generator().manual_seed(0)
    emissions = torch.randint(-1, 2, (2, 6, 4), generator=whole).float()
    transitions = torch.randint(-1, 2, (4, 4), generator=whole).float()
    chain, crf = plain_chain(emissions, transitions), LinearChainCRF(emissions, transitions)
    assert torch.equal(kernels.argmax(chain).cpu(), crf.argmax)
    tags, scores = kernels.k_best(chain, 12)
    assert torch.equal(tags.cpu(), crf.k_best(12)[0])
    assert torch.equal(scores.cpu(), crf.k_best(12)[1])


def test_more_labellings_are_asked_for_than_there_are():
    emissions = torch.tensor([[[0.0, 1.0], [2.0, 0.0]], [[0.0, -INF], [0.0, -INF]]])
    mask = torch.tensor([[True, False], [True, True]])
    tags, scores = kernels.k_best(plain_chain(emissions, torch.zeros(2, 2), mask=mask), 5)
    assert scores.tolist() == [[1.0, 0.0, -INF, -INF, -INF], [0.0, -INF, -INF, -INF, -INF]]
    assert tags.tolist() == [[[1, 0], [0, 0], *[[0, 0]] * 3], [[0, 0]] * 5]


@pytest.mark.parametrize("shape", [(0, 3, 2), (2, 0, 3)], ids=str)
def test_nothing_to_do(shape):
    batch, words, labels = shape
    chain = plain_chain(torch.zeros(shape), torch.zeros(labels, labels))
    assert kernels.log_partition(chain).tolist() == [0.0] * batch
    log_p, _, counts = kernels.log_prob(chain, torch.zeros(batch, words, dtype=torch.long, device=DEVICE))
    assert log_p.tolist() == [0.0] * batch
    assert [tuple(x.shape) for x in counts] == [shape, (batch, labels, labels), (batch, labels), (batch, labels)]
    assert sum(float(x.abs().sum()) for x in counts) == 0
    tags, scores = kernels.k_best(chain, 2)
    assert tags.shape == (batch, 2, words)
    assert scores.tolist() == [[0.0, -INF]] * batch
    log_q, saved = kernels.log_marginals(chain)
    gradient = kernels.log_marginals_gradient(chain, saved, torch.zeros_like(log_q))
    value, difference = kernels.divergence(chain, chain, True)
    assert value.tolist() == [0.0] * batch
    assert sum(float(x.abs().sum()) for x in (*gradient, *difference)) == 0
    assert kernels.argmax(chain).shape == kernels.marginals(chain).shape[:2] == (batch, words)
    assert kernels.sample(chain, torch.zeros(batch, 2, words, device=DEVICE)).shape == (batch, 2, words)
    assert kernels.score(chain, torch.zeros(batch, 2, words, dtype=torch.long)).tolist() == [[0.0, 0.0]] * batch


def test_a_sentence_nothing_is_allowed_for():
    tables = torch.stack([torch.full((2, 2), -INF), torch.zeros(2, 2)])
    chain = plain_chain(torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(0)), tables)
    tags = torch.zeros(2, 3, dtype=torch.long, device=DEVICE)
    log_z, counts = kernels.counts(chain)
    assert log_z[0] == -INF
    assert log_z[1].isfinite()
    log_p, _, observed = kernels.log_prob(chain, tags)
    assert log_p[0] == -INF
    assert kernels.score(chain, tags.unsqueeze(1))[0, 0] == -INF
    log_q, saved = kernels.log_marginals(chain)
    assert (log_q[0] == -INF).all()
    pulled = kernels.log_marginals_gradient(chain, saved, torch.ones_like(log_q))
    for nothing in (*counts, *observed, *pulled, kernels.marginals(chain)):
        assert nothing[0].abs().sum() == 0
    assert kernels.k_best(chain, 2)[1][0].tolist() == [-INF, -INF]
    assert kernels.argmax(chain)[0].max() < 2
    assert kernels.sample(chain, torch.rand(2, 2, 3).to(DEVICE))[0].max() < 2
    free = chain._replace(transitions=torch.zeros(2, 2, device=DEVICE))
    assert kernels.divergence(chain, free, True)[0][0] == 0
    value, difference = kernels.divergence(free, chain, False)
    assert value[0] == INF
    assert all(x.isfinite().all() for x in difference)


def test_the_divergence_from_itself_is_exactly_0():
    chain = make(Case(3, 7, 5, 30.0)).chain
    value, counts = kernels.divergence(chain, chain, True)
    assert value.tolist() == [0.0] * 3
    assert all(x.abs().max() == 0 for x in counts)


def test_the_student_may_not_forbid_what_the_teacher_allows():
    barrier = torch.tensor([[0.0, -INF], [0.0, 0.0]])
    free, bound = (plain_chain(torch.zeros(1, 3, 2), table) for table in (torch.zeros(2, 2), barrier))
    assert kernels.divergence(free, bound, False)[0].tolist() == [INF]
    assert kernels.divergence(free, bound, True)[0].tolist() == [INF]
    assert kernels.divergence(bound, free, False)[0].isfinite().all()


def test_a_label_that_is_lost_for_a_word_and_decides_the_next():
    """All sums before normalising are large, yet the only allowed way leads through a message of e^-100."""
    emissions = torch.tensor([[[-40.0, 0.0, -60.0], [-50.0, 0.0, -60.0], [-40.0, -30.0, -20.0]]])
    transitions = torch.tensor([[-INF, -INF, 0.0], [-60.0, -INF, -INF], [-10.0, 0.0, -50.0]])
    batch = batch_of((emissions, transitions, torch.zeros(3), torch.zeros(3)), None, 10.0)
    log_z, counts = kernels.counts(batch.chain)
    assert float(log_z) == pytest.approx(float(batch.exact.log_partition), abs=1e-4)
    assert_counts(counts, batch, lambda crf: crf.log_partition.sum())


def test_the_gradient_where_a_probability_is_too_small_for_float32():
    """The student gives a label e^-150: divided by that, the teacher's weight would be infinite."""
    emissions = torch.zeros(1, 3, 2)
    emissions[0, 1, 1] = -150.0
    batch = batch_of((emissions, torch.eye(2), torch.zeros(2), torch.zeros(2)))
    found, saved = kernels.log_marginals(batch.chain)
    assert found[0, 1].tolist() == pytest.approx([0.0, -150.0], abs=1.0)
    weights = torch.tensor([[[0.2, 0.8], [0.5, 0.5], [0.1, 0.9]]])
    counts = kernels.log_marginals_gradient(batch.chain, saved, weights.to(DEVICE))
    assert_counts(counts, batch, lambda crf: (crf.log_marginals * weights.to(crf.log_marginals.dtype)).sum())


def test_a_tag_outside_shows_as_nan():
    chain = plain_chain(torch.zeros(2, 2, 3), torch.zeros(3, 3))
    tags = torch.tensor([[0, 3], [2, 2]], device=DEVICE)
    log_p, _, counts = kernels.log_prob(chain, tags)
    assert log_p.isnan().tolist() == [True, False]
    assert kernels.score(chain, tags.unsqueeze(1)).isnan().tolist() == [[True], [False]]
    assert counts.emissions.isfinite().all()


def test_too_many_labels_are_refused():
    with pytest.raises(ValueError, match="at most 128 labels, not 129"):
        kernels.log_partition(plain_chain(torch.zeros(1, 1, 129), torch.zeros(129, 129)))


def test_inputs_are_left_alone():
    batch = make(Case(2, 4, 3, constrained=True))
    before = [x.clone() for x in batch.chain if x is not None]
    kernels.log_prob(batch.chain, torch.zeros(2, 4, dtype=torch.long, device=DEVICE))
    kernels.k_best(batch.chain, 2)
    kernels.divergence(batch.chain, batch.chain, True)
    assert all(torch.equal(x, y) for x, y in zip(batch.chain, before, strict=False) if x is not None)


def test_a_sentence_longer_than_a_block():
    """Masked words at the borders of what is looked at together."""
    batch = make(Case(1, 150, 3))
    mask = torch.ones(1, 150, dtype=torch.bool)
    mask[0, 120:131] = False
    batch = batch_of([x.cpu() for x in batch.chain[:4]], mask)
    tags = batch.exact.argmax
    log_p, _, counts = kernels.log_prob(batch.chain, with_junk(tags, batch.chain))
    assert_near(log_p, batch.exact.log_prob(tags), batch.single.log_prob(tags), 150 * EPS)
    assert_counts(counts, batch, lambda crf: crf.log_prob(tags).sum())
    assert torch.equal(kernels.argmax(batch.chain).cpu(), batch.single.argmax)


# ------------------------------------------------------------------------------------------------- on a GPU


@on_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("size", [(2048, 9), (128, 20), (128, 50), (64, 100)], ids="T{0[0]}-L{0[1]}".format)
@pytest.mark.parametrize("deviation", [1.0, 50.0, 300.0], ids="sd{:g}".format)
@pytest.mark.parametrize("constrained", [False, True], ids=["free", "BIO"])
def test_long_sentences(size, deviation, constrained):
    case = Case(4, *size, deviation, masked=True, constrained=constrained)
    test_log_prob(case)
    test_marginals(case)
    test_argmax(case)


@on_gpu
@pytest.mark.gpu
def test_a_call_can_be_captured():
    """Nothing waits for the device, and nothing depends on its values."""
    chain = make(Case(8, 32, 20)).chain
    tags = torch.zeros(8, 32, dtype=torch.long, device=DEVICE)
    expected = kernels.log_prob(chain, tags)[0]
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = kernels.log_prob(chain, tags)[0]
    graph.replay()
    torch.testing.assert_close(found, expected)
