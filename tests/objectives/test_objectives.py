"""Objectives against sums over all labellings, and what they have in common."""

import math

import pytest
import torch
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from hypothesis import given, settings
from hypothesis import strategies as st

from structkd_plugin.crf import LinearChainCRF
from structkd_plugin.objectives import CrossEntropy, Emission, KBest, Objective, Posterior, WeightedSum
from structkd_plugin.teacher_batch import KBestLabellings
from tests.crf.enumeration import enumerate_batch, random_potentials

INF = float("inf")
EVERY = [
    Emission(),
    Posterior(),
    KBest(3),
    KBest(3, weighted=True),
    CrossEntropy(),
    WeightedSum([Posterior(), KBest(2, weighted=True)]),
]


def scaled(potentials, temperature):
    return {name: value / temperature for name, value in potentials.items()}


def pair(seed, batch=2, words=4, labels=3, mask=None):
    teacher = random_potentials(seed, batch, words, labels, deviation=2.0, per_sentence=True)
    student = random_potentials(seed + 1, batch, words, labels)
    return teacher, student, LinearChainCRF(**teacher, mask=mask), LinearChainCRF(**student, mask=mask)


def oracle(kind, teacher, student, mask, k=0, temperature=1.0):
    """The definition of mathematics, by enumeration, with potentials tempered."""
    values = []
    for p, q in zip(
        enumerate_batch(scaled(teacher, temperature), mask),
        enumerate_batch(scaled(student, temperature), mask),
        strict=True,
    ):
        log_q = q.scores - q.log_partition
        if kind == "cross_entropy":
            value = -(p.probabilities * log_q).sum()
        elif kind == "posterior":
            value = -(p.marginals() * q.marginals().log()).sum() if p.words else torch.tensor(0.0)
        else:
            best = p.ranked()[:k]
            scores = torch.tensor([score for score, _ in best], dtype=torch.float64)
            weights = torch.softmax(scores, 0) if kind == "weighted" else torch.full_like(scores, 1 / len(best))
            value = -sum(w * log_q[q.paths.index(path)] for w, (_, path) in zip(weights, best, strict=True))
        values.append(float(value) * temperature**2)
    return values


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0], ids="tau{}".format)
@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("cross_entropy", lambda k, t: CrossEntropy(temperature=t)),
        ("posterior", lambda k, t: Posterior(temperature=t)),
        ("uniform", lambda k, t: KBest(k, temperature=t)),
        ("weighted", lambda k, t: KBest(k, weighted=True, temperature=t)),
    ],
    ids=["cross_entropy", "posterior", "k_best", "weighted_k_best"],
)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 100), bits=st.lists(st.booleans(), min_size=8, max_size=8))
def test_values_are_those_of_enumeration(kind, make, temperature, seed, k, bits):
    mask = torch.tensor(bits).view(2, 4)
    teacher, student, p, q = pair(seed, mask=mask)
    value, _ = make(k, temperature)(p, q)
    assert value.tolist() == pytest.approx(oracle(kind, teacher, student, mask, k, temperature), abs=1e-8)


def legal_pair(seed, k):
    """Teacher and student of three labels where 1 must not be followed by 2, and the teacher's best otherwise."""
    teacher, student, p, q = pair(seed)
    barrier = torch.zeros(3, 3).double()
    barrier[1, 2] = -INF
    none = torch.zeros(3).double()
    forbidding = {**teacher, "transitions": teacher["transitions"] + barrier}
    return forbidding, student, p, q, KBestLabellings(*p.forbid(barrier, none, none).k_best(k))


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0], ids="tau{}".format)
@pytest.mark.parametrize("weighted", [False, True], ids=["uniform", "weighted"])
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 100), more=st.integers(0, 5))
def test_legal_labellings_are_those_of_a_teacher_that_forbids_the_others(weighted, temperature, seed, k, more):
    """Whatever the temperature, from the labellings at temperature 1; the first k of more will do."""
    teacher, student, p, q, legal = legal_pair(seed, k + more)
    value, _ = KBest(k, weighted, temperature, labellings="legal")(p, q, legal)
    kind = "weighted" if weighted else "uniform"
    assert value.tolist() == pytest.approx(oracle(kind, teacher, student, None, k, temperature), abs=1e-8)


def test_all_labellings_are_the_default_and_take_none_that_are_given():
    _, _, p, q, legal = legal_pair(3, 100)
    everything, _ = KBest(100)(p, q)
    assert torch.equal(KBest(100, labellings="all")(p, q, legal).value, everything)
    assert not torch.allclose(KBest(100, labellings="legal")(p, q, legal).value, everything)


def test_a_sum_asks_for_the_most_legal_labellings_and_passes_them_on():
    _, _, p, q, legal = legal_pair(3, 4)
    parts = [KBest(2, labellings="legal"), Posterior(), KBest(4, weighted=True, labellings="legal"), KBest(9)]
    assert [part.legal_labellings for part in parts] == [2, 0, 4, 0]
    total = WeightedSum(parts, [1.0, 1.0, 1.0, 1.0])
    assert total.legal_labellings == 4
    torch.testing.assert_close(total(p, q, legal).value, sum(part(p, q, legal).value for part in parts))
    assert WeightedSum(parts[1:2]).legal_labellings == 0


@pytest.mark.parametrize("given_labellings", [None, 2], ids=["none", "fewer"])
def test_legal_labellings_have_to_be_given(given_labellings):
    _, _, p, q, legal = legal_pair(3, given_labellings or 1)
    with pytest.raises(ValueError, match="the objective k_best needs the 3 best legal labellings of the teacher"):
        KBest(3, labellings="legal")(p, q, legal if given_labellings else None)


def test_emission_ignores_transitions_on_both_sides():
    teacher, student, p, q = pair(3)
    expected = -(torch.softmax(teacher["emissions"], 2) * torch.log_softmax(student["emissions"], 2)).sum(dim=(1, 2))
    torch.testing.assert_close(Emission()(p, q).value, expected)


def test_posterior_of_softmax_taggers_is_token_distillation():
    """P1, equation 4."""
    teacher, student = torch.randn(3, 5, 4), torch.randn(3, 5, 4)
    value = Posterior()(LinearChainCRF(teacher), LinearChainCRF(student)).value
    expected = -(torch.softmax(teacher, 2) * torch.log_softmax(student, 2)).sum(dim=(1, 2))
    torch.testing.assert_close(value, expected)


def test_cross_entropy_of_a_softmax_teacher_uses_products_of_its_marginals():
    """P3, MaxEnt → CRF: log Z_S less expected scores under independent words."""
    emissions, student = torch.randn(2, 4, 3).double(), random_potentials(8, 2, 4, 3)
    q = torch.softmax(emissions, 2)
    crf = LinearChainCRF(**student)
    edges = q[:, :-1].unsqueeze(3) * q[:, 1:].unsqueeze(2)
    expected = crf.log_partition - (q * student["emissions"]).sum(dim=(1, 2))
    expected = expected - (edges * student["transitions"]).sum(dim=(1, 2, 3))
    expected = expected - q[:, 0] @ student["start_transitions"] - q[:, -1] @ student["end_transitions"]
    torch.testing.assert_close(CrossEntropy()(LinearChainCRF(emissions), crf).value, expected)


def test_marginals_can_be_tempered_instead_of_potentials():
    _, _, p, q = pair(5)
    tau = 2.0

    def power(marginals):
        raised = marginals ** (1 / tau)
        return raised / raised.sum(2, keepdim=True)

    expected = -(power(p.marginals) * power(q.marginals).log()).sum(dim=(1, 2)) * tau**2
    torch.testing.assert_close(Posterior(tau, temper="marginals")(p, q).value, expected)
    torch.testing.assert_close(Posterior(1.0, temper="marginals")(p, q).value, Posterior(1.0)(p, q).value)


@pytest.mark.parametrize("temperature", [1.0, 4.0], ids="tau{}".format)
@pytest.mark.parametrize("temper", ["potentials", "marginals"])
def test_a_student_equal_to_its_teacher_is_stationary(temper, temperature):
    """The gradient of every objective on whole distributions is 0 there, tempered or not."""
    teacher, _, p, _ = pair(9)
    student = {name: value.clone().requires_grad_() for name, value in teacher.items()}
    objectives = [Posterior(temperature, temper), Emission(temperature), CrossEntropy(temperature)]
    sum(objective(p, LinearChainCRF(**student)).value.sum() for objective in objectives).backward()
    for value in student.values():
        assert value.grad.abs().max() < 1e-10


@pytest.mark.parametrize("objective", EVERY, ids=lambda objective: objective.name)
def test_masked_words_and_empty_sentences_say_nothing(objective):
    teacher, student, _, _ = pair(1, batch=3)
    mask = torch.tensor([[True] * 4, [True, False, True, False], [False] * 4])
    leaf = {name: value.clone().requires_grad_() for name, value in student.items()}
    teacher["emissions"] = teacher["emissions"].masked_fill(~mask.unsqueeze(2), 1e6)
    value = objective(LinearChainCRF(**teacher, mask=mask), LinearChainCRF(**leaf, mask=mask)).value
    assert value[2] == 0
    assert value.isfinite().all()
    value.sum().backward()
    assert leaf["emissions"].grad[~mask].abs().sum() == 0
    short = {
        name: tensor[1:2] if tensor.dim() == 3 or name != "emissions" else tensor for name, tensor in teacher.items()
    }
    short["emissions"] = teacher["emissions"][1:2, mask[1]]
    alone = objective(
        LinearChainCRF(**short), LinearChainCRF(**{**student, "emissions": student["emissions"][1:2, mask[1]]})
    ).value
    torch.testing.assert_close(value[1:2], alone)


@pytest.mark.parametrize("objective", EVERY, ids=lambda objective: objective.name)
def test_gradients_are_those_of_finite_differences(objective):
    _, student, p, _ = pair(2, batch=1, words=3, labels=3)
    leaves = [value.clone().requires_grad_() for value in student.values()]

    def value(*potentials):
        return objective(p, LinearChainCRF(*potentials)).value

    assert torch.autograd.gradcheck(value, leaves)


@pytest.mark.parametrize("objective", EVERY, ids=lambda objective: objective.name)
def test_forbidden_on_both_sides_is_finite_and_on_the_student_alone_is_infinite(objective):
    teacher, student, _, _ = pair(6)
    barrier = torch.zeros(3, 3).double()
    barrier[1, 2] = -INF
    none = torch.zeros(3).double()
    leaf = {name: value.clone().requires_grad_() for name, value in student.items()}
    p, q = LinearChainCRF(**teacher), LinearChainCRF(**leaf)
    value = objective(p.forbid(barrier, none, none), q.forbid(barrier, none, none)).value
    assert value.isfinite().all()
    value.sum().backward()
    assert all(tensor.grad.isfinite().all() for tensor in leaf.values() if tensor.grad is not None)
    if isinstance(objective, CrossEntropy):
        assert objective(p, q.forbid(barrier, none, none)).value.tolist() == [INF, INF]


def test_a_sum_weighs_and_reports_its_parts():
    _, _, p, q = pair(4)
    parts = [Posterior(), KBest(3, weighted=True), Posterior(temperature=2.0), CrossEntropy()]
    values = [part(p, q).value for part in parts]
    total, reported = WeightedSum(parts, [0.5, 0.0, 2.0, 1.0])(p, q)
    torch.testing.assert_close(total, 0.5 * values[0] + 2.0 * values[2] + values[3])
    assert list(reported) == ["posterior", "weighted_k_best", "posterior 2", "cross_entropy", "kl"]
    torch.testing.assert_close(reported["posterior 2"], values[2])
    average = WeightedSum(parts[:2])(p, q).value
    torch.testing.assert_close(average, (values[0] + values[1]) / 2)


@pytest.mark.parametrize("second", EVERY[:-1], ids=lambda objective: objective.name)
@pytest.mark.parametrize("first", EVERY[:-1], ids=lambda objective: objective.name)
def test_the_gradient_of_a_sum_is_the_sum_of_gradients(first, second):
    teacher, student, _, _ = pair(4)

    def gradient(*objectives):
        leaves = [value.clone().requires_grad_() for value in student.values()]
        value = WeightedSum(list(objectives), [1.0] * len(objectives))(
            LinearChainCRF(**teacher), LinearChainCRF(*leaves)
        )
        found = torch.autograd.grad(value.value.sum(), leaves, allow_unused=True)
        return [torch.zeros_like(x) if g is None else g for x, g in zip(leaves, found, strict=True)]

    for both, one, other in zip(gradient(first, second), gradient(first), gradient(second), strict=True):
        torch.testing.assert_close(both, one + other)


def test_the_divergence_is_reported():
    _, _, p, q = pair(4)
    value, reported = CrossEntropy()(p, q)
    torch.testing.assert_close(reported["kl"], value - p.entropy)
    assert not reported["kl"].requires_grad


def test_what_needs_transitions_says_so():
    assert [objective.needs_transitions for objective in EVERY] == [False, False, True, True, False, True]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"type": "k_best", "k": 0}, "objective.k must be at least 1, not 0"),
        (
            {"type": "k_best", "k": 1, "labellings": "well-formed"},
            "objective.labellings must be one of all, legal, not",
        ),
        ({"type": "posterior", "temperature": 0}, "objective.temperature must be a finite number above 0, not 0"),
        ({"type": "emission", "temperature": -1.0}, "above 0, not -1"),
        ({"type": "cross_entropy", "temperature": math.nan}, "above 0, not nan"),
        ({"type": "posterior", "temper": "logits"}, "objective.temper must be one of potentials, marginals"),
        ({"type": "weighted_sum", "objectives": []}, "name at least one objective"),
        (
            {"type": "weighted_sum", "objectives": [{"type": "emission"}], "weights": [1, 2]},
            "1 objectives and 2 weights",
        ),
        ({"type": "weighted_sum", "objectives": [{"type": "emission"}], "weights": [0]}, "not all 0"),
        ({"type": "posterior", "temperatur": 2}, "temperatur"),
        ({"type": "top_k"}, "top_k"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(str(x) for x in value.values())[:40],
)
def test_what_cannot_work_is_refused_by_name(config, message):
    with pytest.raises(ConfigurationError, match=message):
        Objective.from_params(Params(config))


def test_every_objective_can_be_named_in_a_configuration():
    assert sorted(Objective.list_available()) == ["cross_entropy", "emission", "k_best", "posterior", "weighted_sum"]
    config = {
        "type": "weighted_sum",
        "objectives": [{"type": "posterior"}, {"type": "k_best", "k": 5, "weighted": True}],
    }
    objective = Objective.from_params(Params(config))
    assert isinstance(objective, WeightedSum)
    assert objective.objectives[1].k == 5
