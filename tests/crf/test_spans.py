"""The probability of a span against the sum over all labellings that have it."""

import itertools
import math

import pytest
import torch

from structkd_plugin.crf import LinearChainCRF, chain_constraints
from structkd_plugin.crf.constraints import SCHEMES
from structkd_plugin.crf.spans import span_log_probability
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
