"""What a tagger says of a sentence."""

from typing import NamedTuple, Optional, Tuple

import numpy as np


class PredictedEntity(NamedTuple):
    """A span of words, `end` exclusive, and the probability that exactly this span with this label is one."""

    label: str
    start: int
    end: int
    probability: float


class RankedTags(NamedTuple):
    """One of the most probable taggings of a sentence."""

    tags: Tuple[str, ...]
    probability: float


class Tagging(NamedTuple):
    """
    What a tagger says of one sentence of T words.

    # Parameters

    tags : `Tuple[str, ...]`
        The most probable tagging, one tag for each word.
    tag_probabilities : `Tuple[float, ...]`
        The marginal probability of each of `tags`.
    entities : `Optional[Tuple[PredictedEntity, ...]]`
        The spans that `tags` write, from left to right; `None` where tags write no spans.
    label_probabilities : `Optional[numpy.ndarray]`
        Shape (T, L), float32: the marginal probability of every label; where it was asked for.
    k_best : `Tuple[RankedTags, ...]`
        The K most probable taggings, best first, or as many as there are; empty where none was asked for.
    """

    tags: Tuple[str, ...]
    tag_probabilities: Tuple[float, ...]
    entities: Optional[Tuple[PredictedEntity, ...]]
    label_probabilities: Optional[np.ndarray] = None
    k_best: Tuple[RankedTags, ...] = ()
