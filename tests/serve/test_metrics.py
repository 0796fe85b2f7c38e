"""What is counted of readings."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.report import phantom
from wetread.jobs.instances import Effect
from wetread.jobs.lanes import Lane
from wetread.jobs.states import State
from wetread.jobs.store import Store
from wetread.records import Reading
from wetread.serve.metrics import Metrics
from wetread.wire.dimse import Refusal


def test_answer_of_another_engine_is_counted() -> None:
    metrics, result = Metrics(), phantom.partial()
    fallen = replace(result, models=tuple(replace(one, instead_of="cuda OUT-OF-MEMORY") for one in result.models[:1]))
    metrics.read([Reading(result, ()), Reading(fallen, ())], 0.1)
    counted = f'wetread_engine_fallbacks_total{{instead_of="cuda OUT-OF-MEMORY",model="{result.models[0].id}"}} 1.0'
    assert counted in metrics.text().decode()
    (unread,) = result.not_read
    refused = replace(result, not_read=(replace(unread, model=replace(unread.model, instead_of="cuda ENGINE-FAILED")),))
    metrics.read([Reading(refused, ())], 0.1)
    counted = f'wetread_engine_fallbacks_total{{instead_of="cuda ENGINE-FAILED",model="{unread.model.id}"}} 1.0'
    assert counted in metrics.text().decode()


def test_models_that_did_not_read_are_counted_by_code() -> None:
    metrics = Metrics()
    again = replace(phantom.partial(), source="again.dcm")
    metrics.read([Reading(result, ()) for result in (phantom.partial(), again, phantom.refused())], 0.1)
    text = metrics.text().decode()
    assert 'wetread_not_read_total{model="cxr-pneumonia",refusal="OUTSIDE-AGE"} 2.0' in text
    assert 'wetread_results_total{refusal=""} 2.0' in text
    assert 'wetread_results_total{refusal="WRONG-BODY-PART"} 1.0' in text


def one_of_each(metrics: Metrics) -> None:
    """Count everything once, so that every metric shows its labels."""
    fallen = replace(phantom.partial(), models=(replace(phantom.partial().models[0], instead_of="cuda"),))
    metrics.read([Reading(fallen, ())], 0.1)
    metrics.answered(0)
    metrics.messaged("ORM^O01", "AA")
    metrics.cut_off(Refusal.MALFORMED)
    metrics.answered(0xA700)
    metrics.turned_away(Refusal.ADDRESS)
    metrics.admitted(next(iter(Effect)))
    metrics.no_room(next(iter(Lane)), "disk")
    metrics.degraded("pictures", True)
    metrics.short()
    metrics.answered_for(next(iter(Lane)), 1.0, late=True)
    metrics.decoder_ended("MEMORY")
    metrics.ended(State.DELIVERED)
    metrics.removed("age")
    metrics.away("PACS", True)
    metrics.sent("PACS", "stored")


def test_the_page_lists_every_metric_and_a_parser_reads_them(tmp_path: Path) -> None:
    store, metrics = Store(tmp_path), Metrics()
    metrics.observe(store, lambda: True, lambda: 0)
    one_of_each(metrics)
    text = metrics.text().decode()
    store.close()
    page = (Path(__file__).parents[2] / "docs/reference/metrics.md").read_text(encoding="utf-8")
    rows = {row[0]: row[1:] for row in re.findall(r"^\| `(wetread_\w+)` \| (\w+) \| (.*?) ?\| (.*) \|$", page, re.M)}
    families = [one for one in text_string_to_metric_families(text) if one.name.startswith("wetread_")]
    families = [one for one in families if not one.name.endswith("_created")]
    names = {one.name + ("_total" if one.type == "counter" else ""): one for one in families}
    assert set(rows) == set(names)
    for name, family in names.items():
        kind, labels, what = rows[name]
        assert (kind, what) == (family.type, family.documentation), name
        shown = {label for sample in family.samples for label in sample.labels} - {"le"}
        if family.samples:
            assert set(re.findall(r"`(\w+)`", labels)) == shown, name


@pytest.mark.parametrize(
    "series",
    [
        'jobs_ended_total{state="FAILED"}',
        'hl7_messages_total{ack="AE",type="ORM^O01"}',
        'hl7_messages_total{ack="AR",type="other"}',
        'objects_refused_total{status="0xA700"}',
        'no_room_total{lane="STAT",short="disk"}',
        'commitments_total{outcome="failed"}',
        'alerts_total{outcome="unanswered"}',
        'studies_removed_total{why="space"}',
        'deadlines_missed_total{lane="STAT"}',
        'decoders_ended_total{why="MEMORY"}',
        'associations_refused_total{reason="address"}',
    ],
)
def test_the_first_alarm_is_an_increase(series: str) -> None:
    """Prometheus sees none of a series that appears at 1."""
    assert f"wetread_{series} 0.0\n" in Metrics().text().decode()


def test_a_destination_that_is_away_and_comes_back() -> None:
    metrics = Metrics()
    metrics.away("PACS", True)
    assert 'wetread_destination_away{destination="PACS"} 1.0' in metrics.text().decode()
    metrics.away("PACS", False)
    assert 'wetread_destination_away{destination="PACS"} 0.0' in metrics.text().decode()
