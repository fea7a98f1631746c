"""From folders of runs to a report."""

from dataclasses import dataclass, field
from typing import List, Optional, Sequence, Tuple

from allennlp.common.checks import ConfigurationError

from structkd_plugin.evaluation.report.arguments import LanguageFile, MethodPaths
from structkd_plugin.evaluation.report.document import Document, Section
from structkd_plugin.evaluation.report.intervals import IntervalOptions, intervals_of
from structkd_plugin.evaluation.report.methods import Method, common_metric, scores_of
from structkd_plugin.evaluation.report.runs import Run, read_run
from structkd_plugin.evaluation.report.sections.breakdown import by_length, by_novelty, by_type
from structkd_plugin.evaluation.report.sections.calibration import calibration
from structkd_plugin.evaluation.report.sections.configuration import configuration
from structkd_plugin.evaluation.report.sections.confusion import confusion
from structkd_plugin.evaluation.report.sections.costs import costs
from structkd_plugin.evaluation.report.sections.gap import gap
from structkd_plugin.evaluation.report.sections.learning import learning
from structkd_plugin.evaluation.report.sections.overview import overview
from structkd_plugin.evaluation.report.self_evaluation import EvaluationOptions, evaluated


@dataclass(frozen=True)
class ReportOptions:
    """
    # Parameters

    baseline : `str`, optional
        The method that gaps begin at.
    teachers : `Tuple[str, ...]`, optional
        The methods that gaps end at.
    intervals : `IntervalOptions`, optional
    evaluation : `EvaluationOptions`, optional
        Of evaluations that are made here.
    title : `str`, optional
    """

    baseline: Optional[str] = None
    teachers: Tuple[str, ...] = ()
    intervals: IntervalOptions = field(default_factory=IntervalOptions)
    evaluation: EvaluationOptions = field(default_factory=EvaluationOptions)
    title: str = "Report"


def report_of(
    paths: Sequence[MethodPaths], files: Sequence[LanguageFile] = (), options: ReportOptions = ReportOptions()
) -> Document:
    """
    Everything that can be said of the runs.

    # Parameters

    paths : `Sequence[MethodPaths]`
        The methods, each with the folders of its runs.
    files : `Sequence[LanguageFile]`, optional
        What the runs are evaluated on; without, the evaluations in their folders are taken. A teacher is evaluated in
        the languages that it was trained on.
    options : `ReportOptions`, optional

    # Raises

    `ConfigurationError` : if no folder holds a run that can be read; for names of no method; where runs have different
        metrics; and for files that cannot be evaluated on.
    """
    for name in (options.baseline, *options.teachers):
        if name is not None and name not in {method.name for method in paths}:
            known = ", ".join(method.name for method in paths)
            raise ConfigurationError(f"there is no method {name!r}; there are {known}")
    methods, problems = methods_of(paths, files, options)
    metric = common_metric(methods)
    sections: List[Section] = [
        overview(methods, metric, options.intervals),
        _gap(methods, metric, options),
        learning(methods),
        by_type(methods, metric or "f1"),
        by_length(methods, metric or "f1"),
        by_novelty(methods, metric or "f1"),
        calibration(methods),
        confusion(methods, metric or "f1"),
        costs(methods),
        configuration(methods),
    ]
    problems += [note for method in methods for run in method.runs for note in run.notes]
    sections[0].warnings = problems + sections[0].warnings
    number = sum(len(method.runs) for method in methods)
    subject = (
        f"{number} {'run' if number == 1 else 'runs'} of {len(methods)} {'method' if len(methods) == 1 else 'methods'}"
    )
    if files:
        subject += f", evaluated on {', '.join(f'{language}={path}' for language, path in files)}"
    return Document(options.title, f"{subject}.", tuple(sections))


def methods_of(
    paths: Sequence[MethodPaths], files: Sequence[LanguageFile], options: ReportOptions
) -> Tuple[List[Method], List[str]]:
    """
    The methods with their figures, and a sentence for each run that is left out as it cannot be read.

    # Parameters

    paths, files, options
        As `report_of` has them.

    # Raises

    `ConfigurationError` : if no run is left.
    """
    problems: List[str] = []
    methods: List[Method] = []
    for name, folders in paths:
        runs = _readable(folders, problems)
        if files:
            teacher = name in options.teachers
            runs = [evaluated(run, _of_languages(run, files) if teacher else files, options.evaluation) for run in runs]
        if runs:
            scores = [scores_of(run, intervals_of(run, options.intervals)) for run in runs]
            methods.append(Method(name, tuple(runs), tuple(one for one in scores if one is not None)))
    if not methods:
        raise ConfigurationError(" ".join(problems) if problems else "there are no runs to report")
    return methods, problems


def _readable(folders: Sequence[str], problems: List[str]) -> List[Run]:
    """The runs that can be read; the others are among the problems."""
    runs = []
    for folder in folders:
        try:
            runs.append(read_run(folder))
        except ConfigurationError as error:
            problems.append(f"{error.message}.")
    return runs


def _of_languages(run: Run, files: Sequence[LanguageFile]) -> List[LanguageFile]:
    """The files in the languages that a teacher was trained on; all where that is not known, or it is none of them."""
    trained = run.trained_languages
    return [file for file in files if trained is None or file.language in trained] or list(files)


def _gap(methods: Sequence[Method], metric: Optional[str], options: ReportOptions) -> Section:
    """Without the methods of which nothing could be read, of which the overview tells."""
    names = {method.name for method in methods}
    baseline = options.baseline if options.baseline in names else None
    return gap(methods, metric, baseline, [name for name in options.teachers if name in names])
