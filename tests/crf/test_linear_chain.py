"""LinearChainCRF against enumeration in float64, its identities, and its edges."""

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from structkd_plugin.crf import LinearChainCRF, chain_constraints, rescue
from structkd_plugin.crf.implementation import use
from tests.crf.enumeration import enumerate_batch, random_potentials

INF = float("inf")


@st.composite
def chains(draw):
    """Potentials, and a mask that may leave out words anywhere, or all of them."""
    batch, words, labels = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    deviation = draw(st.sampled_from([0.0, 1.0, 5.0, 30.0]))
    potentials = random_potentials(draw(st.integers(0, 10**6)), batch, words, labels, deviation, draw(st.booleans()))
    mask = None
    if draw(st.booleans()):
        mask = torch.tensor(draw(st.lists(st.booleans(), min_size=batch * words, max_size=batch * words)))
        mask = mask.view(batch, words)
    if draw(st.booleans()):
        # Forbid about a fifth of the transitions, but not to stay in label 0.
        chance = torch.rand(potentials["transitions"].shape, generator=torch.Generator().manual_seed(words))
        forbidden = chance < 0.2
        forbidden[..., 0, 0] = False
        potentials["transitions"] = potentials["transitions"].masked_fill(forbidden, -INF)
    return potentials, mask


# In float64, and in float32, where the compiled one is the best.
IMPLEMENTATIONS = ("torch", "plain")
FAST = ("best", "torch")


def make(potentials, mask=None, implementation="best"):
    with use(implementation):
        return LinearChainCRF(**potentials, mask=mask)


def words_of(mask, b, words):
    return torch.arange(words) if mask is None else mask[b].nonzero().squeeze(1)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@settings(max_examples=60, deadline=None)
@given(chains())
def test_values_are_those_of_enumeration(implementation, chain):
    potentials, mask = chain
    crf, oracle = make(potentials, mask, implementation), enumerate_batch(potentials, mask)
    _, words, _ = potentials["emissions"].shape
    for b, truth in enumerate(oracle):
        kept = words_of(mask, b, words)
        torch.testing.assert_close(crf.log_partition[b], truth.log_partition)
        probabilities = truth.probabilities
        logs = torch.where(probabilities > 0, probabilities.log(), torch.zeros_like(probabilities))
        torch.testing.assert_close(crf.entropy[b], -(probabilities * logs).sum(), atol=1e-9, rtol=1e-7)
        best = truth.ranked()[0]
        assert crf.argmax[b, kept].tolist() == list(best[1])
        if truth.words:
            torch.testing.assert_close(crf.marginals[b, kept], truth.marginals())
            torch.testing.assert_close(crf.log_marginals[b, kept].exp(), truth.marginals())
            torch.testing.assert_close(crf.edge_marginals[b, kept[:-1]], truth.edge_marginals())
        left_out = torch.ones(words, dtype=torch.bool)
        left_out[kept] = False
        assert crf.marginals[b, left_out].abs().sum() == 0
        assert crf.argmax[b, left_out].sum() == 0
        assert crf.edge_marginals[b].sum() == pytest.approx(max(truth.words - 1, 0))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@settings(max_examples=40, deadline=None)
@given(chains(), st.integers(0, 10**6))
def test_expected_log_prob_is_the_weighted_sum_of_those_that_count(implementation, chain, seed):
    potentials, mask = chain
    batch, words, labels = potentials["emissions"].shape
    generator = torch.Generator().manual_seed(seed)
    tags = torch.randint(0, labels, (batch, 4, words), generator=generator)
    weights = torch.rand(batch, 4, generator=generator, dtype=torch.float64)
    weights[:, 1] = 0.0
    found = make(potentials, mask, implementation).expected_log_prob(tags, weights)
    for b, truth in enumerate(enumerate_batch(potentials, mask)):
        of_path = dict(zip(truth.paths, truth.probabilities.tolist(), strict=True))
        kept = words_of(mask, b, words)
        expected = 0.0
        for m in (0, 2, 3):
            probability = of_path.get(tuple(tags[b, m, kept].tolist()), 0.0)
            expected += float(weights[b, m]) * math.log(probability) if probability else -INF
        assert float(found[b]) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_expected_log_prob_needs_a_weight_for_each_labelling():
    crf = LinearChainCRF(torch.zeros(2, 3, 4))
    tags = torch.zeros(2, 5, 3, dtype=torch.long)
    with pytest.raises(ValueError, match=r"not \(2, 5, 3\) and \(2, 4\)"):
        crf.expected_log_prob(tags, torch.ones(2, 4))
    with pytest.raises(ValueError, match=r"not \(2, 3\) and \(2,\)"):
        crf.expected_log_prob(tags[:, 0], torch.ones(2))


@settings(max_examples=60, deadline=None)
@given(chains(), st.integers(1, 12))
def test_k_best_is_exact_distinct_and_ends_where_labellings_end(chain, k):
    potentials, mask = chain
    tags, scores = make(potentials, mask).k_best(k)
    _, words, _ = potentials["emissions"].shape
    for b, truth in enumerate(enumerate_batch(potentials, mask)):
        kept = words_of(mask, b, words)
        ranked = truth.ranked()[:k]
        count = len(ranked)
        assert scores[b, :count].tolist() == pytest.approx([score for score, _ in ranked])
        assert scores[b, count:].tolist() == [-INF] * (k - count)
        found = [tuple(tags[b, i, kept].tolist()) for i in range(count)]
        assert len(set(found)) == count
        as_score = {path: float(score) for score, path in zip(truth.scores, truth.paths, strict=True)}
        assert [as_score[path] for path in found] == pytest.approx([score for score, _ in ranked])


def test_equal_scores_go_to_the_lowest_labels():
    crf = LinearChainCRF(torch.zeros(2, 3, 3), torch.zeros(3, 3))
    assert crf.argmax.tolist() == [[0, 0, 0]] * 2
    tags, scores = crf.k_best(4)
    assert tags[0].tolist() == [[0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0]]
    assert scores[0].tolist() == [0.0] * 4


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@settings(max_examples=40, deadline=None)
@given(chains(), st.integers(0, 10**6))
def test_gradients_are_those_of_enumeration(implementation, chain, seed):
    """Of everything that is differentiable, with random weights so that no symmetry hides an error."""
    potentials, mask = chain
    leaves = {name: value.clone().requires_grad_() for name, value in potentials.items()}
    same = {name: value.clone().requires_grad_() for name, value in potentials.items()}
    batch, words, labels = potentials["emissions"].shape
    weights = torch.randn(batch, words, labels, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    tags = torch.randint(labels, (batch, words), generator=torch.Generator().manual_seed(seed))
    crf = make(leaves, mask, implementation)
    log_prob = crf.log_prob(tags)
    total = (crf.marginals * weights).sum() + crf.entropy.sum() + log_prob[log_prob > -INF].sum()
    total.backward()
    expected = torch.zeros((), dtype=torch.float64)
    for b, truth in enumerate(enumerate_batch(same, mask)):
        kept = words_of(mask, b, words)
        allowed = truth.scores > -INF
        log_z = torch.logsumexp(truth.scores[allowed], 0)
        logs = truth.scores[allowed] - log_z
        expected = expected - (logs.exp() * logs).sum()
        paths = torch.tensor(truth.paths)[allowed]
        for t, position in enumerate(kept):
            indicator = torch.nn.functional.one_hot(paths[:, t], labels).to(torch.float64)
            expected = expected + ((logs.exp().unsqueeze(1) * indicator).sum(0) * weights[b, position]).sum()
        gold = (paths == tags[b, kept]).all(dim=1) if len(kept) else torch.ones(1, dtype=torch.bool)
        expected = expected + logs[gold].sum()
    if expected.requires_grad:
        expected.backward()
    for name, leaf in leaves.items():
        forbidden = potentials[name] == -INF
        ours = leaf.grad if leaf.grad is not None else torch.zeros_like(leaf)
        theirs = same[name].grad if same[name].grad is not None else torch.zeros_like(leaf)
        assert not ours.isnan().any()
        torch.testing.assert_close(ours[~forbidden], theirs[~forbidden], atol=1e-8, rtol=1e-6)
        assert ours[forbidden].abs().sum() == 0


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@settings(max_examples=60, deadline=None)
@given(chains(), st.integers(0, 10**6), st.booleans(), st.booleans())
def test_cross_entropy_and_kl_are_those_of_enumeration(implementation, chain, seed, forbids, per_sentence):
    """Values, and gradients in the student's potentials, with a weight for each sentence."""
    potentials, mask = chain
    batch, words, labels = potentials["emissions"].shape
    other = random_potentials(seed, batch, words, labels, per_sentence=per_sentence)
    if forbids:
        other["transitions"][..., 0, -1] = -INF
    leaves = {name: value.clone().requires_grad_() for name, value in other.items()}
    same = {name: value.clone().requires_grad_() for name, value in other.items()}
    teacher, student = make(potentials, mask, implementation), make(leaves, mask, implementation)
    scale = torch.randn(batch, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    crossed, divergence = teacher.cross_entropy(student), teacher.kl(student)
    total, expected = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for b, (p, q) in enumerate(zip(enumerate_batch(potentials, mask), enumerate_batch(same, mask), strict=True)):
        weights = p.probabilities
        allowed = q.scores > -INF
        if bool(((weights > 0) & ~allowed).any()):
            assert crossed[b] == INF
            assert divergence[b] == INF
            continue
        log_q = q.scores[allowed] - torch.logsumexp(q.scores[allowed], 0)
        value = -(weights[allowed] * log_q).sum()
        torch.testing.assert_close(crossed[b], value, atol=1e-9, rtol=1e-7)
        torch.testing.assert_close(divergence[b], value - teacher.entropy[b], atol=1e-7, rtol=1e-6)
        assert divergence[b] >= -1e-12
        total = total + scale[b] * (crossed[b] + divergence[b])
        expected = expected + scale[b] * 2 * value
    if not expected.requires_grad:
        return
    total.backward()
    expected.backward()
    for name, leaf in leaves.items():
        theirs = same[name].grad if same[name].grad is not None else torch.zeros_like(leaf)
        ours = leaf.grad if leaf.grad is not None else torch.zeros_like(leaf)
        possible = other[name] > -INF
        torch.testing.assert_close(ours[possible], theirs[possible], atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@settings(max_examples=30, deadline=None)
@given(chains())
def test_identities(implementation, chain):
    potentials, mask = chain
    leaves = {name: value.clone().requires_grad_() for name, value in potentials.items()}
    crf = make(leaves, mask, implementation)
    gradient = torch.autograd.grad(crf.log_partition.sum(), leaves["emissions"], retain_graph=True)[0]
    torch.testing.assert_close(gradient, crf.marginals.detach())
    table_gradient = torch.autograd.grad(crf.log_partition.sum(), leaves["transitions"], allow_unused=True)[0]
    if table_gradient is not None:
        edges = crf.edge_marginals.detach().sum(1)
        torch.testing.assert_close(table_gradient, edges if table_gradient.dim() == 3 else edges.sum(0))
    torch.testing.assert_close(crf.kl(crf), torch.zeros_like(crf.entropy))
    torch.testing.assert_close(crf.cross_entropy(crf), crf.entropy)
    tags, scores = crf.k_best(1)
    assert torch.equal(tags[:, 0], crf.argmax)
    torch.testing.assert_close(crf.score(crf.argmax), scores[:, 0])
    torch.testing.assert_close(crf.score(tags), scores)
    assert (crf.log_prob(crf.argmax) <= 1e-9).all()


def test_the_divergence_from_itself_is_stationary():
    """At student = teacher KL is exactly 0 and so is its gradient, in float32 and with large potentials."""
    potentials = {name: value.float() for name, value in random_potentials(3, 4, 9, 5, deviation=30.0).items()}
    student = {name: value.clone().requires_grad_() for name, value in potentials.items()}
    divergence = make(potentials).kl(make(student))
    assert divergence.tolist() == [0.0] * 4
    divergence.sum().backward()
    for value in student.values():
        assert value.grad.abs().max() < 1e-5


def test_weights_of_many_best_labellings_approach_the_cross_entropy():
    teacher, student = make(random_potentials(0, 2, 4, 3)), make(random_potentials(1, 2, 4, 3))
    tags, scores = teacher.k_best(3**4)
    weighted = -(torch.softmax(scores, 1) * student.log_prob(tags)).sum(1)
    torch.testing.assert_close(weighted, teacher.cross_entropy(student))


def test_masks_on_any_side_mean_the_words_that_remain():
    """Left, interior and right masks around the same words, in loss and decoding, with junk at masked words."""
    potentials = random_potentials(7, 1, 4, 3)
    plain = make(potentials)
    for places in ([0, 1, 2, 3], [2, 3, 4, 5], [0, 2, 3, 6]):
        mask = torch.zeros(1, 7, dtype=torch.bool)
        mask[0, places] = True
        emissions = torch.full((1, 7, 3), float("nan"), dtype=torch.float64)
        emissions[0, places] = potentials["emissions"][0]
        leaf = emissions.clone().requires_grad_()
        masked = LinearChainCRF(leaf, **{k: v for k, v in potentials.items() if k != "emissions"}, mask=mask)
        tags = torch.full((1, 7), -100)
        tags[0, places] = torch.tensor([0, 2, 1, 1])
        torch.testing.assert_close(masked.log_prob(tags), plain.log_prob(torch.tensor([[0, 2, 1, 1]])))
        assert masked.argmax[0, places].tolist() == plain.argmax[0].tolist()
        torch.testing.assert_close(masked.marginals[0, places], plain.marginals[0])
        torch.testing.assert_close(masked.edge_marginals[0, places[:-1]], plain.edge_marginals[0])
        assert torch.equal(masked.k_best(5)[1], plain.k_best(5)[1])
        masked.log_prob(tags).sum().backward()
        assert leaf.grad.isfinite().all()
        assert leaf.grad[0, ~mask[0]].abs().sum() == 0


def test_fixture_of_the_paper():
    """
    P1, Table 1: three words, labels F and T, potentials that differ by position.

    One table serves all positions here, so each position has labels of its own: 2t + y is label y at word t.
    """
    psi2, psi3 = [[2.0, 0.5], [0.5, 2.0]], [[1 / 3, 3.0], [4.0, 0.25]]
    transitions = torch.full((6, 6), -INF, dtype=torch.float64)
    for i in range(2):
        for j in range(2):
            transitions[i, 2 + j] = math.log(psi2[i][j])
            transitions[2 + i, 4 + j] = math.log(psi3[i][j])
    emissions = torch.full((1, 3, 6), -INF, dtype=torch.float64)
    for t in range(3):
        emissions[0, t, 2 * t : 2 * t + 2] = 0.0
    crf = LinearChainCRF(emissions, transitions)
    published = {
        "FFF": 0.035,
        "FFT": 0.316,
        "FTF": 0.105,
        "FTT": 0.007,
        "TFF": 0.009,
        "TFT": 0.079,
        "TTF": 0.422,
        "TTT": 0.026,
    }
    for name, probability in published.items():
        tags = torch.tensor([[2 * t + "FT".index(letter) for t, letter in enumerate(name)]])
        assert float(crf.log_prob(tags).exp()) == pytest.approx(probability, abs=6e-4)
    tags, scores = crf.k_best(9)
    assert scores[0, 8] == -INF
    assert (tags[0, :2] % 2).tolist() == [[1, 1, 0], [0, 0, 1]]
    assert torch.softmax(scores[0, :2], 0).tolist() == pytest.approx([0.57, 0.43], abs=5e-3)
    marginals = [float(crf.marginals[0, t, 2 * t]) for t in range(3)]
    assert marginals == pytest.approx([0.46, 0.44, 0.57], abs=5e-3)
    assert float(crf.log_partition.exp()) == pytest.approx(10.83 + 8.13, abs=2e-2)
    assert not crf.marginals.isnan().any()


# ------------------------------------------------------------------------------------------------- implementations


@pytest.mark.parametrize("implementation", FAST)
@pytest.mark.parametrize("constrained", [False, True], ids=["free", "BIO"])
@pytest.mark.parametrize("deviation", [1.0, 20.0, 50.0, 100.0, 300.0], ids="sd{:g}".format)
@pytest.mark.parametrize("words", [33, 512, pytest.param(2048, marks=pytest.mark.slow)], ids="T{}".format)
def test_float32_is_as_exact_as_the_plain_recursions(words, deviation, constrained, implementation):
    """The error against float64 is at most twice that of the reference in float32 (or a few roundings), never NaN."""
    exact = random_potentials(words, 3, words, 5, deviation)
    if constrained:
        barrier = torch.zeros(5, 5).masked_fill(~chain_constraints(["O", "B-X", "I-X", "B-Y", "I-Y"], "BIO")[0], -INF)
        exact["transitions"] = exact["transitions"] + barrier
    single = {name: value.float() for name, value in exact.items()}
    exact = {name: value.double() for name, value in single.items()}
    other = {name: value.float() for name, value in random_potentials(1, 3, words, 5, deviation).items()}
    mask = torch.arange(words) < torch.tensor([words, words // 2, 1]).unsqueeze(1)

    def results(potentials, teacher, implementation):
        leaves = {name: value.clone().requires_grad_() for name, value in potentials.items()}
        student = make(leaves, mask, implementation)
        fixed = make(teacher, mask, implementation)
        gradient = torch.autograd.grad(student.log_partition.sum(), list(leaves.values()), retain_graph=True)
        pull = torch.autograd.grad(
            student.kl(fixed).sum() if constrained else fixed.kl(student).sum(), leaves["emissions"]
        )
        return [student.log_partition, student.marginals, *gradient, *pull]

    truth = results(exact, {name: value.double() for name, value in other.items()}, "plain")
    plain, fast = results(single, other, "plain"), results(single, other, implementation)
    for right, slow, quick in zip(truth, plain, fast, strict=True):
        assert quick.isfinite().all()
        size = right.abs().max()
        allowed = 2 * (slow.double() - right).abs().max() + 16 * torch.finfo(torch.float32).eps * size
        assert (quick.double() - right).abs().max() <= allowed


@pytest.mark.parametrize("implementation", FAST)
@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1.0, 10.0, 15.0, 30.0, 60.0]), st.integers(1, 9), st.integers(1, 5))
@example(seed=0, deviation=1.0, words=2, labels=1)  # nothing is allowed
@example(seed=43, deviation=30.0, words=5, labels=2)  # nor here, and a message has a sum whose inverse is infinite
def test_float32_is_right_whatever_is_forbidden(implementation, seed, deviation, words, labels):
    """One sentence, so that it decides alone which way it goes; half of all transitions and some labels forbidden."""
    exact = random_potentials(seed, 1, words, labels, deviation)
    generator = torch.Generator().manual_seed(seed)
    for name, share in (("transitions", 0.5), ("emissions", 0.2)):
        exact[name][torch.rand(exact[name].shape, generator=generator) < share] = -INF
    single = {name: value.float() for name, value in exact.items()}
    crf, truth = (
        make(single, None, implementation),
        make({name: value.double() for name, value in single.items()}, None, "plain"),
    )
    rounding = 64 * torch.finfo(torch.float32).eps * (1 + deviation * words)
    torch.testing.assert_close(crf.log_partition.double(), truth.log_partition, rtol=0, atol=rounding)
    torch.testing.assert_close(crf.marginals.double(), truth.marginals, rtol=0, atol=rounding)
    torch.testing.assert_close(crf.log_marginals.exp().double(), truth.marginals, rtol=0, atol=rounding)


@pytest.mark.parametrize("implementation", FAST)
def test_a_label_that_is_lost_for_a_word_and_decides_the_next(implementation):
    """All sums before normalising are large, yet the only allowed way leads through a message of e^-100."""
    emissions = torch.tensor([[[-40.0, 0.0, -60.0], [-50.0, 0.0, -60.0], [-40.0, -30.0, -20.0]]])
    transitions = torch.tensor([[-INF, -INF, 0.0], [-60.0, -INF, -INF], [-10.0, 0.0, -50.0]])
    with use(implementation):
        crf = LinearChainCRF(emissions, transitions)
    truth = LinearChainCRF(emissions.double(), transitions.double()).plain()
    assert float(crf.log_partition) == pytest.approx(float(truth.log_partition), abs=1e-4)


ASKED_BEFORE = {
    "nothing": lambda crf, other: None,
    "kl": lambda crf, other: other.kl(crf),
    "cross_entropy": lambda crf, other: other.cross_entropy(crf),
    "no_grad": lambda crf, other: without_gradient(crf),
}
DIFFERENTIABLE = {
    "log_partition": lambda crf: crf.log_partition,
    "log_prob": lambda crf: crf.log_prob(torch.zeros(2, 4, dtype=torch.long)),
    "entropy": lambda crf: crf.entropy,
    "marginals": lambda crf: crf.marginals.square(),
    "log_marginals": lambda crf: crf.log_marginals,
    "edge_marginals": lambda crf: crf.edge_marginals.square(),
}


@torch.no_grad()
def without_gradient(crf):
    return crf.log_partition, crf.log_marginals, crf.marginals, crf.edge_marginals, crf.entropy, crf.log_conditionals


@pytest.mark.parametrize("asked", ASKED_BEFORE)
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients_do_not_depend_on_what_was_asked_before(name, asked):
    potentials = random_potentials(3, 2, 4, 3)
    other = make(random_potentials(4, 2, 4, 3))

    def gradients(before):
        leaves = {key: value.clone().requires_grad_() for key, value in potentials.items()}
        crf = make(leaves)
        before(crf, other)
        return torch.autograd.grad(DIFFERENTIABLE[name](crf).sum(), list(leaves.values()))

    for first, again in zip(gradients(ASKED_BEFORE["nothing"]), gradients(ASKED_BEFORE[asked]), strict=True):
        torch.testing.assert_close(first, again)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_autocast_changes_nothing(name):
    potentials = {key: value.float() for key, value in random_potentials(5, 2, 4, 3).items()}

    def results():
        leaves = {key: value.clone().requires_grad_() for key, value in potentials.items()}
        value = DIFFERENTIABLE[name](make(leaves)).sum()
        return [value, *torch.autograd.grad(value, list(leaves.values()))]

    plain = results()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = results()
    assert all(torch.equal(one, two) for one, two in zip(plain, mixed, strict=True))


@pytest.mark.parametrize("implementation", FAST)
def test_what_probabilities_cannot_hold_is_left_to_the_plain_recursions(implementation, monkeypatch):
    """A path that must pass a transition of e^-800 after one of e^+800: products of probabilities would lose it."""
    redone = []
    redo = rescue.redo
    monkeypatch.setattr(rescue, "redo", lambda failed, *rest: (redone.append(failed.tolist()), redo(failed, *rest)))
    transitions = torch.tensor([[[0.0, -800.0], [-INF, 800.0]], [[0.0, 0.0], [0.0, 0.0]]])
    emissions = torch.zeros(2, 4, 2)
    emissions[0, 3, 0] = -INF
    with use(implementation):
        crf = LinearChainCRF(emissions, transitions, torch.tensor([0.0, -INF]))
        # Up to e^-800 by way of label 0: the words that follow may stay there, and the last may not.
        assert crf.log_partition.tolist() == pytest.approx([800.0, 3 * math.log(2)])
        assert redone == [[1, 0]]
        unlikely = LinearChainCRF(torch.tensor([[[0.0, -150.0]]]), torch.zeros(2, 2))
        assert unlikely.log_marginals[0, 0].tolist() == [0.0, -150.0]


def test_a_second_derivative_is_refused_by_name():
    emissions = torch.randn(1, 3, 2, requires_grad=True)
    crf = LinearChainCRF(emissions, torch.zeros(2, 2))
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(crf.log_partition.sum(), emissions, create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(crf.log_marginals.sum(), emissions, create_graph=True)
    gradient = torch.autograd.grad(crf.plain().log_partition.sum(), emissions, create_graph=True)[0]
    curvature = torch.autograd.grad(gradient[0, 0, 0], emissions)[0]
    q = crf.marginals[0, 0, 0].detach()
    torch.testing.assert_close(curvature[0, 0, 0], q * (1 - q))


# ------------------------------------------------------------------------------------------------- edges


@pytest.mark.parametrize("shape", [(2, 0, 3), (2, 1, 1), (2, 1, 4), (1, 5, 1), (0, 3, 2)], ids=str)
def test_small_shapes(shape):
    batch, words, labels = shape
    emissions = torch.randn(shape, requires_grad=True)
    crf = LinearChainCRF(emissions, torch.randn(labels, labels), torch.randn(labels), torch.randn(labels))
    tags, scores = crf.k_best(3)
    assert tags.shape == (batch, 3, words)
    possible = min(3, labels**words)
    assert (scores > -INF).sum(1).tolist() == [possible] * batch
    total = crf.log_partition.sum() + crf.entropy.sum() + crf.kl(crf).sum() + crf.marginals.sum()
    (total + crf.log_prob(crf.argmax).sum()).backward()
    assert emissions.grad.isfinite().all()
    assert crf.sample(4).shape == (batch, 4, words)
    assert crf.edge_marginals.shape == (batch, max(words - 1, 0), labels, labels)


def test_a_sentence_without_words_says_nothing():
    emissions = torch.randn(2, 3, 4, requires_grad=True)
    mask = torch.tensor([[False] * 3, [True] * 3])
    crf = LinearChainCRF(emissions, torch.randn(4, 4), torch.randn(4), torch.randn(4), mask)
    assert crf.log_partition[0] == 0
    assert crf.log_prob(torch.zeros(2, 3, dtype=torch.long))[0] == 0
    assert crf.entropy[0] == 0
    (crf.log_partition[0] + crf.entropy[0] + crf.kl(crf)[0]).backward()
    assert emissions.grad.abs().sum() == 0


@pytest.mark.parametrize("size", [1e4, -1e4], ids=["+1e4", "-1e4"])
def test_huge_scores(size):
    generator = torch.Generator().manual_seed(0)
    emissions = (torch.randint(-1, 2, (3, 50, 5), generator=generator) * size).requires_grad_()
    transitions = torch.randint(-1, 2, (5, 5), generator=generator) * size
    crf, exact = LinearChainCRF(emissions, transitions), LinearChainCRF(emissions.double(), transitions.double())
    # Sums of two numbers of this size are rounded by this much, and a probability moves by as much as its logarithm.
    rounding = 2 * abs(size) * torch.finfo(torch.float32).eps
    torch.testing.assert_close(crf.marginals, exact.marginals.float(), rtol=0, atol=rounding)
    torch.testing.assert_close(crf.log_partition, exact.log_partition.float(), rtol=0, atol=50 * rounding)
    (crf.log_prob(crf.argmax).sum() + crf.entropy.sum() + crf.kl(crf).sum()).backward()
    assert emissions.grad.isfinite().all()


def test_a_sentence_nothing_is_allowed_for_is_never_nan():
    emissions = torch.randn(2, 3, 2, requires_grad=True)
    blocked = torch.stack([torch.full((2, 2), -INF), torch.zeros(2, 2)])
    crf = LinearChainCRF(emissions, blocked)
    tags = torch.zeros(2, 3, dtype=torch.long)
    assert crf.log_partition[0] == -INF
    assert crf.log_prob(tags)[0] == -INF
    assert crf.score(tags)[0] == -INF
    assert crf.marginals[0].abs().sum() == 0
    assert crf.k_best(2)[1][0].tolist() == [-INF, -INF]
    total = crf.entropy.sum() + crf.kl(crf).sum() + crf.marginals.square().sum() + crf.log_prob(tags)[1]
    total.backward()
    assert emissions.grad.isfinite().all()


def test_the_student_may_not_forbid_what_the_teacher_allows():
    barrier = torch.zeros(2, 2)
    barrier[0, 1] = -INF
    free, bound = LinearChainCRF(torch.zeros(1, 3, 2), torch.zeros(2, 2)), LinearChainCRF(torch.zeros(1, 3, 2), barrier)
    assert free.cross_entropy(bound).tolist() == [INF]
    assert free.kl(bound).tolist() == [INF]
    assert bound.cross_entropy(free).isfinite().all()
    torch.testing.assert_close(free.forbid(barrier, torch.zeros(2), torch.zeros(2)).log_partition, bound.log_partition)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_computed_in_float32(dtype):
    potentials = {name: value.to(dtype) for name, value in random_potentials(5, 2, 12, 4).items()}
    half, single = make(potentials), make({name: value.float() for name, value in potentials.items()})
    assert half.log_partition.dtype == torch.float32
    assert torch.equal(half.log_partition, single.log_partition)
    assert torch.equal(half.marginals, single.marginals)
    leaf = potentials["emissions"].clone().requires_grad_()
    make({**potentials, "emissions": leaf}).entropy.sum().backward()
    assert leaf.grad.dtype == dtype


def test_inputs_are_left_alone_and_need_not_be_contiguous():
    base = torch.randn(4, 6, 3)
    emissions = base.transpose(0, 1)
    table = torch.randn(4, 4)[:3, 1:4].t()
    before, table_before = base.clone(), table.clone()
    crf = LinearChainCRF(emissions, table)
    straight = LinearChainCRF(emissions.contiguous(), table.contiguous())
    torch.testing.assert_close(crf.kl(straight), torch.zeros(6))
    assert torch.equal(crf.argmax, straight.argmax)
    crf.k_best(3), crf.sample(2), crf.entropy
    assert torch.equal(base, before)
    assert torch.equal(table, table_before)
    assert not base.requires_grad


def test_samples_have_the_right_frequencies():
    potentials = random_potentials(2, 1, 3, 2)
    potentials["transitions"][0, 1] = -INF
    crf = make(potentials)
    drawn = crf.sample(20000, generator=torch.Generator().manual_seed(1))
    truth = enumerate_batch(potentials)[0]
    for path, probability in zip(truth.paths, truth.probabilities, strict=True):
        frequency = (drawn[0] == torch.tensor(path)).all(dim=1).double().mean()
        assert float(frequency) == pytest.approx(float(probability), abs=0.015)
        if probability == 0:
            assert frequency == 0


def test_temperature_divides_potentials():
    potentials = random_potentials(4, 2, 5, 3)
    potentials["transitions"][1, 2] = -INF
    halved = make({name: value / 2 for name, value in potentials.items()})
    torch.testing.assert_close(make(potentials).temper(2.0).marginals, halved.marginals)


def test_without_transitions_the_chain_is_a_softmax():
    emissions = torch.randn(3, 5, 4)
    crf = LinearChainCRF(emissions)
    torch.testing.assert_close(crf.marginals, torch.softmax(emissions, 2))
    torch.testing.assert_close(crf.log_partition, torch.logsumexp(emissions, 2).sum(1))


GOOD = {"emissions": torch.zeros(2, 3, 4), "transitions": torch.zeros(4, 4)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"emissions": torch.zeros(3, 4)}, "shape \\(B, T, L\\)"),
        ({"emissions": torch.zeros(2, 3, 0)}, "shape \\(B, T, L\\)"),
        ({"emissions": torch.zeros(2, 3, 4, dtype=torch.long)}, "floating-point"),
        ({"emissions": torch.full((2, 3, 4), float("nan"))}, "NaN"),
        ({"emissions": torch.full((2, 3, 4), INF)}, "inf"),
        ({"transitions": torch.zeros(3, 4)}, "transitions must have shape"),
        ({"transitions": torch.full((4, 4), float("nan"))}, "transitions contain NaN"),
        ({"start_transitions": torch.zeros(3)}, "start_transitions must have shape"),
        ({"mask": torch.ones(2, 4, dtype=torch.bool)}, "mask must have shape"),
        ({"mask": torch.ones(2, 3)}, "mask must be boolean"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_what_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        LinearChainCRF(**{**GOOD, **change})


def test_wrong_arguments_are_refused():
    crf = LinearChainCRF(**GOOD)
    with pytest.raises(ValueError, match="k must be at least 1"):
        crf.k_best(0)
    with pytest.raises(ValueError, match="n must be at least 1"):
        crf.sample(0)
    for temperature in (0.0, -1.0, INF, float("nan")):
        with pytest.raises(ValueError, match="temperature must be a finite number above 0"):
            crf.temper(temperature)
    with pytest.raises(ValueError, match="tags must have shape"):
        crf.score(torch.zeros(2, 2, dtype=torch.long))
    with pytest.raises(ValueError, match="integers"):
        crf.score(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="must lie in"):
        crf.score(torch.full((2, 3), 4))
    with pytest.raises(ValueError, match="same words and labels"):
        crf.kl(LinearChainCRF(torch.zeros(2, 3, 5)))
    with pytest.raises(ValueError, match="masks differ"):
        crf.cross_entropy(LinearChainCRF(**GOOD, mask=torch.tensor([[True, True, False]] * 2)))
