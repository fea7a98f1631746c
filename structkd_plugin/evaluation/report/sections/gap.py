"""How much of the gap between a baseline and its teachers each method closes."""

from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from allennlp.common.checks import ConfigurationError

from structkd_plugin.evaluation.report.document import Cell, Section, Table
from structkd_plugin.evaluation.report.gap import figures_of_teachers, gap_closed, teachers_not_better
from structkd_plugin.evaluation.report.methods import Method
from structkd_plugin.evaluation.report.number_formats import UNDEFINED, percent


def gap(methods: Sequence[Method], metric: Optional[str], baseline: Optional[str], teachers: Sequence[str]) -> Section:
    """
    (method − baseline) / (teachers − baseline), by language and of the means.

    # Parameters

    methods : `Sequence[Method]`
    metric : `str`, optional
    baseline : `str`, optional
        The name of a method.
    teachers : `Sequence[str]`
        Names of methods; each is a teacher of the languages that it was trained on.

    # Raises

    `ConfigurationError` : for a name that no method has.
    """
    section = Section(
        "gap",
        "Gap closed",
        "Of what separates the baseline from the teachers, the share that a method makes up for: 0 % is as good as the "
        "baseline, 100 % as good as the teachers, each in its own language; below 0 % is worse than the baseline. The "
        "average is that share of the mean figures, over the languages that all three have. A gap of few tenths of a "
        "per cent is within the noise, and so is every share of it.",
    )
    named = {method.name: method for method in methods}
    for name in (*([baseline] if baseline else []), *teachers):
        if name not in named:
            raise ConfigurationError(f"there is no method {name!r}; there are {', '.join(named)}")
    if baseline is None or not teachers:
        missing = [
            option for option, given in (("--baseline NAME", baseline), ("--teachers NAME,NAME", teachers)) if not given
        ]
        section.notes.append(
            f"Give the runs of the baseline and of the teachers too, and say which they are with `{' '.join(missing)}`."
        )
        return section
    unknown = [f"{name} ({run.path})" for name in teachers for run in named[name].runs if run.trained_languages is None]
    if unknown:
        section.warnings.append(
            f"The configuration of {', '.join(unknown)} does not name the languages that it was trained on: it is "
            "taken for a teacher of all languages that it was evaluated on."
        )
    of_teachers = figures_of_teachers([(named[name].values(), _trained(named[name])) for name in teachers])
    of_baseline = named[baseline].values()
    languages = sorted(set(of_teachers) & set(of_baseline))
    if not languages:
        section.notes.append(
            "There is no language in which both the baseline and a teacher have figures: evaluate both with "
            "`allennlp score`, or name the files to this command."
        )
        return section
    students = [method for method in methods if method.name != baseline and method.name not in teachers]
    shown: List[Tuple[str, Mapping[str, float]]] = [("teachers", of_teachers), (f"{baseline} (baseline)", of_baseline)]
    shown += [(method.name, method.values()) for method in students]
    figures = Table(
        "gap_figures",
        f"{metric}, %, in the languages with a teacher",
        ["method", *languages, "average"],
        [[Cell(name), *_figures(values, languages)] for name, values in shown],
    )
    section.items.append(figures)
    closed = {method.name: gap_closed(method.values(), of_baseline, of_teachers) for method in students}
    if students:
        section.items.append(
            Table(
                "gap_closed",
                "Gap closed, %",
                ["method", *languages, "average"],
                [
                    [
                        Cell(name),
                        *(Cell(percent(found.languages.get(language))) for language in languages),
                        Cell(percent(found.average)),
                    ]
                    for name, found in closed.items()
                ],
            )
        )
    else:
        section.notes.append("There is no method besides the baseline and the teachers.")
    beaten = teachers_not_better(of_baseline, of_teachers)
    if beaten:
        section.warnings.append(
            f"In {', '.join(beaten)} the teachers are not better than the baseline: there is no gap to close, and what "
            "a student can learn from them there is doubtful."
        )
    section.figures = {
        "baseline": baseline,
        "teachers": dict(of_teachers),
        "teachers_not_better": beaten,
        "closed": {
            name: {"languages": dict(found.languages), "average": found.average} for name, found in closed.items()
        },
    }
    return section


def _trained(method: Method) -> Optional[List[str]]:
    """The languages that all runs of a teacher say; none where one does not say."""
    languages = [run.trained_languages for run in method.runs]
    if any(trained is None for trained in languages):
        return None
    return sorted(set().union(*(trained or () for trained in languages)))


def _figures(values: Mapping[str, float], languages: Sequence[str]) -> List[Cell]:
    cells: Dict[str, float] = {language: values[language] for language in languages if language in values}
    complete = len(cells) == len(languages)
    average = sum(cells.values()) / len(cells) if complete else None
    return [
        *(Cell(percent(cells.get(language))) for language in languages),
        Cell(percent(average) if complete else UNDEFINED),
    ]
