"""
What the metrics say in two processes of a distributed run: `python -m tests.metrics.ranks FOLDER` writes it to FOLDER.

A program of its own, because a fork of pytest's process would take along its threads, and spawned processes would
import everything anew.
"""

import json
import logging
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from structkd_plugin.metrics import AccuracyByLanguage, SentenceAverages, SpanF1ByLanguage, counts

# name -> for each rank, the batches it counts: (predicted, gold, languages)
SCENARIOS = {
    "both ranks see all languages": [
        [([["B-PER", "O"]], [["B-PER", "O"]], ["de"]), ([["O"]], [["B-LOC"]], ["en"])],
        [([["B-PER", "I-PER"], ["B-LOC"]], [["B-PER", "O"], ["B-LOC"]], ["de", "en"])],
    ],
    "ranks see different languages": [
        [([["B-PER"]], [["B-PER"]], ["de"])],
        [([["O", "B-LOC"]], [["B-LOC", "O"]], ["日本語"]), ([["O"]], [["O"]], ["fr"])],
    ],
    "a rank sees nothing": [[([["B-PER", "O"]], [["O", "B-PER"]], ["de"]), ([["B-LOC"]], [["B-LOC"]], ["de"])], []],
    "no rank sees anything": [[], []],
}
METRICS = {"f1": lambda: SpanF1ByLanguage("BIO"), "accuracy": AccuracyByLanguage}
LOSSES = [[0.1, 0.2], [0.3]]


def _average(averages, losses):
    averages("nll", torch.tensor(losses, dtype=torch.float64), torch.ones(len(losses)))


def _rank(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    report = {}
    for name, batches in SCENARIOS.items():
        for kind, make in METRICS.items():
            metric = make()
            for batch in batches[rank]:
                metric(*batch)
                metric.get_metric()  # rank by rank at its own pace: nothing may wait for another one
            report[f"{kind}: {name}"] = metric.get_metric(reset=True)
            assert metric.get_metric(reset=True) == {}
    averages = SentenceAverages()
    _average(averages, LOSSES[rank])
    report["averages"] = averages.get_metric(reset=True)

    # What a run with another backend does, such as NCCL.
    backend = dist.get_backend
    dist.get_backend = lambda *_: "nccl"
    _average(averages, LOSSES[rank])
    report["averages in a group of their own"] = averages.get_metric(reset=True)
    group = counts._group()
    _average(averages, LOSSES[rank])
    assert averages.get_metric(reset=True) == report["averages in a group of their own"]
    assert counts._group() is group is not None
    dist.get_backend = backend

    if rank == 0:
        # AllenNLP evaluates in the first process, after the others have ended.
        messages = []
        counts.logger.addHandler(_Recorder(messages))
        _average(averages, LOSSES[rank])
        report["alone"] = averages.get_metric(reset=True)
        report["warnings"] = messages
    Path(folder, f"{rank}.json").write_text(json.dumps(report), "utf-8")


class _Recorder(logging.Handler):
    def __init__(self, messages):
        super().__init__()
        self._messages = messages

    def emit(self, record):
        self._messages.append(record.getMessage())


if __name__ == "__main__":
    mp.start_processes(_rank, (sys.argv[1],), nprocs=2, start_method="fork")
