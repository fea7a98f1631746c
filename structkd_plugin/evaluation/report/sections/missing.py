"""What sections say of evaluations that are not there."""

from typing import List, Sequence

from structkd_plugin.evaluation.report.document import Section
from structkd_plugin.evaluation.report.methods import Method


def note_missing(section: Section, methods: Sequence[Method], found: Sequence[Method]) -> None:
    """
    Say which methods a section is not of, and what to run.

    # Parameters

    section : `Section`
    methods : `Sequence[Method]`
        All.
    found : `Sequence[Method]`
        Those that the section is of.
    """
    names = {method.name for method in found}
    without: List[str] = [method.name for method in methods if method.name not in names]
    if without:
        section.notes.append(
            f"Nothing is known of {', '.join(without)}: run `allennlp score RUN LANG=FILE... --output "
            "RUN/evaluation.json`, or name the files to this command."
        )
