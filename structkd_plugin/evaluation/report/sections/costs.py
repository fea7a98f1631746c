"""How large the models are, how long they took, and how fast they tag."""

from typing import List, Optional, Sequence

from structkd_plugin.evaluation.report.document import Cell, Section, Table
from structkd_plugin.evaluation.report.methods import Method, mean_of
from structkd_plugin.evaluation.report.number_formats import count, duration, megabytes
from structkd_plugin.evaluation.report.sizes import archive_bytes, parameter_count


def costs(methods: Sequence[Method]) -> Section:
    """Parameters, bytes of the archive, training time and words a second."""
    section = Section(
        "costs",
        "Size and speed",
        "Parameters are all learnt numbers; the archive is what is shipped, weights compressed. Training time is that "
        "of the machine that trained. Words a second were measured where the sentences were evaluated: they compare "
        "only between runs that were evaluated on one machine, by one command. Of several seeds: the mean.",
    )
    rows, figures = [], {}
    timed = False
    for method in methods:
        parameters = _mean([parameter_count(run.path) for run in method.runs])
        size = _mean([archive_bytes(run.path) for run in method.runs])
        seconds = _mean([run.training_seconds for run in method.runs])
        speed = _mean([None if run.evaluation is None else run.evaluation.words_per_second for run in method.runs])
        timed = timed or speed is not None
        rows.append(
            [
                Cell(method.name),
                Cell(count(parameters)),
                Cell(megabytes(size)),
                Cell(duration(seconds)),
                Cell(count(speed)),
            ]
        )
        figures[method.name] = {
            "parameters": parameters,
            "archive_bytes": size,
            "training_seconds": seconds,
            "words_per_second": speed,
        }
    header = ["method", "parameters", "archive, MB", "training, h:mm:ss", "words a second"]
    section.items.append(Table("costs", "Size and speed", header, rows))
    if not timed:
        section.notes.append(
            "Words a second are measured where files are named to this command, which then evaluates by itself."
        )
    section.figures = figures
    return section


def _mean(values: Sequence[Optional[float]]) -> Optional[float]:
    known: List[float] = [value for value in values if value is not None]
    return mean_of(known).value
