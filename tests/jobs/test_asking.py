"""Archives that are asked how many objects a study has, where nobody said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests import peers
from tests.jobs import fake
from tests.jobs.test_expecting import SETTINGS, Short, World
from tests.serve.stage import until
from tests.wire.objects import film
from wetread.errors import PeerUnreachable, StoreError
from wetread.jobs.asking import MOST_WAITING
from wetread.jobs.panel import Panel
from wetread.jobs.runner import Runner
from wetread.jobs.store import Store
from wetread.serve.node import Node
from wetread.settings import Destination, Settings, load
from wetread.wire.dimse import send

ARCHIVE = Destination("PACS", "pacs.invalid", 104)
OTHER = Destination("VNA", "vna.invalid", 104)
ASKING = replace(SETTINGS, archives=(ARCHIVE, OTHER))


class Counts(Short):
    """Remembers the outcomes too."""

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: list[str] = []

    def asked(self, archive: str, outcome: str) -> None:
        self.outcomes.append(f"{archive.partition('@')[0]} {outcome}")


class Asking(World):
    """A node whose archives say what the tests tell them."""

    def __init__(self, store: Store, settings: Settings = ASKING) -> None:
        super().__init__(store, settings)
        self.stop()
        self.watch: Counts = Counts()
        self.numbers: dict[str, int | Exception | None] = {"PACS": None, "VNA": None}
        self.asked: list[str] = []
        self.runner = Runner(store, settings, self.watch, clock=self.clock, ask=self._ask)
        self.runner._receipts.start()

    def _ask(self, archive: Destination, study_uid: str) -> int | None:
        self.asked.append(archive.ae_title)
        number = self.numbers[archive.ae_title]
        if isinstance(number, Exception):
            raise number
        return number

    def answer(self) -> None:
        """Let the thread that asks do what waits."""
        while self.runner._asking.step() is not None:
            pass


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Asking]:
    store = Store(tmp_path / "state")
    made = Asking(store)
    yield made
    made.stop()
    store.close()


def test_a_study_that_the_archive_has_whole_is_complete(world: Asking) -> None:
    world.numbers["PACS"] = 2
    world.send("1.1", 1, 2)
    world.release()
    assert world.states("1.1") == ["RECEIVED"]
    world.answer()
    assert world.states("1.1") == ["COMPLETE"]
    assert world.watch.outcomes == ["PACS told"]


def test_a_study_of_which_the_archive_has_more_is_held_until_that_came(world: Asking) -> None:
    world.numbers["PACS"] = 3
    world.send("1.1", 1, 2)
    world.release()
    world.answer()
    world.tick(SETTINGS.expect_s - 1)
    assert world.states("1.1") == ["RECEIVED"]
    world.send("1.1", 3, association=2)
    assert world.states("1.1") == ["COMPLETE"]
    assert world.asked == ["PACS"]


def test_what_never_comes_is_not_waited_for_longer_than_told(world: Asking) -> None:
    world.numbers["PACS"] = 3
    world.send("1.1", 1, 2)
    world.release()
    world.answer()
    world.tick(SETTINGS.expect_s + 0.1)
    assert world.states("1.1") == ["COMPLETE"]
    assert world.watch.number == 1
    assert world.asked == ["PACS"]


@pytest.mark.parametrize(
    "said", [None, 1, PeerUnreachable("away")], ids=["has none of it", "has less than is here", "is away"]
)
def test_an_archive_that_cannot_tell_holds_nothing(world: Asking, said: int | Exception | None) -> None:
    world.numbers.update(PACS=said, VNA=said)
    world.send("1.1", 1, 2)
    world.release()
    world.answer()
    assert world.states("1.1") == ["COMPLETE"]
    assert world.watch.number == 0


def test_the_next_archive_is_asked_if_one_cannot_tell(world: Asking) -> None:
    world.numbers.update(PACS=PeerUnreachable("away"), VNA=3)
    world.send("1.1", 1, 2)
    world.release()
    world.answer()
    assert world.states("1.1") == ["RECEIVED"]
    assert world.watch.outcomes == ["PACS failed", "VNA told"]


def test_an_archive_that_is_away_is_left_alone_for_a_while(world: Asking) -> None:
    world.numbers.update(PACS=PeerUnreachable("away"), VNA=PeerUnreachable("away"))
    for study in ("1.1", "1.2", "1.3"):
        world.send(study, 1)
    world.release()
    world.answer()
    assert [world.states(study) for study in ("1.1", "1.2", "1.3")] == [["COMPLETE"]] * 3
    assert world.asked == ["PACS", "VNA"]  # and for the other two nobody
    world.send("1.4", 1)
    world.release()
    assert world.states("1.4") == ["COMPLETE"]  # without a wait
    world.numbers["PACS"] = 1
    world.tick(SETTINGS.retry_most_s)
    world.send("1.5", 1)
    world.release()
    world.answer()
    assert world.asked == ["PACS", "VNA", "PACS"]


def test_nobody_is_asked_for_a_study_of_which_its_headers_tell(world: Asking) -> None:
    world.send("1.1", 1, 2, of_study=2)
    assert world.states("1.1") == ["COMPLETE"]
    world.send("1.2", 1, of_study=2)
    world.release()
    world.tick(SETTINGS.expect_s + 0.1)  # announced, and it never came
    assert world.states("1.2") == ["COMPLETE"]
    assert world.asked == []


def test_the_timer_asks_too_and_once(world: Asking) -> None:
    world.numbers["PACS"] = 1
    world.send("1.1", 1, 2)
    world.runner.association_ended(1, False)  # aborted
    world.tick(SETTINGS.quiet_s + 0.1)
    assert world.states("1.1") == ["RECEIVED"]
    world.answer()
    assert world.states("1.1") == ["COMPLETE"]
    assert world.asked == ["PACS"]


def test_what_comes_while_an_archive_is_asked_is_waited_for(world: Asking) -> None:
    world.numbers["PACS"] = 1
    world.send("1.1", 1)
    world.release()
    world.send("1.1", 2, association=2)
    world.answer()
    assert world.states("1.1") == ["RECEIVED"]  # the other association is open
    world.numbers["PACS"] = 2
    world.release(2)
    world.answer()
    assert world.states("1.1") == ["COMPLETE"]
    assert world.asked == ["PACS", "PACS"]


def test_the_queue_has_a_bound(world: Asking) -> None:
    studies = [f"1.{n}" for n in range(1, MOST_WAITING + 3)]
    for study in studies:
        world.send(study, 1)
    world.release()
    assert [world.states(study)[0] for study in studies].count("COMPLETE") == 2
    world.answer()
    assert {world.states(study)[0] for study in studies} == {"COMPLETE"}


def test_an_answer_that_cannot_be_kept_holds_nothing(world: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StoreError("full")

    world.numbers["PACS"] = 3
    world.send("1.1", 1)
    world.release()
    monkeypatch.setattr(world.store.announced, "number", fail)
    with pytest.raises(StoreError):  # the loop says so, and goes on
        world.answer()
    assert world.states("1.1") == ["COMPLETE"]


def test_a_stop_while_an_archive_is_asked_loses_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    made = Asking(store)
    made.send("1.1", 1)
    made.release()
    made.stop()
    store.close()
    store = Store(tmp_path / "state")
    made = Asking(store)
    made.runner._take_over()
    made.tick(SETTINGS.quiet_s + 0.1)
    made.answer()
    assert made.states("1.1") == ["COMPLETE"]
    made.stop()
    store.close()


def test_archives_in_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(
        'tls_certificate = "a"\ntls_key = "b"\ntls_authority = "c"\n'
        '[[archives]]\nae_title = "PACS"\nhost = "h"\nport = 104\ntls = true\n'
    )
    (archive,) = load(path, {}).archives
    assert (archive.ae_title, archive.tls_key) == ("PACS", Path("b"))
    assert load(environ={"WETREAD_ARCHIVES": "A@h:1,B@h:2"}).archives[1] == Destination("B", "h", 2)


@pytest.mark.peer
@pytest.mark.parametrize("kind", ["orthanc", "dcmqrscp", "web"])
def test_a_node_asks_an_archive(kind: str, tmp_path: Path) -> None:
    """The archive has three; the third comes late, and by another way."""
    films = [film("1.2.3", f"1.2.3.1.{n}") for n in range(3)]
    if kind != "dcmqrscp":
        plugins = [peers.dicomweb_plugin()] if kind == "web" else []
        context = peers.orthanc(tmp_path / kind, DicomAlwaysAllowFind=True, Plugins=plugins)
    with peers.dcmqrscp(tmp_path / kind) if kind == "dcmqrscp" else context as running:
        port = running.port if isinstance(running, peers.Orthanc) else running
        archive = Destination(kind.upper(), "127.0.0.1", port)
        assert send(archive, films) == [0] * 3
        if kind == "web" and isinstance(running, peers.Orthanc):
            archive = Destination("WEB", url=f"http://127.0.0.1:{running.http_port}/dicom-web")
        given = {"state": tmp_path / "state", "port": 0, "http_port": 0, "archives": (archive,)}
        node = Node(replace(SETTINGS, **given), lambda: fake.READER)  # type: ignore[arg-type]
        node.start()
        try:
            here = Destination("WETREAD", "127.0.0.1", node.port)
            assert send(here, films[:2]) == [0, 0]
            told = f'wetread_queries_total{{archive="{archive.names[0]}",outcome="told"}} 1.0'
            until(lambda: told in node.metrics.text().decode())
            assert node.store.studies.incomplete() == ["1.2.3"]
            assert send(here, films[2:]) == [0]
            until(lambda: not node.store.studies.incomplete())
            assert told in node.metrics.text().decode()  # once
        finally:
            node.stop()


def test_an_error_that_nobody_foresaw_of_one_archive_is_no_other_s() -> None:
    def question(archive: Destination) -> int:
        if archive is ARCHIVE:
            raise ValueError("unforeseen")
        return 3

    seen = Counts()
    assert Panel("archive", (ARCHIVE, OTHER), ASKING, seen, lambda: 0.0).ask(question) == 3
    assert [outcome.split()[1] for outcome in seen.outcomes] == ["failed", "told"]
