"""What a report says of runs: its figures, its warnings, and what it says where something is missing."""

import json
import shutil
import statistics
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Sequence

import pytest
from allennlp.common.checks import ConfigurationError

from structkd_plugin.evaluation.report.arguments import MethodPaths
from structkd_plugin.evaluation.report.document import Cell, Document, Section
from structkd_plugin.evaluation.report.intervals import IntervalOptions
from structkd_plugin.evaluation.report.methods import TRAINED, ZERO_SHOT, common_metric
from structkd_plugin.evaluation.report.number_formats import interval, percent
from structkd_plugin.evaluation.report.reporting import ReportOptions, methods_of, report_of
from structkd_plugin.evaluation.report.runs import read_run
from structkd_plugin.evaluation.report.sections.breakdown import by_length, by_novelty, by_type
from structkd_plugin.evaluation.report.sections.calibration import calibration
from structkd_plugin.evaluation.report.sections.configuration import configuration
from structkd_plugin.evaluation.report.sections.confusion import confusion
from structkd_plugin.evaluation.report.sections.gap import gap
from structkd_plugin.evaluation.report.sections.learning import learning
from structkd_plugin.evaluation.report.sections.overview import overview
from structkd_plugin.evaluation.significance import bootstrap_interval

from .conftest import paths_of
from .folders import evaluation, write_run

QUICK = IntervalOptions(50)


def section(document: Document, key: str) -> Section:
    (found,) = [section for section in document.sections if section.key == key]
    return found


def cells_of(section: Section, key: str) -> Dict[str, Dict[str, Cell]]:
    """The cells of a table by row and column."""
    (found,) = [table for table in section.tables if table.key == key]
    return {row[0].text: dict(zip(found.header[1:], row[1:], strict=True)) for row in found.rows}


def table(document: Document, section_key: str, key: str) -> Dict[str, Dict[str, Cell]]:
    return cells_of(section(document, section_key), key)


def made(
    key: str, paths: Sequence[MethodPaths], baseline: Optional[str] = None, teachers: Sequence[str] = ()
) -> Section:
    """One section of a report alone."""
    methods, _ = methods_of(paths, (), ReportOptions(intervals=QUICK))
    metric = common_metric(methods)
    sections: Dict[str, Callable[[], Section]] = {
        "overview": lambda: overview(methods, metric, QUICK),
        "gap": lambda: gap(methods, metric, baseline, teachers),
        "learning": lambda: learning(methods),
        "types": lambda: by_type(methods, "accuracy"),
        "lengths": lambda: by_length(methods, "accuracy"),
        "seen": lambda: by_novelty(methods, "accuracy"),
        "calibration": lambda: calibration(methods),
        "confusion": lambda: confusion(methods, "accuracy"),
        "configurations": lambda: configuration(methods),
    }
    return sections[key]()


class TestOverview:
    def test_the_figures_are_those_of_the_evaluation_with_their_intervals(self, document: Document, runs: Path) -> None:
        cells = table(document, "overview", "overview")["baseline"]
        record = json.loads((runs / "baseline" / "evaluation.json").read_text())
        stored = read_run(str(runs / "baseline")).evaluation
        assert stored is not None
        assert stored.sentence_counts is not None
        intervals = bootstrap_interval(
            stored.sentence_counts, samples=200, averages={TRAINED: ["de", "en"], ZERO_SHOT: ["nl"]}
        )
        for name in ("de", "en", "macro", "micro"):
            assert cells[name].text == percent(record["scores"][f"accuracy/{name}"])
        assert cells["nl"].text == percent(record["scores"]["accuracy/nl"]) + "*"
        shares = [record["scores"][f"accuracy/{language}"] for language in ("de", "en")]
        assert cells[TRAINED].text == percent(sum(shares) / 2)
        assert cells[ZERO_SHOT].text == percent(record["scores"]["accuracy/nl"])
        for name in ("de", "en", "nl", "macro", "micro", TRAINED, ZERO_SHOT):
            ends = intervals[name]
            assert ends is not None
            assert cells[name].detail == interval(*ends)

    def test_seeds_are_a_mean_and_a_deviation(self, document: Document, runs: Path) -> None:
        cells = table(document, "overview", "overview")["student"]
        shares = [
            json.loads((runs / f"student_seed{seed}" / "evaluation.json").read_text())["scores"]["accuracy/de"]
            for seed in (1, 2)
        ]
        assert cells["de"].text == percent(statistics.mean(shares))
        assert cells["de"].detail == f"± {100 * statistics.stdev(shares):.2f}"
        assert cells["runs"].text == "2"

    def test_a_language_without_a_figure_is_a_dash(self, document: Document) -> None:
        cells = table(document, "overview", "overview")["teacher_de"]
        assert cells["en"].text == cells[ZERO_SHOT].text == "–"
        assert cells[TRAINED] == cells["de"]

    def test_figures_of_different_data_are_warned_of(self, document: Document, runs: Path, tmp_path: Path) -> None:
        (warning,) = section(document, "overview").warnings
        assert "not of the same sentences" in warning
        assert "a<b>&_%: metrics.json, test" in warning
        write_run(tmp_path / "other", evaluated=evaluation({"de": 0.8}, sentences=30))
        methods = [*paths_of(runs, "baseline"), *paths_of(tmp_path, "other")]
        (warning,) = made("overview", methods).warnings
        assert warning.startswith("In de the runs were evaluated on different files: 40 sentences")
        assert "30 sentences" in warning
        assert warning.endswith("for other.")

    def test_a_run_without_an_evaluation_says_what_to_run(self, runs: Path) -> None:
        found = made("overview", paths_of(runs, "a<b>"))
        assert found.warnings == []
        (note,) = found.notes
        assert f"`allennlp score {runs}/a<b>&_% LANG=FILE... --output {runs}/a<b>&_%/evaluation.json`" in note

    def test_zero_shot_has_no_column_where_there_is_none(self, runs: Path) -> None:
        (found,) = made("overview", paths_of(runs, "teacher_de")).tables
        assert found.header == ["method", "de", "macro", "micro", "runs", "figures from"]

    def test_without_any_figures(self, tmp_path: Path) -> None:
        path = write_run(tmp_path / "a")
        (path / "metrics.json").write_text('{"epoch": 3}')
        found = made("overview", paths_of(tmp_path, "a"))
        assert found.items == []
        assert "There are no figures: run `allennlp score" in found.notes[0]


class TestGap:
    def test_it_is_that_of_the_figures(self, document: Document) -> None:
        figures = table(document, "gap", "gap_figures")
        closed = table(document, "gap", "gap_closed")
        assert list(closed) == ["student", "a<b>&_%"]
        for language in ("de", "en", "average"):
            teachers, baseline, student = (
                float(figures[name][language].text) for name in ("teachers", "baseline (baseline)", "student")
            )
            assert float(closed["student"][language].text) == pytest.approx(
                100 * (student - baseline) / (teachers - baseline), abs=0.2
            )
        assert float(closed["a<b>&_%"]["de"].text) < 0

    @pytest.mark.parametrize(
        ("options", "hint"),
        [
            ({}, "`--baseline NAME --teachers NAME,NAME`"),
            ({"baseline": "baseline"}, "`--teachers NAME,NAME`"),
            ({"teachers": ("teacher_de",)}, "`--baseline NAME`"),
        ],
    )
    def test_without_names_it_says_what_to_give(self, runs: Path, options: Any, hint: str) -> None:
        found = made("gap", paths_of(runs, "baseline", "teacher_de"), **options)
        assert found.items == []
        assert hint in found.notes[0]

    def test_teachers_that_are_not_better_are_warned_of(self, runs: Path) -> None:
        paths = paths_of(runs, "teacher_de", "baseline", "student")
        found = made("gap", paths, "teacher_de", ("baseline",))
        (warning,) = found.warnings
        assert warning.startswith("In de the teachers are not better than the baseline")
        assert cells_of(found, "gap_closed")["student"]["de"].text == "–"

    def test_a_teacher_whose_languages_are_not_known(self, runs: Path, tmp_path: Path) -> None:
        write_run(tmp_path / "teacher", train_data_path="{language}.conllu", evaluated=evaluation({"de": 0.95}))
        methods = [*paths_of(runs, "baseline"), *paths_of(tmp_path, "teacher")]
        found = made("gap", methods, "baseline", ("teacher",))
        assert "does not name the languages" in found.warnings[0]
        assert found.notes == ["There is no method besides the baseline and the teachers."]

    def test_no_common_language(self, runs: Path) -> None:
        found = made("gap", paths_of(runs, "teacher_de", "teacher_en"), "teacher_de", ("teacher_en",))
        assert "no language in which both" in found.notes[0]

    def test_a_name_that_no_method_has(self, runs: Path) -> None:
        with pytest.raises(ConfigurationError, match="there is no method 'x'; there are baseline, student"):
            report_of(paths_of(runs, "baseline", "student"), options=ReportOptions("x"))


class TestOtherSections:
    def test_what_needs_an_evaluation_says_so_where_there_is_none(self, runs: Path) -> None:
        for key in ("types", "lengths", "seen", "calibration", "confusion"):
            found = made(key, paths_of(runs, "a<b>", "teacher_de"))
            assert found.notes[0].startswith("Nothing is known of a<b>: run `allennlp score")
            assert found.items

    def test_without_any_evaluation_there_are_words_alone(self, runs: Path) -> None:
        for key in ("types", "lengths", "seen", "calibration", "confusion"):
            found = made(key, paths_of(runs, "a<b>"))
            assert found.items == []
            assert len(found.notes) == 1

    def test_methods_of_different_languages_are_not_to_be_compared(self, document: Document, runs: Path) -> None:
        assert any("not evaluated in the same languages" in note for note in section(document, "types").notes)
        assert made("types", paths_of(runs, "baseline", "student")).notes == []

    def test_types_are_the_most_frequent_first(self, document: Document) -> None:
        numbers = [int(row["number"].text.replace(",", "")) for row in table(document, "types", "types").values()]
        assert numbers == sorted(numbers, reverse=True)

    def test_lengths_that_no_sentence_has_are_left_out(self, runs: Path, tmp_path: Path) -> None:
        record = evaluation({"de": 0.9})
        record["lengths"].append({"from": 99, "to": None, "sentences": 0, "accuracy": None})
        write_run(tmp_path / "a", evaluated=record)
        assert list(cells_of(made("lengths", paths_of(tmp_path, "a")), "lengths")) == ["1–9", "10–19", "20 or more"]

    def test_calibration_is_pooled_over_seeds_and_its_error_averaged(self, document: Document, runs: Path) -> None:
        cells = table(document, "calibration", "calibration")["student"]
        records = [json.loads((runs / f"student_seed{seed}" / "evaluation.json").read_text()) for seed in (1, 2)]
        assert cells["number"].text == f"{sum(record['overall']['words'] for record in records):,}"
        assert cells["right, %"].text == percent(
            sum(record["overall"]["correct"] for record in records)
            / sum(record["overall"]["words"] for record in records)
        )
        assert cells["ECE, %"].text == percent(statistics.mean(r["calibration"]["token"]["ece"] for r in records))

    def test_confusion_counts_all_words(self, document: Document, runs: Path) -> None:
        record = json.loads((runs / "baseline" / "evaluation.json").read_text())
        figures = section(document, "confusion").figures["baseline"]
        assert sorted(map(tuple, figures)) == sorted(map(tuple, record["confusion"]))
        wrong = sorted((words for gold, guess, words in record["confusion"] if gold != guess), reverse=True)
        (found,) = section(document, "confusion").tables
        shown = [int(row[3].text) for row in found.rows if row[0].text == "baseline"]
        assert shown == wrong[: len(shown)]

    def test_only_keys_that_differ_are_shown(self, document: Document) -> None:
        cells = table(document, "configurations", "configurations")
        assert set(cells) == {"random_seed", "train_data_path.de", "train_data_path.en"}
        assert [cell.text for cell in cells["random_seed"].values()] == ["1", "1, 2", "1", "1", "1"]
        assert cells["train_data_path.en"]["teacher_de"].text == "–"

    def test_the_same_configurations_and_a_single_one(self, runs: Path) -> None:
        same = made("configurations", paths_of(runs, "baseline", "a<b>"))
        assert same.notes == ["The configurations are the same."]
        assert "not two runs" in made("configurations", paths_of(runs, "baseline")).notes[0]

    def test_sizes(self, document: Document) -> None:
        cells = table(document, "costs", "costs")["student"]
        assert [cell.text for cell in cells.values()] == ["17", "1.23", "0:01:02", "–"]
        assert "Words a second" in section(document, "costs").notes[0]

    def test_curves_of_every_quantity_and_best_epochs(self, document: Document) -> None:
        (picture,) = section(document, "learning").pictures
        for text in ("nll, nats a sentence", "accuracy/macro, %", "objective/posterior, nats a sentence", "best epoch"):
            assert text in picture.drawing.inline
        cells = table(document, "learning", "best_epochs")["student, run 2"]
        assert [cell.text for cell in cells.values()] == ["3", "1", "10.5000", "60.00"]

    def test_a_run_without_epochs(self, tmp_path: Path) -> None:
        write_run(tmp_path / "a", epochs=0)
        assert "metrics_epoch_0.json" in made("learning", paths_of(tmp_path, "a")).notes[0]


class TestBrokenRuns:
    def test_a_damaged_file_is_told_of_and_the_rest_reported(self, runs: Path, tmp_path: Path) -> None:
        path = tmp_path / "student"
        shutil.copytree(runs / "student_seed1", path)
        (path / "evaluation.json").write_text('{"metric": "acc')
        document = report_of(paths_of(tmp_path, "student"), options=ReportOptions(intervals=QUICK))
        assert any(f"{path}/evaluation.json cannot be read" in text for text in section(document, "overview").warnings)
        assert table(document, "overview", "overview")["student"]["figures from"].text == "metrics.json, validation"

    def test_a_folder_without_a_run_is_left_out_and_told_of(self, runs: Path, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        methods = [MethodPaths("empty", (str(tmp_path / "empty"),)), *paths_of(runs, "baseline")]
        document = report_of(methods, options=ReportOptions("empty", ("baseline",), QUICK))
        assert section(document, "overview").warnings[0].startswith(f"{tmp_path}/empty holds no run")
        assert document.subject == "1 run of 1 method."
        assert "`--baseline NAME`" in section(document, "gap").notes[0]

    def test_nothing_but_such_folders_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="holds no run"):
            report_of([MethodPaths("empty", (str(tmp_path),))])
