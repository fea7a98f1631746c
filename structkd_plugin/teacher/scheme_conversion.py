"""
Which tags of a teacher's scheme the tags of another scheme stand for, where that keeps a linear chain a linear chain.

docs/mathematics.md, "A teacher of another scheme", says why it does for these pairs of schemes and no others.
"""

from functools import cache
from typing import Dict, NamedTuple, Optional, Sequence, Tuple

import torch

from structkd_plugin.tag_schemes import OUTSIDE, Span, first_violation, split_tag, tags_of


class WellFormed(NamedTuple):
    """What well-formed sequences of tags may do: boolean tables that are True where allowed."""

    transitions: torch.Tensor  # (L, L), [from, to]
    start: torch.Tensor  # (L,)
    end: torch.Tensor  # (L,)


def prefixes_of_target(source: str, target: str) -> Optional[Dict[str, str]]:
    """
    For each prefix of the scheme `target` the one that a word with it has in the scheme `source`.

    # Returns

    `Dict[str, str]`, optional : one-to-one where the schemes differ in letters alone; several to one where `target` is
        finer, such as BIOES for BIO; none where a word's tag in `target` does not say its tag in `source`, or where
        that takes the words around it, as in IOB1.
    """
    if source != target and "IOB1" in (source, target):
        return None
    prefixes: Dict[str, str] = {}
    for ours, theirs in zip(_prefixes_by_place(source), _prefixes_by_place(target), strict=True):
        if prefixes.setdefault(theirs, ours) != ours:
            return None
    return prefixes


def well_formed(labels: Sequence[str], scheme: str) -> WellFormed:
    """
    What follows what in some well-formed sequence of the scheme, begins one, and ends one.

    # Parameters

    labels : `Sequence[str]`
        The L labels in index order.
    scheme : `str`
        One of `tag_schemes.SCHEMES`, but not IOB1.

    # Raises

    `ValueError` : for labels that are not of the scheme.
    """
    tags = [split_tag(label, scheme) for label in labels]
    return WellFormed(
        torch.tensor(
            [[_occurs(scheme, (before, after), kind == other) for after, other in tags] for before, kind in tags]
        ),
        torch.tensor([_occurs(scheme, (prefix,), begins=True) for prefix, _ in tags]),
        torch.tensor([_occurs(scheme, (prefix,), ends=True) for prefix, _ in tags]),
    )


def _prefixes_by_place(scheme: str) -> Tuple[str, ...]:
    """The prefixes of the first, an inner, the last and the only word of a span."""
    return tuple(split_tag(tag, scheme)[0] for tag in tags_of([Span("X", 0, 3), Span("X", 3, 4)], 4, scheme))


@cache
def _occurs(
    scheme: str, prefixes: Tuple[str, ...], same_type: bool = True, begins: bool = False, ends: bool = False
) -> bool:
    """Whether tags with these one or two prefixes stand side by side in a well-formed sequence (at its edge)."""
    first, _, last, _ = _prefixes_by_place(scheme)
    types = ("X", "X" if same_type else "Y")
    tags = [prefix if prefix == OUTSIDE else f"{prefix}-{kind}" for prefix, kind in zip(prefixes, types, strict=False)]
    # What a span that is cut off lacks: its beginning, its end.
    before = [[]] if begins else [[], [f"{first}-X"]]
    after = [[]] if ends else [[], [f"{last}-{types[len(tags) - 1]}"]]
    return any(first_violation([*left, *tags, *right], scheme) is None for left in before for right in after)
