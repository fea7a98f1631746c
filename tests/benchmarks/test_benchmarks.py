"""That the benchmarks run: nothing is timed for its result here."""

import json
from itertools import product
from pathlib import Path

import pytest
import torch
from _jsonnet import evaluate_snippet

from benchmarks import crf_scaling, crf_speed, distillation_cost, measure, store_scale, tagger_speed, taggers
from benchmarks.peers import OPERATIONS, OURS, AllenNLP, K, Ours, load, random_problem

PROBLEM = random_problem(4, 5, 3)


@pytest.fixture(scope="module")
def cells():
    loaded, _ = load((*OURS, AllenNLP))
    return crf_speed.measure_all(loaded, [(4, 5, 3)], list(OPERATIONS), crf_speed.Settings(2, 0.01, 1.0))


def test_all_operations_are_measured_and_right(cells):
    assert [cell["operation"] for cell in cells] == list(OPERATIONS)
    for cell in cells:
        found = cell["contestants"]["ours"]
        assert found["verdict"] == "right", cell
        assert found["wall"] > 0
        assert found["repetitions"] == 2
        assert found["calls"] >= 1


def test_the_tables_show_everything_and_survive_json(cells):
    result = {
        "environment": measure.environment(),
        "warning": "busy",
        "settings": {"repetitions": 2},
        "not_loaded": {"some peer": "ImportError: no"},
        "threads": {"1": cells},
    }
    text = crf_speed.tables(json.loads(json.dumps(result, allow_nan=False)))
    for operation in OPERATIONS.values():
        assert operation in text
    for part in ("4×5×3", "AllenNLP", "some peer: not measured. ImportError: no", "**busy**", "35×"):
        assert part in text


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_wrong_answer_is_seen(operation):
    class Wrong(Ours):
        def paths(self, answer):
            return torch.zeros_like(answer)

        def k_paths(self, answer):
            return answer[:, :1].expand_as(answer)

        def gradients(self):
            emissions, *tables = super().gradients()
            return (emissions + 1.0, *tables)

    # long enough for the mean of samples
    problem = random_problem(64, 8, 3)
    contestant = Wrong(problem)
    answer = getattr(contestant, operation)()
    if operation == "marginals":
        answer = answer + 0.1
    error = crf_speed.Reference(problem).error(operation, contestant, answer)
    assert crf_speed.verdict(operation, error) == "wrong"


def test_only_right_ones_are_the_best_peer():
    found = {
        "ours": {"wall": 1.0, "verdict": "right"},
        "AllenNLP": {"wall": 8.0, "verdict": "right"},
        "good": {"wall": 4.0, "verdict": "inexact"},
        "bad": {"wall": 2.0, "verdict": "wrong", "error": 0.5},
        "none": {"failed": "no"},
    }
    assert crf_speed.ratios({"contestants": found}, "ours") == (8.0, 4.0, "good")
    assert crf_speed.ratios({"contestants": found}, "none") == (None, None, None)


def test_a_peer_that_is_not_there_is_named():
    class Missing(Ours):
        name = "missing"

        @classmethod
        def load(cls):
            raise ImportError("no such thing")

    assert load((Ours, Missing)) == ([Ours], {"missing": "ImportError: no such thing"})


def test_turns_are_shared_and_the_slow_have_fewer():
    log = []
    calls = {"fast": lambda: log.append("fast"), "slow": lambda: log.append("slow")}
    timings = measure.round_robin(calls, {"fast": 0.01, "slow": 1.0}, seconds=1.0, repetitions=9)
    assert timings["fast"].repetitions == 9
    assert timings["slow"].repetitions == 3
    assert log.count("slow") == 3
    # not all at the beginning
    assert "slow" in log[len(log) // 2 :]


def test_problems_are_ragged_and_unsorted():
    problem = random_problem(32, 40, 3)
    assert int(problem.lengths.max()) == 40
    assert int(problem.lengths.min()) >= 10
    assert problem.lengths.tolist() != sorted(problem.lengths.tolist(), reverse=True)
    assert torch.equal(problem.mask.sum(dim=1), problem.lengths)


def test_scaling_measures_time_floor_and_memory():
    limits = crf_scaling.Machine(1e9, 1e9)
    (likelihood, *_, viterbi) = crf_scaling.measure_sweep("B", [2], limits, 0.01, 1)
    assert likelihood["seconds"]["ours"] > 0
    assert likelihood["floor"]["arithmetic"] > 0
    assert viterbi["operation"] == "viterbi"
    (best,) = crf_scaling.measure_sweep("K", [2], limits, 0.01, 1)
    assert set(best["seconds"]) == {"ours", "AllenNLP"}
    assert K == 10
    assert crf_scaling.peak_memory("ours", 16) >= 0


def test_the_command_line():
    options = crf_speed.arguments(["--quick", "--shapes", "2x3x4", "--threads", "1", "2", "--threads", "1"])
    assert options.shapes == [(2, 3, 4)]
    assert options.threads == [1]
    with pytest.raises(SystemExit):
        crf_speed.arguments(["--shapes", "2x3"])


def test_taggers_are_measured_in_both_sizes(monkeypatch):
    monkeypatch.setattr(measure, "set_threads", lambda threads: None)
    rows = tagger_speed.measure_taggers(1, 4, 1)
    expected = product(tagger_speed.SIZES, taggers.LABELS, tagger_speed.TARGETS)
    assert [(row["size"], row["labels"], row["phase"]) for row in rows] == list(expected)
    assert all(row["ratio"] > 0 and row["limit"] > 0 for row in rows)
    assert "validation, student (48 units), L = 9, 1 thread " in tagger_speed.table(rows)


def test_stores_are_measured_and_judged(tmp_path):
    cells = [store_scale.Settings(size, *store_scale.SMALL, 100, 5) for size in (50, 300)]
    usual = store_scale.Settings(40, *store_scale.USUAL, 100, 5)
    rows = []
    for settings in (*cells, usual):
        store_scale.write(tmp_path / str(settings.sentences), settings)
        found = store_scale.measure_store(tmp_path / str(settings.sentences), settings)
        rows.append({**settings._asdict(), "bytes": 1, "writing": 1.0, **found})
    assert all(row["records"] > 0 and row["opening"] < 1 for row in rows)
    assert "| 300 " in store_scale.table(rows)
    good = [{**row, "opening": 0.9, "read": 3.0, "records_cpu": 1e5} for row in rows]
    assert store_scale.failures(good) == []
    assert "took 1.10 s" in store_scale.failures([{**good[0], "opening": 1.1}])[0]
    assert "from 3.0 to 20.0 MB" in store_scale.failures([good[0], {**good[1], "read": 20.0}])[0]
    assert "99,999 records" in store_scale.failures([{**good[2], "records_cpu": 99_999}])[0]


def test_the_student_is_the_one_of_the_training_configurations():
    base = Path(__file__).parents[2] / "training_configs" / "base.libsonnet"
    sizes = evaluate_snippet("sizes", f"local base = import '{base}'; [base.word_size, base.hidden_size]")
    assert tuple(json.loads(sizes)) == taggers.STUDENT


def test_the_cost_of_teachers_is_told_apart():
    fixtures = distillation_cost.ROOT / "fixtures" / "upos"
    rows = distillation_cost.measure_costs(fixtures, ["en"], sentences=24, rounds=1, hidden_sizes=[8], threads=1)
    assert [row["student"] for row in rows] == list(distillation_cost.OBJECTIVES)
    for row in rows:
        assert row["epoch"] > 0
        assert (row["look_up"] > 0) == (distillation_cost.OBJECTIVES[row["student"]] is not None)
    assert rows[0]["excess"] == pytest.approx(-rows[1]["excess"])
    assert "cross_entropy, 8 units, 1 thread " in distillation_cost.table(rows)
