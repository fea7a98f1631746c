"""Everything that is to be known of a teacher store before a training, and whether the training will work."""

import random
from dataclasses import dataclass
from itertools import islice
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

from allennlp.common.checks import ConfigurationError
from allennlp.common.tqdm import Tqdm

from structkd_plugin.inspection.chains import TeacherChains, in_batches
from structkd_plugin.inspection.distributions import DistributionStatistics, distribution_statistics
from structkd_plugin.inspection.labelled_files import (
    Coverage,
    FoundSentence,
    found_sentences,
    reader_of,
    records_of,
    reservoir,
    sentences_of,
)
from structkd_plugin.inspection.quality import TeacherQuality, merged, teacher_quality
from structkd_plugin.metrics.reliability import ReliabilityBins
from structkd_plugin.teacher.capture import Source
from structkd_plugin.teacher.format import LOG_PROBABILITIES, Manifest
from structkd_plugin.teacher.store import StoredRecord, TeacherStore
from structkd_plugin.teacher.verification import Verification, verify_store

# How many keys are taken from the index at a time.
_WINDOW = 1024

_tqdm: Any = Tqdm.tqdm


@dataclass
class Inspection:
    """
    What was found; parts that could not be had are none.

    # Parameters

    path : `str`
        Directory of the store.
    verification : `Verification`
        Of all its bytes.
    sentences : `int`
        Different sentences; a sentence of two writers counts once.
    distributions : `DistributionStatistics`, optional
        None where the store does not open.
    coverage : `Coverage`, optional
        None where no files were given.
    quality : `TeacherQuality`, optional
        None where none of the files' sentences is in the store with gold tags.
    problems : `Tuple[str, ...]`
        Why training with the store will not work, one sentence each.
    notes : `Tuple[str, ...]`
        What does not stop a training, and is good to know.
    """

    path: str
    verification: Verification
    sentences: int
    distributions: Optional[DistributionStatistics]
    coverage: Optional[Coverage]
    quality: Optional[TeacherQuality]
    problems: Tuple[str, ...]
    notes: Tuple[str, ...]

    @property
    def works(self) -> bool:
        """Whether a training with the store will work, as far as the store and the files can say."""
        return not self.problems

    @property
    def manifest(self) -> Optional[Manifest]:
        """The first of the store's manifests that can be read."""
        return self.verification.manifests[0] if self.verification.manifests else None

    @property
    def verdict(self) -> str:
        """One sentence, and why."""
        if not self.works:
            return f"Training with this store will not work: {' '.join(self.problems)}"
        if self.coverage is None:
            return (
                f"Training with this store will work: its {self.sentences:,} sentences are intact. (Whether it has "
                "those of a training shows when its files are named too.)"
            )
        return (
            f"Training with this store will work: its {self.sentences:,} sentences are intact, and it has all "
            f"{self.coverage.total('sentences'):,} of the files."
        )

    def figures(self) -> Dict[str, Any]:
        """Everything in types that JSON has."""
        manifest = self.manifest
        return {
            "store": self.path,
            "works": self.works,
            "verdict": self.verdict,
            "problems": list(self.problems),
            "notes": list(self.notes),
            "teacher": None if manifest is None else _teacher_figures(manifest),
            "contents": {
                "sentences": self.sentences,
                "by_language": {
                    language: {"sentences": count, "words": self.verification.words[language]}
                    for language, count in self.verification.sentences.items()
                },
                "bytes_on_disk": self.verification.bytes_on_disk,
                "writers": [
                    {
                        "writer": part.writer,
                        "complete": part.complete,
                        "shards": len(part.shards),
                        "sentences": sum(part.sentences.values()),
                    }
                    for part in self.verification.manifests
                ],
            },
            "distributions": None
            if self.distributions is None
            else _distribution_figures(self.distributions, manifest),
            "coverage": None if self.coverage is None else _coverage_figures(self.coverage),
            "quality": None if self.quality is None else _quality_figures(self.quality),
        }


def inspect_store(
    path: str,
    sources: Sequence[Source] = (),
    reader_settings: Optional[Dict[str, Any]] = None,
    sample: Optional[int] = None,
    seed: int = 0,
    batch_size: int = 64,
    quiet: bool = False,
) -> Inspection:
    """
    Check every byte of a store, and describe its teacher.

    # Parameters

    path : `str`
        Directory of the store.
    sources : `Sequence[Source]`, optional
        Files to compare with, labelled or not.
    reader_settings : `Dict[str, Any]`, optional
        Configuration of the files' reader; by default that of the store.
    sample : `int`, optional
        Of how many of the store's sentences, and of how many of the files', statistics are taken; all without. What
        is checked, and which sentences are found, is of all in any case.
    seed : `int`, optional (default = 0)
        Of the drawing.
    batch_size : `int`, optional (default = 64)
    quiet : `bool`, optional (default = False)
        Whether to show no progress.

    # Raises

    `ConfigurationError` : for a directory that is no store, and for files that cannot be read.
    """
    for name, value in (("sample", sample), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise ConfigurationError(f"{name} must be at least 1, not {value}")
    verification = verify_store(path, quiet)
    problems = list(verification.problems)
    store: Optional[TeacherStore] = None
    if not problems:
        try:
            store = TeacherStore.open(path)
        except ConfigurationError as error:
            problems.append(_sentence(str(error.message)))
    if store is None:
        sentences = sum(verification.sentences.values())
        return Inspection(path, verification, sentences, None, None, None, tuple(problems), ())
    manifest = verification.manifests[0]
    chains = TeacherChains(manifest.teacher, store.tables)
    coverage: Optional[Coverage] = None
    quality: Optional[TeacherQuality] = None
    if sources:
        coverage = Coverage()
        reader = reader_of(verification.manifests, reader_settings)
        labelled: Iterable[FoundSentence] = found_sentences(store, sentences_of(reader, sources), coverage)
        if sample is not None:
            labelled = reservoir(labelled, sample, seed)
        with _tqdm(labelled, unit="sentence", desc="gold tags", disable=quiet) as shown:
            batches = in_batches(shown, lambda item: len(item.sentence.words), batch_size)
            temperature = None if store.calibration is None else store.calibration.temperature
            quality = teacher_quality(chains, ((batch, records_of(store, batch)) for batch in batches), temperature)
    size = len(store) if sample is None else min(sample, len(store))
    with _tqdm(_records(store, size, seed), total=size, unit="sentence", desc="statistics", disable=quiet) as records:
        distributions = distribution_statistics(
            manifest.teacher, chains, in_batches(records, lambda item: len(item[1].emissions), batch_size)
        )
    problems += _problems(store, distributions, coverage)
    notes = list(_notes(manifest, distributions, coverage, quality))
    twice = sum(verification.sentences.values()) - len(store)
    if twice:
        notes.append(f"{twice:,} records are of sentences that another writer captured too: each counts once.")
    return Inspection(
        path=path,
        verification=verification,
        sentences=len(store),
        distributions=distributions,
        coverage=coverage,
        quality=quality if quality is not None and quality.sentences else None,
        problems=tuple(problems),
        notes=tuple(notes),
    )


def _records(store: TeacherStore, size: int, seed: int) -> Iterator[Tuple[str, StoredRecord]]:
    """`size` records with their keys, drawn alike, by ascending key."""
    keys: Iterator[str] = store.keys()
    if size < len(store):
        chosen = iter(sorted(random.Random(seed).sample(range(len(store)), size)))
        keys = _at(keys, chosen)
    while True:
        window = list(islice(keys, _WINDOW))
        if not window:
            return
        for key, record in zip(window, store.get_batch(window), strict=True):
            assert record is not None
            yield key, record


def _at(keys: Iterator[str], positions: Iterator[int]) -> Iterator[str]:
    done = 0
    for position in positions:
        yield next(islice(keys, position - done, None))
        done = position + 1


def _sentence(text: str) -> str:
    return text if text.endswith(".") else text + "."


def _problems(
    store: TeacherStore, distributions: DistributionStatistics, coverage: Optional[Coverage]
) -> Iterator[str]:
    if not len(store):
        yield f"{store.path} has no sentences. Capture some with `allennlp cache-teacher`."
    if distributions.impossible:
        yield (
            f"In {distributions.impossible:,} of {distributions.sentences:,} sentences the teacher gives no labelling "
            f"that it may decode a probability, the first being that with key {distributions.first_impossible}. "
            "Capture the teacher again."
        )
    labellings = distributions.stored_labellings
    if labellings is not None and labellings.wrong:
        yield (
            f"The stored {labellings.k} best labellings are not those of the stored potentials in {labellings.wrong:,} "
            f"of {labellings.sentences:,} sentences, the first being that with key {labellings.first_wrong}. Capture "
            "the teacher again."
        )
    if coverage is None:
        return
    if coverage.total("missing"):
        yield (
            f"{coverage.total('missing'):,} of the {coverage.total('sentences'):,} sentences of the files are not in "
            f"the store, the first being {coverage.first_missing}. Run `allennlp cache-teacher` on these files, with "
            "the same languages"
            + (
                '; or set `missing` of the callback structkd_teacher to "skip" to train them without a teacher.'
                if coverage.total("found")
                else "."
            )
        )
    if coverage.foreign_labels:
        yield (
            f"The files have labels that the teacher has not: {', '.join(sorted(coverage.foreign_labels))}; the "
            f"teacher's are {', '.join(store.labels)}. Train teacher and student with one list of labels."
        )


def _notes(
    manifest: Manifest,
    distributions: DistributionStatistics,
    coverage: Optional[Coverage],
    quality: Optional[TeacherQuality],
) -> Iterator[str]:
    if manifest.teacher.kind == LOG_PROBABILITIES:
        yield "The teacher is a softmax tagger: the objective k_best, which needs transitions, refuses it."
    labellings = distributions.stored_labellings
    if labellings is not None and labellings.reordered:
        yield (
            f"In {labellings.reordered:,} sentences the stored best labellings are others of the same scores, as "
            "another machine finds them."
        )
    if coverage is not None:
        unlabelled = coverage.total("found") - coverage.total("labelled")
        if unlabelled:
            yield f"{unlabelled:,} sentences of the files have no gold tags, and are left out of the teacher's quality."
    if quality is not None and quality.unscored:
        yield f"The teacher's quality is left out: {_sentence(quality.unscored)}"


def _teacher_figures(manifest: Manifest) -> Dict[str, Any]:
    teacher, calibration = manifest.teacher, manifest.calibration
    return {
        **{
            name: getattr(teacher, name)
            for name in ("fingerprint", "kind", "label_encoding", "constraints", "encoding")
        },
        "k_best": teacher.k_best,
        "k_best_scheme": teacher.k_best_scheme,
        "labels": list(teacher.labels),
        "calibration": None
        if calibration is None
        else {"temperature": calibration.temperature, "reliability": list(calibration.reliability)},
    }


def _distribution_figures(statistics: DistributionStatistics, manifest: Optional[Manifest]) -> Dict[str, Any]:
    labellings = statistics.stored_labellings
    has_scheme = manifest is not None and manifest.teacher.label_encoding is not None
    return {
        "sentences": statistics.sentences,
        "words": statistics.words,
        "impossible": statistics.impossible,
        "entropy_per_word": statistics.entropy_per_word,
        "legal_mass": statistics.legal_mass if has_scheme else None,
        "k_best_mass": {str(k): mass for k, mass in statistics.k_best_mass.items()},
        "agreement_with_best": {str(k): share for k, share in statistics.agreement.items()},
        "stored_labellings": None
        if labellings is None
        else {
            "k": labellings.k,
            "sentences": labellings.sentences,
            "same_scores_in_other_order": labellings.reordered,
            "wrong": labellings.wrong,
        },
    }


def _coverage_figures(coverage: Coverage) -> Dict[str, Any]:
    names = ("sentences", "found", "missing", "labelled")
    return {
        **{name: coverage.total(name) for name in names},
        "by_language": {
            language: {**{name: getattr(found, name) for name in names}, "first_missing": found.first_missing}
            for language, found in sorted(coverage.languages.items())
        },
        "labels_unknown_to_teacher": dict(sorted(coverage.foreign_labels.items())),
    }


def _quality_figures(quality: TeacherQuality) -> Dict[str, Any]:
    return {
        "sentences": quality.sentences,
        "words": quality.words,
        "metric": quality.metric_name,
        "scores": dict(quality.scores),
        "not_scored_because": quality.unscored,
        "calibration": _bin_figures(quality.bins),
        "calibration_tempered": _bin_figures(quality.tempered_bins) if quality.tempered_bins else None,
        "confusion": [
            {"gold": gold, "predicted": predicted, "words": words}
            for (gold, predicted), words in sorted(quality.confusion.items())
        ],
    }


def _bin_figures(bins: Dict[str, ReliabilityBins]) -> Dict[str, Any]:
    total = merged(bins)
    found: List[Tuple[str, ReliabilityBins]] = sorted(bins.items())
    return {
        "ece": total.ece,
        "top_label_right": total.accuracy,
        "mean_top_probability": total.confidence,
        "ece_by_language": {language: of_language.ece for language, of_language in found},
        "bins": total.rows(),
    }
