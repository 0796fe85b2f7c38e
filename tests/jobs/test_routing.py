"""The site's rules in the store: who sent what, and which destination gets what."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from tests.jobs import fake
from tests.wire.objects import CR, film
from wetread.jobs.addressing import images
from wetread.jobs.lanes import Lane, facts_of
from wetread.jobs.runner import Runner
from wetread.jobs.store import Store
from wetread.jobs.watch import Watch
from wetread.jobs.worker import Worker, circumstances
from wetread.records import USUAL, Circumstances, Reading, Sender, Stored
from wetread.routes import Route, decide
from wetread.settings import Destination, Settings
from wetread.wire.dimse import Received
from wetread.wire.glance import Tag

PACS = Destination("PACS", "pacs.invalid", 104, ("SR", "SEG"))
VNA = Destination("VNA", "vna.invalid", 104, ("SR",))
EXPLICIT = "1.2.840.10008.1.2.1"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "state")
    yield made
    made.close()


def test_of_an_object_that_the_disk_does_not_give_the_rules_know_who_sent_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = (Route(modality=("CR",), destinations=("VNA",)), Route(calling_ae=("ED",), destinations=("PACS",)))
    settings = Settings(destinations=(replace(PACS, documents=("IMAGE",)), replace(VNA, documents=("IMAGE",))))
    settings = replace(settings, routes=rules)
    taken(store, settings, received("1.1", "ED"))
    job = store.overview.versions("1.1")[0].id
    assert images(store, settings, job).keys() == {"VNA@vna.invalid:104"}

    def failing(file: object, last: int) -> NoReturn:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("wetread.jobs.spool.beginning", failing)
    assert images(store, settings, job).keys() == {"PACS@pacs.invalid:104"}


class Routed(fake.Fake):
    """Decides as the row does, by who sent an object."""

    def read_blobs(
        self, blobs: Sequence[tuple[str, bytes | Stored]], given: Circumstances = USUAL
    ) -> tuple[Reading, ...]:
        (sender,) = set(given.senders.values())
        decision = decide(given.routes, facts_of({}, sender))
        return tuple(replace(one, decision=decision) for one in super().read_blobs(blobs, given))


def received(study: str, calling: str, called: str = "WETREAD") -> Received:
    return Received(CR, f"{study}.1", study, EXPLICIT, film(study, f"{study}.1"), calling, 1, called)


def taken(store: Store, settings: Settings, *objects: Received) -> None:
    """Receive objects, and complete their studies."""
    runner = Runner(store, settings)
    runner.start()
    for one in objects:
        assert runner.receive(one) == 0
    runner.stop()
    for one in objects:
        store.studies.complete(one.study_uid)


def test_each_study_goes_where_the_rules_say(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    routes = (
        Route(calling_ae=("ED",), lane="STAT", destinations=("PACS",), documents={"PACS": ("SEG",)}),
        Route(calling_ae=("RESEARCH",), destinations=("VNA@vna.invalid:104",), documents={"VNA": ("SEG",)}),
        Route(called_ae=("WETREAD_TEST",), destinations=()),
    )
    settings = Settings(destinations=(PACS, VNA), routes=routes)
    sent = (("1.1", "ED"), ("1.2", "RESEARCH"), ("1.3", "WARD"))
    taken(store, settings, *(received(*one) for one in sent), received("1.4", "CT", "WETREAD_TEST"))
    assert [store.overview.versions(study)[0].lane for study in ("1.1", "1.2")] == [Lane.STAT, Lane.ROUTINE]
    worker = Worker(store, Routed(), settings, Watch())
    ways = []
    while worker.step():
        ways.append({name: depth for name, (depth, _) in store.overview.depths().items()})
    pacs, vna = "PACS@pacs.invalid:104", "VNA@vna.invalid:104"
    assert ways == [
        {pacs: 1},  # the SEG of the first
        {pacs: 1, vna: 1},  # the SEG of the second
        {pacs: 3, vna: 2},  # the third to everyone, as the settings say
        {pacs: 3, vna: 2},  # the fourth to nobody
    ]
    assert store.overview.counts()["DELIVERED"] == 1
    assert "Canary" not in caplog.text


def test_who_sent_an_object_is_kept(store: Store) -> None:
    settings = Settings(routes=(Route(lane="STAT"),))
    taken(store, settings, received("1.1", "ED", "WETREAD_ED"))
    (job,) = store.overview.versions("1.1")
    given = circumstances(store, settings, job)
    (sender,) = given.senders.values()
    assert (sender.calling_ae, sender.called_ae) == ("ED", "WETREAD_ED")
    assert sender.at is not None
    assert abs(sender.at.timestamp() - store.now()) < 600
    assert list(given.senders) == ["1.1.1"]
    assert given.routes == settings.routes
    assert circumstances(store, Settings(), job) == USUAL


def test_the_door_sees_what_the_row_sees() -> None:
    found = facts_of(
        {Tag.STATION_NAME: "ROOM1", Tag.SERIES_DESCRIPTION: "Axial", Tag.STEP_PRIORITY: "HIGH", Tag.MODALITY: "CT\\MR"},
        Sender("ED", "US"),
    )
    assert (found.calling_ae, found.called_ae, found.station_name) == ("ED", "US", "ROOM1")
    assert (found.series_description, found.priority, found.modality) == ("Axial", ("HIGH",), "CT")


def test_whoever_decodes_ahead_is_told_of_each_new_object(store: Store) -> None:
    told: list[tuple[str, str, bytes]] = []
    runner = Runner(store, Settings())
    runner.start()
    first, again = received("1.1", "CT"), received("1.2", "CT")
    assert runner.receive(received("1.0", "CT")) == 0  # nobody listens yet
    runner.read_with(fake.READER, lambda study, kind, _name, file: told.append((study, kind, file.path.read_bytes())))
    for one in (first, again, again):
        assert runner.receive(one) == 0
    runner.stop()
    assert told == [(one.study_uid, CR, one.data) for one in (first, again)]
