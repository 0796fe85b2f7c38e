"""Rules for critical findings: which are told to whom, one after the other, until somebody acknowledges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wetread import urls
from wetread.errors import SettingsError
from wetread.routes.keys import check_keys
from wetread.routes.rule import LANES

#: What counts as an acknowledgement: the target's own answer, or a person's click.
ACKNOWLEDGED_BY = ("answer", "person")


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule: its conditions must all hold; an empty one always does.

    Raises
    ------
    SettingsError
        It has no name, a number or a word is impossible, or a webhook has no secret.
    """

    name: str
    findings: tuple[str, ...] = ()  # code values
    models: tuple[str, ...] = ()  # their ids
    lanes: tuple[str, ...] = ()  # of the study, as it was read
    probability: float = 0.0  # at least, beside the model's own threshold
    to: tuple[str, ...] = ()  # destinations by name, webhooks by URL; (): nobody, the study only becomes STAT
    within_s: float = 300.0  # without an acknowledgement for so long, the next of `to` is told
    acknowledged_by: str = "person"
    secret: Path = Path()  # file of the key by which webhooks are signed

    def __post_init__(self) -> None:
        if not self.name:
            raise SettingsError("alerts: expected a name, by which it is known that it was told; got none")
        if unknown := set(self.lanes) - set(LANES):
            raise self._wrong("lanes", f"expected some of {', '.join(LANES)}", unknown.pop())
        if self.acknowledged_by not in ACKNOWLEDGED_BY:
            raise self._wrong("acknowledged_by", f"expected one of {', '.join(ACKNOWLEDGED_BY)}", self.acknowledged_by)
        if not 0.0 <= self.probability <= 1.0:
            raise self._wrong("probability", "expected 0 to 1", str(self.probability))
        if self.within_s <= 0:
            raise self._wrong("within_s", "expected more than 0", str(self.within_s))
        for target in self.to:
            if is_hook(target) and not _secret(target):
                raise self._wrong("to", "expected https://host/path without user or query", "another URL")
        if any(map(is_hook, self.to)) and self.secret == Path():
            raise self._wrong("secret", "expected the file of a key, as webhooks are signed", "none")

    def _wrong(self, key: str, expected: str, got: str) -> SettingsError:
        return SettingsError(f"alerts, {self.name}, {key}: {expected}, got {got!r}")

    def fits(self, code: str, model: str, probability: float, lane: str) -> bool:
        """Whether a finding that is present is told: its code value, its model, its probability, the study's lane."""
        known = ((code, self.findings), (model, self.models), (lane, self.lanes))
        return probability >= self.probability and all(not among or one in among for one, among in known)


def is_hook(target: str) -> bool:
    """Whether a target is a webhook, not the name of a destination."""
    return target.startswith(("http://", "https://"))


def _secret(url: str) -> bool:
    return urls.is_secret(urls.split(url)) and not {"@", "?", "#"} & set(url)


def alerts_of(tables: Any) -> tuple[Alert, ...]:
    """Make the rules of the tables of a settings file.

    Raises
    ------
    SettingsError
        They are no tables, a key is unknown, a value has another form, a name comes twice, or as `Alert`.
    """
    if not isinstance(tables, list | tuple):
        raise SettingsError(f"alerts: expected tables [[alerts]] in a settings file, got {tables!r}; see --config")
    made = tuple(one if isinstance(one, Alert) else _alert(one) for one in tables)
    names = [one.name for one in made]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SettingsError(f"alerts: expected names of their own, got {twice[0]!r} twice")
    return made


def _alert(table: Any) -> Alert:
    if not isinstance(table, Mapping):
        raise SettingsError(f"alerts: expected a table, got {table!r}")
    check_keys("alerts", table, Alert)
    return Alert(**{"name": "", **{key: _value(key, value) for key, value in table.items()}})


def _value(key: str, value: Any) -> Any:
    if key in ("probability", "within_s"):
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise SettingsError(f"alerts, {key}: expected a number, got {value!r}")
        return float(value)
    if key in ("name", "acknowledged_by", "secret"):
        if not isinstance(value, str):
            raise SettingsError(f"alerts, {key}: expected text, got {value!r}")
        return Path(value) if key == "secret" else value
    texts: Sequence[Any] = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(one, str) for one in texts):
        raise SettingsError(f"alerts, {key}: expected text or a list of texts, got {value!r}")
    return tuple(one.upper() for one in texts) if key == "lanes" else tuple(texts)
