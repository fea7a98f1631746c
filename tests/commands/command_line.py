"""Commands of `allennlp`, run in this process."""

import sys
from typing import Any, Optional

import pytest
from allennlp.commands import main


def run(*arguments: Any) -> Optional[object]:
    """What the command exits with, none where it ends by itself."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["allennlp", *map(str, arguments)])
        try:
            main(prog="allennlp")
        except SystemExit as end:
            return end.code
    return None
