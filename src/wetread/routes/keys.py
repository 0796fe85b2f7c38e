"""Keys of a table of the settings file, held against the record that is made of it."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import fields
from typing import Any

from wetread.errors import SettingsError


def check_keys(where: str, table: Any, kind: type[Any], ours: Container[str] = ()) -> None:
    """Refuse a key that a record does not have.

    Parameters
    ----------
    where
        What the table is, for the message.
    kind
        The dataclass of the record.
    ours
        Its fields that no table may set.

    Raises
    ------
    SettingsError
        A key is unknown; the message names it, and those that there are.
    """
    known = [one.name for one in fields(kind) if one.name not in ours]
    if unknown := [key for key in table if key not in known]:
        raise SettingsError(f"{where}: unknown key {unknown[0]!r}; expected some of {', '.join(known)}")
