"""The tables of a study, from figures that are known."""

import json
from pathlib import Path

import pytest

from tests.study.programs import ROOT, program

plan = program("plan")
study_file = program("study_file")
program("versions")
program("train")
results = program("results")
plots = program("plots")


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Two languages, a zero-shot one, two seeds, a K-curve; nothing of it is trained."""
    monkeypatch.chdir(ROOT)
    config = {"config": "training_configs/teacher.libsonnet"}
    top_wk = {"name": "Top-WK", "config": "training_configs/top_wk.jsonnet", "k": [1, 5]}
    return study_file.study_of(
        {
            "name": "known",
            "output": str(tmp_path),
            "task": "training_configs/upos.libsonnet",
            "files": "{language}/{split}.conllu",
            "languages": ["de", "en"],
            "zero_shot": ["nl"],
            "seeds": [1, 2],
            "teachers": {"crf": config},
            "baseline": "Baseline",
            "rows": [
                {"name": "Baseline", "config": "training_configs/baseline.jsonnet", "teachers": "none"},
                {"name": "Posterior", "config": "training_configs/posterior.jsonnet"},
                top_wk,
            ],
        }
    )


def write_run(study, name, folder, accuracies, seconds, mebibytes="512.0"):
    Path(folder).mkdir(parents=True)
    content = {"metric": "accuracy", "languages": {key: {"accuracy": value} for key, value in accuracies.items()}}
    Path(folder, "evaluation.json").write_text(json.dumps(content))
    write_benchmark(study, name, seconds, mebibytes)


def write_benchmark(study, name, seconds, mebibytes="-"):
    file = Path(study.benchmark(name))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"s\th:m:s\tmax_rss\tmean_load\tcpu_time\n{seconds}\t0:00:00\t{mebibytes}\t50\t{seconds / 2}\n")


@pytest.fixture
def trained(study):
    for language, accuracy in (("de", 0.9), ("en", 0.8)):
        write_run(study, f"teacher_crf_{language}", study.teacher("crf", language), {language: accuracy}, 1800)
        write_benchmark(study, f"store_teacher_crf_{language}", 36)
    points = {"Baseline": (0.7, 0.6), "Posterior": (0.8, 0.7), "Top-WK (1)": (0.6, 0.6), "Top-WK (5)": (0.7, 0.75)}
    for row in study.rows:
        for seed, de in zip(row.seeds, points[row.name], strict=True):
            figures = {"de": de, "en": 0.5, "nl": 0.25 if row.name != "Posterior" else None}
            write_run(
                study, plan.student_name(row.slug, seed), study.student(row, seed), figures, 3600 * seed, "1024.0"
            )
    return study


def figure(difference, p, p_holm=None):
    return {"difference": difference, "p": p, "p_holm": p_holm}


COMPARISON = {
    "systems": [
        {
            "name": "Posterior",
            "figures": {
                "de": figure(0.1, 0.001, 0.03),
                "en": figure(0.0, 0.04, 0.06),
                "macro_trained": figure(0.05, 0.002),
                # Of a study without zero-shot languages.
                "macro": figure(0.05, 0.02),
                "nl": None,
            },
        },
        {"name": "Top-WK (1)", "figures": {"de": figure(-0.05, 0.01, 0.02), "macro_trained": figure(-0.02, None)}},
    ]
}


def rows(text, heading):
    """The cells of a table, by the first of each line."""
    section = text.partition(f"## {heading}\n\n")[2].partition("\n## ")[0]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("|")]
    return {line[0]: line[1:] for line in lines}


@pytest.fixture
def text(trained):
    return results.results(trained, results.read_evaluations(trained), COMPARISON)


def test_languages_and_their_average(text):
    table = rows(text, "Languages trained on")
    assert table[""] == ["de", "en", "average", "gap closed, %"]
    assert table["Teachers"] == ["90.00", "80.00", "85.00", ""]
    assert table["Baseline"] == ["65.00 ± 7.07", "50.00 ± 0.00", "57.50 ± 3.54", ""]
    # 62.5 is 5 of the 27.5 points between 57.5 and 85.
    assert table["Posterior"] == ["75.00 ± 7.07 \\*", "50.00 ± 0.00", "62.50 ± 3.54 \\*\\*", "18.2"]
    assert table["Top-WK (1)"] == ["60.00 ± 0.00 †\\*", "50.00 ± 0.00", "55.00 ± 0.00", "-9.1"]


def test_without_zero_shot_languages_there_is_one_average(trained):
    alone = trained._replace(zero_shot={})
    text = results.results(alone, results.read_evaluations(alone), COMPARISON)
    assert rows(text, "Languages trained on")["Posterior"][2] == "62.50 ± 3.54 \\*"


def test_averages_are_corrected_for_the_rows(trained):
    uncorrected = {"Posterior": 0.004, "Top-WK (1)": 0.02, "Top-WK (5)": 0.03}
    systems = [{"name": name, "figures": {"macro_trained": figure(0.1, p)}} for name, p in uncorrected.items()]
    text = results.results(trained, results.read_evaluations(trained), {"systems": systems})
    table = rows(text, "Languages trained on")
    assert [table[name][2].endswith("\\*") for name in uncorrected] == [True, True, True]
    systems[1]["figures"]["macro_trained"]["p"] = 0.026
    text = results.results(trained, results.read_evaluations(trained), {"systems": systems})
    table = rows(text, "Languages trained on")
    # 3 · 0.004 < 0.05 as it was, 2 · 0.026 > 0.05, which the last is as well.
    assert [table[name][2].endswith("\\*") for name in uncorrected] == [True, False, False]


def test_rows_with_fewer_seeds_are_of_their_own(trained):
    rows_ = [row._replace(seeds=[2]) if row.name == "Posterior" else row for row in trained.rows]
    fewer = trained._replace(rows=rows_)
    evaluations = results.read_evaluations(fewer)
    text = results.results(fewer, evaluations, COMPARISON)
    assert "points; 1 or 2 seeds." in text
    assert "of methods, over seeds and sentences; a row with one seed is this one model" in text
    # The second seed's, which has 70 points of German.
    assert rows(text, "Languages trained on")["Posterior"][0] == "70.00 \\*"
    assert list(results.raw_figures(fewer, evaluations)["students"]["Posterior"]["figures"]) == ["2"]


def test_what_is_unknown_is_no_zero(text):
    table = rows(text, "Zero-shot languages")
    assert table["Baseline"] == ["25.00 ± 0.00", "25.00 ± 0.00"]
    assert table["Posterior"] == ["–", "–"]


def test_the_curve_by_k(text):
    assert rows(text, "By K") == {
        "K": ["Top-WK"],
        "---": ["---:"],
        "1": ["55.00 ± 0.00"],
        "5": ["61.25 ± 1.77"],
    }


def test_costs(text):
    table = rows(text, "Cost")
    assert table["Teachers (crf), 2 in all"] == ["1.000", "0.500", "0.50"]
    assert table["Stores (crf), 2 in all"] == ["0.020", "0.010", "–"]
    assert table["Baseline"] == ["1.500", "0.750", "1.00"]
    assert "≥" not in text


def test_stores_of_students_have_costs_of_their_own(trained):
    posterior = trained.rows[1]._replace(unlabelled=["nl"], zero_shot_teachers=["baseline"])
    taught = trained._replace(rows=[trained.rows[0], posterior, *trained.rows[2:]])
    write_benchmark(taught, "store_unlabelled_students_baseline.nl", 72)
    evaluations = results.read_evaluations(taught)
    table = rows(results.results(taught, evaluations, COMPARISON), "Cost")
    assert table["Stores (students of Baseline), 1 in all"] == ["0.020", "0.010", "–"]
    assert table["Stores (crf), 2 in all"] == ["0.020", "0.010", "–"]
    stores = results.raw_figures(taught, evaluations)["stores_of_students"]
    assert stores["baseline"]["nl"]["seconds"] == 72


def test_a_training_that_was_broken_off_has_cost_more(trained):
    noted = Path(f"{trained.student(trained.rows[1], 2)}.begun.json")
    noted.write_text(json.dumps({"inputs": "x", "resumed": 1}))
    text = results.results(trained, results.read_evaluations(trained), COMPARISON)
    assert rows(text, "Cost")["Posterior"] == ["≥ 1.500", "≥ 0.750", "1.00"]
    assert "≥: a training was broken off" in text


def test_versions_are_those_of_the_trainings(trained):
    for seed, version in ((1, "2.4.0"), (2, "2.6.0")):
        noted = Path(f"{trained.student(trained.rows[1], seed)}.begun.json")
        noted.write_text(json.dumps({"inputs": "x", "resumed": 0, "versions": {"torch": version}}))
    found = results.raw_figures(trained, results.read_evaluations(trained))["versions"]["torch"].split(", ")
    # And of trainings without a note those of now.
    assert set(found) == {"2.4.0", "2.6.0", program("versions").installed()["torch"]}


def test_all_gaps_lead_to_the_first_teachers(trained):
    more = dict(trained.teachers)
    more["softmax"] = more["crf"]
    rows_ = [row._replace(teachers="softmax") if row.name == "Posterior" else row for row in trained.rows]
    both = trained._replace(teachers=more, rows=rows_)
    for language in ("de", "en"):
        write_run(both, f"teacher_softmax_{language}", both.teacher("softmax", language), {language: 0.6}, 1800)
        write_benchmark(both, f"store_teacher_softmax_{language}", 36)
    text = results.results(both, results.read_evaluations(both), COMPARISON)
    assert rows(text, "Languages trained on")["Posterior"][-1] == "18.2"
    assert "from Baseline to the teachers (crf), on average" in text


def test_there_is_no_gap_to_teachers_that_are_worse():
    assert results._gap_closed(60.0, 50.0, 50.0) is None
    assert results._gap_closed(60.0, 50.0, 70.0) == 50.0


def test_the_program_writes_them(trained, tmp_path, monkeypatch):
    Path(trained.folder, "comparison.json").write_text(json.dumps(COMPARISON))
    description = {
        "name": "known",
        "output": str(tmp_path),
        "task": "training_configs/upos.libsonnet",
        "files": "{language}/{split}.conllu",
        "languages": ["de", "en"],
        "seeds": [1, 2],
        "teachers": {"crf": {"config": "training_configs/teacher.libsonnet"}},
        "baseline": "Baseline",
        "rows": [
            {"name": "Baseline", "config": "training_configs/baseline.jsonnet", "teachers": "none"},
            {"name": "Posterior", "config": "training_configs/posterior.jsonnet"},
        ],
    }
    (tmp_path / "study.json").write_text(json.dumps(description))
    results.main([str(tmp_path / "study.json"), str(tmp_path / "results.md")])
    plots.main([str(tmp_path / "study.json"), str(tmp_path)])
    assert [file.name for file in tmp_path.glob("*.svg")] == ["averages.svg"]
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert text.startswith("# known\n\nAccuracy on the test sentences, points; 2 seeds. All training sentences")
    assert "Zero-shot" not in text
    raw = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert raw["metric"] == "accuracy"
    assert raw["versions"]["torch"]
    assert raw["teachers"]["crf"]["figures"] == {"de": 90.0, "en": 80.0}
    baseline = raw["students"]["Baseline"]
    assert baseline["figures"]["2"] == {"de": 60.0, "en": 50.0, "nl": 25.0}
    assert baseline["cost"]["2"] == {"seconds": 7200.0, "processor": 3600.0, "mebibytes": 1024.0, "resumed": False}


def test_drawings_show_every_row_and_the_curve(trained):
    found = plots.drawings(trained, results.read_evaluations(trained))
    assert list(found) == ["averages.svg", "by_k.svg"]
    for name in ("Baseline", "Posterior", "Top-WK (1)", "Top-WK (5)", "teachers", "zero-shot languages"):
        assert f">{name}</text>" in found["averages.svg"], name
    assert ">Top-WK</text>" in found["by_k.svg"]
    assert all(svg.count("<svg ") == 1 and svg.endswith("</svg>\n") for svg in found.values())


def test_teachers_that_nobody_learns_from_have_no_stores(study):
    alone = study._replace(rows=[study.baseline])
    for language in ("de", "en"):
        write_run(alone, f"teacher_crf_{language}", alone.teacher("crf", language), {language: 0.9}, 1800)
    for seed in alone.baseline.seeds:
        figures = {"de": 0.7, "en": 0.5, "nl": 0.25}
        write_run(alone, plan.student_name("baseline", seed), alone.student(alone.baseline, seed), figures, 3600)
    table = rows(results.results(alone, results.read_evaluations(alone), {"systems": []}), "Cost")
    assert [title for title in table if title not in ("", "---")] == ["Teachers (crf), 2 in all", "Baseline"]
