"""Random tagged sentences, mostly ill-formed, and what seqeval says of them."""

import warnings
from typing import List

from hypothesis import strategies as st
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import BILOU, IOB1, IOB2, IOBES

PREFIXES = {"BIO": "BI", "IOB1": "BI", "BIOUL": "BILU", "BIOES": "BIES", "BMES": "BMES"}
SEQEVAL_SCHEMES = {"BIO": IOB2, "IOB1": IOB1, "BIOUL": BILOU, "BIOES": IOBES, "BMES": IOBES}


def tags_in(scheme: str) -> st.SearchStrategy:
    return st.sampled_from(["O", *(f"{prefix}-{label}" for prefix in PREFIXES[scheme] for label in ("PER", "LOC"))])


@st.composite
def scored_sentences(draw, scheme: str):
    """Predicted tags, gold tags and languages of a few sentences."""
    predicted, gold, languages = [], [], []
    for _ in range(draw(st.integers(1, 6))):
        length = draw(st.integers(0, 8))
        words = st.lists(tags_in(scheme), min_size=length, max_size=length)
        gold.append(draw(words))
        predicted.append(draw(st.one_of(words, st.just(gold[-1]))))
        languages.append(draw(st.sampled_from(["de", "en"])))
    return predicted, gold, languages


def seqeval_scores(predicted: List[List[str]], gold: List[List[str]], scheme: str) -> dict:
    def renamed(sentences):
        if scheme != "BMES":
            return sentences
        return [["I" + tag[1:] if tag[0] == "M" else tag for tag in tags] for tags in sentences]

    options = {"mode": "strict", "scheme": SEQEVAL_SCHEMES[scheme], "average": "micro"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            name: float(function(renamed(gold), renamed(predicted), **options))
            for name, function in (("f1", f1_score), ("precision", precision_score), ("recall", recall_score))
        }
