"""Bars of AllenNLP that fit a line and say what they count."""

from typing import Any, Dict, List

from allennlp.common.tqdm import Tqdm

_AVERAGE, _OVER_ALL = "macro", "micro"
# Of the batch that was last: it says less than the average of all.
_OF_ONE_BATCH = ("batch_loss", "batch_reg_loss")

_tqdm = Tqdm.tqdm


def install() -> None:
    """Have AllenNLP make such bars from now on."""
    Tqdm.tqdm = staticmethod(_bar)  # type: ignore[method-assign]


def short_description(description: str) -> str:
    """
    What of a bar's description says most.

    # Parameters

    description : `str`
        As AllenNLP has it: names and numbers of all metrics of the model, `||` at the end.

    # Returns

    `str` : without the parts of a whole that is there too: languages beside their average, parts of an objective.
    """
    text, mark, rest = description.partition(" ||")
    if not mark or rest:
        return description
    values: Dict[str, str] = {}
    for part in text.split(", "):
        name, colon, value = part.rpartition(": ")
        if not colon:
            return description
        values[name] = value
    groups: Dict[str, List[str]] = {}
    for name in values:
        groups.setdefault(name.partition("/")[0], []).append(name)
    kept = []
    for group, names in groups.items():
        # The whole has the name of the group, or is the average; else there is none, and each part counts.
        whole = [name for name in names if name in (group, f"{group}/{_AVERAGE}")]
        kept += whole or names
    shown = [name for name in kept if name not in _OF_ONE_BATCH]
    if any(name.endswith(f"/{_AVERAGE}") for name in shown):
        # The average has said it, and the bar is to fit a line.
        shown = [name for name in shown if not name.endswith(f"/{_OVER_ALL}")]
    return ", ".join(f"{name}: {values[name]}" for name in shown) + mark


def _bar(*arguments: Any, **options: Any) -> Any:
    # AllenNLP describes the bars of what it reads, sentence by sentence; those without description count batches.
    options.setdefault("unit", " sentences" if "desc" in options else " batches")
    bar = _tqdm(*arguments, **options)
    set_description = bar.set_description

    def describe(desc: Any = None, refresh: Any = True) -> None:
        set_description(short_description(desc) if isinstance(desc, str) else desc, refresh)

    bar.set_description = describe
    return bar
