"""The whole row between a sender and a record: a film goes in, its message and its alert come out, once."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import numpy as np

from tests import toy
from tests.phantoms import ROOT, chest, make_film, to_bytes
from tests.serve.stage import get, rows, until
from tests.wire.ehr import ehr
from wetread.pipeline import open_reader
from wetread.routes import Alert
from wetread.serve.node import Node
from wetread.settings import Destination, Settings
from wetread.wire.dimse import send
from wetread.wire.hl7 import Message, parse

#: Bright lungs, which the toy calls pneumonia.
BRIGHT = np.clip(chest() * 1.6 + 600, 0, 4095).astype(np.int64)
FILM = make_film(BRIGHT, SOPInstanceUID=f"{ROOT}.9.1.1", StudyInstanceUID=f"{ROOT}.9", SeriesInstanceUID=f"{ROOT}.9.1")
HAND = make_film(
    SOPInstanceUID=f"{ROOT}.9.2.1",
    StudyInstanceUID=f"{ROOT}.9.5",
    SeriesInstanceUID=f"{ROOT}.9.2",
    BodyPartExamined="HAND",
)


def of_study(messages: list[bytes], study: str) -> list[Message]:
    parsed = [parse(one) for one in messages]
    return [one for one in parsed if any(obx.text(5) == study for obx in one.all("OBX"))]


def test_a_film_goes_in_and_its_result_reaches_the_record(tmp_path: Path) -> None:
    rule = Alert("critical", to=("EHR",), within_s=600.0)
    with ehr() as record:
        settings = Settings(
            models=toy.make_models(tmp_path / "models"),
            engine="onnxruntime",
            state=tmp_path / "state",
            port=0,
            http_port=0,
            destinations=(record.destination,),
            alerts=(rule,),
            public_url="http://127.0.0.1:1",
            quiet_s=0.1,
            retry_first_s=0.1,
        )
        node = Node(settings, lambda: open_reader(settings))
        node.start()
        try:
            assert node.wait_ready(20)
            for film in (FILM, HAND):
                send(Destination("WETREAD", "127.0.0.1", node.port), [to_bytes(film)])
            until(lambda: len(of_study(record.got, f"{ROOT}.9")) >= 2 and of_study(record.got, f"{ROOT}.9.5"))
            said = of_study(record.got, f"{ROOT}.9")
            (result,) = [one for one in said if not one.all("TQ1")]
            (alarm,) = [one for one in said if one.all("TQ1")]
            assert result.all("PID")[0].text(3) == alarm.all("PID")[0].text(3) == FILM.PatientID
            assert {one.text(11) for one in result.all("OBX")} == {"P", "O"}
            (refused,) = of_study(record.got, f"{ROOT}.9.5")
            assert [one.text(5) for one in refused.all("OBX") if one.text(3) == "NOT-READ-REASON"] == [
                "WRONG-BODY-PART"
            ]
            (link,) = [one.text(5) for one in alarm.all("OBX") if one.text(3) == "ACKNOWLEDGE"]
            path = link.removeprefix("http://127.0.0.1:1")
            request = urllib.request.Request(f"http://127.0.0.1:{node.http_port}{path}", b"")
            with urllib.request.urlopen(request) as answer:
                assert json.loads(answer.read()) == {"state": "ACKNOWLEDGED"}
            until(lambda: 'wetread_alerts_total{outcome="acknowledged"} 1.0' in get(node.http_port, "/metrics")[1])
            states = [one["state"] for one in json.loads(get(node.http_port, f"/studies/{ROOT}.9")[1])["jobs"]]
            assert states == ["DELIVERED"]
        finally:
            node.stop()
    assert len(record.got) == 3
    assert rows(
        settings.state, "SELECT DISTINCT kind, state FROM outbox JOIN documents ON document = documents.id"
    ) == [("ORU", "SENT")]
