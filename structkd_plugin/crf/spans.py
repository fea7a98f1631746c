"""The probability that a chain CRF gives to a span: exact, not a product of the words' marginals."""

from typing import Sequence

import torch

from structkd_plugin.crf.constraints import span_automaton, split_label


def span_log_probability(
    marginals: torch.Tensor,
    conditionals: torch.Tensor,
    labels: Sequence[str],
    scheme: str,
    kind: str,
    start: int,
    end: int,
) -> float:
    """
    log p(words start..end−1 are one span of type `kind`, neither shorter nor longer).

    A chain CRF is a Markov chain given the words. So the mass of all labellings with the span is that of its possible
    first labels, carried word by word through p(y_{t+1} | y_t) over the labels that stay within the span, less what
    would continue it.

    # Parameters

    marginals : `torch.Tensor`
        Shape (T, L), q_t(y) of the sentence.
    conditionals : `torch.Tensor`
        Shape (T−1, L, L), p(y_{t+1} | y_t) as [from, to].
    labels : `Sequence[str]`
        The L labels in index order.
    scheme : `str`
        The encoding the labels are in.
    start, end : `int`
        Words of the span, the end exclusive.

    # Returns

    `float` : nats, at most 0 up to rounding; −inf where no labelling has the span.
    """
    first, inner, last = span_automaton(labels, kind, scheme)
    single = [i for i, label in enumerate(labels) if split_label(label)[1] == kind and _single(label, scheme)]
    size = len(labels)
    # (L,): probability that the span begins here with that label
    mass = torch.zeros(size, dtype=marginals.dtype)
    beginning = single if end - start == 1 else first
    mass[beginning] = marginals[start, beginning]
    if scheme == "IOB1" and start > 0:
        # I-X begins a span only where no span of X lies right before it.
        same = [i for i, label in enumerate(labels) if split_label(label)[1] == kind]
        for label in beginning:
            if split_label(labels[label])[0] == "I":
                carried = marginals[start - 1, same] * conditionals[start - 1][same, label]
                mass[label] = mass[label] - carried.sum()
    for word in range(start + 1, end):
        reached = mass @ conditionals[word - 1]
        mass = torch.zeros_like(mass)
        staying = last if word == end - 1 else inner
        mass[staying] = reached[staying]
    if end < marginals.shape[0] and scheme in ("BIO", "IOB1"):
        # In the other schemes the last label says that the span is over.
        leaving = torch.ones(size, dtype=marginals.dtype)
        for label in range(size):
            leaving[label] = 1.0 - conditionals[end - 1][label, inner].sum()
        mass = mass * leaving.clamp(min=0.0)
    return float(mass.sum().clamp(min=0.0).log())


def _single(label: str, scheme: str) -> bool:
    """Whether the label can be the only word of a span."""
    prefix = split_label(label)[0]
    return prefix in {"BIO": "B", "IOB1": "BI", "BIOUL": "U", "BIOES": "S", "BMES": "S"}[scheme]
