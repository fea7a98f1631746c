"""Shares of the work: which of several captures at the same time takes which sentences."""

import os
import re
from typing import Mapping, NamedTuple, Optional

from allennlp.common.checks import ConfigurationError

# Names and limits of a part are of five digits.
MOST_PARTS = 99_999
_PART = re.compile(r"(\d{1,9})/(\d{1,9})", re.ASCII)
_SUFFIX = re.compile(r"-\d{5}-of-\d{5}")


class Part(NamedTuple):
    """
    Part `number` of `parts`, counted from 1.

    Which sentences it takes depends on their keys alone: on no file, order, machine, or other part.
    """

    number: int
    parts: int

    @classmethod
    def parse(cls, text: str) -> "Part":
        """
        The part that `text`, such as "2/8", names.

        # Raises

        `ConfigurationError` : for a text that names none.
        """
        match = _PART.fullmatch(text)
        part = cls(int(match[1]), int(match[2])) if match else None
        if part is None or not 1 <= part.number <= part.parts <= MOST_PARTS:
            raise ConfigurationError(
                f"the part {text!r} is none: write I/N for part I of N, I from 1 to N, and N at most {MOST_PARTS:,}."
            )
        return part

    def takes(self, key: bytes) -> bool:
        """Whether the sentence with this key of 16 bytes is in this part."""
        return part_number(key, self.parts) == self.number

    def writer(self, prefix: str) -> str:
        """Name of the series of this part."""
        return f"{prefix}-{self.number:05d}-of-{self.parts:05d}"

    def __str__(self) -> str:
        return f"part {self.number} of {self.parts}"


def part_number(key: bytes, parts: int) -> int:
    """The number, from 1 to `parts`, of the part that takes the sentence with this key."""
    return int.from_bytes(key[:8], "big") % parts + 1


def without_part(writer: str) -> str:
    """What the names of the series of all parts have in common."""
    return _SUFFIX.sub("", writer)


class Launched(NamedTuple):
    """What a launcher of several processes, such as torchrun, told this one."""

    part: Part
    local_rank: int  # number among the processes of this machine


def launched(environment: Mapping[str, str] = os.environ) -> Optional[Launched]:
    """
    What the launcher of this process says of it in RANK, WORLD_SIZE and LOCAL_RANK; none where it runs alone.

    # Raises

    `ConfigurationError` : where only one of RANK and WORLD_SIZE is set, or they say nothing that can be.
    """
    values = {name: environment[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK") if environment.get(name)}
    if "RANK" not in values and "WORLD_SIZE" not in values:
        return None
    try:
        rank, size = int(values["RANK"]), int(values["WORLD_SIZE"])
        local = int(values.get("LOCAL_RANK", rank))
        if not (0 <= rank < size <= MOST_PARTS and local >= 0):
            raise ValueError
    except (KeyError, ValueError):
        shown = ", ".join(f"{name}={value}" for name, value in values.items())
        raise ConfigurationError(
            f"the environment says {shown}, which is no place among several processes: set both RANK, from 0, and "
            "WORLD_SIZE, as torchrun does, or neither."
        ) from None
    return None if size == 1 else Launched(Part(rank + 1, size), local)
