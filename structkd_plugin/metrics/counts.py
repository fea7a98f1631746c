"""Counts that a metric keeps, and their sum over the processes of a distributed run."""

import json
import logging
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

# The group of all processes that counts are sent in, and the default group it was made for.
_group: Optional[Tuple["dist.ProcessGroup", "dist.ProcessGroup"]] = None


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
            "the metrics are those of process %d alone, on its share of the data: the %d processes of this run no "
            "longer answer (%s); for numbers on all the data run `allennlp evaluate` on the archive",
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


def _cpu_group() -> "dist.ProcessGroup":
    # gloo also where training uses NCCL: it fails when another process is gone, where NCCL hangs and then aborts.
    global _group
    default = dist.group.WORLD
    assert default is not None
    if dist.get_backend() == "gloo":
        return default
    if _group is None or _group[0] is not default:
        _group = (default, dist.new_group(backend="gloo", timeout=_PATIENCE))
    return _group[1]
