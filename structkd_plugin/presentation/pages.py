"""Pages from templates: one HTML file each, which needs no other and asks the network for nothing."""

import re
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape


def rendered(package: str, template: str, **values: Any) -> str:
    """
    A page from a template of a package.

    # Parameters

    package : `str`
        Whose folder `templates` has the template; it may extend `base.html`, which is here.
    template : `str`
        The template's name.
    values : `Any`
        What the template names; all text is escaped.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("structkd_plugin.presentation")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["prose"] = prose
    return environment.get_template(template).render(**values)


def prose(text: str) -> Markup:
    """A sentence in which what stands between backticks is code."""
    pieces = re.split(r"`([^`]+)`", text)
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if i % 2 else escape(piece) for i, piece in enumerate(pieces)
    )
