"""One rule: its conditions, held against what came, and its consequences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase

from wetread.errors import SettingsError
from wetread.routes.hours import WEEKDAYS, days_of, minutes_of

#: The lanes, the most urgent first.
LANES = ("STAT", "URGENT", "ROUTINE")
#: Conditions that are patterns of text, as `Facts` knows it.
PATTERNS = (
    "calling_ae",
    "called_ae",
    "modality",
    "body_part",
    "study_description",
    "series_description",
    "station_name",
    "priority",
)
CONDITIONS = (*PATTERNS, "time", "weekday")
CONSEQUENCES = ("lane", "models", "models_not", "destinations", "documents", "priors")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the rules may look at; "" is not there or not known."""

    calling_ae: str = ""
    called_ae: str = ""
    modality: str = ""  # (0008,0060)
    body_part: str = ""  # Body Part Examined (0018,0015)
    study_description: str = ""  # (0008,1030)
    series_description: str = ""  # (0008,103E)
    station_name: str = ""  # (0008,1010)
    priority: tuple[str, ...] = ()  # Requested Procedure Priority (0040,1003), that of the step (0074,1200)
    at: datetime | None = None  # when it came, in the node's own time zone; None: not known


@dataclass(frozen=True, slots=True)
class Check:
    """One condition of a rule, held against what came."""

    condition: str
    expected: tuple[str, ...]
    got: str
    held: bool


@dataclass(frozen=True, slots=True)
class Route:
    """One rule.

    Raises
    ------
    SettingsError
        It has no consequence, or a lane, a time or a weekday that is none.
    """

    calling_ae: tuple[str, ...] = ()
    called_ae: tuple[str, ...] = ()
    modality: tuple[str, ...] = ()
    body_part: tuple[str, ...] = ()
    study_description: tuple[str, ...] = ()
    series_description: tuple[str, ...] = ()
    station_name: tuple[str, ...] = ()
    priority: tuple[str, ...] = ()
    time: tuple[str, ...] = ()  # "18:00-07:00", from the first minute to before the last
    weekday: tuple[str, ...] = ()  # "Mon", "Sat-Sun"
    lane: str = ""
    models: tuple[str, ...] | None = None  # only these may read; (): none
    models_not: tuple[str, ...] | None = None  # all but these
    destinations: tuple[str, ...] | None = None  # their AE titles, or AE@host:port; (): nowhere
    documents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # destination -> kinds
    priors: int | None = None  # earlier studies of the patient whose values stand beside the new ones; 0: none
    priors_days: int = 0  # none that is older than so many days before; 0: of any age
    priors_wait_s: int = 0  # a study that is not STAT waits so long for them, s
    name: str = ""  # for people
    number: int = 0  # its place in the file, from 1

    def __post_init__(self) -> None:
        if not self.says:
            raise self._wrong(f"expected one of {', '.join(CONSEQUENCES)}, got none: it would decide nothing")
        if self.lane and self.lane not in LANES:
            raise self._wrong(f"lane: expected one of {', '.join(LANES)}, got {self.lane!r}")
        if self.priors is None and (self.priors_days or self.priors_wait_s):
            raise self._wrong("priors_days, priors_wait_s: expected priors beside them, got none")
        if self.models is not None and self.models_not is not None:
            raise self._wrong("expected models or models_not, got both")
        try:
            minutes_of(self.time), days_of(self.weekday)
        except ValueError as error:
            raise self._wrong(str(error)) from error

    def _wrong(self, what: str) -> SettingsError:
        return SettingsError(f"routes, {self.label}: {what}")

    @property
    def label(self) -> str:
        """How people find it: its number and name."""
        return f"rule {self.number}" + (f" ({self.name})" if self.name else "")

    @property
    def says(self) -> tuple[str, ...]:
        """Return what it decides: "lane", "models", "destinations", "priors", "documents NAME"."""
        said = [
            ("lane", bool(self.lane)),
            ("models", self.models is not None or self.models_not is not None),
            ("destinations", self.destinations is not None),
            ("priors", self.priors is not None),
        ]
        return (*(name for name, given in said if given), *(f"documents {name}" for name in self.documents))

    def checks(self, facts: Facts) -> Iterator[Check]:
        """Hold each condition of the rule against the facts."""
        for condition in PATTERNS:
            if expected := getattr(self, condition):
                got = getattr(facts, condition)
                got = got if isinstance(got, tuple) else (got,)
                yield Check(condition, expected, ", ".join(got), any(fits(one, expected) for one in got))
        if self.time:
            told = "" if facts.at is None else f"{facts.at:%H:%M}"
            held = facts.at is not None and facts.at.hour * 60 + facts.at.minute in minutes_of(self.time)
            yield Check("time", self.time, told, held)
        if self.weekday:
            told = "" if facts.at is None else WEEKDAYS[facts.at.weekday()].capitalize()
            held = facts.at is not None and facts.at.weekday() in days_of(self.weekday)
            yield Check("weekday", self.weekday, told, held)

    def fits(self, facts: Facts) -> bool:
        """Whether all conditions hold."""
        return all(check.held for check in self.checks(facts))

    def covers(self, other: Route) -> bool:
        """Whether this rule surely fits wherever the other does."""
        if not all(_covers(getattr(self, name), getattr(other, name)) for name in PATTERNS):
            return False
        return minutes_of(self.time) >= minutes_of(other.time) and days_of(self.weekday) >= days_of(other.weekday)


def fits(text: str, patterns: Sequence[str]) -> bool:
    """Whether a text fits one of the patterns, in either case."""
    return any(fnmatchcase(text.casefold(), pattern.casefold()) for pattern in patterns)


def _covers(wider: tuple[str, ...], narrower: tuple[str, ...]) -> bool:
    if not wider or "*" in wider:
        return True
    return bool(narrower) and all(_includes(wider, one) for one in narrower)


def _includes(wider: tuple[str, ...], pattern: str) -> bool:
    """Whether some patterns surely fit all that one pattern fits."""
    if not set("*?[") & set(pattern):
        return fits(pattern, wider)
    # One with `*` alone that fits a pattern as if that were a text fits all that the pattern fits.
    stars = [one for one in wider if not set("?[") & set(one)]
    return pattern.casefold() in map(str.casefold, wider) or ("[" not in pattern and fits(pattern, stars))
