"""Follow-ups through the whole row and the store: the same tracking identifiers, and priors beside the new values."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from tests import slices, toy
from tests.serve.stage import until
from wetread import pipeline, report
from wetread.evidence.film import real_film
from wetread.records import Circumstances, Reading, Region
from wetread.report import codes
from wetread.report.elements import Item, decode, get, sequence
from wetread.report.previous import difference
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


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> pipeline.Reader:
    """What is bright in an MR crop: in one whose name says knee one of a pair, else what there is once."""
    folder = tmp_path_factory.mktemp("crops")
    recipe = {"grid": [32, 48, 48], "spacing_mm": [2.0, 1.0, 1.0], "window": [-1000, 1000], "axes": "HPL"}
    for name, paired in (("knee", True), ("heart", False)):
        label = {**toy.HEART, "one_of_pair": paired}
        about = {"series_description": [f"*{name}*"]}
        toy.make_series_model(
            folder / "models" / f"mr-{name}", "segmentation", toy.bright_graph(3), label, recipe, **about
        )
    return pipeline.open_reader(Settings(models=folder / "models", state=folder / "state"))


def crop(
    number: int, side: str, radius: float, day: str, about: str = "knee", study: int = 0
) -> list[tuple[str, bytes]]:
    """The files of a series that shows a ball, of a side or of none that is told."""
    volume = slices.balls(slices.AXIAL, (12, 48, 44), np.array([[-8.0, -16.0, 28.0]]), (radius,), (800,))
    told: dict[str, Any] = {"StudyDate": day, "SeriesDescription": about, "Laterality": side or None}
    told |= {"StudyInstanceUID": f"2.25.{study or number}", "SeriesInstanceUID": f"2.25.{number}1"}
    parts = slices.series(volume, modality="MR", **told)
    for index, part in enumerate(parts):
        part.SOPInstanceUID = f"2.25.{number}2{index:02d}"
    return [(f"{number}-{name}", data) for name, data in slices.blobs(parts)]


def region_of(reading: Reading) -> Region:
    (region,) = reading.result.regions
    return region


def differences(reading: Reading) -> list[tuple[float, float | None]]:
    """What stands beside the new values: the old ones, and what was subtracted."""
    result = reading.result
    pairs = [(group, one) for prior in result.priors for group in prior.groups for one in group.values]
    return [(one.value, difference(result, group, one)) for group, one in pairs]


@pytest.mark.parametrize("order", [("L", "R"), ("R", "L")])
def test_a_side_is_compared_with_that_side_only(crops: pipeline.Reader, order: tuple[str, str]) -> None:
    radii = {"L": 7.0, "R": 10.0}
    files = [
        one for number, side in enumerate(order, 10) for one in crop(number, side, radii[side], "20040101", study=1)
    ]
    before = crops.read_blobs(files)
    regions = {one.laterality.meaning: one for reading in before for one in reading.result.regions if one.laterality}
    assert regions["Left"].tracking_uid != regions["Right"].tracking_uid
    assert (regions["Left"].label, regions["Left"].tracking_id) == ("Left heart", "L-heart")
    given = Circumstances(routes=PRIORS, priors=tuple(map(sr_of, before)))
    (now,) = crops.read_blobs(crop(30, "L", 8.0, "20040601"), given)
    assert region_of(now).tracking_uid == regions["Left"].tracking_uid
    ((old, change),) = differences(now)
    left, new = (one.measurements[0].value for one in (regions["Left"], region_of(now)))
    assert old == pytest.approx(left, rel=1e-4)
    assert change == pytest.approx(new - left, rel=1e-3)
    assert report.check(sr_of(now), now.result.header) == ()


@pytest.mark.parametrize(("then", "today"), [("", ""), ("L", ""), ("", "L"), ("R", "L")])
def test_one_of_a_pair_is_not_compared_where_a_side_is_unknown_or_another(
    crops: pipeline.Reader, then: str, today: str
) -> None:
    before = crops.read_blobs(crop(10, then, 7.0, "20040101"))
    given = Circumstances(routes=PRIORS, priors=tuple(map(sr_of, before)))
    (now,) = crops.read_blobs(crop(30, today, 8.0, "20040601"), given)
    assert now.result.priors == ()
    assert previous(sr_of(now)) == {}


def test_two_series_of_one_study_without_a_side_show_two_things(crops: pipeline.Reader) -> None:
    files = [*crop(10, "", 7.0, "20040101", study=1), *crop(20, "", 8.0, "20040101", study=1)]
    first, second = (region_of(one) for one in crops.read_blobs(files))
    assert first.tracking_uid != second.tracking_uid
    assert first.laterality is None
    again, _ = (region_of(one) for one in crops.read_blobs(files))
    assert again.tracking_uid == first.tracking_uid


@pytest.mark.parametrize("side", ["", "L"])
def test_what_there_is_once_is_compared_whatever_side_the_header_tells(crops: pipeline.Reader, side: str) -> None:
    before = crops.read_blobs(crop(10, "", 7.0, "20040101", "heart"))
    given = Circumstances(routes=PRIORS, priors=tuple(map(sr_of, before)))
    (now,) = crops.read_blobs(crop(30, side, 8.0, "20040601", "heart"), given)
    assert (region_of(now).label, region_of(now).laterality) == ("Heart", None)
    assert len(differences(now)) == 1


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
