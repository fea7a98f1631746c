"""Which schemes can be told in which, and what their well-formed sequences allow."""

from itertools import product
from typing import Dict

import pytest

from structkd_plugin.crf import chain_constraints
from structkd_plugin.tag_schemes import SCHEMES, convert, first_violation
from structkd_plugin.teacher.scheme_conversion import prefixes_of_target, well_formed

LETTERS = {"BIO": "BI", "IOB1": "BI", "BIOUL": "BILU", "BIOES": "BIES", "BMES": "BMES"}
FROM_BIO = {
    "BIOUL": {"B": "B", "I": "I", "L": "I", "U": "B"},
    "BIOES": {"B": "B", "I": "I", "E": "I", "S": "B"},
    "BMES": {"B": "B", "M": "I", "E": "I", "S": "B"},
}


@pytest.mark.parametrize("target", FROM_BIO)
def test_a_finer_scheme(target: str) -> None:
    assert prefixes_of_target("BIO", target) == FROM_BIO[target]


@pytest.mark.parametrize(("source", "target"), list(product(SCHEMES, SCHEMES)))
def test_a_prefix_is_what_every_word_with_it_has(source: str, target: str) -> None:
    """By converting all sequences of four words: given where a prefix says the other scheme's, and only there."""
    labels = ["O", *(f"{letter}-{kind}" for letter in LETTERS[source] for kind in "XY")]
    seen: Dict[str, set] = {}
    for tags in product(labels, repeat=4):
        if first_violation(tags, source) is None:
            for ours, theirs in zip(tags, convert(tags, source, target), strict=True):
                if theirs != "O":
                    seen.setdefault(theirs[0], set()).add(ours[0])
    told = all(len(letters) == 1 for letters in seen.values())
    found = prefixes_of_target(source, target)
    assert found == ({theirs: ours.pop() for theirs, ours in seen.items()} if told else None)


@pytest.mark.parametrize("scheme", ["BIO", "BIOUL", "BIOES", "BMES"])
@pytest.mark.parametrize("types", [["X"], ["LOC", "B", "I-X"]], ids=len)
def test_the_rules_are_those_of_the_constraints(scheme: str, types: list) -> None:
    labels = [*(f"{letter}-{kind}" for kind in types for letter in LETTERS[scheme]), "O"]
    for table, allowed in zip(well_formed(labels, scheme), chain_constraints(labels, scheme), strict=True):
        assert table.tolist() == allowed.tolist()
