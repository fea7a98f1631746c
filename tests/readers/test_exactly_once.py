"""Ranks and loader workers together read every sentence exactly once; unsharded ranks each do."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
EAGER = {"batch_size": 4}
LAZY = {"batch_size": 4, "max_instances_in_memory": 8}
COLUMN = {"type": "structkd_column", "scheme": "BIO"}
MIXTURE = {
    "type": "structkd_mixture",
    "readers": {"labelled": COLUMN, "text": {"type": "structkd_plain_text", "pretokenized": True}},
}
# name -> reader, whether its path is the mixture's, loader
CASES = {
    "in-process": (COLUMN, False, EAGER),
    "workers": (COLUMN, False, {**EAGER, "num_workers": 2}),
    "workers-lazy": (COLUMN, False, {**LAZY, "num_workers": 2}),
    "workers-max": ({**COLUMN, "max_instances": 17}, False, {**EAGER, "num_workers": 2}),
    "in-process-max": ({**COLUMN, "max_instances": 17}, False, EAGER),
    "workers-sampled": ({**COLUMN, "sampling": {"alpha": 0.0}}, False, {**LAZY, "num_workers": 2}),
    "in-process-sampled": ({**COLUMN, "sampling": {"alpha": 0.0}}, False, LAZY),
    "mixture": (MIXTURE, True, EAGER),
    "mixture-workers": (MIXTURE, True, {**EAGER, "num_workers": 2}),
    "unsharded": ({**COLUMN, "shard": False}, False, EAGER),
    "unsharded-workers": ({**COLUMN, "shard": False}, False, {**LAZY, "num_workers": 2}),
    "unsharded-max": ({**COLUMN, "shard": False, "max_instances": 17}, False, {**EAGER, "num_workers": 2}),
    "unsharded-mixture": ({**MIXTURE, "shard": False}, True, {**EAGER, "num_workers": 2}),
}
SIZES = {"de": 20, "nl": 11, "text": 8}


def all_lines(*names):
    return [f"{name}:{line}" for name in names for line in range(1, 2 * SIZES[name], 2)]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """What each of two processes printed."""
    folder = tmp_path_factory.mktemp("corpus")
    for name, size in SIZES.items():
        separator = "\n" if name == "text" else " O\n"
        (folder / name).write_text("".join(f"{name}{i}{separator}\n" for i in range(size)))
    columns = {"de": str(folder / "de"), "nl": str(folder / "nl")}
    cases = {
        name: {
            "reader": reader,
            "paths": {"labelled": columns, "text": str(folder / "text")} if mixed else columns,
            "loader": loader,
            "epochs": 2,
        }
        for name, (reader, mixed, loader) in CASES.items()
    }
    asked = {"world_size": 2, "rendezvous": f"file://{folder}/rendezvous", "cases": cases}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.readers.read_in_process", json.dumps({**asked, "rank": rank})],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            # Not a pipe: nobody reads the second process's while the first one waits for it.
            stderr=(folder / f"errors{rank}").open("w"),
            text=True,
        )
        for rank in range(2)
    ]
    try:
        printed = [process.communicate(timeout=240)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for rank, process in enumerate(processes):
        assert process.returncode == 0, (folder / f"errors{rank}").read_text()
    return [json.loads(output.splitlines()[-1]) for output in printed]


@pytest.fixture(params=["one-process", "two-ranks"])
def read(request, outputs):
    """What was read, by case: a list over the processes of a run of lists over epochs."""
    if request.param == "one-process":
        return {name: [outputs[0]["alone"][name]] for name in CASES}
    return {name: [output["as_rank"][name] for output in outputs] for name in CASES}


def together(ranks, epoch):
    return Counter(line for epochs in ranks for line in epochs[epoch])


@pytest.mark.parametrize("epoch", [0, 1])
@pytest.mark.parametrize(
    ("case", "names"),
    [
        ("in-process", ["de", "nl"]),
        ("workers", ["de", "nl"]),
        ("workers-lazy", ["de", "nl"]),
        ("mixture", ["de", "nl", "text"]),
        ("mixture-workers", ["de", "nl", "text"]),
    ],
)
def test_every_sentence_is_read_exactly_once(read, case, names, epoch):
    assert together(read[case], epoch) == Counter(all_lines(*names))
    sizes = [len(epochs[epoch]) for epochs in read[case]]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("case", ["workers-max", "in-process-max"])
def test_max_instances_counts_over_all_processes(read, case):
    assert together(read[case], 0) == Counter(all_lines("de")[:17])


@pytest.mark.parametrize("case", ["workers-sampled", "in-process-sampled"])
def test_sampling_does_not_depend_on_processes(read, case):
    times = together(read[case], 0)
    assert times == together(read["in-process-sampled"], 1)
    assert sum(times.values()) == 31
    assert Counter({line: times[line] for line in all_lines("nl")}).total() == 15
    assert max(times[line] for line in all_lines("de")) == 1


@pytest.mark.parametrize(
    ("case", "lines"),
    [
        ("unsharded", all_lines("de", "nl")),
        ("unsharded-workers", all_lines("de", "nl")),
        ("unsharded-max", all_lines("de")[:17]),
        ("unsharded-mixture", all_lines("de", "nl", "text")),
    ],
)
def test_unsharded_ranks_each_read_everything_once(read, case, lines):
    for epochs in read[case]:
        assert Counter(epochs[0]) == Counter(epochs[1]) == Counter(lines)
