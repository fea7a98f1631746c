"""
The tables of a study, as Markdown: `results.py STUDY.json OUTPUT.md`, run when everything was trained and evaluated.

Figures are in points (of 100); with several seeds, mean ± standard deviation of a sample. Beside the tables, in
OUTPUT.json, stands what they are made of: every run's figures and cost, and the versions. plots.py draws the pictures.
"""

import csv
import json
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

import plan
import study_file
import train
import versions

from structkd_plugin.evaluation.significance import holm

_UNKNOWN = "–"
_LEVELS = ((0.01, "**"), (0.05, "*"))
_SECONDS_AN_HOUR = 3600
_MEBIBYTES_A_GIBIBYTE = 1024


class Evaluations(NamedTuple):
    """
    What the runs of a study reached.

    # Parameters

    metric : `str`
        `accuracy` or `f1`.
    teachers : `Mapping[str, Mapping[str, Optional[float]]]`
        By the teachers' name and language, points.
    students : `Mapping[str, Sequence[Mapping[str, Optional[float]]]]`
        By the row's name, for each seed by language, points.
    """

    metric: str
    teachers: Mapping[str, Mapping[str, Optional[float]]]
    students: Mapping[str, Sequence[Mapping[str, Optional[float]]]]


def read_evaluations(study: plan.Study) -> Evaluations:
    """Read the `evaluation.json` of every run."""
    metrics = set()

    def points(folder: str) -> Dict[str, Optional[float]]:
        content = json.loads(Path(folder, "evaluation.json").read_text(encoding="utf-8"))
        metrics.add(content["metric"])
        figures = {language: found[content["metric"]] for language, found in content["languages"].items()}
        return {language: None if value is None else 100 * value for language, value in figures.items()}

    teachers = {
        name: {language: points(study.teacher(name, language))[language] for language in study.languages}
        for name in study.needed_teachers()
    }
    students = {row.name: [points(folder) for folder in study.students(row)] for row in study.rows}
    (metric,) = metrics
    return Evaluations(metric, teachers, students)


def results(study: plan.Study, evaluations: Evaluations, comparison: Mapping[str, Any]) -> str:
    """
    All tables.

    # Parameters

    study : `plan.Study`
    evaluations : `Evaluations`
    comparison : `Mapping[str, Any]`
        What `allennlp compare` wrote.
    """
    runs = _runs(study)
    used = "All" if study.train_sentences is None else f"The first {study.train_sentences:,}"
    fewer = "" if study.train_sentences is None else ", or all where there are fewer"
    parts = [
        f"# {study.name}",
        f"{metric_name(evaluations)} on the test sentences, points; {runs}. {used} training sentences of each "
        f"language{fewer}.",
        "![Averages by method; the figures are in the tables](averages.svg)",
        "## Languages trained on",
        _main_table(study, evaluations, comparison),
        _marks(study),
    ]
    if study.zero_shot:
        parts += [
            "## Zero-shot languages",
            _table_of(study, evaluations, comparison, list(study.zero_shot), "macro_zero_shot"),
        ]
    curve = _curve(study, evaluations)
    if curve:
        parts += ["## By K", curve, "![Averages by K](by_k.svg)"]
    parts += ["## Cost", _costs(study)]
    return "\n\n".join(parts) + "\n"


def _main_table(study: plan.Study, evaluations: Evaluations, comparison: Mapping[str, Any]) -> str:
    languages = list(study.languages)
    header = ["", *languages, "average", "gap closed, %"]
    rows: List[List[str]] = []
    for name in study.needed_teachers():
        of_language = evaluations.teachers[name]
        title = "Teachers" if len(study.needed_teachers()) == 1 else f"Teachers ({name})"
        figures = [of_language[language] for language in languages]
        rows.append([title, *(_points([figure]) for figure in [*figures, mean_of_known(figures)]), ""])
    baseline = _mean(averages_of(evaluations, study.baseline, languages))
    # One aim for all rows, the first teachers, as in the report: shares of different ways could not be compared.
    aims = evaluations.teachers[study.needed_teachers()[0]]
    aim = mean_of_known([aims[language] for language in languages])
    for row in study.rows:
        cells = _cells(study, evaluations, comparison, row, languages, "macro_trained")
        closed = _gap_closed(_mean(averages_of(evaluations, row, languages)), baseline, aim)
        unasked = row == study.baseline or row.teachers is None
        rows.append([*cells, "" if unasked else _UNKNOWN if closed is None else f"{closed:.1f}"])
    return _markdown(header, rows)


def _table_of(
    study: plan.Study,
    evaluations: Evaluations,
    comparison: Mapping[str, Any],
    languages: Sequence[str],
    average: str,
) -> str:
    rows = [_cells(study, evaluations, comparison, row, languages, average) for row in study.rows]
    return _markdown(["", *languages, "average"], rows)


def _cells(
    study: plan.Study,
    evaluations: Evaluations,
    comparison: Mapping[str, Any],
    row: plan.Row,
    languages: Sequence[str],
    average: str,
) -> List[str]:
    """A row's name, its figures by language, and their average."""
    runs = evaluations.students[row.name]
    cells = [row.name]
    cells += [
        _points([run[language] for run in runs]) + _mark(comparison, row.name, language) for language in languages
    ]
    # Without languages of both kinds there is one average only.
    figure = average if study.zero_shot else "macro"
    return [*cells, _points(averages_of(evaluations, row, languages)) + _mark(comparison, row.name, figure)]


def averages_of(evaluations: Evaluations, row: plan.Row, languages: Sequence[str]) -> List[Optional[float]]:
    """The average over languages of each seed."""
    return [mean_of_known([run[language] for language in languages]) for run in evaluations.students[row.name]]


def mean_of_known(figures: Sequence[Optional[float]]) -> Optional[float]:
    """Over languages that have a figure, as in `allennlp score` and `compare`."""
    known = [figure for figure in figures if figure is not None]
    return mean(known) if known else None


def _mean(figures: Sequence[Optional[float]]) -> Optional[float]:
    return None if None in figures else mean_of_known(figures)


def _gap_closed(reached: Optional[float], baseline: Optional[float], teachers: Optional[float]) -> Optional[float]:
    """The share of the way from the baseline to the teachers, in percent; none where there is no way to go."""
    if reached is None or baseline is None or teachers is None or teachers <= baseline:
        return None
    return 100 * (reached - baseline) / (teachers - baseline)


def _points(figures: Sequence[Optional[float]]) -> str:
    known = [figure for figure in figures if figure is not None]
    if len(known) < len(figures) or not known:
        return _UNKNOWN
    return f"{mean(known):.2f}" + (f" ± {stdev(known):.2f}" if len(known) > 1 else "")


def _mark(comparison: Mapping[str, Any], name: str, figure: str) -> str:
    """Stars where a row differs significantly from the baseline; † where it is worse."""
    figures = {system["name"]: system["figures"].get(figure) for system in comparison["systems"]}
    found = figures.get(name)
    if found is None or found["p"] is None:
        return ""
    # Averages are corrected here, for the rows that are looked at together; `compare` has corrected a row's languages.
    rows = {row: of_row["p"] for row, of_row in figures.items() if of_row is not None and of_row["p"] is not None}
    p = holm(rows)[name] if found["p_holm"] is None else found["p_holm"]
    stars = next((mark for level, mark in _LEVELS if p < level), "")
    return (" " if found["difference"] > 0 else " †") + stars if stars else ""


def _numbers_of_seeds(study: plan.Study) -> List[int]:
    """All that rows have, the smallest first."""
    return sorted({len(row.seeds) for row in study.rows})


def _runs(study: plan.Study) -> str:
    """How many seeds rows have; which have fewer is in the table of comparisons, and in the raw figures."""
    *others, last = map(str, _numbers_of_seeds(study))
    if others:
        return f"{', '.join(others)} or {last} seeds"
    return "1 seed" if last == "1" else f"{last} seeds"


def _marks(study: plan.Study) -> str:
    numbers = _numbers_of_seeds(study)
    asked = "of methods, over seeds and sentences" if numbers[-1] > 1 else "of these two models, over sentences"
    if numbers[0] == 1 < numbers[-1]:
        asked += "; a row with one seed is this one model"
    aim = f"teachers ({study.needed_teachers()[0]})" if len(study.needed_teachers()) > 1 else "teachers"
    return (
        f"\\* and \\*\\*: differs from {study.baseline.name} with p < 0.05 and p < 0.01 ({asked}), † for the worse. "
        "They are corrected by Holm's method: of a language for the languages of its row, of an average for all rows; "
        "`comparison.txt` has them uncorrected too. Gap closed: "
        f"the share of the way from {study.baseline.name} to the {aim}, on average."
    )


def metric_name(evaluations: Evaluations) -> str:
    """What the points are of."""
    return "F1 of spans" if evaluations.metric == "f1" else "Accuracy"


def _curve(study: plan.Study, evaluations: Evaluations) -> str:
    """The average by K, for every method that the study has at several of them."""
    families = study.families()
    if not families:
        return ""
    ks = sorted({k for rows in families.values() for k in rows})
    lines = [
        [
            str(k),
            *(
                _points(averages_of(evaluations, rows[k], study.languages)) if k in rows else ""
                for rows in families.values()
            ),
        ]
        for k in ks
    ]
    return _markdown(["K", *families], lines)


def _costs(study: plan.Study) -> str:
    """Hours, of a student on average over its seeds, of all teachers together; and the largest memory of any."""
    rows = []
    resumed = False
    for name in study.needed_teachers():
        for title, costs in (("Teachers", _teacher_costs(study, name)), ("Stores", _store_costs(study, name))):
            # Of teachers that are only shown, nothing is stored.
            if not costs:
                continue
            resumed |= any(cost["resumed"] for cost in costs.values())
            rows.append([f"{title} ({name}), {len(costs)} in all", *_cost_cells(list(costs.values()), len(costs))])
    for speakers, costs in _student_store_costs(study).items():
        names = " and ".join(row.name for row in study.speaking(speakers))
        title = f"Stores (students of {names}), {len(costs)} in all"
        rows.append([title, *_cost_cells(list(costs.values()), len(costs))])
    for row in study.rows:
        costs = _student_costs(study, row)
        resumed |= any(cost["resumed"] for cost in costs.values())
        rows.append([row.name, *_cost_cells(list(costs.values()), 1)])
    table = _markdown(["", "training, hours", "of the processor", "peak memory, GiB"], rows)
    note = "\n\n≥: a training was broken off; only what came after is counted." if resumed else ""
    return table + "\n\nOf a student: hours on average over its seeds, and the largest memory." + note


def _teacher_costs(study: plan.Study, name: str) -> Dict[str, Dict[str, Any]]:
    """By language."""
    return {
        language: _cost(study.benchmark(plan.teacher_name(name, language)), study.teacher(name, language))
        for language in study.languages
    }


def _store_costs(study: plan.Study, name: str) -> Dict[str, Dict[str, Any]]:
    """By language; those with further sentences apart."""
    of_rows = [row for row in study.rows if row.teachers == name]
    needed = {
        (language, row.more(language))
        for row in of_rows
        for language in study.stores(row)
        if not row.speakers or language not in study.zero_shot
    }
    costs = {}
    for language, more in sorted(needed):
        title = f"{language}, {more.replace('_', ' and ')}" if more else language
        store = f"store_{more}" if more else "store"
        costs[title] = _cost(study.benchmark(f"{store}_{plan.teacher_name(name, language)}"))
    return costs


def _student_store_costs(study: plan.Study) -> Dict[str, Dict[str, Dict[str, Any]]]:
    """Of what students say of zero-shot languages for other rows: by `Row.speakers`, by language."""
    costs: Dict[str, Dict[str, Dict[str, Any]]] = {}
    for speakers in dict.fromkeys(row.speakers for row in study.rows if row.speakers):
        of_rows = [row for row in study.rows if row.speakers == speakers]
        languages = {language for row in of_rows for language in row.unlabelled if language in study.zero_shot}
        costs[speakers] = {
            language: _cost(study.benchmark(plan.store_of_students_name(speakers, language)))
            for language in sorted(languages)
        }
    return costs


def _student_costs(study: plan.Study, row: plan.Row) -> Dict[str, Dict[str, Any]]:
    """By seed."""
    return {
        str(seed): _cost(study.benchmark(plan.student_name(row.slug, seed)), study.student(row, seed))
        for seed in row.seeds
    }


def _cost(benchmark: str, folder: Optional[str] = None) -> Dict[str, Any]:
    """Of one run: `seconds` by the clock and of the `processor`, `mebibytes`, and whether it was `resumed`."""
    measured = _benchmark(benchmark)
    return {
        "seconds": measured["s"],
        "processor": measured["cpu_time"],
        "mebibytes": measured["max_rss"],
        "resumed": folder is not None and _was_resumed(folder),
    }


def _cost_cells(costs: Sequence[Mapping[str, Any]], together: int) -> List[str]:
    """Hours twice, of `together` runs, and GiB."""
    resumed = any(cost["resumed"] for cost in costs)
    hours = [together * mean(cost[kind] for cost in costs) / _SECONDS_AN_HOUR for kind in ("seconds", "processor")]
    largest = max(cost["mebibytes"] for cost in costs)
    # Of what ends within a second, nothing is measured.
    memory = f"{largest / _MEBIBYTES_A_GIBIBYTE:.2f}" if largest else _UNKNOWN
    return [*(_hours(value, resumed) for value in hours), memory]


def raw_figures(study: plan.Study, evaluations: Evaluations) -> Dict[str, Any]:
    """What the tables are made of, for files: every run's figures by language in points, and its cost."""
    return {
        "metric": evaluations.metric,
        "versions": _versions(study),
        "teachers": {
            name: {
                "figures": evaluations.teachers[name],
                "cost": _teacher_costs(study, name),
                "stores": _store_costs(study, name),
            }
            for name in study.needed_teachers()
        },
        "students": {
            row.name: {
                "figures": dict(zip(map(str, row.seeds), evaluations.students[row.name], strict=True)),
                "cost": _student_costs(study, row),
            }
            for row in study.rows
        },
        "stores_of_students": _student_store_costs(study),
    }


def _versions(study: plan.Study) -> Dict[str, str]:
    """What the models were trained with; several versions, where they were not all trained with the same."""
    folders = [folder for row in study.rows for folder in study.students(row)]
    folders += [study.teacher(name, language) for name in study.needed_teachers() for language in study.languages]
    now = versions.installed()
    found: Dict[str, List[str]] = {}
    for folder in folders:
        for package, version in train.begun(Path(folder)).get("versions", now).items():
            if version not in found.setdefault(package, []):
                found[package].append(version)
    return {package: ", ".join(sorted(those)) for package, those in found.items()}


def _hours(hours: float, resumed: bool) -> str:
    if not hours:
        # Of what ends within a second, processor time is not measured.
        return _UNKNOWN
    return ("≥ " if resumed else "") + f"{hours:.3f}"


def _was_resumed(folder: str) -> bool:
    return bool(train.begun(Path(folder)).get("resumed", 0))


def _benchmark(file: str) -> Dict[str, float]:
    """What Snakemake measured: seconds `s` and `cpu_time`, and MiB `max_rss`, 0 where it had no time to."""
    with open(file, newline="", encoding="utf-8") as lines:
        (measured,) = csv.DictReader(lines, delimiter="\t")
    return {key: _number(measured[key]) for key in ("s", "cpu_time", "max_rss")}


def _number(text: Optional[str]) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    # A star of a mark is no emphasis.
    return "\n".join("| " + " | ".join(cell.replace("*", "\\*") for cell in line) + " |" for line in lines)


def main(arguments: Sequence[str]) -> None:
    """Write OUTPUT.md and OUTPUT.json."""
    description, output = arguments
    study = study_file.study_of(json.loads(Path(description).read_text(encoding="utf-8")))
    comparison = json.loads(Path(study.folder, "comparison.json").read_text(encoding="utf-8"))
    evaluations = read_evaluations(study)
    raw = json.dumps(raw_figures(study, evaluations), ensure_ascii=False, indent=1) + "\n"
    Path(output).with_suffix(".json").write_text(raw, encoding="utf-8")
    Path(output).write_text(results(study, evaluations, comparison), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
