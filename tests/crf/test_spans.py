"""The probability of a span against the sum over all labellings that have it."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from structkd_plugin.crf import LinearChainCRF, chain_constraints
from structkd_plugin.crf.constraints import SCHEMES
from structkd_plugin.crf.spans import SpanProbabilities, span_log_probability
from structkd_plugin.tag_schemes import spans_of
from tests.crf.enumeration import random_potentials
from tests.crf.test_constraints import labels_of


@pytest.mark.parametrize("scheme", SCHEMES)
def test_probability_of_every_span_is_that_of_enumeration(scheme):
    labels = labels_of(scheme, ("X", "Y") if scheme in ("BIO", "IOB1") else ("X",))
    words, size = 4, len(labels)
    barrier = [torch.zeros(t.shape).masked_fill(~t, -math.inf) for t in chain_constraints(labels, scheme)]
    crf = LinearChainCRF(**random_potentials(11, 1, words, size)).forbid(*barrier)
    truth = {}
    paths = torch.tensor(list(itertools.product(range(size), repeat=words)))
    for path, probability in zip(paths, crf.log_prob(paths.unsqueeze(0))[0].exp(), strict=True):
        if probability > 0:
            for span in spans_of([labels[i] for i in path], scheme):
                truth[span] = truth.get(span, 0.0) + float(probability)
    assert len(truth) == (2 if size > 4 and scheme in ("BIO", "IOB1") else 1) * words * (words + 1) // 2
    for span, probability in truth.items():
        ours = span_log_probability(
            crf.marginals[0], crf.log_conditionals[0].exp(), labels, scheme, span.label, span.start, span.end
        )
        assert math.exp(ours) == pytest.approx(probability, abs=1e-9)


def enumerated_spans(crf, labels, scheme, sentence, words):
    """The probability of every span of a sentence, summed over the labellings that have it."""
    truth = {}
    paths = torch.zeros((1, 1, crf.shape[1]), dtype=torch.long)
    for path in itertools.product(range(len(labels)), repeat=words):
        paths[0, 0, :words] = torch.tensor(path)
        probability = float(crf.log_prob(paths.expand(crf.shape[0], -1, -1))[sentence, 0].exp())
        if probability > 0:
            for span in spans_of([labels[i] for i in path], scheme):
                truth[span] = truth.get(span, 0.0) + probability
    return truth


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("scheme", SCHEMES)
@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    lengths=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    scale=st.sampled_from([0.5, 1.0, 8.0]),
    per_sentence=st.booleans(),
)
def test_all_spans_of_a_batch_at_once_are_those_of_enumeration(scheme, dtype, seed, lengths, scale, per_sentence):
    labels = labels_of(scheme, ("X", "Y") if scheme in ("BIO", "IOB1") else ("X",))
    words = max(lengths)
    barrier = [torch.zeros(t.shape).masked_fill(~t, -math.inf) for t in chain_constraints(labels, scheme)]
    potentials = random_potentials(seed, len(lengths), words, len(labels), scale, per_sentence)
    mask = torch.arange(words).unsqueeze(0) < torch.tensor(lengths).unsqueeze(1)
    exact = LinearChainCRF(**potentials, mask=mask).forbid(*barrier)
    crf = LinearChainCRF(**{name: value.to(dtype) for name, value in potentials.items()}, mask=mask).forbid(*barrier)
    found = SpanProbabilities(labels, scheme)
    truth = [
        (b, span, probability)
        for b, length in enumerate(lengths)
        for span, probability in enumerated_spans(exact, labels, scheme, b, length).items()
    ]
    log_probabilities = found.log_probabilities(
        crf,
        torch.tensor([b for b, _, _ in truth]),
        torch.tensor([found.kinds.index(span.label) for _, span, _ in truth]),
        torch.tensor([span.start for _, span, _ in truth]),
        torch.tensor([span.end for _, span, _ in truth]),
    )
    assert (log_probabilities <= 0).all()
    for (b, span, probability), ours in zip(truth, log_probabilities.tolist(), strict=True):
        close = 1e-9 if dtype == torch.float64 else 3e-6
        assert math.exp(ours) == pytest.approx(probability, rel=10 * close, abs=close), (b, span)


def test_a_long_sentence_does_not_cost_precision():
    labels = labels_of("BIO", ("X",))
    potentials = random_potentials(3, 1, 300, len(labels), 4.0)
    exact, rounded = (
        LinearChainCRF(**{name: value.to(dtype) for name, value in potentials.items()})
        for dtype in (torch.float64, torch.float32)
    )
    spans = [torch.zeros(100, dtype=torch.long)] * 2 + [torch.arange(0, 300, 3), torch.arange(0, 300, 3) + 2]
    found = SpanProbabilities(labels, "BIO")
    torch.testing.assert_close(
        found.log_probabilities(rounded, *spans).exp().double(),
        found.log_probabilities(exact, *spans).exp(),
        rtol=2e-5,
        atol=1e-6,
    )


def test_many_spans_are_taken_in_parts(monkeypatch):
    labels = labels_of("IOB1", ("X",))
    crf = LinearChainCRF(**random_potentials(5, 2, 4, len(labels)))
    spans = [
        torch.tensor([0, 1] * 10),
        torch.zeros(20, dtype=torch.long),
        torch.arange(20) % 3,
        torch.arange(20) % 3 + 1,
    ]
    found = SpanProbabilities(labels, "IOB1")
    together = found.log_probabilities(crf, *spans)
    monkeypatch.setattr("structkd_plugin.crf.spans._MOST_NUMBERS", 40)
    torch.testing.assert_close(found.log_probabilities(crf, *spans), together)


def test_what_is_not_allowed_has_no_probability():
    crf = LinearChainCRF(torch.zeros(1, 2, 2), transitions=torch.tensor([[0.0, -math.inf], [0.0, 0.0]]))
    sentences = torch.zeros(3, dtype=torch.long)
    allowed = torch.tensor([[[1, 0], [0, 1]], [[1, 0], [1, 1]], [[1, 1], [1, 1]]], dtype=torch.bool)
    assert crf.log_prob_within(sentences, allowed).exp().tolist() == pytest.approx([0.0, 1 / 3, 1.0])
