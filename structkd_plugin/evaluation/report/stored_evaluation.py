"""The JSON of an evaluation, read back."""

import json
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

import numpy as np
from allennlp.common.checks import ConfigurationError

from structkd_plugin.evaluation.sentence_counts import COLUMNS, SentenceCounts

FILE = "evaluation.json"


@dataclass(frozen=True)
class StoredEvaluation:
    """
    What `allennlp score --output` wrote, or would.

    # Parameters

    metric : `str`
        `accuracy` or `f1`.
    convention : `Optional[str]`
        How spans were compared.
    macro, micro : `Optional[float]`
        The mean over languages, and the metric of all words or spans alike; none where it is not defined.
    languages : `Mapping[str, Mapping[str, Any]]`
        Counts and figures of each language.
    types : `Mapping[str, Mapping[str, Any]]`
        The same of each type of span, or of each label.
    seen : `Optional[Mapping[str, Mapping[str, Any]]]`
        The same of what was `seen` in training, and of what was `unseen`.
    seen_by : `Optional[str]`
        What decides on it: `words` or `entities`.
    lengths : `Tuple[Mapping[str, Any], ...]`
        The same of sentences of so many words: `from`, `to` (`None` is no bound).
    confusion : `Mapping[Tuple[str, str], int]`
        Words by gold and predicted label.
    calibration : `Mapping[str, Mapping[str, Any]]`
        Of `token`, and of `entity` where there is one: `ece`, and `rows` of bins.
    sentence_counts : `Optional[SentenceCounts]`
        Of each sentence, for intervals.
    words_per_second : `Optional[float]`
        How fast the sentences were tagged, where that was measured.
    """

    metric: str
    convention: Optional[str]
    macro: Optional[float]
    micro: Optional[float]
    languages: Mapping[str, Mapping[str, Any]]
    types: Mapping[str, Mapping[str, Any]]
    seen: Optional[Mapping[str, Mapping[str, Any]]]
    seen_by: Optional[str]
    lengths: Tuple[Mapping[str, Any], ...]
    confusion: Mapping[Tuple[str, str], int]
    calibration: Mapping[str, Mapping[str, Any]]
    sentence_counts: Optional[SentenceCounts]
    words_per_second: Optional[float] = None

    def figure(self, row: Mapping[str, Any]) -> Optional[float]:
        """The metric in one of the rows above; none where it is not defined. Labels of words have their F1."""
        value = row.get(self.metric) if self.metric in row else row.get("f1")
        return None if value is None else float(value)


def read_evaluation(path: str) -> StoredEvaluation:
    """
    The evaluation in a file.

    # Raises

    `ConfigurationError` : for a file that is cut, or is none of `allennlp score`.
    """
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None
    return parse_evaluation(record, path)


def parse_evaluation(record: Any, where: str) -> StoredEvaluation:
    """
    What `Evaluation.to_json` gives, with `per_sentence` where there is one.

    # Raises

    `ConfigurationError` : for anything else, naming what is wrong with it.
    """
    try:
        return _parsed(record)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise ConfigurationError(
            f"{where} is not an evaluation that `allennlp score --output` wrote: {reason}"
        ) from None


def _parsed(record: Any) -> StoredEvaluation:
    metric = record["metric"]
    if metric not in COLUMNS:
        raise ValueError(f"its metric is {metric!r}, none of {', '.join(sorted(COLUMNS))}")
    seen = record.get("seen")
    calibration = {
        what: {"ece": float(found["ece"]), "rows": [_bin(row) for row in found["rows"]]}
        for what, found in (record.get("calibration") or {}).items()
        if found
    }
    words_per_second = record.get("words_per_second")
    return StoredEvaluation(
        metric=metric,
        convention=record.get("convention"),
        macro=_average(record, metric, "macro", "macro"),
        micro=_average(record, metric, "micro", metric),
        languages=_rows(record["languages"]),
        types=_rows(record.get("types") or {}),
        seen=None if seen is None else _rows({name: seen[name] for name in ("seen", "unseen")}),
        seen_by=None if seen is None else seen.get("by"),
        lengths=tuple(dict(row) for row in record.get("lengths") or ()),
        confusion={(str(gold), str(guess)): int(words) for gold, guess, words in record.get("confusion") or ()},
        calibration=calibration,
        sentence_counts=_sentence_counts(metric, record.get("per_sentence")),
        words_per_second=None if words_per_second is None else float(words_per_second),
    )


def _average(record: Mapping[str, Any], metric: str, average: str, name: str) -> Optional[float]:
    """Of `overall`, where what is not defined is none; without it of `scores`, which have 0 there."""
    overall = record.get("overall")
    value = record["scores"].get(f"{metric}/{average}") if overall is None else overall[name]
    return None if value is None else float(value)


def _rows(rows: Mapping[str, Any]) -> Dict[str, Dict[str, Any]]:
    return {str(key): dict(row) for key, row in rows.items()}


def _bin(row: Mapping[str, Any]) -> Dict[str, float]:
    return {name: float(row[name]) for name in ("from", "to", "words", "probability", "right")}


def _sentence_counts(metric: str, record: Optional[Mapping[str, Any]]) -> Optional[SentenceCounts]:
    if record is None:
        return None
    languages: List[str] = [str(language) for language in record["languages"]]
    language_of = np.array(record["language_of"], np.int64)
    counts = np.array(record["counts"], np.int64).reshape(-1, len(COLUMNS[metric]))
    if language_of.shape != (len(counts),):
        raise ValueError(f"per_sentence has {len(counts)} rows of counts for {language_of.size} sentences")
    if language_of.size and not (language_of.min() >= 0 and language_of.max() < len(languages)):
        raise ValueError("per_sentence names a language that it has not")
    return SentenceCounts(metric, tuple(languages), language_of, counts)
