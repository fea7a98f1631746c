"""Arguments that commands share which read files beside a teacher store, or to evaluate a tagger."""

import argparse
import json
from typing import Any, Dict, Optional

from allennlp.common.checks import ConfigurationError


def add_file_arguments(
    subparser: argparse.ArgumentParser,
    how_many: str,
    purpose: str,
    default_reader: str = "that which the store was captured with",
) -> None:
    """
    Add FILES and what says how to read them.

    # Parameters

    subparser : `argparse.ArgumentParser`
    how_many : `str`
        `nargs` of the files.
    purpose : `str`
        What the files are for.
    default_reader : `str`, optional
        What reads them where no reader is named.
    """
    subparser.add_argument(
        "files",
        nargs=how_many,
        help=f"{purpose}: paths or globs, each optionally with its language as in en=dev-en.conll",
    )
    add_reading_arguments(subparser, default_reader)


def add_reading_arguments(subparser: argparse.ArgumentParser, default_reader: str) -> None:
    """
    Add what says how to read files.

    # Parameters

    subparser : `argparse.ArgumentParser`
    default_reader : `str`
        What reads them where no reader is named.
    """
    subparser.add_argument("--language", help="language of files that are given without one")
    subparser.add_argument(
        "--dataset-reader",
        help=f"JSON of a dataset reader to read the files with; by default {default_reader}",
    )
    subparser.add_argument("--batch-size", type=int, default=64, help="sentences computed at once")
    subparser.add_argument("--quiet", action="store_true", help="show no progress")


def reader_settings(args: argparse.Namespace) -> Optional[Dict[str, Any]]:
    """
    The reader that `--dataset-reader` names, none without.

    # Raises

    `ConfigurationError` : for what is not the JSON of an object.
    """
    if args.dataset_reader is None:
        return None
    try:
        value = json.loads(args.dataset_reader)
    except ValueError as error:
        raise ConfigurationError(f"--dataset-reader is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ConfigurationError(f"--dataset-reader is the JSON of an object, not {args.dataset_reader}")
    return value
