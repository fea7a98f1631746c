"""How the trainings went."""

from typing import Dict, List, Sequence

from structkd_plugin.evaluation.report.document import Cell, Picture, Section, Table
from structkd_plugin.evaluation.report.learning_curves import learning_curves, validation_metric_name
from structkd_plugin.evaluation.report.methods import Method
from structkd_plugin.evaluation.report.number_formats import UNDEFINED, nats, percent
from structkd_plugin.evaluation.report.plots import MethodCurves, curve_panels

_NATS = ("nll", "loss", "objective")


def learning(methods: Sequence[Method]) -> Section:
    """Curves by epoch of the likelihood, the objective, its parts and the validation metric."""
    section = Section(
        "learning",
        "Learning curves",
        "By epoch: the negative log-likelihood of the gold tags (`nll`), the objective of distillation and each of its "
        "parts in nats a sentence, and the metric by which the best epoch was chosen. A dot marks that epoch, whose "
        "parameters were kept. Validation `nll` that rises while training `nll` falls is overfitting; an objective is "
        "at least the teachers' entropy, and need not approach 0.",
    )
    curves = [
        MethodCurves(
            method.name,
            [learning_curves(run) for run in method.runs],
            [run.best_epoch for run in method.runs],
        )
        for method in methods
    ]
    curves = [method for method in curves if any(method.runs)]
    if not curves:
        section.notes.append(
            "None of the folders has a metrics_epoch_0.json, which `allennlp train -s FOLDER` writes at the end of "
            "each epoch."
        )
        return section
    quantities = sorted(
        {quantity for method in curves for run in method.runs for quantity in run}, key=lambda name: (_rank(name), name)
    )
    shares = [quantity for quantity in quantities if not _is_nats(quantity)]
    section.items.append(
        Picture(
            "curves",
            "A line for each run; dotted is training where validation is there too; the dot is the best epoch.",
            curve_panels(curves, quantities, shares),
            wide=True,
        )
    )
    section.items.append(_table(methods))
    section.figures = {
        method.name: [
            {"run": run.path, "best_epoch": run.best_epoch, "curves": learning_curves(run)} for run in method.runs
        ]
        for method in methods
    }
    return section


def _is_nats(quantity: str) -> bool:
    return quantity.split("/")[0] in _NATS


def _rank(quantity: str) -> int:
    """First the likelihood, then the metrics, then the objective and its parts."""
    if quantity == "nll":
        return 0
    return 2 if quantity.startswith("objective") else 1


def _table(methods: Sequence[Method]) -> Table:
    rows: List[List[Cell]] = []
    for method in methods:
        for number, run in enumerate(method.runs):
            if not run.epochs:
                continue
            name = validation_metric_name(run)
            curves = learning_curves(run)
            best: Dict[str, float] = {}
            for quantity in ("nll", name):
                series = dict(curves.get(quantity, {}).get("validation", ()))
                if run.best_epoch in series:
                    best[quantity] = series[run.best_epoch]
            rows.append(
                [
                    Cell(method.name if len(method.runs) == 1 else f"{method.name}, run {number + 1}"),
                    Cell(str(len(run.epochs))),
                    Cell(UNDEFINED if run.best_epoch is None else str(run.best_epoch)),
                    Cell(nats(best.get("nll"))),
                    Cell(nats(best.get(name)) if _is_nats(name) else percent(best.get(name)), name),
                ]
            )
    header = ["run", "epochs", "best epoch", "validation nll there", "validation metric there"]
    return Table("best_epochs", "The best epochs, counted from 0; nll in nats a sentence, metrics in %", header, rows)
