"""Predictions against gold tags: every figure, of sentences that are gone through once and not kept."""

from dataclasses import dataclass
from itertools import islice
from typing import AbstractSet, Any, Container, Dict, Iterable, List, NamedTuple, Optional, Tuple

import numpy as np
from allennlp.common.checks import ConfigurationError

from structkd_plugin.evaluation.score import Score, macro, total
from structkd_plugin.evaluation.sentence_counts import SentenceCounts
from structkd_plugin.evaluation.span_errors import KINDS
from structkd_plugin.evaluation.span_tally import CONVENTIONS, SpanTally
from structkd_plugin.evaluation.tagged_sentence import TaggedSentence
from structkd_plugin.evaluation.tally import Tally
from structkd_plugin.evaluation.word_tally import WordTally

# Sentences that are counted at once.
_WINDOW = 2048
# The longest sentence of each bin of lengths but the last, in words.
_LONGEST = (5, 10, 20, 40)


class SentenceGroup(NamedTuple):
    """Some of the sentences."""

    sentences: int
    words: int
    score: Score

    def to_json(self) -> Dict[str, Any]:
        """Its size and its figures."""
        return {**self.score.to_json(), "sentences": self.sentences, "words": self.words}


class LengthBin(NamedTuple):
    """The sentences of some lengths, in words; no `longest` for all that are longer."""

    shortest: int
    longest: Optional[int]
    group: SentenceGroup


class LanguageGroup(NamedTuple):
    """Languages that were trained on, or that were not."""

    languages: Tuple[str, ...]
    score: Score
    macro: Optional[float]


@dataclass(frozen=True)
class Evaluation:
    """
    How good predictions are. Scores are fractions of 1, `None` where there is nothing to divide by.

    # Parameters

    metric : `str`
        `accuracy` of words, or `f1` of spans.
    convention : `Optional[str]`
        What counts as a span: `strict` or `conlleval`; `None` for accuracy.
    label_encoding : `Optional[str]`
        How tags write spans; `None` for accuracy.
    sentence_counts : `SentenceCounts`
        Of every sentence, in their order.
    languages : `Dict[str, SentenceGroup]`
        In alphabetical order.
    trained_languages : `Optional[AbstractSet[str]]`
        What the system was trained on, where it is known.
    types : `Dict[str, Score]`
        F1 of each label, in alphabetical order.
    seen : `Optional[Dict[bool, Score]]`
        Of words or spans that were seen in training, and of those that were not.
    seen_by : `Optional[str]`
        What is seen: `words` or `entities`.
    lengths : `List[LengthBin]`
        Sentences by their lengths.
    confusion : `List[Tuple[str, str, int]]`
        Gold label, predicted label and how many words; or how many stretches of words that are a span on one side at
        least, `O` where on the other side there is none.
    span_errors : `Optional[Dict[str, int]]`
        How many spans are of each of `span_errors.KINDS`; `None` for accuracy.
    ill_formed : `Optional[Dict[str, int]]`
        How many sentences' `predicted` and `gold` tags break the scheme; `None` for accuracy.
    calibration : `Optional[Dict[str, Any]]`
        As `to_json` has it.
    tag_accuracy : `Optional[float]`
        The share of words with the right tag.
    notes : `List[str]`
        What a reader of the figures has to know.
    """

    metric: str
    convention: Optional[str]
    label_encoding: Optional[str]
    sentence_counts: SentenceCounts
    languages: Dict[str, SentenceGroup]
    trained_languages: Optional[AbstractSet[str]]
    types: Dict[str, Score]
    seen: Optional[Dict[bool, Score]]
    seen_by: Optional[str]
    lengths: List[LengthBin]
    confusion: List[Tuple[str, str, int]]
    span_errors: Optional[Dict[str, int]]
    ill_formed: Optional[Dict[str, int]]
    calibration: Optional[Dict[str, Any]]
    tag_accuracy: Optional[float]
    notes: List[str]

    @property
    def overall(self) -> SentenceGroup:
        """All sentences; the score is the micro-average."""
        groups = self.languages.values()
        return SentenceGroup(
            sum(group.sentences for group in groups),
            sum(group.words for group in groups),
            total(self.metric, (group.score for group in groups)),
        )

    @property
    def macro(self) -> Optional[float]:
        """The mean over the languages whose score is defined."""
        return macro(group.score for group in self.languages.values())

    @property
    def scores(self) -> Dict[str, float]:
        """Names and values of `allennlp evaluate`, which has 0 where a score is undefined."""
        if not self.languages:
            return {}
        overall = self.overall.score
        found = {language: group.score.value for language, group in self.languages.items()}
        found.update(macro=self.macro, micro=overall.value)
        scores = {f"{self.metric}/{name}": value or 0.0 for name, value in found.items()}
        if self.metric == "f1":
            scores.update({"precision/micro": overall.precision or 0.0, "recall/micro": overall.recall or 0.0})
        return scores

    @property
    def groups(self) -> Optional[Dict[str, LanguageGroup]]:
        """The languages that were trained on and the others, apart; `None` where it is not known which are which."""
        if self.trained_languages is None:
            return None
        found = {}
        for name, trained in (("trained", True), ("zero_shot", False)):
            languages = tuple(one for one in self.languages if (one in self.trained_languages) == trained)
            scores = [self.languages[language].score for language in languages]
            found[name] = LanguageGroup(languages, total(self.metric, scores), macro(scores))
        return found

    def zero_shot(self, language: str) -> Optional[bool]:
        """Whether a language is none that was trained on; `None` where that is not known."""
        return None if self.trained_languages is None else language not in self.trained_languages

    def to_json(self) -> Dict[str, Any]:
        """Every figure by name, as docs/evaluation.md describes them; what is undefined is `None`."""
        groups = self.groups
        seen = None
        if self.seen is not None:
            seen = {"by": self.seen_by, "seen": self.seen[True].to_json(), "unseen": self.seen[False].to_json()}
        return {
            "metric": self.metric,
            "convention": self.convention,
            "label_encoding": self.label_encoding,
            "scores": self.scores,
            "overall": {
                **self.overall.to_json(),
                "macro": self.macro,
                "tag_accuracy": self.tag_accuracy,
                "note": self.overall.score.note,
            },
            "languages": {
                language: {**group.to_json(), "zero_shot": self.zero_shot(language), "note": group.score.note}
                for language, group in self.languages.items()
            },
            "groups": None
            if groups is None
            else {
                name: {"languages": list(group.languages), "macro": group.macro, **group.score.to_json()}
                for name, group in groups.items()
            },
            "types": {label: score.to_json() for label, score in self.types.items()},
            "seen": seen,
            "lengths": [
                {"from": length.shortest, "to": length.longest, **length.group.to_json()} for length in self.lengths
            ],
            "confusion": [list(row) for row in self.confusion],
            "span_errors": self.span_errors,
            "ill_formed": self.ill_formed,
            "calibration": self.calibration,
            "notes": self.notes,
        }


def evaluate(
    tagged: Iterable[TaggedSentence],
    label_encoding: Optional[str],
    *,
    trained_languages: Optional[AbstractSet[str]] = None,
    known_words: Optional[Container[str]] = None,
    known_entities: Optional[Container[Tuple[str, ...]]] = None,
    convention: str = "strict",
) -> Evaluation:
    """
    Every figure of an evaluation.

    # Parameters

    tagged : `Iterable[TaggedSentence]`
        Gone through once; kept are a few numbers of each sentence.
    label_encoding : `Optional[str]`
        How tags write spans, see `structkd_plugin.tag_schemes`; `None` where every word has a label of its own.
    trained_languages : `AbstractSet[str]`, optional
        The languages that the system was trained on.
    known_words : `Container[str]`, optional
        The words that were seen in training.
    known_entities : `Container[Tuple[str, ...]]`, optional
        The spans that were seen in training, each as its words; without them, a span counts as seen where all its
        words are known.
    convention : `str`, optional (default = "strict")
        What counts as a span in ill-formed tags, "strict" as in seqeval, or "conlleval".

    # Raises

    `ConfigurationError` : for an unknown convention or encoding, and for a sentence that cannot be evaluated.
    """
    if convention not in CONVENTIONS:
        raise ConfigurationError(f"there is no convention {convention!r}; choose {' or '.join(CONVENTIONS)}")
    tally: Tally
    if label_encoding is None:
        tally = WordTally(known_words)
    else:
        try:
            tally = SpanTally(label_encoding, convention, known_words, known_entities)
        except ValueError as error:
            raise ConfigurationError(str(error)) from error
    remaining = iter(tagged)
    while window := list(islice(remaining, _WINDOW)):
        tally.add(window)
    return _evaluation(tally, label_encoding, convention, trained_languages)


def _evaluation(
    tally: Tally, label_encoding: Optional[str], convention: str, trained_languages: Optional[AbstractSet[str]]
) -> Evaluation:
    counts, lengths = tally.sentence_counts, tally.lengths
    spans = tally if isinstance(tally, SpanTally) else None
    metric = tally.metric

    def group(which: np.ndarray) -> SentenceGroup:
        return SentenceGroup(
            int(which.sum()), int(lengths[which].sum()), Score(metric, tuple(counts.counts[which].sum(0).tolist()))
        )

    # (S,): of each sentence, the index of its bin
    bin_of = np.searchsorted(_LONGEST, lengths)
    token, entity = (
        reliability.to_json(tally.language_names) for reliability in (tally.tag_reliability, tally.entity_reliability)
    )
    evaluation = Evaluation(
        metric=metric,
        convention=convention if spans else None,
        label_encoding=label_encoding,
        sentence_counts=counts,
        languages={language: group(counts.language_of == i) for i, language in enumerate(counts.languages)},
        trained_languages=trained_languages,
        types={label: Score("f1", tuple(tally.types[label].tolist())) for label in sorted(tally.types)},
        seen=None
        if tally.seen_by is None
        else {known: Score(metric, tuple(tally.seen[known].tolist())) for known in (True, False)},
        seen_by=tally.seen_by,
        lengths=[
            LengthBin(shortest, longest, group(bin_of == i))
            for i, (shortest, longest) in enumerate(
                zip((1, *(length + 1 for length in _LONGEST)), (*_LONGEST, None), strict=True)
            )
        ],
        confusion=sorted(
            ((gold, predicted, number) for (gold, predicted), number in tally.confusion.items()),
            key=lambda row: (-row[2], row[0], row[1]),
        ),
        span_errors=None if spans is None else {kind: spans.errors[kind] for kind in KINDS},
        ill_formed=None if spans is None else {"predicted": spans.ill_formed_predicted, "gold": spans.ill_formed_gold},
        calibration=None if token is None and entity is None else {"token": token, "entity": entity},
        tag_accuracy=tally.right_tags / int(lengths.sum()) if lengths.sum() else None,
        notes=[],
    )
    evaluation.notes.extend(_notes(evaluation, tally))
    return evaluation


def _notes(evaluation: Evaluation, tally: Tally) -> List[str]:
    """What a reader of the figures has to know."""
    sentences = evaluation.overall.sentences
    if not sentences:
        return ["there are no sentences, so that no figure is defined"]
    notes = [f"{language}: {group.score.note}" for language, group in evaluation.languages.items() if group.score.note]
    undefined = [language for language, group in evaluation.languages.items() if group.score.value is None]
    if undefined and len(undefined) < len(evaluation.languages):
        notes.append(f"the macro-average leaves out {', '.join(undefined)}")
    absent = sorted(set(evaluation.trained_languages or ()) - set(evaluation.languages))
    if absent:
        notes.append(f"languages that were trained on but have no sentences here: {', '.join(absent)}")
    for side, number in (evaluation.ill_formed or {}).items():
        if number:
            does = (
                "words whose tags break the scheme are in no span"
                if evaluation.convention == "strict"
                else "every tagged word is in a span, whether or not its tag breaks the scheme"
            )
            notes.append(
                f"the {side} tags of {number:,} of {sentences:,} sentences are ill-formed {evaluation.label_encoding}; "
                f"by the convention {evaluation.convention}, {does}"
            )
    if evaluation.calibration is not None and tally.without_probabilities:
        notes.append(
            f"calibration is of the {sentences - tally.without_probabilities:,} of {sentences:,} sentences that have "
            "probabilities"
        )
    return notes
