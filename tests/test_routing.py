"""The site's rules in the row: which models read, and what is said where none may."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from tests import toy
from tests.test_pipeline import edited
from wetread import acquire, pipeline
from wetread.errors import SettingsError
from wetread.evidence.film import real_film
from wetread.records import Circumstances, Reading, Sender
from wetread.routes import Route
from wetread.settings import Settings


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> pipeline.Reader:
    folder = tmp_path_factory.mktemp("toy")
    return pipeline.open_reader(Settings(models=toy.make_models(folder / "models"), state=folder / "state"))


def read(reader: pipeline.Reader, *rules: Route, data: bytes = b"", **senders: Sender) -> Reading:
    data = data or real_film().read_bytes()
    (reading,) = reader.read_blobs([("film.dcm", data)], Circumstances(routes=rules, senders=senders))
    return reading


def models(reading: Reading) -> list[str]:
    return [model.id for model in reading.result.models]


def test_without_rules_all_models_read(reader: pipeline.Reader) -> None:
    assert models(read(reader)) == ["cxr-lungs", "cxr-pneumonia"]


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        (Route(models=("cxr-lungs",)), ["cxr-lungs"]),
        (Route(models_not=("cxr-pneumonia",)), ["cxr-lungs"]),
        (Route(models=("cxr-pneumonia",)), ["cxr-lungs", "cxr-pneumonia"]),  # it looks inside the lungs
        (Route(modality=("CT",), models=()), ["cxr-lungs", "cxr-pneumonia"]),  # it does not fit
    ],
)
def test_only_those_that_a_rule_names_read(reader: pipeline.Reader, rule: Route, left: list[str]) -> None:
    reading = read(reader, rule)
    assert models(reading) == left
    assert reading.result.not_read == ()


@pytest.mark.parametrize(
    "rule",
    [Route(models=(), number=3), Route(models=("ct-heart",), number=3), Route(models_not=("cxr-lungs",), number=3)],
)
def test_where_no_model_may_read_that_is_said(reader: pipeline.Reader, rule: Route) -> None:
    """One that looks inside the lungs does not read without the one that outlines them."""
    reading = read(reader, rule)
    refusal = reading.result.refusal
    assert refusal is not None
    assert refusal.code == "NOT-ROUTED"
    assert "rule 3" in refusal.detail
    assert {"SR", "HTML", "JSON"} == {document.kind for document in reading.documents}


def test_what_no_model_is_for_keeps_its_own_code(reader: pipeline.Reader) -> None:
    reading = read(reader, Route(models=("cxr-lungs",)), data=edited(Modality="MG"))
    assert reading.result.refusal is not None
    assert reading.result.refusal.code == "WRONG-MODALITY"


def test_the_decision_goes_with_the_reading_of_what_is_refused_too(reader: pipeline.Reader) -> None:
    nowhere = Route(station_name=("*",), destinations=())
    lateral = read(reader, nowhere, data=edited(ViewPosition="LL"))
    assert lateral.result.refusal is not None
    assert not lateral.decision.goes_to("PACS")
    given = Circumstances(routes=(nowhere,))
    (aside,) = reader.set_aside("1.2.3", [("film.dcm", "0" * 64, edited(ViewPosition="LL"))], "", given)
    assert not aside.decision.goes_to("PACS")


def test_facts_are_those_of_the_header_and_of_who_sent_it_first(reader: pipeline.Reader) -> None:
    data = edited(
        SOPInstanceUID="1.2.3.4",
        SpecificCharacterSet="ISO_IR 192",
        StudyDescription="Schädel",
        StationName="ROOM1",
        RequestedProcedurePriority="STAT",
    )
    (image,) = acquire.decode([("film.dcm", data)], reader.settings)[0].images
    early, late = (Sender("CT1", "US", datetime(2026, 11, 28, hour)) for hour in (8, 9))
    found = acquire.facts_of(replace(image, sop_uids=("1.2", "1.3")), {"1.2": late, "1.3": early})
    assert (found.calling_ae, found.called_ae, found.at) == ("CT1", "US", early.at)
    assert (found.study_description, found.station_name, found.priority) == ("Schädel", "ROOM1", ("STAT",))
    assert acquire.facts_of(image, {}).calling_ae == ""


def test_a_model_that_there_is_not_is_an_error_at_the_start(reader: pipeline.Reader) -> None:
    settings = replace(reader.settings, routes=(Route(models=("ct-hart",), number=1),))
    with pytest.raises(SettingsError, match=r"routes, rule 1: models: expected some of cxr-lungs, .*, got 'ct-hart'"):
        pipeline.open_reader(settings)
