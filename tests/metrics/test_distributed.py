"""The metrics in two processes: every rank reports what one process would that saw everything."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.metrics.ranks import METRICS, SCENARIOS


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", "tests.metrics.ranks", str(folder)]
    subprocess.run(command, check=True, timeout=300, cwd=Path(__file__).parents[2])
    return [json.loads((folder / f"{rank}.json").read_text("utf-8")) for rank in range(2)]


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("kind", METRICS)
def test_every_rank_reports_the_scores_of_all_sentences(reports, kind, scenario):
    metric = METRICS[kind]()
    for batches in SCENARIOS[scenario]:
        for batch in batches:
            metric(*batch)
    expected = metric.get_metric(reset=True)
    assert [report[f"{kind}: {scenario}"] for report in reports] == [expected, expected]


@pytest.mark.parametrize("name", ["averages", "averages in a group of their own"])
def test_every_rank_reports_the_averages_of_all_sentences(reports, name):
    assert [report[name] for report in reports] == [{"nll": pytest.approx(0.2)}] * 2
    assert reports[0][name] == reports[1][name]


def test_a_process_that_is_left_alone_reports_its_own_and_says_so(reports):
    assert reports[0]["alone"] == {"nll": pytest.approx(0.15)}
    assert len(reports[0]["warnings"]) == 1
    assert reports[0]["warnings"][0].startswith("the metrics are of the sentences that process 0 read")
