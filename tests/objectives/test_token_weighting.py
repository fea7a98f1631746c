"""Weights of words against numpy and enumeration in float64, and what they do in the objectives that take them."""

import math

import numpy as np
import pytest
import torch
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from hypothesis import given, settings
from hypothesis import strategies as st

from structkd_plugin.crf import LinearChainCRF, torch_kernels
from structkd_plugin.objectives import Emission, Objective, Posterior, TokenWeighting, WeightedSum
from structkd_plugin.objectives.token_weighting import Confidence, Entropy, Reliability
from tests.crf.enumeration import enumerate_batch, random_potentials

INF = float("inf")
BATCH, WORDS = 3, 4
TABLE = [[0.1, 0.3, 0.2, 0.9, 1.0], [0.0, 0.0, 0.5, 0.5, 0.7], [0.2, 0.4, 0.6, 0.8, 1.0]]


def trust_of(weighting, q, table):
    """The definition, for one word's probabilities `q` (L,) and its teacher's reliability `table` (R,)."""
    if isinstance(weighting, Confidence):
        return 0.0 if max(q) < weighting.threshold else max(q) ** weighting.power
    if isinstance(weighting, Entropy):
        return 1.0 if len(q) == 1 else 1 + sum(p * math.log(p) for p in q if p > 0) / math.log(len(q))
    middles = (np.arange(len(table)) + 0.5) / len(table)
    return float(np.interp(max(q), middles, table))


def expected_weights(weighting, marginals, mask):
    """(B, T) by numpy; `marginals` of each sentence (words, L)."""
    weights = np.zeros(mask.shape)
    for b, of_sentence in enumerate(marginals):
        found = [trust_of(weighting, row, TABLE[b]) for row in of_sentence]
        if weighting.normalize and sum(found):
            found = [weight * len(found) / sum(found) for weight in found]
        weights[b, mask[b].numpy()] = found
    return weights


def weightings(normalize):
    return st.one_of(
        st.builds(Confidence, st.floats(0, 4), st.floats(0, 1), st.just(normalize)),
        st.builds(Entropy, st.just(normalize)),
        st.builds(Reliability, st.just(normalize)),
    )


def teacher_and_student(seed, labels, mask, deviation=2.0, forbid=False):
    """Potentials, and for each sentence of both sides all labellings."""
    teacher = random_potentials(seed, BATCH, WORDS, labels, deviation, per_sentence=True)
    student = random_potentials(seed + 1, BATCH, WORDS, labels)
    if forbid:
        teacher["emissions"][:, :, 0] = -INF
        teacher["transitions"][:, 1, 1] = -INF
    return teacher, student


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    labels=st.integers(2, 3),
    bits=st.lists(st.booleans(), min_size=BATCH * WORDS, max_size=BATCH * WORDS),
    weighting=st.booleans().flatmap(weightings),
    forbid=st.booleans(),
    temperature=st.sampled_from([1.0, 0.5, 3.0]),
    kind=st.sampled_from(["potentials", "marginals", "emission"]),
)
def test_values_are_those_of_enumeration(seed, labels, bits, weighting, forbid, temperature, kind):
    """Also in sentences of no and of one word, where words are masked, and where labels are forbidden."""
    mask = torch.tensor(bits).view(BATCH, WORDS)
    teacher, student = teacher_and_student(seed, labels + forbid, mask, forbid=forbid)
    objective = Emission(temperature) if kind == "emission" else Posterior(temperature, kind)
    objective.token_weighting = weighting
    p, q = LinearChainCRF(**teacher, mask=mask), LinearChainCRF(**student, mask=mask)
    value, reported = objective(p, q, reliability=torch.tensor(TABLE))

    def sharpened(rows, power):
        return rows**power / (rows**power).sum(axis=1, keepdims=True)

    def compared(side):
        if kind == "emission":
            return [sharpened(np.exp(side["emissions"][b, mask[b]].numpy()), 1 / temperature) for b in range(BATCH)]
        if kind == "marginals":
            return [
                sharpened(s.marginals().numpy(), 1 / temperature) if s.words else np.zeros((0, 1))
                for s in enumerate_batch(side, mask)
            ]
        scaled = {name: potentials / temperature for name, potentials in side.items()}
        return [s.marginals().numpy() if s.words else np.zeros((0, 1)) for s in enumerate_batch(scaled, mask)]

    sentences = enumerate_batch(teacher, mask)
    possible = [bool((s.scores > -INF).any()) for s in sentences]
    # How sure the teacher is does not depend on what is compared, nor on the temperature.
    certain = [s.marginals().numpy() if s.words else np.zeros((0, 1)) for s in sentences]
    weights = expected_weights(weighting, certain, mask)
    np.testing.assert_allclose(weighting(p.marginals, torch.tensor(TABLE)).words, weights, atol=1e-6)
    for b, (rows, others) in enumerate(zip(compared(teacher), compared(student), strict=True)):
        assert possible[b]
        of_words = weights[b, mask[b].numpy()]
        expected = (
            -sum(w * (row @ np.log(other)) for w, row, other in zip(of_words, rows, others, strict=True))
            * temperature**2
        )
        assert float(value[b]) == pytest.approx(float(expected), rel=1e-5, abs=1e-6)
    assert value.dtype == torch.float64
    assert reported["token_weight"].isfinite().all()


WEIGHTINGS = [Confidence(), Confidence(0.0), Confidence(2.0, 0.7, True), Entropy(), Entropy(True), Reliability()]


@pytest.mark.parametrize("objective", [Posterior, Emission])
@pytest.mark.parametrize("weighting", WEIGHTINGS, ids=lambda weighting: type(weighting).__name__)
@pytest.mark.parametrize("temperature", [1.0, 2.0], ids="tau{}".format)
def test_a_sentence_that_the_teacher_forbids_altogether_says_nothing_and_spoils_nothing(
    objective, weighting, temperature
):
    mask = torch.tensor([[True] * 4, [True, True, False, False], [False] * 4])
    teacher, student = teacher_and_student(3, 3, mask)
    teacher["transitions"][0] = -INF
    leaf = {name: value.clone().requires_grad_() for name, value in student.items()}
    p, q = LinearChainCRF(**teacher, mask=mask), LinearChainCRF(**leaf, mask=mask)
    made = objective(temperature, token_weighting=weighting)
    value, reported = made(p, q, reliability=torch.tensor(TABLE))
    assert value.isfinite().all()
    assert value[0] == reported["token_weight"][0] == 0
    assert value[1] > 0
    assert value[2] == reported["token_weight"][2] == 0
    value.sum().backward()
    assert all(tensor.grad is None or tensor.grad.isfinite().all() for tensor in leaf.values())


def test_marginals_that_are_sharpened_are_no_nan_where_nothing_is_allowed():
    teacher, student = teacher_and_student(3, 3, None)
    teacher["transitions"][0] = -INF
    value = Posterior(2.0, temper="marginals")(LinearChainCRF(**teacher), LinearChainCRF(**student)).value
    assert value[0] == 0
    assert (value[1:] > 0).all()


@pytest.mark.parametrize("normalize", [False, True], ids=["as-they-are", "normalized"])
@pytest.mark.parametrize("weighting", [Confidence(0.0), Reliability()], ids=["confidence", "reliability"])
def test_weights_of_one_change_nothing(weighting, normalize):
    teacher, student = teacher_and_student(5, 3, None)
    p, q = LinearChainCRF(**teacher), LinearChainCRF(**student)
    weighting.normalize = normalize
    weighted = Posterior(2.0, token_weighting=weighting)(p, q, reliability=torch.ones(BATCH, 20)).value
    torch.testing.assert_close(weighted, Posterior(2.0)(p, q).value)


def test_normalized_weights_have_the_mean_one_and_those_that_are_all_zero_stay():
    marginals = torch.tensor([[[0.9, 0.1], [0.5, 0.5], [0.0, 0.0]], [[0.5, 0.5], [0.4, 0.6], [0.45, 0.55]]])
    weights, mean = Confidence(threshold=0.8, normalize=True)(marginals)
    torch.testing.assert_close(weights, torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    torch.testing.assert_close(mean, torch.tensor([0.45, 0.0]))


def test_weights_have_no_gradient():
    teacher, _ = teacher_and_student(7, 3, None)
    teacher = {name: value.requires_grad_() for name, value in teacher.items()}
    p = LinearChainCRF(**teacher)
    for weighting in WEIGHTINGS:
        weights = weighting(p.marginals, torch.tensor(TABLE))
        assert not weights.words.requires_grad
        assert not weights.mean.requires_grad


def test_the_gradient_is_that_of_finite_differences():
    teacher, student = teacher_and_student(2, 3, None)
    leaves = [value.clone().requires_grad_() for value in student.values()]
    p = LinearChainCRF(**teacher)
    for objective in (Posterior(2.0, token_weighting=Entropy()), Emission(token_weighting=Confidence(2.0))):
        assert torch.autograd.gradcheck(lambda *s, o=objective: o(p, LinearChainCRF(*s)).value, leaves)


def test_a_student_may_forbid_what_has_no_weight():
    teacher, student = teacher_and_student(2, 3, None)
    student["emissions"][:, 1, 0] = -INF
    p, q = LinearChainCRF(**teacher), LinearChainCRF(**student)
    assert (Posterior()(p, q).value == INF).all()
    # Confident of the other words alone.
    teacher["emissions"] += 20 * torch.nn.functional.one_hot(torch.ones(BATCH, WORDS).long(), 3)
    teacher["emissions"][:, 1] = 0.0
    independent = LinearChainCRF(teacher["emissions"])
    assert Emission(token_weighting=Confidence(threshold=0.9))(independent, q).value.isfinite().all()


def test_the_teachers_marginals_are_computed_once(monkeypatch):
    teacher, student = teacher_and_student(2, 3, None)
    calls = []
    compute = torch_kernels.marginals
    monkeypatch.setattr(torch_kernels, "marginals", lambda *args: calls.append(1) or compute(*args))
    Posterior(token_weighting=Entropy())(LinearChainCRF(**teacher), LinearChainCRF(**student))
    assert len(calls) == 1
    # Another temperature is another distribution.
    Posterior(2.0, token_weighting=Entropy())(LinearChainCRF(**teacher), LinearChainCRF(**student))
    assert len(calls) == 3


def test_one_label_is_certain():
    assert Entropy()(torch.ones(1, 2, 1)).words.tolist() == [[1.0, 1.0]]


def test_float32_rounding_gives_no_weight_outside_zero_and_one():
    marginals = torch.tensor([[[1.0000002, 0.0], [0.49999997, 0.50000006]]])
    for weighting in (Confidence(0.5), Entropy(), Reliability()):
        weights = weighting(marginals, torch.tensor([[0.0, 1.0]])).words
        assert weights.min() >= 0
        assert weights.max() <= 1


def test_a_sum_passes_reliability_on_and_reports_the_weights():
    teacher, student = teacher_and_student(4, 3, None)
    p, q, table = LinearChainCRF(**teacher), LinearChainCRF(**student), torch.tensor(TABLE)
    parts = [Posterior(token_weighting=Reliability()), Emission(token_weighting=Entropy()), Posterior()]
    total = WeightedSum(parts, [1.0, 1.0, 1.0])
    value, reported = total(p, q, reliability=table)
    torch.testing.assert_close(value, sum(part(p, q, reliability=table).value for part in parts))
    assert list(reported) == ["posterior", "token_weight", "emission", "token_weight 2", "posterior 2"]
    assert [part.needs_reliability for part in (*parts, total)] == [True, False, False, True]
    with pytest.raises(ValueError, match="token_weighting reliability needs teachers that are calibrated"):
        total(p, q)


def test_every_weighting_can_be_named_in_a_configuration():
    assert sorted(TokenWeighting.list_available()) == ["confidence", "entropy", "reliability"]
    settings_of = {"type": "confidence", "power": 2, "threshold": 0.5, "normalize": True}
    for kind in ("posterior", "emission"):
        made = Objective.from_params(Params({"type": kind, "token_weighting": dict(settings_of)})).token_weighting
        assert (type(made), made.power, made.threshold, made.normalize) == (Confidence, 2, 0.5, True)
    assert isinstance(
        Objective.from_params(Params({"type": "posterior", "token_weighting": "entropy"})).token_weighting, Entropy
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"type": "confidence", "power": -1}, "token_weighting.power must be a finite number of at least 0, not -1"),
        ({"type": "confidence", "power": math.inf}, "power must be a finite number"),
        ({"type": "confidence", "threshold": 1.5}, r"token_weighting.threshold is a probability, in \[0, 1\], not 1.5"),
        ({"type": "confidence", "treshold": 0.5}, "confidence .* has no option 'treshold'; did you mean 'threshold'"),
        ({"type": "entropy", "power": 2}, "entropy .* has no option 'power'"),
    ],
    ids=["power", "infinite", "threshold", "misspelt", "of-another"],
)
def test_what_cannot_work_is_refused_by_name(config, message):
    with pytest.raises(ConfigurationError, match=message):
        Objective.from_params(Params({"type": "posterior", "token_weighting": config}))


@pytest.mark.parametrize("objective", [{"type": "k_best", "k": 3}, {"type": "cross_entropy"}], ids=lambda o: o["type"])
def test_objectives_over_whole_labellings_have_no_weights_of_words(objective):
    with pytest.raises(ConfigurationError, match="has no option 'token_weighting'; its options are"):
        Objective.from_params(Params({**objective, "token_weighting": "entropy"}))
