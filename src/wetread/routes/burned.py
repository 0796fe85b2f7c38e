"""Rules that say what is burned into the pixels of which images: tables ``[[burned_in]]`` of the settings file.

References
----------
PS3.15 Section E.3.1 (Clean Pixel Data Option); PS3.3 Section C.7.6.1.1.2 (Image Type).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wetread.errors import SettingsError
from wetread.routes.keys import check_keys

#: Column and row of the upper left pixel, from 0; width and height; pixels.
Rectangle = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class BurnedIn:
    """What is burned into some images; the first rule that fits an image decides."""

    rectangles: tuple[Rectangle, ...]  # empty: nothing
    rows: int = 0  # 0: any
    columns: int = 0
    manufacturer: tuple[str, ...] = ()  # patterns with * and ?, one of which must fit; empty: any
    model: tuple[str, ...] = ()
    modality: tuple[str, ...] = ()
    image_type: tuple[str, ...] = ()  # of all values, joined by a backslash: ORIGINAL\\PRIMARY\\AXIAL
    sop_class: tuple[str, ...] = ()


def burned_in_of(tables: Any) -> tuple[BurnedIn, ...]:
    """Make rules of tables of the settings file, strictly.

    Raises
    ------
    SettingsError
        A key is unknown, a value has another form, a rule has no condition, or rectangles come without the rows and
        columns that they lie in.
    """
    if not isinstance(tables, list | tuple):
        raise SettingsError(f"burned_in: expected tables [[burned_in]] in a settings file, got {tables!r}")
    return tuple(
        one if isinstance(one, BurnedIn) else _rule(f"burned_in, rule {number}", one)
        for number, one in enumerate(tables, 1)
    )


def _rule(where: str, table: Any) -> BurnedIn:
    if not isinstance(table, Mapping) or "rectangles" not in table:
        raise SettingsError(f"{where}: expected a table with rectangles, [] where nothing is burned in")
    check_keys(where, table, BurnedIn)
    rule = BurnedIn(**{key: _value(f"{where}, {key}", key, value) for key, value in table.items()})
    if len(table) == 1:
        raise SettingsError(f"{where}: expected at least one condition, got none: it would fit every image")
    for left, top, width, height in rule.rectangles:
        if left + width > rule.columns or top + height > rule.rows:
            raise SettingsError(
                f"{where}, rectangles: expected rows and columns beside them, and rectangles within; "
                f"got [{left}, {top}, {width}, {height}] of {rule.columns} columns and {rule.rows} rows"
            )
    return rule


def _value(where: str, key: str, value: Any) -> Any:
    if key == "rectangles":
        if not isinstance(value, list) or not all(map(_is_rectangle, value)):
            raise SettingsError(f"{where}: expected a list of [left, top, width, height] in pixels, got {value!r}")
        return tuple(tuple(one) for one in value)
    if key in ("rows", "columns"):
        if type(value) is not int or value < 1:
            raise SettingsError(f"{where}: expected a whole number from 1, got {value!r}")
        return value
    made = [value] if isinstance(value, str) else value
    if not isinstance(made, list) or not made or not all(isinstance(one, str) and one for one in made):
        raise SettingsError(f"{where}: expected text or a list of texts, got {value!r}")
    return tuple(made)


def _is_rectangle(value: Any) -> bool:
    whole_numbers = isinstance(value, list) and len(value) == 4 and all(type(one) is int for one in value)
    return whole_numbers and min(value[:2]) >= 0 and min(value[2:]) >= 1
