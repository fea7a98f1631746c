"""The fast implementations, in float32, against the plain recursions in float64: values, gradients, ties, threads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from structkd_plugin.crf import LinearChainCRF, cpu_kernels
from structkd_plugin.crf.implementation import choose, use
from tests.crf.enumeration import random_potentials

INF = float("inf")
FAST = ("best", "torch")
VALUES = {
    "log_partition": lambda crf, other, tags: crf.log_partition,
    "log_prob": lambda crf, other, tags: crf.log_prob(tags[:, 0]),
    "log_prob_of_several": lambda crf, other, tags: crf.log_prob(tags),
    "expected_log_prob": lambda crf, other, tags: crf.expected_log_prob(tags, label_dependent_weights(tags)),
    "score": lambda crf, other, tags: crf.score(tags),
    "marginals": lambda crf, other, tags: crf.marginals,
    "log_marginals": lambda crf, other, tags: crf.log_marginals,
    "kl": lambda crf, other, tags: other.kl(crf),
    "cross_entropy": lambda crf, other, tags: other.cross_entropy(crf),
    "entropy": lambda crf, other, tags: crf.entropy,
}


def label_dependent_weights(tags):
    """(B, M), some of them 0."""
    return (tags[:, :, 0] % 3) / 4.0


@st.composite
def batches(draw, most_labels=21):
    """Potentials of up to three groups of lanes, some forbidden, under a mask of any kind; and some tags."""
    batch, words, labels = draw(st.integers(1, 36)), draw(st.integers(1, 9)), draw(st.integers(1, most_labels))
    seed = draw(st.integers(0, 10**6))
    generator = torch.Generator().manual_seed(seed)
    deviation = draw(st.sampled_from([0.5, 2.0]))
    potentials = random_potentials(seed, batch, words, labels, deviation, draw(st.booleans()))
    kind = draw(st.sampled_from(["none", "right", "left", "holes"]))
    mask = None
    if kind == "holes":
        mask = torch.rand(batch, words, generator=generator) < 0.7
    elif kind != "none":
        lengths = torch.randint(0, words + 1, (batch, 1), generator=generator)
        mask = torch.arange(words) < lengths
        mask = mask.flip(1) if kind == "left" else mask
    if draw(st.booleans()):
        chance = torch.rand(potentials["transitions"].shape, generator=generator)
        potentials["transitions"] = potentials["transitions"].masked_fill(chance < 0.3, -INF)
    if draw(st.booleans()):
        chance = torch.rand(potentials["emissions"].shape, generator=generator)
        potentials["emissions"] = potentials["emissions"].masked_fill(chance < 0.1, -INF)
    if mask is not None:
        # What stands at masked words must not matter.
        potentials["emissions"] = potentials["emissions"].masked_fill(~mask.unsqueeze(2), float("nan"))
    tags = torch.randint(0, labels, (batch, 3, words), generator=generator)
    single = {name: value.float() for name, value in potentials.items()}
    return single, mask, tags


def exact(single):
    return {name: value.double() for name, value in single.items()}


def made(potentials, mask, implementation):
    with use(implementation):
        return LinearChainCRF(**potentials, mask=mask)


def other_of(potentials, mask, implementation):
    """Another distribution over the same words, that allows less."""
    shuffled = {name: value.flip(-1) for name, value in potentials.items()}
    return made(shuffled, mask, implementation)


@pytest.mark.parametrize("implementation", FAST)
@settings(max_examples=100, deadline=None)
@given(batches())
def test_values(implementation, drawn):
    single, mask, tags = drawn
    fast, plain = made(single, mask, implementation), made(exact(single), mask, "plain")
    assert choose(single["emissions"]) is not None
    others = other_of(single, mask, implementation), other_of(exact(single), mask, "plain")
    for name, value in VALUES.items():
        quick, right = value(fast, others[0], tags), value(plain, others[1], tags)
        assert quick.dtype == torch.float32, name
        torch.testing.assert_close(quick.double(), right, rtol=2e-5, atol=2e-5, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("implementation", FAST)
@settings(max_examples=60, deadline=None)
@given(batches(most_labels=9), st.sampled_from([name for name in VALUES if name != "entropy"]))
def test_gradients(implementation, drawn, name):
    single, mask, tags = drawn

    def gradients(potentials, which):
        leaves = {key: value.clone().requires_grad_() for key, value in potentials.items()}
        other = other_of(potentials, mask, which)
        value = VALUES[name](made(leaves, mask, which), other, tags)
        weights = torch.rand(value.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        finite = value.isfinite()
        weighted = torch.where(finite, value, torch.zeros_like(value)) * weights.to(value.dtype)
        return torch.autograd.grad(weighted.sum(), list(leaves.values()), materialize_grads=True, allow_unused=True)

    quick, right = gradients(single, implementation), gradients(exact(single), "plain")
    for mine, truth in zip(quick, right, strict=True):
        assert mine.shape == truth.shape
        size = max(1.0, float(truth.abs().max()))
        torch.testing.assert_close(mine.double(), truth, rtol=1e-4, atol=1e-4 * size)


@pytest.mark.parametrize("implementation", FAST)
@settings(max_examples=60, deadline=None)
@given(batches(most_labels=5), st.integers(1, 12))
def test_decoding_breaks_ties_as_the_plain_recursions_do(implementation, drawn, k):
    """Whole numbers: equal scores are equal, and there are many."""
    single, mask, _ = drawn
    whole = {name: value.round() for name, value in single.items()}
    fast, plain = made(whole, mask, implementation), made(whole, mask, "plain")
    tags, scores = fast.k_best(k)
    right_tags, right_scores = plain.k_best(k)
    assert torch.equal(scores, right_scores)
    assert torch.equal(tags, right_tags)
    possible = fast.log_partition > -INF
    assert torch.equal(fast.argmax[possible], plain.argmax[possible])


@pytest.mark.parametrize("implementation", FAST)
@settings(max_examples=30, deadline=None)
@given(batches(most_labels=6))
def test_samples_are_at_the_quantiles(implementation, drawn):
    """Equal to those of float64 but where a quantile falls within rounding of a limit between two labels."""
    single, mask, _ = drawn
    batch, words, _ = single["emissions"].shape
    uniforms = torch.rand(batch, 4, words, generator=torch.Generator().manual_seed(2))
    fast, plain = made(single, mask, implementation), made(exact(single), mask, "plain")
    possible = fast.log_partition > -INF
    quick, right = fast.sample_at(uniforms)[possible], plain.sample_at(uniforms.double())[possible]
    assert (quick != right).any(dim=2).float().sum() <= 1
    assert (fast.score(fast.sample_at(uniforms))[possible] > -INF).all()


def test_samples_have_the_frequencies_of_the_distribution():
    crf = LinearChainCRF(**{name: value.float() for name, value in random_potentials(3, 2, 3, 3).items()})
    drawn = crf.sample(20000, torch.Generator().manual_seed(0))
    observed = torch.nn.functional.one_hot(drawn, 3).float().mean(dim=1)
    torch.testing.assert_close(observed, crf.marginals, rtol=0, atol=0.02)


@pytest.mark.parametrize("implementation", FAST)
def test_a_batch_without_words_has_one_labelling(implementation):
    """Torch's empty tensors are null pointers, which elsewhere mean that something is not asked for."""
    potentials = {name: value.float().requires_grad_() for name, value in random_potentials(4, 3, 0, 2).items()}
    log_p = made(potentials, None, implementation).log_prob(torch.zeros(3, 0, dtype=torch.long))
    assert torch.equal(log_p, torch.zeros(3))
    gradients = torch.autograd.grad(log_p.sum(), list(potentials.values()))
    assert all(torch.equal(gradient, torch.zeros_like(gradient)) for gradient in gradients)


compiled = pytest.mark.skipif(cpu_kernels.library is None, reason="the CPU kernels are not compiled here")


@compiled
def test_threads_change_nothing():
    """Large enough that several threads are worth it; then the same bits."""
    potentials = {name: value.float() for name, value in random_potentials(5, 100, 60, 20).items()}
    before = torch.get_num_threads()

    def results():
        leaves = {name: value.clone().requires_grad_() for name, value in potentials.items()}
        crf = LinearChainCRF(**leaves)
        gradients = torch.autograd.grad(
            crf.log_prob(torch.zeros(100, 60, dtype=torch.long)).sum(), list(leaves.values())
        )
        return [*gradients, crf.argmax, *crf.k_best(3), crf.log_marginals.detach()]

    try:
        torch.set_num_threads(1)
        alone = results()
        torch.set_num_threads(3)
        together = results()
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, several) for one, several in zip(alone, together, strict=True))


@compiled
@pytest.mark.parametrize("without", ["avx512", "avx512,avx2"])
def test_every_instruction_set(without):
    """The library is made for several: this machine's best is tested above, others here in a process of their own."""
    module = os.path.relpath(__file__)
    environment = {**os.environ, "STRUCTKD_CPU_WITHOUT": without}
    script = (
        "from structkd_plugin.crf import cpu_kernels;"
        "assert cpu_kernels.library.structkd_variant().decode() not in {without!r}, 'not left out';"
        "import sys, pytest; sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', '-p', 'no:xdist', {module!r}, '-k',"
        "'best and (values or gradients or ties or quantiles)']))"
    ).format(without=without.split(","), module=module)
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@compiled
def test_a_library_of_another_source_is_not_used(tmp_path, monkeypatch):
    content = Path(cpu_kernels.library._name).read_bytes()
    for name, library, message in (("other", content, "compiled from another"), ("none", b"none", "cannot be loaded")):
        source = tmp_path / name / "cpu_kernels.cpp"
        source.parent.mkdir()
        source.write_text("// another")
        source.with_name("_cpu_kernels.so").write_bytes(library)
        monkeypatch.setattr(cpu_kernels, "SOURCE", source)
        with pytest.warns(UserWarning, match=message):
            assert cpu_kernels._load() is None


def test_without_the_library_torch_does_the_same(monkeypatch):
    potentials = {name: value.float() for name, value in random_potentials(1, 3, 5, 4).items()}
    before = LinearChainCRF(**potentials).log_partition
    monkeypatch.setattr(cpu_kernels, "library", None)
    crf = LinearChainCRF(**potentials)
    assert choose(potentials["emissions"]).__name__.endswith("torch_kernels")
    torch.testing.assert_close(crf.log_partition, before)
    with pytest.raises(ValueError, match="NaN"):
        LinearChainCRF(potentials["emissions"] * float("nan"), potentials["transitions"])


def test_another_choice_is_refused():
    with pytest.raises(ValueError, match="best, torch, plain"), use("fast"):
        pass
