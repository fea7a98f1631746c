"""The folders that trainings are written to."""

import json
import math
import os
import re
from dataclasses import dataclass, replace
from typing import Any, Dict, FrozenSet, List, Mapping, Optional, Tuple

from allennlp.common.checks import ConfigurationError

from structkd_plugin.evaluation.report.stored_evaluation import FILE, StoredEvaluation, read_evaluation
from structkd_plugin.evaluation.systems import trained_languages_of

_EPOCH = re.compile(r"metrics_epoch_(\d+)\.json")
_DURATION = re.compile(r"(?:(\d+) days?, )?(\d+):(\d\d):(\d\d(?:\.\d+)?)")


@dataclass(frozen=True)
class Run:
    """
    What is in the folder of a run; what is not there is empty.

    # Parameters

    path : `str`
    config : `Mapping[str, Any]`
        Its config.json.
    metrics : `Mapping[str, Any]`
        Its metrics.json; numbers that are not finite are `None`, here and below.
    epochs : `Tuple[Tuple[int, Mapping[str, Any]], ...]`
        Number and metrics of each epoch, in their order.
    evaluation : `Optional[StoredEvaluation]`
        What `allennlp score` wrote there, or an evaluation that was made for the report.
    evaluated_here : `bool`
        Whether it was made for the report.
    notes : `Tuple[str, ...]`
        What is damaged or missing, one sentence each.
    """

    path: str
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    epochs: Tuple[Tuple[int, Mapping[str, Any]], ...]
    evaluation: Optional[StoredEvaluation] = None
    evaluated_here: bool = False
    notes: Tuple[str, ...] = ()

    @property
    def trained_languages(self) -> Optional[FrozenSet[str]]:
        """The languages that the configuration says are trained on with gold tags; none where it does not say."""
        return trained_languages_of(self.config) or None

    @property
    def best_epoch(self) -> Optional[int]:
        """The epoch whose parameters were kept."""
        for metrics in (self.metrics, *(epoch for _, epoch in reversed(self.epochs))):
            best = metrics.get("best_epoch")
            if isinstance(best, int):
                return best
        return None

    @property
    def training_seconds(self) -> Optional[float]:
        """How long the training took."""
        for metrics in (self.metrics, *(epoch for _, epoch in reversed(self.epochs))):
            match = _DURATION.fullmatch(str(metrics.get("training_duration")))
            if match:
                days, hours, minutes, seconds = match.groups()
                return 86400 * int(days or 0) + 3600 * int(hours) + 60 * int(minutes) + float(seconds)
        return None

    def with_evaluation(self, evaluation: StoredEvaluation) -> "Run":
        """The run with an evaluation that was made now."""
        return replace(self, evaluation=evaluation, evaluated_here=True)


def read_run(path: str) -> Run:
    """
    Everything that a report needs of a run's folder but its parameters.

    # Raises

    `ConfigurationError` : for a folder in which nothing of a run can be read.
    """
    notes: List[str] = []
    config = _object(path, "config.json", notes)
    metrics = _object(path, "metrics.json", notes)
    epochs: List[Tuple[int, Mapping[str, Any]]] = []
    for name in os.listdir(path):
        match = _EPOCH.fullmatch(name)
        if match:
            epoch = _object(path, name, notes)
            if epoch:
                epochs.append((int(match[1]), epoch))
    evaluation: Optional[StoredEvaluation] = None
    if os.path.exists(os.path.join(path, FILE)):
        try:
            evaluation = read_evaluation(os.path.join(path, FILE))
        except ConfigurationError as error:
            notes.append(f"{error.message}; run `allennlp score` again.")
    if not (metrics or epochs or evaluation):
        damaged = f" ({' '.join(sorted(notes))})" if notes else ""
        raise ConfigurationError(
            f"{path} holds no run: it has no metrics.json, no metrics_epoch_0.json and no {FILE} that can be read"
            f"{damaged}; give the folder that `allennlp train -s` wrote to"
        )
    if not metrics and not any("metrics.json" in note for note in notes):
        notes.append(
            f"{path} has no metrics.json: its training did not end. Go on with `allennlp train ... -s {path} "
            "--recover`."
        )
    if not config and not any("config.json" in note for note in notes):
        notes.append(f"{path} has no config.json: what it was trained with is not known.")
    return Run(path, config, metrics, tuple(sorted(epochs, key=lambda item: item[0])), evaluation, notes=tuple(notes))


def _object(folder: str, name: str, notes: List[str]) -> Dict[str, Any]:
    """The object in a file; empty where there is none, or none that can be read, which is noted."""
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError) as error:
        notes.append(f"{path} is damaged and left out: {error}.")
        return {}
    if not isinstance(found, dict):
        notes.append(f"{path} is damaged and left out: it is not the JSON of an object.")
        return {}
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in found.items()
    }
