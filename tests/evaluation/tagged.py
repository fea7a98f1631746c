"""Random tagged sentences, mostly ill-formed."""

import random
from typing import List, Optional, Sequence

from hypothesis import strategies as st

from structkd_plugin.evaluation.tagged_sentence import TaggedSentence
from structkd_plugin.readers.sentence import Sentence
from tests.metrics.sentences import tags_in

UPOS = ("NOUN", "VERB", "DET", "X")


def tagged(
    gold: Sequence[str], predicted: Sequence[str], language: str = "en", words: Optional[Sequence[str]] = None
) -> TaggedSentence:
    words = words or [f"w{i}" for i in range(len(gold))]
    return TaggedSentence(Sentence(tuple(words), tuple(gold), language, "gold", 1), tuple(predicted))


@st.composite
def tagged_sentences(draw, scheme: Optional[str], most: int = 6) -> List[TaggedSentence]:
    """Sentences of two languages with few different words; `scheme` none for parts of speech."""
    tag = st.sampled_from(UPOS) if scheme is None else tags_in(scheme)
    found = []
    for _ in range(draw(st.integers(1, most))):
        length = draw(st.integers(1, 9))
        tags = st.lists(tag, min_size=length, max_size=length)
        gold = draw(tags)
        # Partly right, as predictions are.
        predicted = [draw(tag) if draw(st.integers(0, 3)) == 0 else one for one in gold]
        words = draw(st.lists(st.sampled_from("abcdef"), min_size=length, max_size=length))
        found.append(tagged(gold, predicted, draw(st.sampled_from(["de", "en"])), words))
    return found


def many(number: int, scheme: Optional[str], seed: int = 0) -> List[TaggedSentence]:
    """As many sentences, without hypothesis, where there are to be many."""
    draw = random.Random(seed)
    tags = UPOS if scheme is None else ("O", "O", "O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    found = []
    for _ in range(number):
        gold = [draw.choice(tags) for _ in range(draw.randint(1, 50))]
        predicted = [tag if draw.random() < 0.8 else draw.choice(tags) for tag in gold]
        words = [f"w{draw.randint(0, 99)}" for _ in gold]
        found.append(tagged(gold, predicted, draw.choice(["de", "en", "es"]), words))
    return found
