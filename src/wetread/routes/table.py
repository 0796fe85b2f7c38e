"""A rule out of a table of the settings file, strictly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wetread.errors import SettingsError
from wetread.routes.keys import check_keys
from wetread.routes.rule import Route


def rule_of(table: Mapping[str, Any], number: int) -> Route:
    """Make a rule of a table of the settings file.

    Raises
    ------
    SettingsError
        A key is unknown, a value has another form, or as `Route`.
    """
    where = f"routes, rule {number}"
    if not isinstance(table, Mapping):
        raise SettingsError(f"{where}: expected a table, got {table!r}")
    check_keys(where, table, Route, ours=("number",))
    return Route(**{key: _value(where, key, value) for key, value in table.items()}, number=number)


def _value(where: str, key: str, value: Any) -> Any:
    if key in ("lane", "name"):
        if not isinstance(value, str) or not value:
            raise SettingsError(f"{where}, {key}: expected text, got {value!r}")
        return value.upper() if key == "lane" else value
    if key.startswith("priors"):
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise SettingsError(f"{where}, {key}: expected a whole number from 0, got {value!r}")
        return value
    if key == "documents":
        if not isinstance(value, Mapping) or not value:
            raise SettingsError(f'{where}, documents: expected a table such as {{PACS = ["SR"]}}, got {value!r}')
        return {name: _texts(f"{where}, documents {name}", kinds) for name, kinds in value.items()}
    made = _texts(f"{where}, {key}", value)
    if not made and key not in ("models", "destinations"):
        raise SettingsError(f"{where}, {key}: expected at least one value, got none")
    return made


def _texts(where: str, value: Any) -> tuple[str, ...]:
    made = [value] if isinstance(value, str) else value
    if not isinstance(made, list | tuple) or not all(isinstance(one, str) for one in made):
        raise SettingsError(f"{where}: expected text or a list of texts, got {value!r}")
    return tuple(made)
