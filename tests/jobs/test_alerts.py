"""Critical findings: told at once, to one after the other, until somebody acknowledges; never twice."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import peers
from tests.jobs import fake
from tests.jobs.test_flow import Clock, receive
from tests.report import phantom
from tests.wire.ehr import ack, ehr
from tests.wire.hook import Hook, hook
from wetread.errors import PeerUnreachable, StoreError
from wetread.jobs.alerting import ELSEWHERE_S, Alerting, Tell
from wetread.jobs.alerts import Pending, Told
from wetread.jobs.lanes import Lane
from wetread.jobs.matching import Match
from wetread.jobs.store import Store
from wetread.jobs.watch import Watch
from wetread.jobs.worker import Worker
from wetread.records import Code, Reading, Result
from wetread.report import alarm
from wetread.routes import Alert
from wetread.serve.http import HttpServer, application
from wetread.serve.metrics import Metrics
from wetread.settings import Destination, Settings
from wetread.wire.hl7 import parse

EHR = Destination("EHR", url="mllp://ehr.invalid:2575")
RULE = Alert("pneumonia", ("233604007",), to=("EHR", "http://127.0.0.1:1/hook"), secret=Path("hook.key"))
SETTINGS = Settings(destinations=(EHR,), alerts=(RULE,), retry_first_s=1.0, retry_most_s=60.0)


class Seen(Watch):
    def __init__(self) -> None:
        self.told: list[str] = []

    def alerted(self, outcome: str) -> None:
        self.told.append(outcome)


@dataclass
class Targets:
    """Takes what it is told, but from those who are away."""

    away: set[str] = field(default_factory=set)
    told: list[tuple[str, str]] = field(default_factory=list)  # target, token

    def __call__(self, target: str, rule: Alert, alert: Pending) -> None:
        if target in self.away:
            raise PeerUnreachable(f"{target}: is away")
        self.told.append((target, alert.token))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.told]


class Bench:
    """A store with its clock, and what tells of alerts; `restart` makes it anew."""

    def __init__(self, folder: Path, settings: Settings = SETTINGS, tell: Tell | None = None) -> None:
        self.clock, self.seen, self.targets = Clock(), Seen(), Targets()
        self.settings, self._folder, self._tell = settings, folder, tell
        self.store = Store(folder, now=self.clock)
        self._made()

    def _made(self) -> None:
        self.alerting = Alerting(self.store, self.settings, self.seen, self._tell or self.targets, self.clock)

    def restart(self, away_s: float = 0.0) -> None:
        self.store.close()
        self.clock.now += away_s
        self.store = Store(self._folder, now=self.clock)
        self._made()

    def read(self, *results: Result, study: str = "1.1", instance: str = "") -> None:
        """Read a study whose images give these results."""
        receive(self.store, study, instance or f"{study}.1")
        readings = tuple(Reading(replace(one, study_uid=study), ()) for one in results)
        assert Worker(self.store, fake.Fake(lambda files: readings), self.settings, Watch(), self.clock).step()

    def run(self, seconds: float = 0.0) -> None:
        """Let time pass, in the steps that it asks for."""
        end = self.clock.now + seconds
        self.alerting.step()
        while (wait := self.alerting.step()) is not None and self.clock.now + wait <= end:
            self.clock.now += wait
        self.clock.now = end
        self.alerting.step()

    @property
    def lanes(self) -> list[Lane]:
        return [job.lane for job in self.store.overview.versions("1.1")]

    def state(self) -> Told:
        known = self.store.alerts.known(self.targets.told[0][1])
        assert known is not None
        return known[1]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "state")
    yield made
    made.store.close()


PRESENT = phantom.result("real", read_at="2026-11-29T01:02:03Z")
ABSENT = phantom.result("real", probability=0.2)


def test_the_first_is_told_at_once_and_the_study_is_urgent(bench: Bench) -> None:
    bench.read(PRESENT)
    bench.run()
    assert bench.targets.names == ["EHR"]
    assert bench.seen.told == ["told"]
    assert bench.lanes == [Lane.STAT]


@pytest.mark.parametrize("alone", [False, True], ids=["two nodes", "one node"])
def test_who_does_not_reach_a_target_leaves_alerts_to_another_node(shared: Callable[..., Store], alone: bool) -> None:
    stores, cut_off, targets, clock = [shared(), shared()], Targets({"EHR"}), Targets(), Clock()
    receive(stores[0], "1.1", "1.1.1")
    readings = (Reading(replace(PRESENT, study_uid="1.1"), ()),)
    assert Worker(stores[0], fake.Fake(lambda files: readings), SETTINGS, Watch(), clock).step()
    first = Alerting(stores[0], SETTINGS, Watch(), cut_off, clock)
    second = Alerting(stores[1], SETTINGS, Watch(), targets, clock)
    wait = first.step()
    assert wait is not None
    assert 0.0 < wait <= 1.0
    if alone:
        cut_off.away.clear()
        assert (first.step() or 0.0) > 0.0  # not before its time
        assert cut_off.names == []
        clock.now += wait
        first.step()
        assert cut_off.names == ["EHR"]
    assert second.step() == (ELSEWHERE_S if alone else pytest.approx(RULE.within_s, abs=1.0))
    assert targets.names == ([] if alone else ["EHR"])
    clock.now += wait
    assert (first.step() == ELSEWHERE_S) is not alone


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (Alert("a", ("233604007",), to=("EHR",)), True),
        (Alert("a", to=("EHR",)), True),
        (Alert("a", ("1386000",), to=("EHR",)), False),
        (Alert("a", models=("cxr-pneumonia",), to=("EHR",)), True),
        (Alert("a", models=("cxr-lungs",), to=("EHR",)), False),
        (Alert("a", lanes=("ROUTINE",), to=("EHR",)), True),
        (Alert("a", lanes=("STAT", "URGENT"), to=("EHR",)), False),
        (Alert("a", probability=0.97, to=("EHR",)), True),
        (Alert("a", probability=0.98, to=("EHR",)), False),
    ],
)
def test_a_rule_tells_what_fits(tmp_path: Path, rule: Alert, told: bool) -> None:
    bench = Bench(tmp_path, replace(SETTINGS, alerts=(rule,)))
    bench.read(PRESENT, ABSENT)
    bench.run()
    assert bench.targets.names == ["EHR"] * told
    assert bench.lanes == [Lane.STAT if told else Lane.ROUTINE]
    bench.store.close()


def test_what_is_absent_or_not_read_is_not_told(bench: Bench) -> None:
    bench.read(ABSENT, phantom.refused())
    bench.run(1000.0)
    assert bench.targets.told == []
    assert bench.lanes == [Lane.ROUTINE]


def test_a_rule_without_a_target_is_only_urgent(tmp_path: Path) -> None:
    bench = Bench(tmp_path, replace(SETTINGS, alerts=(replace(RULE, to=()),)))
    bench.read(PRESENT)
    bench.run(1000.0)
    assert (bench.targets.told, bench.lanes) == ([], [Lane.STAT])
    bench.store.close()


def test_nobody_acknowledges(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    bench.read(PRESENT)
    bench.run(299.0)
    assert bench.targets.names == ["EHR"]
    bench.run(2.0)
    assert bench.targets.names == ["EHR", RULE.to[1]]
    bench.run(301.0)
    assert bench.seen.told == ["told", "escalated", "told", "unanswered"]
    assert bench.state() is Told.UNANSWERED
    assert [record.getMessage() for record in caplog.records] == ["alert not acknowledged by anyone"]
    assert bench.store.alerts.acknowledge(bench.targets.told[0][1])  # late, but somebody knows
    assert bench.state() is Told.ACKNOWLEDGED
    events = [event for event, *_ in bench.store.overview.audits()]
    assert events == ["alert-escalated", "alert-unanswered", "alert-acknowledged"]


def test_who_acknowledges_ends_it(bench: Bench) -> None:
    bench.read(PRESENT)
    bench.run(10.0)
    assert bench.store.alerts.acknowledge(bench.targets.told[0][1])
    bench.run(1000.0)
    assert bench.targets.names == ["EHR"]
    assert bench.state() is Told.ACKNOWLEDGED
    assert not bench.store.alerts.acknowledge("no such token")


def test_an_answer_may_be_enough(tmp_path: Path) -> None:
    bench = Bench(tmp_path, replace(SETTINGS, alerts=(replace(RULE, acknowledged_by="answer"),)))
    bench.read(PRESENT)
    bench.run(1000.0)
    assert (bench.targets.names, bench.seen.told) == (["EHR"], ["told", "acknowledged"])
    assert bench.state() is Told.ACKNOWLEDGED
    bench.store.close()


def test_a_target_that_is_away_is_tried_until_the_next_is_told(bench: Bench) -> None:
    bench.targets.away = {"EHR"}
    bench.read(PRESENT)
    bench.run(301.0)
    assert bench.targets.names == [RULE.to[1]]
    assert bench.seen.told.count("failed") > 5
    assert bench.seen.told[-2:] == ["escalated", "told"]


def test_a_silent_target_keeps_no_other_alert_waiting(tmp_path: Path) -> None:
    """Of many alerts to it one is tried at a time; those to another go at once."""
    other = Alert("other", ("233604007",), to=("OTHER",))
    bench = Bench(tmp_path, replace(SETTINGS, alerts=(RULE, other)))
    bench.targets.away = {"EHR"}
    for number in range(10):
        bench.read(PRESENT, study=f"1.{number + 1}")
    bench.run()
    assert bench.targets.names == ["OTHER"] * 10
    assert bench.seen.told.count("failed") == 1
    bench.targets.away = set()
    bench.run(100.0)
    assert bench.targets.names.count("EHR") == 10
    bench.store.close()


def test_an_error_that_nobody_foresaw_keeps_no_other_alert_waiting(tmp_path: Path) -> None:
    def tell(target: str, rule: Alert, alert: Pending) -> None:
        if target == "EHR":
            raise ValueError("unforeseen")
        told.append(target)

    told: list[str] = []
    other = Alert("other", ("233604007",), to=("OTHER",))
    bench = Bench(tmp_path, replace(SETTINGS, alerts=(RULE, other)), tell)
    bench.read(PRESENT)
    bench.run()
    assert told == ["OTHER"]
    assert bench.seen.told.count("failed") == 1
    bench.store.close()


def test_a_target_that_comes_back_in_time_is_told(bench: Bench) -> None:
    bench.targets.away = {"EHR"}
    bench.read(PRESENT)
    bench.run(100.0)
    bench.targets.away = set()
    bench.run(100.0)
    assert bench.targets.names == ["EHR"]


def test_nothing_is_told_twice(bench: Bench) -> None:
    bench.read(PRESENT)
    bench.run()
    bench.read(PRESENT, instance="1.1.2")  # more of it came late: a second version
    bench.restart()
    bench.run(10.0)
    assert bench.targets.names == ["EHR"]
    second = replace(PRESENT.findings[0], tracking_uid="2.25.2001")
    bench.read(replace(PRESENT, findings=(*PRESENT.findings, second)), instance="1.1.3")
    bench.run(1.0)
    assert bench.targets.names == ["EHR", "EHR"]  # the new one only


def test_what_cannot_be_recorded_is_not_told_again_and_keeps_no_other_waiting(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = replace(PRESENT.findings[0], tracking_uid="2.25.2001")
    bench.read(replace(PRESENT, findings=(*PRESENT.findings, second)))

    def full(alert: Pending) -> None:
        raise StoreError("index: cannot be used now (OperationalError)")

    with monkeypatch.context() as patch:
        patch.setattr(bench.store.alerts, "told", full)
        for _ in range(3):
            with pytest.raises(StoreError):
                bench.alerting.step()
    assert bench.targets.names == ["EHR", "EHR"]
    bench.run()
    assert bench.targets.names == ["EHR", "EHR"]
    assert all(one.told for one in bench.store.alerts.pending())


def test_a_restart_keeps_whose_turn_it_is(bench: Bench) -> None:
    bench.read(PRESENT)
    bench.run(200.0)
    bench.restart(away_s=50.0)
    bench.run(40.0)
    assert bench.targets.names == ["EHR"]
    bench.run(20.0)
    assert bench.targets.names == ["EHR", RULE.to[1]]
    bench.restart(away_s=1000.0)
    bench.run(1.0)
    assert bench.seen.told[-1] == "unanswered"


def test_who_was_down_when_it_was_found_still_tells_the_first(bench: Bench) -> None:
    bench.read(PRESENT)
    bench.restart(away_s=5000.0)
    bench.run(1.0)
    assert bench.targets.names == ["EHR"]


def test_what_ended_names_no_patient_any_more(bench: Bench) -> None:
    bench.read(PRESENT)
    (pending,) = bench.store.alerts.pending()
    assert b"9RG1" in pending.message
    assert b"9RG1" in pending.bundle
    assert b"9RG1" not in pending.body
    assert b"CompressedSamples" not in pending.body
    bench.store.alerts.acknowledge(pending.token)
    with bench.store._index.reading() as connection:
        assert connection.exec_driver_sql("SELECT body, message, bundle FROM alerts").all() == [("", "", "")]


def test_a_rule_that_is_gone_ends_its_alerts(bench: Bench) -> None:
    bench.read(PRESENT)
    bench.settings = replace(SETTINGS, alerts=(replace(RULE, name="other"),))
    bench.restart()
    bench.run()
    assert (bench.targets.told, bench.seen.told) == ([], ["unanswered"])


# ---- by the wire ------------------------------------------------------------------------------


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "hook.key"
    path.write_text("a" * 32)
    return path


def told_by(tmp_path: Path, settings: Settings) -> Bench:
    bench = Bench(tmp_path / "state", settings)
    bench.alerting = Alerting(bench.store, settings, bench.seen, None, bench.clock)
    bench.read(PRESENT)
    bench.run(2.0)
    return bench


def test_by_hl7(tmp_path: Path) -> None:
    rule = replace(RULE, to=("EHR",), acknowledged_by="answer")
    settings = replace(SETTINGS, alerts=(rule,), public_url="https://node.example")
    with ehr() as peer:
        bench = told_by(tmp_path, replace(settings, destinations=(peer.destination,)))
        message = parse(peer.got[0])
    assert bench.seen.told == ["told", "acknowledged"]
    assert (message.all("PID")[0].text(3), message.all("TQ1")[0].text(9)) == ("9RG1", "S")
    first = message.all("OBX")[0]
    assert first.text(5).startswith("CRITICAL: Pneumonia: present")
    (finding,) = [one for one in message.all("OBX") if one.text(3) == "233604007"]
    assert (finding.text(5), finding.text(8), finding.text(11)) == ("52101004", "AA", "P")
    (link,) = [one.text(5) for one in message.all("OBX") if one.text(3) == "ACKNOWLEDGE"]
    assert link.startswith("https://node.example/alerts/")
    bench.store.close()


@pytest.mark.peer
def test_by_fhir(tmp_path: Path) -> None:
    systems = (("PATIENT", "urn:oid:1.2.3"),)
    with peers.fhir_server() as port:
        base = f"http://127.0.0.1:{port}"
        patient = {"resourceType": "Patient", "identifier": [{"system": "urn:oid:1.2.3", "value": "9RG1"}]}
        assert httpx.post(f"{base}/Patient", json=patient).status_code == 201
        place = Destination("RECORD", url=f"fhir+{base}")
        rule = replace(RULE, to=("RECORD",), acknowledged_by="answer")
        given: dict[str, Any] = {
            "destinations": (place,),
            "alerts": (rule,),
            "fhir_systems": systems,
            "public_url": "https://n.example",
        }
        bench = told_by(tmp_path, replace(SETTINGS, **given))
        (held,) = [one["resource"] for one in httpx.get(f"{base}/Communication").json()["entry"]]
    assert bench.seen.told == ["told", "acknowledged"]
    assert held["payload"][0]["contentString"].startswith("CRITICAL: Pneumonia: present")
    assert held["payload"][1]["contentAttachment"]["url"].startswith("https://n.example/alerts/")
    assert (held["priority"], held["category"][0]["coding"][0]["code"]) == ("stat", "alert")
    bench.store.close()


@pytest.mark.parametrize("version", ["R4", "R5"])
def test_others_find_the_communication_valid(version: str) -> None:
    from fhir.resources import bundle as r5
    from fhir.resources.R4B import bundle as r4b

    settings = Settings(institution="Haus", public_url="https://n.example", fhir=version)
    made = alarm(PRESENT, RULE, PRESENT.findings[0], settings)
    told = json.loads(made.bundle)
    (r5 if version == "R5" else r4b).Bundle.model_validate(told)
    assert alarm(PRESENT, RULE, PRESENT.findings[0], replace(settings, public_url="")).bundle  # without a link, too


def test_where_it_is_in_doubt_who_it_is_only_the_webhook_is_told(bench: Bench) -> None:
    receive(bench.store, "1.1", "1.1.1")
    job = bench.store.studies.take()
    assert job is not None
    made = alarm(PRESENT, RULE, PRESENT.findings[0], SETTINGS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.store.studies._withholding, "check", lambda *_: True)
        bench.store.studies.finish(job.id, [], "", alarms=[made])
    (pending,) = bench.store.alerts.pending()
    assert (bool(pending.body), pending.message, pending.bundle) == (True, b"", b"")


def test_an_order_that_contradicts_later_leaves_only_the_webhook(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.read(PRESENT)
    (before,) = bench.store.alerts.pending()
    monkeypatch.setattr(bench.store.withholding, "_match", lambda *_: Match(None, 1, "evidence"))
    bench.store.withholding.hold_against("1.1")
    (after,) = bench.store.alerts.pending()
    assert bool(before.message)
    assert (after.body, after.message, after.bundle) == (before.body, b"", b"")


def test_a_rejection_is_no_acknowledgement(tmp_path: Path) -> None:
    rule = replace(RULE, to=("EHR",), acknowledged_by="answer")
    with ehr(lambda message: ack(message, "AE")) as peer:
        bench = told_by(tmp_path, replace(SETTINGS, alerts=(rule,), destinations=(peer.destination,)))
    assert set(bench.seen.told) == {"failed"}
    assert len({parse(one).header.text(10) for one in peer.got}) == 1
    bench.store.close()


def settings_of(hook: Hook, key: Path, by: str) -> Settings:
    return replace(SETTINGS, alerts=(replace(RULE, to=(hook.url,), secret=key, acknowledged_by=by),))


def test_by_webhook(tmp_path: Path, key: Path) -> None:
    with hook("a" * 32) as other:
        bench = told_by(tmp_path, settings_of(other, key, "answer"))
    ((identifier, told),) = other.got
    assert bench.seen.told == ["told", "acknowledged"]
    assert told["finding"]["code"] == "233604007"
    assert told["study_uid"] == "1.1"
    assert told["acknowledge"].startswith("/alerts/")
    assert identifier.startswith("alert_")
    bench.store.close()


@pytest.mark.parametrize("status", [301, 404, 500])
def test_another_answer_of_a_webhook_is_none(tmp_path: Path, key: Path, status: int) -> None:
    with hook("a" * 32, [status]) as other:
        bench = told_by(tmp_path, settings_of(other, key, "answer"))
    assert bench.seen.told == ["failed", "told", "acknowledged"]
    assert len({identifier for identifier, _ in other.got}) == 1
    bench.store.close()


def test_a_key_that_is_not_there_stops_nothing_but_itself(tmp_path: Path) -> None:
    with hook("a" * 32) as other:
        bench = told_by(tmp_path, settings_of(other, tmp_path / "none", "answer"))
    assert set(bench.seen.told) == {"failed"}
    assert other.got == []
    bench.store.close()


def test_a_person_acknowledges_by_the_address(bench: Bench, request: pytest.FixtureRequest) -> None:
    metrics = Metrics()
    server = HttpServer(application(bench.store, metrics, lambda: ""), "127.0.0.1", 0)
    server.start()
    request.addfinalizer(server.stop)
    client = httpx.Client(base_url=f"http://127.0.0.1:{server.port}")
    request.addfinalizer(client.close)
    bench.read(PRESENT)
    bench.run()
    path = json.loads(bench.store.alerts.pending()[0].body)["acknowledge"]
    page = client.get(path)
    assert (page.status_code, "I know of it" in page.text) == (200, True)
    assert bench.state() is Told.OPEN  # a program that follows links acknowledges nothing
    done = client.post(path, headers={"accept": "text/html"})
    assert (done.status_code, "It is acknowledged" in done.text, "<form" in done.text) == (200, True, False)
    assert client.post(path).json() == {"state": "ACKNOWLEDGED"}
    assert bench.state() is Told.ACKNOWLEDGED
    assert 'wetread_alerts_total{outcome="acknowledged"} 1.0' in metrics.text().decode()
    assert client.post("/alerts/other").status_code == client.get("/alerts/other").status_code == 404


def test_another_code_is_another_finding(bench: Bench) -> None:
    finding = replace(PRESENT.findings[0], code=Code("1386000", "SCT", "Intracranial hemorrhage"))
    bench.read(replace(PRESENT, findings=(finding,)))
    bench.run()
    assert bench.targets.told == []
