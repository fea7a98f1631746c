"""The trainer callback that tells at the end of a training what came of it, and what to type next."""

import json
import logging
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Tuple

import torch
from allennlp.common.util import SigTermReceived
from allennlp.data.data_loaders.data_loader import TensorDict
from allennlp.training.callbacks.callback import TrainerCallback
from allennlp.training.util import get_batch_size

from structkd_plugin.checked_options import CheckedOptions

if TYPE_CHECKING:
    from allennlp.training.gradient_descent_trainer import GradientDescentTrainer

logger = logging.getLogger(__name__)

_ARCHIVE, _CONFIG, _BEST = "model.tar.gz", "config.json", "best.th"
_BEST_VALIDATION, _TRAINING = "best_validation_", "training_"
# Metrics that are fractions of 1; all else of a model of this plugin is nats a sentence.
_FRACTIONS = ("accuracy", "f1", "precision", "recall")
_NATS = ("nll", "objective")
_LABEL_WIDTH = 14


@TrainerCallback.register("structkd_summary")
class SummaryCallback(CheckedOptions, TrainerCallback):
    """
    Tells at the end of a training its best epoch, the metrics of that epoch, how fast it went and what to do next.

    It is said by the log, so that it is in out.log too. After Ctrl-C it tells how to go on.

    Registered as a `TrainerCallback` with name "structkd_summary".

    # Parameters

    serialization_dir : `str`
        Given by AllenNLP.
    """

    def __init__(self, serialization_dir: str) -> None:
        super().__init__(serialization_dir)
        self._began = time.monotonic()
        self._last_batch: Optional[float] = None
        self._sentences = 0
        self._seconds = 0.0
        self._epoch = 0

    def on_start(self, trainer: "GradientDescentTrainer", is_primary: bool = True, **kwargs: Any) -> None:
        """Start the clock."""
        super().on_start(trainer, is_primary=is_primary, **kwargs)
        self._began = time.monotonic()

    def on_batch(
        self,
        trainer: "GradientDescentTrainer",
        batch_inputs: List[TensorDict],
        batch_outputs: List[Dict[str, Any]],
        batch_metrics: Dict[str, Any],
        epoch: int,
        batch_number: int,
        is_training: bool,
        is_primary: bool = True,
        batch_grad_norm: Optional[float] = None,
        **kwargs: Any,
    ) -> None:
        """Count the sentences of a training batch, and the time since the one before it in the same epoch."""
        self._epoch = epoch
        if not is_training:
            self._last_batch = None
            return
        now = time.monotonic()
        # What was before the first batch of an epoch may have been validation, or the replay of a resumed training.
        if self._last_batch is not None:
            self._sentences += sum(get_batch_size(batch) for batch in batch_inputs)
            self._seconds += now - self._last_batch
        self._last_batch = now

    def on_epoch(
        self,
        trainer: "GradientDescentTrainer",
        metrics: Dict[str, Any],
        epoch: int,
        is_primary: bool = True,
        **kwargs: Any,
    ) -> None:
        """Stop the clock of the sentences."""
        self._last_batch = None
        self._epoch = epoch + 1

    def on_end(
        self,
        trainer: "GradientDescentTrainer",
        metrics: Optional[Dict[str, Any]] = None,
        epoch: Optional[int] = None,
        is_primary: bool = True,
        **kwargs: Any,
    ) -> None:
        """Tell what came of the training, or how to go on with it; of an error AllenNLP tells by itself."""
        if not is_primary:
            return
        if metrics is not None:
            told = summary(self.serialization_dir, metrics, time.monotonic() - self._began, self._rate())
        elif isinstance(sys.exc_info()[1], (KeyboardInterrupt, SigTermReceived)):
            told = how_to_go_on(self.serialization_dir, self._epoch)
        else:
            return
        logger.info("%s", told, extra={"structkd_shown": True})

    def _rate(self) -> Optional[float]:
        """Sentences a second of all processes, which work on as many each."""
        processes = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
        return processes * self._sentences / self._seconds if self._seconds else None


def summary(
    serialization_dir: str, metrics: Mapping[str, Any], seconds: float, sentences_a_second: Optional[float] = None
) -> str:
    """
    What came of a training, in a few lines.

    # Parameters

    serialization_dir : `str`
    metrics : `Mapping[str, Any]`
        As AllenNLP's trainer returns them.
    seconds : `float`
        How long it took.
    sentences_a_second : `float`, optional
        Of training, validation left out.

    # Returns

    `str` : without a newline at its end.
    """
    rate = "" if sentences_a_second is None else f", {sentences_a_second:,.0f} sentences a second"
    # A finished training that is recovered has nothing left to do.
    epochs = f"{metrics['epoch'] + 1} epochs" if "epoch" in metrics else "no further epoch"
    lines = [("trained", f"{epochs} in {_duration(seconds)}{rate}")]
    best = _with_prefix(metrics, _BEST_VALIDATION)
    if best:
        lines.append(("best epoch", f"{metrics['best_epoch']} (the first is 0), by the development data:"))
        lines += _metric_lines(best)
    parts = _nats(_with_prefix(metrics, _TRAINING))
    if parts:
        lines.append(("last epoch", f"of the training data {parts}"))
    archive = Path(serialization_dir, _ARCHIVE)
    lines.append(("archive", str(archive)))
    files = files_to_evaluate(serialization_dir)
    if files is not None:
        lines.append(("next", shlex.join(["allennlp", "evaluate", str(archive), files])))
    return "\n".join(f"{label:<{_LABEL_WIDTH}}{text}".rstrip() for label, text in lines)


def how_to_go_on(serialization_dir: str, epoch: int) -> str:
    """
    What to do after a training was broken off.

    # Parameters

    serialization_dir : `str`
    epoch : `int`
        The one that it was in, the first being 0.
    """
    config = Path(serialization_dir, _CONFIG)
    again = shlex.join(["allennlp", "train", str(config), "-s", str(serialization_dir), "--recover"])
    archived = (
        f"; the best epoch so far is in {Path(serialization_dir, _ARCHIVE)}"
        if Path(serialization_dir, _BEST).is_file()
        else ""
    )
    return f"broken off in epoch {epoch} (the first is 0){archived}\nto go on from the last checkpoint: {again}"


def files_to_evaluate(serialization_dir: str) -> Optional[str]:
    """
    The test files of a training, or else its development files, as `allennlp evaluate` takes them.

    # Parameters

    serialization_dir : `str`
        With the config.json of the training.
    """
    try:
        config = json.loads(Path(serialization_dir, _CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    files = config.get("test_data_path") or config.get("validation_data_path")
    if files is None or isinstance(files, str):
        return files
    return _pattern(files) or json.dumps(files, ensure_ascii=False)


def _pattern(files: Any) -> Optional[str]:
    """The one path with `{language}` that all paths of an object come from, if there is one and there are several."""
    if not isinstance(files, dict) or len(files) < 2:
        return None
    common: Optional[set] = None
    for language, path in files.items():
        if not isinstance(path, str):
            return None
        pieces = path.split(language)
        patterns = {
            language.join(pieces[:i]) + "{language}" + language.join(pieces[i:]) for i in range(1, len(pieces))
        } | {"{language}".join(pieces)}
        common = patterns if common is None else common & patterns
    found = {pattern for pattern in common or () if "{language}" in pattern}
    return min(found, key=lambda pattern: (len(pattern), pattern)) if found else None


def _metric_lines(metrics: Mapping[str, float]) -> List[Tuple[str, str]]:
    """A line for each group of metrics: those of a name by language, and those in nats."""
    groups: Dict[str, List[str]] = {}
    for name, value in metrics.items():
        group, slash, part = name.partition("/")
        if group in _FRACTIONS and slash:
            groups.setdefault(group, []).append(f"{part} {100 * value:.2f}")
    lines = [(f"  {group}", f"{', '.join(parts)} %") for group, parts in groups.items()]
    nats = _nats(metrics)
    return [*lines, ("  loss", nats)] if nats else lines


def _nats(metrics: Mapping[str, float]) -> str:
    found = [f"{name} {value:.4f}" for name, value in metrics.items() if name.partition("/")[0] in _NATS]
    return f"{', '.join(found)} nats a sentence" if found else ""


def _with_prefix(metrics: Mapping[str, Any], prefix: str) -> Dict[str, float]:
    return {
        name[len(prefix) :]: value
        for name, value in metrics.items()
        if name.startswith(prefix) and isinstance(value, (int, float))
    }


def _duration(seconds: float) -> str:
    """As people say it: `39 s`, `2 min 5 s`, `1 h 3 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
