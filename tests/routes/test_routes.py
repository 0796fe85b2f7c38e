"""What rules say, and what they refuse to be."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wetread.errors import SettingsError
from wetread.routes import PATTERNS, UNROUTED, Facts, Route, decide, named_models, rule_of, shadowed

NIGHT = datetime(2026, 11, 28, 23, 30)  # a Saturday
CT = Facts("CT1", "WETREAD", "CT", "HEAD", "CT Stroke protocol", "Axial 1.0", "ROOM3", ("HIGH",), NIGHT)


def rules(*tables: dict[str, Any]) -> tuple[Route, ...]:
    return tuple(rule_of(table, number) for number, table in enumerate(tables, 1))


@pytest.mark.parametrize(
    ("condition", "fitting", "other"),
    [
        ("calling_ae", "ct?", "MR*"),
        ("called_ae", ["X", "WET*"], "WETREAD_ED"),
        ("modality", ["MR", "ct"], ["MR", "CR"]),
        ("body_part", "HEAD", ""),
        ("study_description", "*stroke*", "stroke"),
        ("series_description", "axial*", "sag*"),
        ("station_name", "ROOM[1-4]", "ROOM[5-9]"),
        ("priority", ["STAT", "HIGH"], "STAT"),
        ("time", "18:00-07:00", "07:00-23:30"),
        ("time", ["06:00-07:00", "23:30-23:31"], "23:31-23:30"),
        ("weekday", "Sat-Mon", ["Mon-Fri", "Sun"]),
    ],
)
def test_a_condition_holds_or_not(condition: str, fitting: str | list[str], other: str | list[str]) -> None:
    for value, held in ((fitting, True), (other, False)):
        (rule,) = rules({condition: value, "lane": "stat"})
        (check,) = rule.checks(CT)
        assert (check.condition, check.held, rule.fits(CT)) == (condition, held, held)
        assert decide([rule], CT).lane == ("STAT" if held else "")


def test_what_is_not_known_fits_only_what_asks_for_nothing() -> None:
    asked = ({"calling_ae": "*"}, {"calling_ae": ""}, {"calling_ae": "?*"}, {"priority": "*"}, {"time": "00:00-00:00"})
    found = [rule_of({**one, "lane": "STAT"}, 1).fits(Facts()) for one in asked]
    assert found == [True, True, False, False, False]


def test_the_first_rule_that_says_something_counts_by_consequence() -> None:
    made = rules(
        {"name": "night", "time": "18:00-07:00", "lane": "URGENT"},
        {"modality": "CT", "lane": "STAT", "models": ["ct-lungs"], "documents": {"PACS": ["SR"]}},
        {"destinations": ["PACS"], "documents": {"PACS": ["SEG"], "VNA": "SEG"}, "models_not": "ct-lungs"},
        {"modality": "MR", "destinations": []},
        {"priors": 1, "priors_days": 365},
        {"modality": "CT", "priors": 3},
    )
    found = decide(made, CT)
    assert {said: rule.number for said, rule in found.by.items()} == {
        "lane": 1,
        "models": 2,
        "documents PACS": 2,
        "destinations": 3,
        "documents VNA": 3,
        "priors": 5,
    }
    assert (found.priors, found.priors_days) == (1, 365)
    assert (found.lane, found.models, found.models_not) == ("URGENT", ("ct-lungs",), ())
    assert found.permits("ct-lungs")
    assert not found.permits("ct-haemorrhage")
    assert found.documents("PACS@h:1", "PACS") == ("SR",)
    assert found.documents("OTHER") is None
    assert found.goes_to("PACS@h:1", "PACS")
    assert not found.goes_to("VNA@h:1", "VNA")
    assert found.by["lane"].label == "rule 1 (night)"


def test_without_rules_nothing_changes() -> None:
    assert decide((), CT) == UNROUTED
    assert (UNROUTED.priors, UNROUTED.priors_days) == (0, 0)
    assert (UNROUTED.lane, UNROUTED.models, UNROUTED.documents("PACS")) == ("", None, None)
    assert UNROUTED.permits("any")
    assert UNROUTED.goes_to("any")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"modalty": "CT", "lane": "STAT"}, "unknown key 'modalty'; expected some of calling_ae, .*documents, .*name"),
        ({"modality": "CT"}, "expected one of lane, models, .*, got none"),
        ({"lane": "FAST"}, "lane: expected one of STAT, URGENT, ROUTINE, got 'FAST'"),
        ({"lane": 1}, "lane: expected text, got 1"),
        ({"modality": 3, "lane": "STAT"}, "modality: expected text or a list of texts, got 3"),
        ({"modality": [], "lane": "STAT"}, "modality: expected at least one value"),
        ({"models": ["a"], "models_not": ["b"]}, "expected models or models_not, got both"),
        ({"models_not": []}, "models_not: expected at least one value"),
        ({"documents": ["SR"]}, "documents: expected a table"),
        ({"priors": "1"}, "priors: expected a whole number from 0"),
        ({"priors": True}, "priors: expected a whole number from 0"),
        ({"priors": 1, "priors_days": -1}, "priors_days: expected a whole number from 0"),
        ({"priors_days": 30, "lane": "STAT"}, "expected priors beside them"),
        ({"documents": {"PACS": 1}}, "documents PACS: expected text or a list"),
        ({"time": "25:00-26:00", "lane": "STAT"}, "time: expected a span such as"),
        ({"time": "18:00", "lane": "STAT"}, "time: expected a span such as"),
        ({"weekday": "Caturday", "lane": "STAT"}, "weekday: expected a day such as"),
        ("CT", "expected a table, got 'CT'"),
    ],
)
def test_a_rule_is_read_strictly(table: Any, said: str) -> None:
    with pytest.raises(SettingsError, match=rf"^routes, rule 7.*{said}"):
        rule_of(table, 7)


def test_what_never_counts_is_found() -> None:
    made = rules(
        {"calling_ae": ["ED_*", "ICU"], "lane": "STAT"},
        {"calling_ae": "ed_ct?", "modality": "CT", "lane": "URGENT", "models": []},  # the lane is taken, not the models
        {"calling_ae": "icu", "weekday": "Sat", "lane": "URGENT"},
        {"calling_ae": "ED*", "lane": "URGENT"},  # wider than the first
        {"models": ["a"]},
        {"models_not": ["b"]},
        {"documents": {"PACS": ["SR"]}},
    )
    found = [(rule.number, said, above.number) for rule, said, above in shadowed(made)]
    assert found == [(2, "lane", 1), (3, "lane", 1), (6, "models", 5)]
    assert [(rule.number, model) for rule, model in named_models(made)] == [(5, "a"), (6, "b")]


TEXTS = st.text("Aab*?[]!-", max_size=4)
RULES = st.builds(
    Route,
    modality=st.lists(TEXTS, max_size=2).map(tuple),
    time=st.sampled_from([(), ("18:00-07:00",), ("23:00-00:00",), ("01:00-02:00", "22:00-23:59")]),
    weekday=st.sampled_from([(), ("Sat",), ("Sat-Mon",), ("Mon-Fri",)]),
    lane=st.just("STAT"),
)


@settings(deadline=None)
@given(RULES, RULES)
def test_a_rule_that_covers_another_fits_wherever_that_fits(one: Route, other: Route) -> None:
    if not one.covers(other):
        return
    texts = ["".join(letters) for size in range(4) for letters in itertools.product("Ab!-", repeat=size)]
    for text, hour, day in itertools.product(texts, (1, 12, 22, 23), (2, 7, 8)):
        facts = Facts(modality=text, at=datetime(2026, 11, day, hour, 30))
        assert one.fits(facts) or not other.fits(facts)


def test_every_condition_is_a_fact() -> None:
    assert all(hasattr(CT, name) for name in PATTERNS)
    assert rule_of({**dict.fromkeys(PATTERNS, "*"), "lane": "STAT"}, 1).fits(replace(CT, priority=("",)))
