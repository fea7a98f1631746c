"""Which lines of the log are shown, and how; the file out.log of a training has all of them."""

import functools
import json
import logging
import sys
import warnings
from typing import Any, Callable, Dict

from allennlp.commands import evaluate
from allennlp.common import logging as allennlp_logging

logger = logging.getLogger(__name__)

# Attributes of a record, given as `extra`: a line to be shown whatever its level is, and one for out.log alone.
SHOWN: Dict[str, Any] = {"structkd_shown": True}
IN_FILE_ONLY: Dict[str, Any] = {"structkd_shown": False}

# AllenNLP logs the metrics that a command computed, and has no other way of showing them.
_METRICS_LOGGER, _METRICS = "allennlp.common.util", "Metrics: %s"
_OF_A_TRAINING = "best_epoch"
_TEST = "test_"

# Warnings that are no news: of AllenNLP's to whoever trains for a number of epochs.
_NO_NEWS = (
    ("allennlp.training.gradient_descent_trainer", "You provided a validation dataset but patience was set to None"),
)

# What AllenNLP calls that torch or Python have newer names of. It has no more releases, and nobody can act on these.
_OUTDATED_CALLS = (
    (r"`torch\.cuda\.amp\.\w+\(args\.\.\.\)` is deprecated", FutureWarning, r"allennlp\."),
    (r"pkg_resources is deprecated", UserWarning, r"(allennlp|google|wandb|fairscale|spacy|weasel)"),
)

_prepare_global_logging = allennlp_logging.prepare_global_logging


def install() -> None:
    """Show what matters of the log from now on, also after AllenNLP sets its log up anew for a training."""
    allennlp_logging.prepare_global_logging = _prepare_quietly
    evaluate.evaluate_from_archive = _showing_metrics(evaluate.evaluate_from_archive)
    quieten(logging.getLogger())
    for message, category, module in _OUTDATED_CALLS:
        warnings.filterwarnings("ignore", message, category, module)


def quieten(logger: logging.Logger) -> None:
    """Have what `logger` writes to the standard streams be warnings, errors and what a command is run for."""
    for handler in logger.handlers:
        # Not its subclasses, which write to files.
        on_console = type(handler) is logging.StreamHandler and handler.stream in (sys.stdout, sys.stderr)
        if on_console and not isinstance(handler.formatter, ConsoleFormatter):
            handler.addFilter(_is_shown)
            handler.setFormatter(ConsoleFormatter())


class ConsoleFormatter(logging.Formatter):
    """Lines without time and origin, and metrics as a table."""

    def format(self, record: logging.LogRecord) -> str:
        """The text of `record`."""
        if _are_metrics(record):
            return metrics_table(json.loads(str(record.args[0])))  # type: ignore[index]
        text = super().format(record)
        if record.levelno < logging.WARNING:
            return text
        return f"{'warning' if record.levelno < logging.ERROR else 'error'}: {text}"


def metrics_table(metrics: Dict[str, Any]) -> str:
    """
    One line for each metric; of a training the test's alone, as `structkd_summary` tells the rest.

    # Parameters

    metrics : `Dict[str, Any]`
        As AllenNLP writes them to metrics.json.

    # Returns

    `str` : empty if there are none.
    """
    shown = metrics
    if _OF_A_TRAINING in metrics:
        shown = {name: value for name, value in metrics.items() if name.startswith(_TEST)}
    width = max(map(len, shown), default=0)
    return "\n".join(
        f"{name:<{width}}  {value:.4f}" if isinstance(value, float) else f"{name:<{width}}  {value}"
        for name, value in shown.items()
    )


def _is_shown(record: logging.LogRecord) -> bool:
    said: Any = getattr(record, "structkd_shown", None)
    if said is not None:
        return bool(said)
    if _are_metrics(record):
        return bool(metrics_table(json.loads(str(record.args[0]))))  # type: ignore[index]
    no_news = any(record.name == name and str(record.msg).startswith(start) for name, start in _NO_NEWS)
    return record.levelno >= logging.WARNING and not no_news


def _are_metrics(record: logging.LogRecord) -> bool:
    return record.name == _METRICS_LOGGER and record.msg == _METRICS and bool(record.args)


def _showing_metrics(function: Callable[..., Dict[str, Any]]) -> Callable[..., Dict[str, Any]]:
    """`allennlp evaluate` that shows its metrics also where they are not written to a file."""

    @functools.wraps(function)
    def evaluate_and_show(*arguments: Any, **options: Any) -> Dict[str, Any]:
        metrics = function(*arguments, **options)
        if options.get("metrics_output_file") is None:
            logger.info("%s", metrics_table(metrics), extra=SHOWN)
        return metrics

    return evaluate_and_show


def _prepare_quietly(*arguments: Any, **options: Any) -> None:
    _prepare_global_logging(*arguments, **options)
    quieten(logging.getLogger())
