"""The directive `traits`: each configurable trait of a class with its default and its `help`."""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from traitlets import TraitType


def _lines(name: str, trait: TraitType[Any, Any], owner: str) -> list[str]:
    """Return reStructuredText that describes one trait."""
    text = inspect.cleandoc(trait.help).splitlines()
    return [
        f".. py:attribute:: {owner}.{name}",
        f"   :value: {trait.default_value_repr()}",
        "   :no-index:",
        "",
        *(f"   {line}" for line in text),
        "",
    ]


class Traits(Directive):
    """`.. traits:: module.Class` lists the traits that the class itself defines as configurable."""

    required_arguments = 1
    has_content: ClassVar[bool] = False

    def run(self) -> list[nodes.Node]:
        """Parse the descriptions at the place of the directive."""
        module, _, name = self.arguments[0].rpartition(".")
        owner = getattr(importlib.import_module(module), name)
        lines = [
            line for key, trait in owner.class_own_traits(config=True).items() for line in _lines(key, trait, name)
        ]
        container = nodes.container()
        self.state.nested_parse(StringList(lines, source=self.arguments[0]), self.content_offset, container)
        return container.children


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("traits", Traits)
    return {"parallel_read_safe": True}
