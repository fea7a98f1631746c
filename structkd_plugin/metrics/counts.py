"""Counts that a metric keeps, and their sum over the processes of a distributed run."""

import json
import logging
import weakref
from collections import Counter
from datetime import timedelta
from typing import Counter as CounterType
from typing import List, Optional, Tuple

import torch
import torch.distributed as dist
from allennlp.common.util import is_distributed

logger = logging.getLogger(__name__)

Counts = CounterType[Tuple[str, ...]]

# How long to wait for a process that is late; they meet right after a barrier of the trainer's.
_PATIENCE = timedelta(minutes=5)

# The group of all processes that counts are sent in, where training's own is not fit for it. torch keeps groups alive
# until they are destroyed; one that anything else keeps longer can abort the process when it exits.
_group: Optional["weakref.ReferenceType[dist.ProcessGroup]"] = None


def summed_over_processes(counts: Counts) -> Counts:
    """
    The sum of every process's counts, the same in each of them; outside distributed training `counts` itself.

    The processes may have counted different keys, or none. All of them have to call this equally often. Where the
    others are gone, as when AllenNLP's first process evaluates alone after distributed training, the sum is that of the
    remaining process, which is logged.

    # Parameters

    counts : `Counter[Tuple[str, ...]]`
        Numbers by keys of strings.

    # Returns

    `Counter[Tuple[str, ...]]`
    """
    if not is_distributed():
        return counts
    try:
        payloads = _gather(json.dumps(list(counts.items())).encode())
    except RuntimeError as error:
        logger.warning(
            "the metrics are of the sentences that process %d read, since the others of this run's %d processes no "
            "longer answer (%s); where they share the data, run `allennlp evaluate` on the archive for all of it",
            dist.get_rank(),
            dist.get_world_size(),
            error,
        )
        return counts
    total: Counts = Counter()
    for payload in payloads:
        for key, value in json.loads(payload):
            total[tuple(key)] += value
    return total


def _gather(payload: bytes) -> List[bytes]:
    """Every process's bytes, in the order of ranks."""
    group = _cpu_group()
    world_size = dist.get_world_size()
    # (1,)
    length = torch.tensor([len(payload)])
    lengths = [torch.empty_like(length) for _ in range(world_size)]
    dist.all_gather(lengths, length, group=group)
    # (longest payload,), uint8
    sent = torch.zeros(max(int(other) for other in lengths), dtype=torch.uint8)
    sent[: len(payload)] = torch.frombuffer(bytearray(payload), dtype=torch.uint8)
    received = [torch.empty_like(sent) for _ in range(world_size)]
    dist.all_gather(received, sent, group=group)
    return [bytes(other[: int(size)].tolist()) for other, size in zip(received, lengths, strict=True)]


def _cpu_group() -> Optional["dist.ProcessGroup"]:
    """The group to send counts in, `None` for the default one."""
    # gloo also where training uses NCCL: it fails when another process is gone, where NCCL hangs and then aborts.
    global _group
    if dist.get_backend() == "gloo":
        return None
    group = None if _group is None else _group()
    if group is None:
        group = dist.new_group(backend="gloo", timeout=_PATIENCE)
        _group = weakref.ref(group)
    return group
