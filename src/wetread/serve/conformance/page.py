"""Fills the text of the statement with the tables: ``{{name}}`` stands for a table, ``{{version}}`` for ours.

References
----------
PS3.2 Annex N.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from importlib.resources import files

from wetread import __version__
from wetread.serve.conformance import objects, tables
from wetread.settings import Settings
from wetread.wire.associate import WINDOW

_PLACE = re.compile(r"\{\{(\w+)\}\}")


def contents(settings: Settings) -> dict[str, Callable[[], str]]:
    """Return what makes each table, by the name that the text calls it by."""
    return {
        "version": lambda: __version__,
        "services": tables.services,
        "storage": tables.storage,
        "kinds": tables.kinds,
        "association": partial(tables.association, settings),
        "window": lambda: str(WINDOW),
        "rejections": tables.rejections,
        "aborts": tables.aborts,
        "proposed": tables.proposed,
        "accepted": tables.accepted,
        "syntaxes": tables.syntaxes,
        "resources": tables.resources,
        "keys": tables.keys,
        "step_states": tables.step_states,
        "step_statuses": tables.step_statuses,
        "step_attributes": tables.step_attributes,
        "settings": tables.settings_of_the_network,
        "suites": tables.suites,
        "blocked": tables.blocked,
        "deidentification": tables.deidentification,
        "safe_private": tables.safe_private,
        "character_sets": tables.character_sets,
        "objects": objects.tables,
        "ae_title": lambda: settings.ae_title,
    }


def pages(settings: Settings) -> dict[str, str]:
    """Return the two pages of the statement by their file names, in Markdown.

    Parameters
    ----------
    settings
        Titles, limits and times that the tables tell are theirs.

    Raises
    ------
    KeyError
        The text names a table that there is not.
    """
    made = contents(settings)
    return {name: _PLACE.sub(lambda found: made[found[1]](), text(name)) for name in ("conformance.md", "objects.md")}


def text(name: str) -> str:
    """Return the text of a page, with its places for tables."""
    return (files(__package__) / name).read_text(encoding="utf-8")
