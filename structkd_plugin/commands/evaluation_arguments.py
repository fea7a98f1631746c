"""Arguments that commands share which evaluate systems on files with gold tags."""

import argparse
from typing import FrozenSet, List, Optional

from allennlp.common.checks import ConfigurationError

from structkd_plugin.evaluation.gold import NO_SCHEME
from structkd_plugin.evaluation.span_tally import CONVENTIONS
from structkd_plugin.tag_schemes import SCHEMES

# Which span counts where nobody says.
CONVENTION = "strict"
# What reads gold files where no reader is named.
GOLD_READER = (
    "that of the archive; beside files of predictions, CoNLL-U and XML are told by their names, and other files are "
    "columns"
)


def add_evaluation_arguments(subparser: argparse.ArgumentParser, evaluations_are_read: bool = False) -> None:
    """
    Add what says how tags are evaluated.

    # Parameters

    subparser : `argparse.ArgumentParser`
    evaluations_are_read : `bool`, optional (default = `False`)
        Whether the command reads evaluations too, each of which was made by some convention. Its argument is `None`
        then where nobody gives it.
    """
    unless = f"; {CONVENTION} by default, and evaluations that are read have theirs" if evaluations_are_read else ""
    subparser.add_argument(
        "--convention",
        choices=sorted(CONVENTIONS),
        default=None if evaluations_are_read else CONVENTION,
        help="what counts as a span in ill-formed tags: strict as in seqeval's mode strict and in `allennlp evaluate`, "
        f"conlleval as in the script of CoNLL-2003{unless}",
    )
    subparser.add_argument(
        "--scheme",
        choices=[*SCHEMES, NO_SCHEME],
        help="how predictions in files write spans; gold tags of column files are converted to it; without, it is "
        "that of the gold tags",
    )
    subparser.add_argument(
        "--trained-languages",
        metavar="L,L",
        help="languages that were trained on; the others are zero-shot ones. An archive knows them unless its files "
        "were named by a pattern",
    )
    subparser.add_argument("--cuda-device", type=int, default=-1, help="number of the GPU; -1 is the CPU")


def named_languages(text: Optional[str]) -> Optional[FrozenSet[str]]:
    """
    What an argument such as `en,de` names; none without.

    # Raises

    `ConfigurationError` : for an empty name.
    """
    if text is None:
        return None
    names: List[str] = [name.strip() for name in text.split(",")]
    if not all(names):
        raise ConfigurationError(
            f"--trained-languages is languages with commas between them, as in en,de; {text!r} has an empty name"
        )
    return frozenset(names)
