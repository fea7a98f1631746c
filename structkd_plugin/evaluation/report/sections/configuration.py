"""In what the runs differ before they begin."""

from typing import Dict, List, Optional, Sequence, Tuple

from structkd_plugin.evaluation.report.configurations import differences
from structkd_plugin.evaluation.report.document import Cell, Section, Table
from structkd_plugin.evaluation.report.methods import Method
from structkd_plugin.evaluation.report.number_formats import UNDEFINED
from structkd_plugin.evaluation.report.runs import Run


def configuration(methods: Sequence[Method]) -> Section:
    """The keys of config.json that differ, by dotted path."""
    section = Section(
        "configurations",
        "Configurations",
        "The keys of config.json that do not have the same value in all runs, by dotted path, as `allennlp train -o` "
        "takes them; in a list, numbers are places. A dash is a key that is not there. Where seeds of a method "
        "differ, their values stand in a row.",
    )
    runs: List[Tuple[Method, Run]] = [(method, run) for method in methods for run in method.runs if run.config]
    if len(runs) < 2:
        section.notes.append("There are not two runs with a config.json to compare.")
        return section
    found = differences([run.config for _, run in runs])
    section.figures = {
        "runs": [run.path for _, run in runs],
        "differences": {key: list(values) for key, values in found.items()},
    }
    if not found:
        section.notes.append("The configurations are the same.")
        return section
    names = list(dict.fromkeys(method.name for method, _ in runs))
    rows = []
    for key, values in found.items():
        of_method: Dict[str, List[Optional[str]]] = {}
        for (method, _), value in zip(runs, values, strict=True):
            of_method.setdefault(method.name, []).append(value)
        rows.append([Cell(key), *(Cell(_shown(of_method[name])) for name in names)])
    section.items.append(Table("configurations", f"{len(found)} keys that differ", ["key", *names], rows, texts=True))
    return section


def _shown(values: Sequence[Optional[str]]) -> str:
    different = list(dict.fromkeys(UNDEFINED if value is None else value for value in values))
    return different[0] if len(different) == 1 else ", ".join(UNDEFINED if v is None else v for v in values)
