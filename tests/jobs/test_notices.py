"""Completion by notices: an IAN names the objects, an MPPS holds the study open and then names them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.jobs import fake
from tests.jobs.test_expecting import SETTINGS, Start, World, start, world
from tests.jobs.test_flow import PACS, Pacs
from wetread.errors import StoreError
from wetread.jobs.announced import Outlook
from wetread.jobs.delivery import Outbox
from wetread.jobs.expecting import SHARE
from wetread.jobs.store import Store
from wetread.jobs.watch import Watch
from wetread.jobs.worker import Worker
from wetread.serve.logs import JsonFormatter
from wetread.serve.node import Node
from wetread.settings import Peer
from wetread.wire.associate import INSTANCE_AVAILABILITY, PERFORMED_STEP
from wetread.wire.dimse import Notice, Status
from wetread.wire.notices import COMPLETED, DISCONTINUED, IN_PROGRESS

__all__ = ["start", "world"]

STEP = "1.2.9.1"


def images(*numbers: int, study: str = "1.1") -> frozenset[str]:
    return frozenset(f"{study}.1.{number}" for number in numbers)


def ian(instances: Iterable[str], instance: str = "1.2.8.1", *studies: str) -> Notice:
    named = frozenset(studies or ("1.1",))
    return Notice(INSTANCE_AVAILABILITY, instance, True, named, "", frozenset(instances))


def begin(*studies: str, instance: str = STEP) -> Notice:
    return Notice(PERFORMED_STEP, instance, True, frozenset(studies or ("1.1",)), IN_PROGRESS, frozenset())


def change(state: str, instances: frozenset[str] | None = None, instance: str = STEP) -> Notice:
    return Notice(PERFORMED_STEP, instance, False, frozenset(), state, instances)


# ---- instance availability --------------------------------------------------------------------


@pytest.mark.parametrize("first", [True, False], ids=["before the objects", "after them"])
def test_a_study_is_complete_when_all_that_was_named_is_here(world: World, first: bool) -> None:
    if first:
        assert world.runner.hear(ian(images(1, 2, 3))) == 0
    world.send("1.1", 1, 2)
    assert world.states("1.1") == ["RECEIVED"]
    world.send("1.1", 3)
    if not first:
        assert world.states("1.1") == ["RECEIVED"]
        assert world.runner.hear(ian(images(1, 2, 3))) == 0
    assert world.states("1.1") == ["COMPLETE"]
    world.release()
    assert world.watch.number == 0


def test_a_release_with_less_than_was_named_holds_the_study(world: World) -> None:
    world.send("1.1", 1, 2)
    world.runner.hear(ian(images(1, 2, 3)))
    world.release()
    world.tick(SETTINGS.expect_s - 1)
    assert world.states("1.1") == ["RECEIVED"]
    world.send("1.1", 3, association=2)
    assert world.states("1.1") == ["COMPLETE"]


def test_what_was_named_counts_by_its_uid_not_its_number(world: World) -> None:
    world.runner.hear(ian(images(1, 2, 3)))
    world.send("1.1", 7, 8, 9)
    world.release()
    assert world.states("1.1") == ["RECEIVED"]
    world.tick(SETTINGS.expect_s + 0.1)
    assert world.states("1.1") == ["COMPLETE"]
    assert world.store.overview.audits() == [("incomplete-study", 1, {"arrived": 3, "expected": 6})]
    assert world.watch.number == 1


def test_the_lists_of_several_notices_add_up(world: World) -> None:
    world.runner.hear(ian(images(1, 2)))
    world.runner.hear(ian(images(3), "1.2.8.2"))
    world.send("1.1", 1, 2)
    assert world.states("1.1") == ["RECEIVED"]
    world.send("1.1", 3)
    assert world.states("1.1") == ["COMPLETE"]


def test_a_notice_is_kept_once(world: World) -> None:
    assert world.runner.hear(ian(images(1))) == Status.SUCCESS
    assert world.runner.hear(ian(images(1, 2))) == Status.DUPLICATE_INSTANCE
    world.send("1.1", 1)
    assert world.states("1.1") == ["COMPLETE"]


def test_a_list_that_was_too_short_makes_one_version_at_most(world: World) -> None:
    world.runner.hear(ian(images(1, 2)))
    world.send("1.1", 1, 2)
    world.read()
    for number in range(3, 7):
        world.send("1.1", number)
        world.read()
    assert world.states("1.1")[1:] == ["RECEIVED"]
    world.runner.hear(ian(images(*range(1, 7)), "1.2.8.2"))  # now it is known that this is all
    assert world.states("1.1")[1:] == ["COMPLETE"]


def test_a_notice_of_a_study_that_was_read_changes_nothing(world: World) -> None:
    world.send("1.1", 1)
    world.release()
    world.read()
    before = world.states("1.1")
    assert world.runner.hear(ian(images(1, 2))) == 0
    world.tick(1000.0)
    assert world.states("1.1") == before


def test_documents_of_ours_that_an_archive_names_are_not_waited_for(world: World) -> None:
    settings = replace(SETTINGS, destinations=(PACS,))
    world.send("1.1", 1)
    world.release()
    Worker(world.store, fake.READER, settings, Watch()).step()
    pacs = Pacs()
    outbox = Outbox("PACS@pacs.invalid:104", PACS, world.store, pacs, settings, Watch())
    while outbox.step() is not None:
        pass
    assert len(pacs.stored) == 2
    world.runner.hear(ian([*images(1), *pacs.stored]))
    known = world.store.announced.known("1.1")
    assert (known.outlook, known.lacks) == (Outlook.WHOLE, set())


# ---- performed steps --------------------------------------------------------------------------


def test_a_step_in_progress_holds_the_study_and_its_end_completes_it(world: World) -> None:
    world.runner.hear(begin())
    world.send("1.1", 1, of_study=1)  # whatever the header says
    world.release()
    world.tick(SETTINGS.expect_s - 1)
    assert world.states("1.1") == ["RECEIVED"]
    world.send("1.1", 2, association=2)
    assert world.runner.hear(change(COMPLETED, images(1, 2))) == 0
    assert world.states("1.1") == ["COMPLETE"]


@pytest.mark.parametrize("state", [COMPLETED, DISCONTINUED])
def test_a_step_that_ended_is_waited_for_by_what_it_names(world: World, state: str) -> None:
    world.runner.hear(begin())
    world.runner.hear(change("", images(1)))
    world.runner.hear(change(state, images(1, 2)))
    world.send("1.1", 1)
    world.release()
    assert world.states("1.1") == ["RECEIVED"]
    world.send("1.1", 2, association=2)
    assert world.states("1.1") == ["COMPLETE"]


def test_the_end_may_leave_the_list_as_it_was(world: World) -> None:
    world.runner.hear(begin())
    world.runner.hear(change(IN_PROGRESS, images(1, 2)))
    world.runner.hear(change(COMPLETED))
    world.send("1.1", 1, 2)
    assert world.states("1.1") == ["COMPLETE"]


def test_a_step_that_named_nothing_leaves_it_to_the_timer(world: World) -> None:
    world.send("1.1", 1)
    world.runner.hear(begin())
    world.release()
    assert world.states("1.1") == ["RECEIVED"]
    world.runner.hear(change(DISCONTINUED, frozenset()))
    world.tick(SETTINGS.quiet_s + 0.1)
    assert world.states("1.1") == ["COMPLETE"]
    assert world.watch.number == 0


def test_every_step_of_a_study_must_end(world: World) -> None:
    world.runner.hear(begin())
    world.runner.hear(begin(instance="1.2.9.2"))
    world.send("1.1", 1, 2)
    world.runner.hear(change(COMPLETED, images(1)))
    world.release()
    assert world.states("1.1") == ["RECEIVED"]
    world.runner.hear(change(COMPLETED, images(2), "1.2.9.2"))
    assert world.states("1.1") == ["COMPLETE"]


def test_a_step_that_never_ends_is_waited_for_no_longer_than_told_and_that_is_said(world: World) -> None:
    world.runner.hear(begin())
    world.send("1.1", 1)
    world.release()
    world.tick(SETTINGS.expect_s + 0.1)
    assert world.states("1.1") == ["COMPLETE"]
    assert world.watch.number == 1
    said = {"arrived": 1, "expected": 1, "steps_in_progress": 1}
    assert world.store.overview.audits() == [("incomplete-study", 1, said)]


def test_an_urgent_study_waits_for_its_step_for_a_share_of_its_deadline(world: World) -> None:
    world.runner.hear(begin())
    world.send("1.1", 1, calling="ED")
    world.release()
    world.tick(SHARE * SETTINGS.stat_deadline_s + 0.1)
    assert world.states("1.1") == ["COMPLETE"]


def test_only_legal_transitions(world: World) -> None:
    assert world.runner.hear(change(COMPLETED, images(1))) == Status.NO_SUCH_INSTANCE
    assert world.runner.hear(begin()) == Status.SUCCESS
    assert world.runner.hear(begin()) == Status.DUPLICATE_INSTANCE
    assert world.runner.hear(change(IN_PROGRESS)) == Status.SUCCESS
    assert world.runner.hear(change(DISCONTINUED, images(1))) == Status.SUCCESS
    for state in ("", IN_PROGRESS, COMPLETED, DISCONTINUED):
        assert world.runner.hear(change(state, images(1, 2))) == Status.PROCESSING_FAILURE
    assert world.store.announced.known("1.1").listed == images(1)


def test_a_step_is_not_changed_by_the_name_of_another_notice(world: World) -> None:
    world.runner.hear(ian(images(1), STEP))
    assert world.runner.hear(change(COMPLETED, images(1, 2))) == Status.NO_SUCH_INSTANCE


def test_a_step_for_several_studies_is_kept_and_tells_of_none(world: World) -> None:
    assert world.runner.hear(begin("1.1", "1.2")) == 0
    assert world.runner.hear(change(COMPLETED, images(1, 2))) == 0
    world.send("1.1", 1)
    world.release()
    assert world.states("1.1") == ["COMPLETE"]


# ---- durability -------------------------------------------------------------------------------


def test_what_was_told_outlives_the_process(start: Start) -> None:
    world = start()
    world.runner.hear(begin())
    world.runner.hear(ian(images(1, 2), "1.2.8.1", "1.2"))
    world = start()
    world.send("1.1", 1)
    world.release()
    assert world.states("1.1") == ["RECEIVED"]
    assert world.runner.hear(begin()) == Status.DUPLICATE_INSTANCE
    assert world.runner.hear(change(COMPLETED, images(1))) == 0
    assert world.states("1.1") == ["COMPLETE"]
    assert world.runner.hear(change(COMPLETED, images(1))) == Status.PROCESSING_FAILURE


def test_a_notice_is_on_the_disk_before_it_is_answered(start: Start) -> None:
    """A process that ends right after the commit has acted on nothing; the next one does."""
    world = start()
    world.send("1.1", 1, 2)
    world.store.announced.hear(ian(images(1, 2)))
    world = start()
    assert world.states("1.1") == ["COMPLETE"]


def test_a_notice_that_cannot_be_kept_is_not_answered_as_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StoreError("full")

    monkeypatch.setattr(world.store.announced, "hear", fail)
    with pytest.raises(StoreError):
        world.runner.hear(begin())


def test_an_index_that_cannot_be_read_leaves_it_to_the_release(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StoreError("full")

    world.send("1.1", 1, 2)
    with monkeypatch.context() as patch:
        patch.setattr(world.store.announced, "known", fail)
        assert world.runner.hear(ian(images(1, 2))) == 0
    assert world.states("1.1") == ["RECEIVED"]
    world.release()
    assert world.states("1.1") == ["COMPLETE"]


def test_nodes_that_share_an_index_share_what_was_told(shared: Callable[..., Store]) -> None:
    one, other = shared(), shared()
    assert one.announced.hear(begin()) is Status.SUCCESS
    assert other.announced.hear(begin()) is Status.DUPLICATE_INSTANCE
    assert other.announced.hear(change(COMPLETED, images(1))) is Status.SUCCESS
    assert one.announced.hear(change(COMPLETED, images(1))) is Status.PROCESSING_FAILURE
    assert one.announced.known("1.1").lacks == images(1)


# ---- a node -----------------------------------------------------------------------------------


def test_a_modality_tells_a_node(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """By pynetdicom; the node's other half is asleep, so that the study stays where completion puts it."""
    from tests.wire.notices import availability, begun, ended, modality
    from tests.wire.objects import film
    from wetread.settings import Destination
    from wetread.wire.dimse import send

    caplog.set_level(logging.DEBUG)
    me = Peer("*", ("127.0.0.1",), ("store", "notify"))
    settings = replace(SETTINGS, state=tmp_path / "state", port=0, http_port=0, peers=(me,))
    node = Node(settings, lambda: fake.READER)
    node.start()
    try:
        here = Destination("WETREAD", "127.0.0.1", node.port)
        with modality(node.port) as peer:
            assert peer.create(begun("1.2.3"), STEP).Status == 0
            assert send(here, [film("1.2.3", f"1.2.3.1.{n}") for n in (1, 2)]) == [0, 0]
            assert [job.state.value for job in node.store.overview.versions("1.2.3")] == ["RECEIVED"]
            assert peer.change(ended(["1.2.3.1.1", "1.2.3.1.2"]), STEP).Status == 0
            assert node.store.studies.incomplete() == []
            refused = peer.change(ended([]), STEP)
            assert (refused.Status, refused.ErrorID) == (0x0110, 0xA710)
            assert peer.create(begun("1.2.3"), STEP).Status == 0x0111
            assert peer.change(ended([]), "1.2.9.9").Status == 0x0112
            assert peer.notify(availability("1.2.4", ["1.2.4.1.1"])).Status == 0
        text = node.metrics.text().decode()
    finally:
        node.stop()
    assert 'wetread_notices_total{kind="MPPS",status="0x0000"} 2.0' in text
    assert 'wetread_notices_total{kind="MPPS",status="0x0110"} 1.0' in text
    assert 'wetread_notices_total{kind="IAN",status="0x0000"} 1.0' in text
    lines = [JsonFormatter().format(one) for one in caplog.records if one.name.startswith("wetread")]
    assert any(json.loads(line)["event"] == "notice" for line in lines)
    for word in ("CANARY", "1.2.3", STEP):
        assert word not in "\n".join(lines).upper()
