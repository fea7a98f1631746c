"""The figures by type, by the length of sentences, and of what was and was not seen in training."""

from typing import Any, Callable, Dict, Hashable, List, Mapping, Optional, Sequence

from structkd_plugin.evaluation.report.document import Cell, Picture, Section, Table
from structkd_plugin.evaluation.report.methods import Estimate, Method, mean_of
from structkd_plugin.evaluation.report.number_formats import UNDEFINED, count, deviation, percent
from structkd_plugin.evaluation.report.plots import length_lines
from structkd_plugin.evaluation.report.sections.missing import note_missing
from structkd_plugin.evaluation.report.stored_evaluation import StoredEvaluation

Rows = Mapping[Hashable, Mapping[str, Any]]


def by_type(methods: Sequence[Method], metric: str) -> Section:
    """By type of entity, or by label."""
    spans = metric == "f1"
    section = Section(
        "types",
        "By type" if spans else "By label",
        f"F1 of each {'type of span' if spans else 'label'}, %, the most frequent first, with its number in the gold "
        "tags. Rare ones vary most: a single error of ten is ten per cent.",
    )
    found = _with(methods, lambda evaluation: evaluation.types)
    note_missing(section, methods, found)
    if found:
        sizes = _sizes(found, lambda evaluation: evaluation.types, "gold")
        keys = sorted(sizes, key=lambda key: (-(sizes[key] or 0), str(key)))
        _add_table(section, "types", "F1, %", "type" if spans else "label", found, keys, sizes, lambda e: e.types)
    return section


def by_length(methods: Sequence[Method], metric: str) -> Section:
    """By the length of sentences."""
    section = Section(
        "lengths",
        "By sentence length",
        "The metric over sentences of so many words. A method that falls off where others do not misses what is far "
        "apart, or has not seen such sentences in training.",
    )
    found = _with(methods, _lengths)
    note_missing(section, methods, found)
    if found:
        sizes = _sizes(found, _lengths, "sentences")
        # Lengths that no sentence has say nothing.
        keys = sorted((key for key in sizes if sizes[key] != 0), key=lambda key: key[0])  # type: ignore[index]
        names = {key: _length_name(key) for key in keys}
        values = _add_table(
            section, "lengths", f"{metric}, %", "words", found, keys, sizes, _lengths, names, "sentences"
        )
        if len(keys) > 1:
            section.items.append(
                Picture(
                    "lengths",
                    f"{metric} by the number of words.",
                    length_lines([method.name for method in found], [names[key] for key in keys], values, metric),
                )
            )
    return section


def by_novelty(methods: Sequence[Method], metric: str) -> Section:
    """What was seen in training, and what was not."""
    section = Section(
        "seen",
        "Seen and unseen",
        "The metric of what occurs in the training data of the method, and of what does not: of words, or of entities "
        "by all their words. What a method has not learnt by heart shows in the second row.",
    )
    found = _with(methods, lambda evaluation: evaluation.seen or {})
    note_missing(section, methods, found)
    if found:
        sizes = _sizes(found, lambda evaluation: evaluation.seen or {}, "gold" if metric == "f1" else "words")
        keys = [key for key in ("seen", "unseen") if key in sizes]
        of = {evaluation.seen_by for method in found for evaluation in method.evaluations if evaluation.seen_by}
        decided = f" (decided by {' or '.join(sorted(of))})" if of else ""
        _add_table(section, "seen", f"{metric}, %{decided}", "", found, keys, sizes, lambda e: e.seen or {})
    return section


def _with(methods: Sequence[Method], rows: Callable[[StoredEvaluation], Any]) -> List[Method]:
    return [method for method in methods if any(rows(evaluation) for evaluation in method.evaluations)]


def _lengths(evaluation: StoredEvaluation) -> Dict[Hashable, Mapping[str, Any]]:
    return {(row["from"], row["to"]): row for row in evaluation.lengths}


def _length_name(key: Any) -> str:
    first, last = key
    if last is None:
        return f"{first} or more"
    return str(first) if first == last else f"{first}–{last}"


def _sizes(
    methods: Sequence[Method], rows: Callable[[StoredEvaluation], Any], counted: str
) -> Dict[Hashable, Optional[int]]:
    """By key how many there are: the largest number of any evaluation, as a teacher sees one language of all."""
    sizes: Dict[Hashable, Optional[int]] = {}
    for method in methods:
        for evaluation in method.evaluations:
            for key, row in rows(evaluation).items():
                number = row.get(counted)
                known = sizes.setdefault(key, None)
                if isinstance(number, int):
                    sizes[key] = max(number, known or 0)
    return sizes


def _add_table(
    section: Section,
    key: str,
    caption: str,
    of: str,
    methods: Sequence[Method],
    keys: Sequence[Hashable],
    sizes: Mapping[Hashable, Optional[int]],
    rows: Callable[[StoredEvaluation], Any],
    names: Optional[Mapping[Hashable, str]] = None,
    unit: str = "number",
) -> Dict[str, List[Optional[float]]]:
    """A row for each key, a column for each method; returns the values of each method."""
    languages = {method.name: sorted({one for e in method.evaluations for one in e.languages}) for method in methods}
    if len(set(map(tuple, languages.values()))) > 1:
        told = "; ".join(f"{name}: {', '.join(found)}" for name, found in languages.items())
        section.notes.append(f"The methods were not evaluated in the same languages ({told}): compare those that were.")
    estimates: Dict[str, List[Estimate]] = {method.name: [] for method in methods}
    cells = []
    for one in keys:
        row = [Cell(str(one) if names is None else names[one]), Cell(count(sizes[one]))]
        for method in methods:
            found = [e.figure(r) for e in method.evaluations if (r := rows(e).get(one)) is not None]
            estimate = mean_of([value for value in found if value is not None])
            estimates[method.name].append(estimate)
            row.append(_cell(estimate))
        cells.append(row)
    section.items.append(Table(key, caption, [of, unit, *estimates], cells))
    section.figures = {
        name: [
            {"of": list(one) if isinstance(one, tuple) else one, **estimate.figures()}
            for one, estimate in zip(keys, values, strict=True)
        ]
        for name, values in estimates.items()
    }
    return {name: [estimate.value for estimate in values] for name, values in estimates.items()}


def _cell(estimate: Estimate) -> Cell:
    if estimate.value is None:
        return Cell(UNDEFINED)
    return Cell(percent(estimate.value), "" if estimate.deviation is None else deviation(estimate.deviation))
