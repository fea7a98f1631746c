"""A sentence with gold tags, and what a system says of it."""

from typing import NamedTuple, Optional, Tuple

from structkd_plugin.prediction.tagging import PredictedEntity
from structkd_plugin.readers.sentence import Sentence


class TaggedSentence(NamedTuple):
    """
    One sentence to evaluate.

    # Parameters

    gold : `Sentence`
        With tags.
    tags : `Tuple[str, ...]`
        The predicted ones, one for each word.
    tag_probabilities : `Optional[Tuple[float, ...]]`
        The probability of each of `tags`; `None` where the system gives none.
    entities : `Optional[Tuple[PredictedEntity, ...]]`
        The predicted spans with their probabilities; `None` where the system gives none.
    """

    gold: Sentence
    tags: Tuple[str, ...]
    tag_probabilities: Optional[Tuple[float, ...]] = None
    entities: Optional[Tuple[PredictedEntity, ...]] = None
