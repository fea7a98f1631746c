"""
Which label may follow which, in every scheme that writes spans as one label per word.

A label is `O`, or a prefix, a hyphen and a type: `B-PER`. The prefix says where in its span the word lies.
"""

from typing import Dict, List, NamedTuple, Sequence, Tuple

import torch


class _Prefixes(NamedTuple):
    """What the prefixes of a scheme mean, as strings of letters."""

    letters: str
    starts: str  # may begin a span after O, after a finished span, or at the sentence's beginning
    continues: Dict[str, str]  # prefix -> prefixes that may follow it within the same span
    ends: str  # may be the last word of a span


_SCHEMES: Dict[str, _Prefixes] = {
    "BIO": _Prefixes("BI", "B", {"B": "I", "I": "I"}, "BI"),
    # B continues nothing, but may only stand right after a span of the same type: handled where pairs are judged.
    "IOB1": _Prefixes("BI", "I", {"B": "I", "I": "I"}, "BI"),
    "BIOUL": _Prefixes("BILU", "BU", {"B": "IL", "I": "IL"}, "LU"),
    "BIOES": _Prefixes("BIES", "BS", {"B": "IE", "I": "IE"}, "ES"),
    "BMES": _Prefixes("BMES", "BS", {"B": "ME", "M": "ME"}, "ES"),
}

SCHEMES: Tuple[str, ...] = tuple(_SCHEMES)


class ChainConstraints(NamedTuple):
    """What a chain may do: boolean tables that are True where allowed."""

    transitions: torch.Tensor  # (L, L), [from, to]
    start: torch.Tensor  # (L,)
    end: torch.Tensor  # (L,)


def split_label(label: str) -> Tuple[str, str]:
    """`"B-PER"` as `("B", "PER")`, `"O"` as `("O", "")`."""
    prefix, _, kind = label.partition("-")
    return prefix, kind


def chain_constraints(labels: Sequence[str], scheme: str) -> ChainConstraints:
    """
    The transitions, first and last labels that `scheme` allows.

    # Parameters

    labels : `Sequence[str]`
        The L labels in index order, such as `["O", "B-PER", "I-PER"]`.
    scheme : `str`
        One of `SCHEMES`.

    # Returns

    `ChainConstraints` : boolean tables of shapes (L, L), (L,), (L,).

    # Raises

    `ValueError` : for an unknown scheme, or labels that are not of it.
    """
    if scheme not in _SCHEMES:
        raise ValueError(f"unknown label encoding {scheme!r}; choose one of {', '.join(SCHEMES)}")
    prefixes = _SCHEMES[scheme]
    for label in labels:
        prefix, kind = split_label(label)
        if label != "O" and (not kind or prefix not in prefixes.letters):
            raise ValueError(
                f"label {label!r} is not of the encoding {scheme}, whose labels are O and "
                f"{', '.join(letter + '-TYPE' for letter in prefixes.letters)}; "
                "declare the encoding the labels are in, or convert them when reading"
            )
    size = len(labels)
    allowed = torch.zeros((size, size), dtype=torch.bool)
    for i, source in enumerate(labels):
        for j, target in enumerate(labels):
            allowed[i, j] = _may_follow(source, target, prefixes, scheme)
    start = torch.tensor([label == "O" or split_label(label)[0] in prefixes.starts for label in labels])
    end = torch.tensor([label == "O" or split_label(label)[0] in prefixes.ends for label in labels])
    return ChainConstraints(allowed, start, end)


def _may_follow(source: str, target: str, prefixes: _Prefixes, scheme: str) -> bool:
    (before, before_kind), (after, after_kind) = split_label(source), split_label(target)
    if before != "O" and after != "O" and before_kind == after_kind and after in prefixes.continues.get(before, ""):
        return True
    if before != "O" and before not in prefixes.ends:
        return False
    if scheme == "IOB1" and after == "B":
        return before != "O" and before_kind == after_kind
    return after == "O" or after in prefixes.starts


def span_automaton(labels: Sequence[str], kind: str, scheme: str) -> Tuple[List[int], List[int], List[int]]:
    """
    The labels that can be the first, an inner and the last word of a span of type `kind` of at least two words.

    # Returns

    `Tuple[List[int], List[int], List[int]]` : label indices; first, continuing (not last), continuing as the last word.
    """
    prefixes = _SCHEMES[scheme]
    first, inner, last = [], [], []
    for index, label in enumerate(labels):
        prefix, label_kind = split_label(label)
        if label == "O" or label_kind != kind:
            continue
        if prefix in prefixes.continues and (prefix in prefixes.starts or prefix == "B"):
            first.append(index)
        if any(prefix in following for following in prefixes.continues.values()):
            if prefix in prefixes.continues:
                inner.append(index)
            if prefix in prefixes.ends:
                last.append(index)
    return first, inner, last
