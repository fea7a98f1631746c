"""What a comparison needs to know of a system: read from what an evaluation wrote, or evaluated now."""

import json
from pathlib import Path
from typing import Any, Dict, FrozenSet, NamedTuple, Optional, Sequence

import numpy as np
from allennlp.common.checks import ConfigurationError

from structkd_plugin.evaluation.evaluation import evaluate
from structkd_plugin.evaluation.sentence_counts import COLUMNS, SentenceCounts
from structkd_plugin.evaluation.systems import is_archive, open_system
from structkd_plugin.readers.source import Source

# What `allennlp score RUN FILES --output RUN/evaluation.json` writes.
EVALUATION_FILE = "evaluation.json"


class EvaluatedSystem(NamedTuple):
    """
    One system, or one run of a method, on some sentences.

    # Parameters

    path : `str`
        Where it comes from.
    counts : `SentenceCounts`
    convention : `Optional[str]`
        Which spans were counted, `strict` or `conlleval`; `None` for `accuracy`.
    trained_languages : `Optional[FrozenSet[str]]`
        Those it was trained in, as far as it has sentences of them; `None` if that is not known.
    """

    path: str
    counts: SentenceCounts
    convention: Optional[str]
    trained_languages: Optional[FrozenSet[str]]


def read_evaluation(path: str) -> EvaluatedSystem:
    """
    What an `evaluation.json` says of a system.

    # Raises

    `ConfigurationError` : for a file that is none, or lacks the counts by sentence.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise ConfigurationError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict) or "metric" not in content:
        raise ConfigurationError(f"{path} is no evaluation: write one by `allennlp score SYSTEM FILES --output {path}`")
    if "per_sentence" not in content:
        raise ConfigurationError(
            f"{path} has no counts by sentence (per_sentence), which a comparison needs: write it anew by "
            f"`allennlp score SYSTEM FILES --output {path}`"
        )
    try:
        counts = _sentence_counts(content["metric"], content["per_sentence"])
        trained = _trained_languages(content.get("languages") or {})
        convention = content.get("convention")
        if convention is not None and not isinstance(convention, str):
            raise ValueError(f"convention is {convention!r}")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        missing = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ConfigurationError(f"{path} is damaged: {missing}") from None
    return EvaluatedSystem(path, counts, convention, trained)


def is_evaluation(path: str) -> bool:
    """Whether a path names what `read_evaluation` reads: a JSON file of one object, not JSON lines of predictions."""
    if not path.endswith(".json") or not Path(path).is_file():
        return False
    if Path(path).name == EVALUATION_FILE:
        return True
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(content, dict) and "metric" in content


def evaluate_system(
    path: str,
    sources: Sequence[Source],
    *,
    convention: str = "strict",
    scheme: Optional[str] = None,
    trained_languages: Optional[FrozenSet[str]] = None,
    reader_settings: Optional[Dict[str, Any]] = None,
    batch_size: int = 64,
    cuda_device: int = -1,
    quiet: bool = False,
) -> EvaluatedSystem:
    """
    Evaluate an archive, a serialization directory or predictions on files.

    # Parameters

    path : `str`
        As `open_system` takes it.
    sources : `Sequence[Source]`
        Files with gold tags.
    convention : `str`, optional (default = `strict`)
        Which spans count, `strict` or `conlleval`.
    scheme : `str`, optional
        How predictions in files write spans, "none" where they do not. A trained tagger says so itself.
    trained_languages : `FrozenSet[str]`, optional
        Where the system itself does not say it.
    reader_settings : `Dict[str, Any]`, optional
        Of the reader of the files, where it is not the system's own.
    batch_size : `int`, optional (default = 64)
    cuda_device : `int`, optional (default = -1)
    quiet : `bool`, optional (default = `False`)
        Whether no progress is shown.

    # Raises

    `ConfigurationError` : for what cannot be opened or does not fit the files.
    """
    scheme = None if is_archive(path) else scheme
    system = open_system(path, cuda_device=cuda_device, reader_settings=reader_settings, scheme=scheme)
    trained = trained_languages if trained_languages is not None else system.trained_languages
    evaluation = evaluate(
        system.tagged(sources, batch_size=batch_size, quiet=quiet),
        system.label_encoding,
        trained_languages=trained,
        convention=convention,
    )
    counts = evaluation.sentence_counts
    return EvaluatedSystem(path, counts, convention if counts.metric == "f1" else None, trained)


def _sentence_counts(metric: Any, content: Any) -> SentenceCounts:
    if metric not in COLUMNS:
        raise ValueError(f"metric is {metric!r}, not one of {', '.join(COLUMNS)}")
    if not isinstance(content, dict):
        raise ValueError("per_sentence is no object")
    languages = tuple(content["languages"])
    if not all(isinstance(language, str) for language in languages) or len(set(languages)) < len(languages):
        raise ValueError("per_sentence.languages is no list of languages")
    language_of, counts = (_whole_numbers(content[name], f"per_sentence.{name}") for name in ("language_of", "counts"))
    counts = counts.reshape(-1, len(COLUMNS[metric])) if not counts.size else counts
    if counts.ndim != 2 or counts.shape[1] != len(COLUMNS[metric]) or language_of.shape != counts.shape[:1]:
        raise ValueError(
            f"per_sentence has counts of shape {counts.shape} and language_of of shape {language_of.shape}; these "
            f"should be (sentences, {len(COLUMNS[metric])}) and (sentences,)"
        )
    if language_of.size and not 0 <= language_of.min() <= language_of.max() < len(languages):
        raise ValueError("per_sentence.language_of names a language that is not there")
    if counts.size and ((counts < 0).any() or (counts[:, :1] > counts[:, 1:]).any()):
        place = int(np.flatnonzero((counts < 0).any(1) | (counts[:, :1] > counts[:, 1:]).any(1))[0])
        raise ValueError(f"per_sentence.counts of sentence {place + 1:,} are {counts[place].tolist()}")
    order = np.argsort(np.array(languages, dtype=object), kind="stable")
    # By old number the new one, since `SentenceCounts` has its languages sorted.
    new = np.empty(len(languages), np.int64)
    new[order] = np.arange(len(languages))
    return SentenceCounts(
        metric, tuple(sorted(languages)), new[language_of] if language_of.size else language_of, counts
    )


def _whole_numbers(values: Any, name: str) -> np.ndarray:
    array = np.array(values)
    if not array.size:
        return array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise ValueError(f"{name} has other things than whole numbers")
    return array.astype(np.int64)


def _trained_languages(languages: Dict[str, Any]) -> Optional[FrozenSet[str]]:
    zero_shot = {language: of_language.get("zero_shot") for language, of_language in languages.items()}
    if not zero_shot or None in zero_shot.values():
        return None
    return frozenset(language for language, untrained in zero_shot.items() if not untrained)
