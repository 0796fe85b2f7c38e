"""Follow-ups through the whole row and the store: the same tracking identifiers, and priors beside the new values."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests import toy
from tests.serve.stage import until
from wetread import pipeline, report
from wetread.evidence.film import real_film
from wetread.records import Circumstances, Reading
from wetread.report import codes
from wetread.report.elements import Item, decode, get, sequence
from wetread.report.tree import named, walk_nodes
from wetread.routes import Route
from wetread.serve.node import Node
from wetread.settings import Destination, Settings
from wetread.wire.dimse import send

PRIORS = (Route(priors=1, priors_days=400),)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> pipeline.Reader:
    folder = tmp_path_factory.mktemp("toy")
    return pipeline.open_reader(Settings(models=toy.make_models(folder / "models"), state=folder / "state"))


def study(number: int, day: str, **changes: object) -> bytes:
    """The real film as another study."""
    film = pydicom.dcmread(real_film())
    uids = (f"2.25.{number}", f"2.25.{number}1", f"2.25.{number}2")
    film.StudyInstanceUID, film.SeriesInstanceUID, film.SOPInstanceUID = uids
    film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
    film.StudyDate = day
    for keyword, value in changes.items():
        setattr(film, keyword, value)
    out = io.BytesIO()
    film.save_as(out, enforce_file_format=True)
    return out.getvalue()


def tree(sr: bytes) -> list[Item]:
    return sequence(decode(sr)[1], "ContentSequence")


def tracked(sr: bytes) -> set[str]:
    return {get(node, "UID") for _, node in walk_nodes(tree(sr)) if node in named([node], codes.TRACKING_UID)}


def previous(sr: bytes) -> dict[str, set[str]]:
    """Study UID -> tracking UIDs of what it is said to have had."""
    found: dict[str, set[str]] = {}
    for section in named(tree(sr), codes.PREVIOUS_FINDINGS):
        for group in sequence(section, "ContentSequence"):
            inner = sequence(group, "ContentSequence")
            (unique,), (uid,) = (named(inner, one) for one in (codes.TRACKING_UID, codes.STUDY_UID))
            found.setdefault(get(uid, "UID"), set()).add(get(unique, "UID"))
    return found


def sr_of(reading: Reading) -> bytes:
    (found,) = (one.data for one in reading.documents if one.kind == "SR")
    return found


def read(reader: pipeline.Reader, data: bytes, *before: bytes, rules: tuple[Route, ...] = PRIORS) -> bytes:
    (reading,) = reader.read_blobs([("film.dcm", data)], Circumstances(routes=rules, priors=before))
    return sr_of(reading)


def test_a_follow_up_keeps_its_tracking_identifiers_and_another_patient_has_others(reader: pipeline.Reader) -> None:
    first, later = (tracked(read(reader, study(n, day))) for n, day in ((1, "20030101"), (2, "20040101")))
    assert first == later
    assert len(first) == 3
    others: list[dict[str, Any]] = [{"PatientID": "9RG2"}, {"IssuerOfPatientID": "B"}, {"PatientID": ""}]
    sets = [tracked(read(reader, study(3 + n, "20040101", **other))) for n, other in enumerate(others)]
    sets.append(tracked(read(reader, study(9, "20040101", PatientID=""))))  # nobody knows whether it is the same
    assert all(not one & other for n, one in enumerate([first, *sets]) for other in sets[n:])


def test_rules_say_how_many_priors_count_and_how_old(reader: pipeline.Reader) -> None:
    old, new = (read(reader, study(n, day)) for n, day in ((1, "20020101"), (2, "20040101")))
    now = study(3, "20040601")
    assert set(previous(read(reader, now, old, new))) == {"2.25.2"}
    assert set(previous(read(reader, now, old, new, rules=(Route(priors=2),)))) == {"2.25.1", "2.25.2"}
    assert previous(read(reader, now, old, new, rules=(Route(priors=0), *PRIORS))) == {}
    assert previous(read(reader, now, old, new, rules=(Route(modality=("CT",), priors=2),))) == {}
    assert read(reader, now, old, new) == read(reader, now, new, old)  # the same film and prior, the same bytes


def test_a_prior_that_no_document_may_repeat_takes_nothing_away(
    reader: pipeline.Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read(reader, study(1, "20040101"))
    monkeypatch.setattr("wetread.report.previous.day", lambda prior: "a \N{SNOWMAN} day")
    sr = read(reader, study(2, "20040601"), before)
    assert previous(sr) == {}
    assert tracked(sr) == tracked(before)


@pytest.fixture
def node(reader: pipeline.Reader, tmp_path: Path) -> Iterator[Node]:
    settings = Settings(state=tmp_path / "state", port=0, http_port=0, quiet_s=0.2, routes=PRIORS)
    made = Node(settings, lambda: reader)
    made.start()
    yield made
    made.stop(2.0)


def test_a_node_puts_what_it_read_before_beside_the_new(node: Node) -> None:
    films = [study(1, "20031201"), study(2, "20040101"), study(3, "20040601"), study(4, "20040601", PatientID="OTHER")]
    for number, data in enumerate(films, 1):
        assert send(Destination("WETREAD", "127.0.0.1", node.port), [data]) == [0]
        until(lambda number=number: node.store.overview.counts()["DELIVERED"] == number, 60.0)
    reports = {}
    for blob in node.store.held.blobs({}):
        if not blob.received and blob.sop_class_uid.endswith(".88.34"):
            reports[blob.study_uid] = node.store.held.get(blob)
    found = {study_uid: previous(sr) for study_uid, sr in reports.items()}
    assert {study_uid: set(one) for study_uid, one in found.items()} == {
        "2.25.1": set(),
        "2.25.2": {"2.25.1"},
        "2.25.3": {"2.25.2"},
        "2.25.4": set(),
    }
    assert found["2.25.3"]["2.25.2"] <= tracked(reports["2.25.2"])
    header = pydicom.dcmread(io.BytesIO(films[2]))
    assert report.check(reports["2.25.3"], header) == ()


def test_a_damaged_report_is_left_out(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    assert send(Destination("WETREAD", "127.0.0.1", node.port), [study(1, "20040101")]) == [0]
    until(lambda: node.store.overview.counts()["DELIVERED"] == 1, 60.0)
    (blob,) = (one for one in node.store.held.blobs({}) if one.sop_class_uid.endswith(".88.34"))
    node.store.made.path(blob.digest).write_bytes(b"damaged")
    assert send(Destination("WETREAD", "127.0.0.1", node.port), [study(2, "20040601")]) == [0]
    until(lambda: node.store.overview.counts()["DELIVERED"] == 2, 60.0)
    assert "earlier report left out" in caplog.messages
