"""What a training logged at the end of each epoch, as series."""

from typing import Dict, List, Mapping, Optional, Tuple

from structkd_plugin.evaluation.report.runs import Run

# By epoch, in their order.
Series = List[Tuple[int, float]]


def validation_metric_name(run: Run) -> str:
    """The metric by which the best epoch was chosen, without the sign that says whether more is better."""
    trainer = run.config.get("trainer")
    named = trainer.get("validation_metric") if isinstance(trainer, dict) else None
    if isinstance(named, list):
        named = named[0] if named else None
    return str(named or "-loss").lstrip("+-")


def learning_curves(run: Run) -> Dict[str, Dict[str, Series]]:
    """
    The series of a run.

    # Returns

    `Dict[str, Dict[str, Series]]` : by quantity, and within it by `training` and `validation`. Quantities are `nll`;
        `objective` and each of its parts, `objective/...`; and the metric that the best epoch was chosen by. What was
        not logged is not there.
    """
    names = {"nll", "objective", validation_metric_name(run)}
    for _, metrics in run.epochs:
        names.update(name.removeprefix("training_") for name in metrics if name.startswith("training_objective/"))
    found: Dict[str, Dict[str, Series]] = {}
    for name in ("nll", *sorted(names - {"nll"}, key=lambda name: (not name.startswith("objective"), name))):
        for split in ("training", "validation"):
            series = [
                (epoch, value)
                for epoch, metrics in run.epochs
                if (value := _number(metrics, f"{split}_{name}")) is not None
            ]
            if series:
                found.setdefault(name, {})[split] = series
    return found


def _number(metrics: Mapping[str, object], name: str) -> Optional[float]:
    value = metrics.get(name)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
