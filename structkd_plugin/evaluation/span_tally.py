"""Counting sentences whose tags write spans."""

from collections import Counter
from typing import Callable, Container, Dict, List, Optional, Sequence, Tuple

import numpy as np

from structkd_plugin.evaluation.span_errors import same_stretch, span_errors
from structkd_plugin.evaluation.tally import Batch, Tally
from structkd_plugin.metrics.conlleval_spans import ConllevalSpans
from structkd_plugin.metrics.span_finder import FoundSpans, SpanFinder
from structkd_plugin.metrics.strict_spans import StrictSpans
from structkd_plugin.tag_schemes import OUTSIDE

# What counts as a span, by the name of the convention.
CONVENTIONS: Dict[str, Callable[[str], SpanFinder]] = {"strict": StrictSpans, "conlleval": ConllevalSpans}


class SpanTally(Tally):
    """
    Counts of spans.

    # Parameters

    scheme : `str`
        How tags write spans.
    convention : `str`
        One of `CONVENTIONS`.
    known_words : `Container[str]`, optional
        The words that were seen in training.
    known_entities : `Container[Tuple[str, ...]]`, optional
        The words of spans that were seen in training; decides instead of `known_words`.

    # Raises

    `ValueError` : if there is no such scheme.
    """

    metric = "f1"

    def __init__(
        self,
        scheme: str,
        convention: str,
        known_words: Optional[Container[str]],
        known_entities: Optional[Container[Tuple[str, ...]]],
    ) -> None:
        super().__init__(known_words)
        self.known_entities = known_entities
        if known_entities is not None:
            self.seen_by = "entities"
        self.errors: Counter[str] = Counter()
        # Sentences with words that are tagged, but are in no well-formed span.
        self.ill_formed_gold = 0
        self.ill_formed_predicted = 0
        self._finder: SpanFinder = CONVENTIONS[convention](scheme)
        self._strict: SpanFinder = self._finder if convention == "strict" else StrictSpans(scheme)

    def _numbers(self, tags: Sequence[str]) -> List[int]:
        return self._finder.numbers(tags)

    def _count(self, batch: Batch) -> np.ndarray:
        gold = self._finder.find(batch.gold, batch.lengths)
        predicted = self._finder.find(batch.predicted, batch.lengths)
        correct = predicted.among(gold)
        self._add_types(self._finder.labels, correct.labels, predicted.labels, gold.labels)
        self._add_confusion(gold, predicted)
        self.errors.update(span_errors(gold, predicted))
        self._add_entities(batch, gold)
        if self.seen_by is not None:
            self._add_seen(batch, correct, predicted, gold)
        # Numbers are given in the order in which tags are met, so that both finders give the same.
        self._strict.numbers(self._finder.tags)
        self.ill_formed_gold += self._ill_formed(batch, batch.gold)
        self.ill_formed_predicted += self._ill_formed(batch, batch.predicted)
        return np.stack([batch.by_sentence(spans.starts) for spans in (correct, predicted, gold)], axis=1)

    def _add_confusion(self, gold: FoundSpans, predicted: FoundSpans) -> None:
        """Count the labels of the same stretch; one that only one side has is `O` on the other."""
        names = [*self._finder.labels, OUTSIDE]
        size = len(names)
        mine, theirs = same_stretch(gold, predicted)
        guesses = np.full(len(gold.starts), size - 1)
        guesses[mine] = predicted.labels[theirs]
        spurious = np.delete(predicted.labels, theirs)
        pairs = np.concatenate([gold.labels * size + guesses, (size - 1) * size + spurious])
        for pair, number in zip(*(column.tolist() for column in np.unique(pairs, return_counts=True)), strict=True):
            self.confusion[names[pair // size], names[pair % size]] += number

    def _add_entities(self, batch: Batch, gold: FoundSpans) -> None:
        """Count the probabilities of predicted spans."""
        truths = set(zip(*(column.tolist() for column in gold), strict=True))
        number = {label: i for i, label in enumerate(self._finder.labels)}
        probabilities, right, languages = [], [], []
        offsets = (np.cumsum(batch.lengths) - batch.lengths).tolist()
        for sentence, offset, language in zip(batch.sentences, offsets, batch.language_of.tolist(), strict=True):
            for entity in sentence.entities or ():
                probabilities.append(entity.probability)
                right.append((offset + entity.start, offset + entity.end, number.get(entity.label)) in truths)
                languages.append(language)
        self.entity_reliability.add(
            np.array(probabilities, np.float64), np.array(right, bool), np.array(languages, np.int64)
        )

    def _add_seen(self, batch: Batch, correct: FoundSpans, predicted: FoundSpans, gold: FoundSpans) -> None:
        known_words = None if self.known_entities is not None else self._known(batch)
        for column, spans in enumerate((correct, predicted, gold)):
            stretches = zip(spans.starts.tolist(), spans.ends.tolist(), strict=True)
            for start, end in stretches:
                if known_words is not None:
                    known = bool(known_words[start:end].all())
                else:
                    known = tuple(batch.words[start:end]) in self.known_entities  # type: ignore[operator]
                self.seen[known][column] += 1

    def _ill_formed(self, batch: Batch, tags: np.ndarray) -> int:
        """How many sentences have a word that is tagged, but in no well-formed span."""
        spans = self._strict.find(tags, batch.lengths)
        covered = batch.by_sentence(spans.starts, spans.ends - spans.starts)
        (outside,) = self._strict.numbers([OUTSIDE])
        return int((batch.by_sentence(np.flatnonzero(tags != outside)) > covered).sum())
