"""Configured classes that answer a misspelt option with the options they have."""

import inspect
from difflib import get_close_matches
from typing import Any, Dict, List

from allennlp.common import FromParams, Params
from allennlp.common.checks import ConfigurationError
from allennlp.common.registrable import Registrable


class CheckedOptions(FromParams):
    """
    A class made from a configuration, whose misspelt options are named before anything is made.

    AllenNLP names the option too, but not what it might have been meant for, and not at all where a constructor hands
    options on to its base class by `**kwargs`: there Python's `TypeError` ends the run. To be the first base class.
    """

    @classmethod
    def from_params(
        cls,
        params: Any,
        constructor_to_call: Any = None,
        constructor_to_inspect: Any = None,
        **extras: Any,
    ) -> Any:
        """Check the options, then do what AllenNLP does."""
        # With a constructor to call, AllenNLP has taken the type out and found this class by it.
        found = constructor_to_call is not None or not issubclass(cls, Registrable)
        if found and isinstance(params, Params):
            _check(cls, params.as_dict(quiet=True), constructor_to_inspect)
        return super().from_params(
            params=params,
            constructor_to_call=constructor_to_call,
            constructor_to_inspect=constructor_to_inspect,
            **extras,
        )


def _check(configured: type, given: Dict[str, Any], constructor: Any) -> None:
    # Registered with another constructor than `__init__`, it is a method bound to the class.
    options = list(inspect.signature(constructor).parameters) if inspect.ismethod(constructor) else _options(configured)
    for name in given:
        if name not in options:
            close = get_close_matches(name, options, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"its options are {', '.join(options)}"
            raise ConfigurationError(f"{_registered_name(configured)} has no option {name!r}; {hint}")


def _options(configured: type) -> List[str]:
    """What its constructor takes, and those of its base classes as far as it hands `**kwargs` on."""
    options: List[str] = []
    for base in configured.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
        options += [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return options


def _registered_name(configured: type) -> str:
    """The name a configuration knows the class by, or else its own."""
    for registered in Registrable._registry.values():
        for name, (found, _) in registered.items():
            if found is configured:
                return f"{name} ({configured.__name__})"
    return configured.__name__
