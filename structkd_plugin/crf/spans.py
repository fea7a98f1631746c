"""The probability that a chain CRF gives to a span: exact, not a product of the words' marginals."""

from typing import List, Sequence

import torch

from structkd_plugin.crf.constraints import span_automaton, split_label
from structkd_plugin.crf.linear_chain import LinearChainCRF

# What a word may be, seen from a span: an index into the second dimension of `SpanProbabilities._allowed`.
_ANYTHING, _FIRST, _INNER, _LAST, _ONLY, _BEHIND, _OPENING, _OTHER, _CONTINUING = range(9)
# Numbers in the largest tensor that is made for the spans of a batch; more spans are taken one part after another.
_MOST_NUMBERS = 1 << 24


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


class SpanProbabilities:
    """
    log p(words start..end−1 are one span of type `kind`, neither shorter nor longer), of many spans at once.

    The forward algorithm over only those labellings that have the span: the words of the span may have the labels that
    write it, the word behind it none that would continue it. What that leaves of the partition function, over all of
    it, is the probability.

    # Parameters

    labels : `Sequence[str]`
        The L labels in index order.
    scheme : `str`
        The encoding the labels are in.
    """

    def __init__(self, labels: Sequence[str], scheme: str) -> None:
        self._touching = scheme == "IOB1"
        self.kinds: List[str] = sorted({split_label(label)[1] for label in labels} - {""})
        # (number of kinds, what a word may be, L)
        self._allowed = torch.zeros((len(self.kinds), _CONTINUING + 1, len(labels)), dtype=torch.bool)
        for kind, table in zip(self.kinds, self._allowed, strict=True):
            first, inner, last = span_automaton(labels, kind, scheme)
            same = [i for i, label in enumerate(labels) if split_label(label)[1] == kind]
            table[_ANYTHING] = table[_BEHIND] = table[_OTHER] = True
            table[_FIRST, first] = table[_INNER, inner] = table[_LAST, last] = True
            table[_ONLY, [i for i in same if _single(labels[i], scheme)]] = True
            if scheme in ("BIO", "IOB1"):
                # In the other schemes the last label says that the span is over.
                table[_BEHIND, inner] = False
            table[_OTHER, same] = False
            table[_OPENING, [i for i in same if split_label(labels[i])[0] == "B"]] = True
            table[_CONTINUING, [i for i in same if split_label(labels[i])[0] == "I"]] = True

    def log_probabilities(
        self,
        distribution: LinearChainCRF,
        sentences: torch.Tensor,
        kinds: torch.Tensor,
        starts: torch.Tensor,
        ends: torch.Tensor,
    ) -> torch.Tensor:
        """
        The log-probabilities of S spans of a batch.

        # Parameters

        distribution : `LinearChainCRF`
            Of B sentences, the words of each before what its mask leaves out.
        sentences, kinds : `torch.Tensor`
            Shape (S,), int64: of each span, the sentence in the batch, and an index into `kinds`.
        starts, ends : `torch.Tensor`
            Shape (S,), int64: its words, the end exclusive.

        # Returns

        `torch.Tensor` : shape (S,), nats, at most 0; −inf where no labelling has the span.
        """
        _, words, size = distribution.shape
        found = []
        step = max(1, _MOST_NUMBERS // max(1, words * size))
        for begin in range(0, len(sentences), step):
            part = slice(begin, begin + step)
            one, kind = sentences[part], kinds[part]
            # (S, T): what each word may be
            place = torch.arange(words, device=starts.device).unsqueeze(0)
            start, end = starts[part].unsqueeze(1), ends[part].unsqueeze(1)
            roles = torch.where((place > start) & (place < end - 1), _INNER, _ANYTHING)
            roles = torch.where(place == end - 1, _LAST, roles)
            roles = torch.where(place == end, _BEHIND, roles)
            if not self._touching:
                roles = torch.where(place == start, torch.where(end - start == 1, _ONLY, _FIRST), roles)
                found.append(self._log_prob(distribution, one, kind, roles))
                continue
            # I-X begins a span only where no span of X lies right before it, B-X anywhere the constraints let it.
            opened = torch.where(place == start, _OPENING, roles)
            alone = torch.where(place == start, _CONTINUING, torch.where(place == start - 1, _OTHER, roles))
            found.append(
                torch.logaddexp(
                    self._log_prob(distribution, one, kind, opened), self._log_prob(distribution, one, kind, alone)
                ).clamp(max=0.0)
            )
        return torch.cat(found)

    def _log_prob(
        self, distribution: LinearChainCRF, sentences: torch.Tensor, kinds: torch.Tensor, roles: torch.Tensor
    ) -> torch.Tensor:
        allowed = self._allowed.to(kinds.device)[kinds.unsqueeze(1), roles]
        return distribution.log_prob_within(sentences, allowed)


def _single(label: str, scheme: str) -> bool:
    """Whether the label can be the only word of a span."""
    prefix = split_label(label)[0]
    return prefix in {"BIO": "B", "IOB1": "BI", "BIOUL": "U", "BIOES": "S", "BMES": "S"}[scheme]
