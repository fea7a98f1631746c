"""Whether docs/configuration.md names every block that the plugin registers, and every option of it."""

import inspect
from pathlib import Path
from typing import Any, Set

import pytest
from allennlp.common import Registrable
from allennlp.data import DatasetReader, TokenIndexer
from allennlp.models import Model
from allennlp.modules import TokenEmbedder
from allennlp.training.callbacks import TrainerCallback

from structkd_plugin.objectives import Objective
from structkd_plugin.objectives.token_weighting import TokenWeighting
from structkd_plugin.readers.language_sampling import LanguageSampling
from structkd_plugin.schedules import Schedule

PAGE = (Path(__file__).parents[1] / "docs" / "configuration.md").read_text(encoding="utf-8")
KINDS = [DatasetReader, Model, TrainerCallback, Objective, TokenWeighting, Schedule, LanguageSampling]
# Of these the options are on other pages.
NAMES_ONLY = [TokenIndexer, TokenEmbedder]
# What AllenNLP gives.
GIVEN = {"self", "vocab", "serialization_dir", "ddp_accelerator", "args", "kwargs"}


def registered(kind: Any) -> Set[Any]:
    classes = {(name, made[0]) for name, made in Registrable._registry[kind].items()}
    return {(name, found) for name, found in classes if found.__module__.startswith("structkd_plugin.")}


def options_of(found: Any) -> Set[str]:
    """Those of a class, and of the classes that it hands on its `**kwargs` to."""
    names: Set[str] = set()
    for one in found.__mro__:
        if "__init__" in vars(one):
            parameters = inspect.signature(one.__init__).parameters
            names |= set(parameters)
            if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
                break
    return names - GIVEN


@pytest.mark.parametrize("kind", [*KINDS, *NAMES_ONLY], ids=lambda kind: kind.__name__)
def test_every_block_is_there_with_its_options(kind: Any) -> None:
    found = registered(kind)
    assert found
    for name, block in found:
        assert f"`{name}`" in PAGE or f'"{name}"' in PAGE, name
        if kind in KINDS and kind is not TokenWeighting:
            assert {option for option in options_of(block) if f"`{option}`" not in PAGE} == set(), name
