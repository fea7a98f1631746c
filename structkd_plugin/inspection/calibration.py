"""Calibrating a teacher: from its store and development data with gold tags to a temperature and its reliability."""

from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence

import torch
from allennlp.common.checks import ConfigurationError
from allennlp.common.tqdm import Tqdm

from structkd_plugin.inspection.chains import TeacherChains, in_batches
from structkd_plugin.inspection.labelled_files import (
    Coverage,
    FoundSentence,
    found_sentences,
    records_of,
    sentences_of,
)
from structkd_plugin.inspection.quality import add_to_bins, merged
from structkd_plugin.inspection.temperature import at_bound, best_temperature
from structkd_plugin.metrics.reliability import ReliabilityBins
from structkd_plugin.readers.sharded_reader import ShardedReader
from structkd_plugin.teacher.capture import Source
from structkd_plugin.teacher.format import Calibration, Manifest
from structkd_plugin.teacher.store import TeacherStore

MISSING_POLICIES = ("error", "skip")

_tqdm: Any = Tqdm.tqdm


@dataclass(frozen=True)
class CalibrationSummary:
    """What a calibration found, and on what; likelihoods in nats a sentence."""

    calibration: Calibration
    sentences: int  # fitted to
    words: int
    nll_before: float
    nll_after: float
    ece_before: float
    ece_after: float
    accuracy: float  # of the most probable label of each word
    confidence_before: float
    confidence_after: float
    missing: int  # sentences of the files that the store has not
    unlabelled: int
    forbidden: int  # sentences whose gold tags the teacher's constraint forbids
    first_forbidden: Optional[str]

    def __str__(self) -> str:
        left_out = [
            f"{count:,} {what}"
            for count, what in (
                (self.missing, "that the store has not"),
                (self.unlabelled, "without gold tags"),
                (self.forbidden, f"whose gold tags the teacher forbids, the first being {self.first_forbidden}"),
            )
            if count
        ]
        lines = [
            f"fitted to {self.sentences:,} sentences, {self.words:,} words; "
            + (f"left out: {'; '.join(left_out)}" if left_out else "none left out"),
            f"temperature                {1:9.4f}  →  {self.calibration.temperature:.4f}",
            f"nll, nats a sentence       {self.nll_before:9.4f}  →  {self.nll_after:.4f}",
            f"ECE, %                     {100 * self.ece_before:9.2f}  →  {100 * self.ece_after:.2f}",
            f"mean top probability, %    {100 * self.confidence_before:9.2f}  →  {100 * self.confidence_after:.2f}"
            f"   (right: {100 * self.accuracy:.2f})",
        ]
        if at_bound(self.calibration.temperature):
            lines.append(
                "the temperature is at the end of the range that is searched: the development data are too few, or the "
                "teacher was trained on them"
            )
        return "\n".join(lines)


def fit_calibration(
    store: TeacherStore,
    manifest: Manifest,
    reader: ShardedReader,
    sources: Sequence[Source],
    missing: str = "error",
    batch_size: int = 64,
    quiet: bool = False,
) -> CalibrationSummary:
    """
    The temperature under which the gold tags of files are most likely, and how reliable the teacher is then.

    Nothing is written. The files' sentences are held in memory, their records are not.

    # Parameters

    store : `TeacherStore`
    manifest : `Manifest`
        Any of the store's.
    reader : `ShardedReader`
        Reads the files.
    sources : `Sequence[Source]`
        Files with gold tags that the teacher was not trained on.
    missing : `str`, optional (default = "error")
        What becomes of sentences that the store has no record of: "error" or "skip".
    batch_size : `int`, optional (default = 64)
    quiet : `bool`, optional (default = False)
        Whether to show no progress.

    # Raises

    `ConfigurationError` : for files without gold tags, with labels that the teacher has not, or whose sentences are not
        in the store.
    """
    if missing not in MISSING_POLICIES:
        raise ConfigurationError(f"missing is one of {', '.join(MISSING_POLICIES)}, not {missing!r}")
    if batch_size < 1:
        raise ConfigurationError(f"batch_size must be at least 1, not {batch_size}")
    coverage = Coverage()
    found = list(found_sentences(store, sentences_of(reader, sources), coverage))
    _check(store, coverage, missing)
    # In float64: the differences that decide between temperatures are small.
    chains = TeacherChains(manifest.teacher, store.tables, torch.float64)
    batches = list(in_batches(found, lambda item: len(item.sentence.words), batch_size))
    label_number = {label: number for number, label in enumerate(store.labels)}

    def log_probabilities(items: Sequence[FoundSentence], temperature: float, legal: bool = False) -> torch.Tensor:
        distribution = chains.stored(records_of(store, items))
        if legal:
            distribution = chains.decoding(distribution)
        rows = [torch.tensor([label_number[tag] for tag in item.sentence.tags or ()]) for item in items]
        # (B, T)
        tags = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return distribution.temper(temperature).log_prob(tags)

    allowed: List[List[FoundSentence]] = []
    forbidden: List[FoundSentence] = []
    for batch in batches:
        possible = (log_probabilities(batch, 1.0, legal=True) > -float("inf")).tolist()
        forbidden += [item for item, is_possible in zip(batch, possible, strict=True) if not is_possible]
        kept = [item for item, is_possible in zip(batch, possible, strict=True) if is_possible]
        allowed += [kept] if kept else []
    if not allowed:
        raise ConfigurationError(
            f"the teacher of {store.path} forbids the gold tags of all {len(found)} sentences of the files: they are "
            "not in its label encoding. Have the reader convert them."
        )
    sentences = sum(map(len, allowed))
    known: Dict[float, float] = {}
    with _tqdm(unit="sentence", desc="calibration", disable=quiet) as progress:

        def nll(temperature: float) -> float:
            if temperature not in known:
                total = 0.0
                for batch in allowed:
                    total -= float(log_probabilities(batch, temperature).sum())
                    progress.update(len(batch))
                known[temperature] = total / sentences
            return known[temperature]

        temperature = best_temperature(nll)
        before, after = (_bins(store, chains, allowed, t) for t in (1.0, temperature))
        return CalibrationSummary(
            calibration=Calibration(temperature, after.reliability()),
            sentences=sentences,
            words=after.total,
            nll_before=nll(1.0),
            nll_after=nll(temperature),
            ece_before=before.ece,
            ece_after=after.ece,
            accuracy=after.accuracy,
            confidence_before=before.confidence,
            confidence_after=after.confidence,
            missing=coverage.total("missing"),
            unlabelled=coverage.total("found") - coverage.total("labelled"),
            forbidden=len(forbidden),
            first_forbidden=repr(" ".join(forbidden[0].sentence.words)) if forbidden else None,
        )


def _check(store: TeacherStore, coverage: Coverage, missing: str) -> None:
    if coverage.total("missing") and (missing == "error" or not coverage.total("found")):
        raise ConfigurationError(
            f"{store.path} has no record of {coverage.total('missing'):,} of the {coverage.total('sentences'):,} "
            f"sentences of the files, the first being {coverage.first_missing}. Capture them: `allennlp cache-teacher "
            f"ARCHIVE FILES... --output {store.path}` with the same archive and languages"
            + ("." if not coverage.total("found") else "; or leave them out with `--missing skip`.")
        )
    if coverage.foreign_labels:
        labels = ", ".join(sorted(coverage.foreign_labels))
        raise ConfigurationError(
            f"the files have labels that the teacher of {store.path} has not: {labels}. Its labels are "
            f"{', '.join(store.labels)}. Name a reader with --dataset-reader that reads or converts to these."
        )
    if not coverage.total("labelled"):
        raise ConfigurationError("the files have no gold tags, and a calibration needs them. Name labelled files.")


def _bins(
    store: TeacherStore, chains: TeacherChains, batches: Sequence[Sequence[FoundSentence]], temperature: float
) -> ReliabilityBins:
    bins: Dict[str, ReliabilityBins] = {}
    for batch in batches:
        distribution = chains.stored(records_of(store, batch)).temper(temperature)
        gold = [item.sentence.tags or () for item in batch]
        add_to_bins(bins, distribution, store.labels, gold, [item.sentence.language for item in batch])
    return merged(bins)
