"""Counting sentences in which every word has a label of its own."""

from typing import Container, Dict, List, Optional, Sequence

import numpy as np

from structkd_plugin.evaluation.tally import Batch, Tally


class WordTally(Tally):
    """Counts of words with the right label."""

    metric = "accuracy"

    def __init__(self, known_words: Optional[Container[str]]) -> None:
        super().__init__(known_words)
        self._tags: Dict[str, int] = {}

    def _numbers(self, tags: Sequence[str]) -> List[int]:
        known = self._tags
        return [known.setdefault(tag, len(known)) for tag in tags]

    def _count(self, batch: Batch) -> np.ndarray:
        right = batch.gold == batch.predicted
        labels = list(self._tags)
        self._add_types(labels, batch.gold[right], batch.predicted, batch.gold)
        pairs, numbers = np.unique(batch.gold * len(labels) + batch.predicted, return_counts=True)
        for pair, number in zip(pairs.tolist(), numbers.tolist(), strict=True):
            self.confusion[labels[pair // len(labels)], labels[pair % len(labels)]] += number
        if self.known_words is not None:
            known = self._known(batch)
            for seen in (True, False):
                of_these = known == seen
                self.seen[seen] += np.array([(right & of_these).sum(), of_these.sum()])
        return np.stack([batch.by_sentence(np.flatnonzero(right)), batch.lengths], axis=1)
