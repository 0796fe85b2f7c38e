"""kill -9 at every named place: nothing acknowledged is lost, nothing confirmed is sent again."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pydicom
import pytest

from tests import phantoms
from tests.jobs import fake
from tests.serve.stage import ROOT, acknowledged, blobs, check_kept, check_spool, process, rows, until
from tests.wire.objects import CR, film
from wetread.errors import PeerUnreachable
from wetread.evidence.torture.process import changed
from wetread.jobs import failpoints
from wetread.serve.receiver import Receiver
from wetread.settings import Peer, Settings
from wetread.wire.associate import WINDOW
from wetread.wire.commit import commit
from wetread.wire.dimse import Commitment, Listener, Notice, Request, Status

STUDY = "1.2.3"
INSTANCES = ("1.2.3.1.1", "1.2.3.1.2")
FILMS = [film(STUDY, instance, 5000) for instance in INSTANCES]
DOCUMENTS = sorted(uid for instance in INSTANCES for uid in fake.document_uids(instance))

#: Place -> how many of the two films are acknowledged when the power is cut there for the second time.
RECEIPT = {"blob-unsynced": 1, "blob-written": 1, "folder-synced": 1, "indexed": 1}


def test_the_page_names_every_place_and_no_test_that_is_not_there() -> None:
    assert set(RECEIPT) < set(failpoints.NAMES)
    page = (ROOT / "docs/reference/reliability.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in failpoints.NAMES)
    for name in re.findall(r"`(?:tests/(?:\w+/)?)?(test_\w+\.py)`", page):
        assert list((ROOT / "tests").rglob(name)), name


#: Places of which each has a test of its own.
OTHERS = ("set-aside", "forgotten", "commitment-asked", "commitment-reported", "order-kept")


@pytest.mark.parametrize("place", [name for name in failpoints.NAMES if name not in OTHERS])
def test_kill_at(place: str, tmp_path: Path, pacs: Receiver) -> None:
    state = tmp_path / "state"
    # The first object, or the second where the first must be safe already.
    hit = 2 if place in (*RECEIPT, "sent", "recorded") else 1
    with process(state, pacs.port, at=place, hit=hit) as node:
        kept = acknowledged(node.destination, FILMS)
        assert node.wait() == -9
    assert len(kept) == RECEIPT.get(place, 2)

    with process(state, pacs.port) as node:
        check_kept(state, kept)
        if len(kept) < 2:  # a modality sends again what was not acknowledged
            assert acknowledged(node.destination, FILMS) == FILMS
        until(lambda: len({receipt.sop_instance_uid for receipt in pacs.receipts}) == len(DOCUMENTS))
        until(lambda: {row[0] for row in rows(state, "SELECT state FROM jobs")} == {"DELIVERED"})
        assert node.stop() == 0
    check_spool(state, FILMS)
    sent = Counter(receipt.sop_instance_uid for receipt in pacs.receipts)
    assert sorted(sent) == DOCUMENTS
    # Confirmed but not recorded, or under way behind it: sent again, under its own UID, to the same effect.
    again = sum(sent.values()) - len(DOCUMENTS)
    assert (place == "sent") <= again <= (WINDOW if place in ("sent", "recorded") else 0)
    assert rows(state, "SELECT count(*) FROM outbox WHERE state != 'SENT'") == [(0,)]


@pytest.mark.parametrize("place", ["documents-stored", "sent"])
def test_kill_while_images_go_on(place: str, tmp_path: Path, pacs: Receiver) -> None:
    """Outside, de-identified: each arrives, always under the same UID."""
    outside = {"ae_title": "PACS", "host": "127.0.0.1", "port": pacs.port, "documents": ["IMAGE"], "deidentify": True}
    films = [
        phantoms.to_bytes(phantoms.make_film(BurnedInAnnotation="NO", SOPInstanceUID=f"{phantoms.ROOT}.1.1.{number}"))
        for number in (1, 2)
    ]
    state, given = tmp_path / "state", {"destinations": [outside]}
    with process(state, pacs.port, at=place, **given) as node:
        assert acknowledged(node.destination, films) == films
        assert node.wait() == -9
    with process(state, pacs.port, **given) as node:
        until(lambda: {row[0] for row in rows(state, "SELECT state FROM jobs")} == {"DELIVERED"}, 60)
        assert node.stop() == 0
    assert not changed(state)
    assert len({receipt.sop_instance_uid for receipt in pacs.receipts}) == 2
    assert not {phantoms.INSTANCE} & {receipt.sop_instance_uid for receipt in pacs.receipts}
    assert len(pacs.receipts) <= 4


@pytest.mark.parametrize("place", ["commitment-asked", "commitment-reported"])
def test_kill_while_a_modality_asks_for_commitment(place: str, tmp_path: Path, pacs: Receiver) -> None:
    state = tmp_path / "state"
    reports: list[Notice | Commitment | Request] = []

    def hear(notice: Notice | Commitment | Request) -> int:
        reports.append(notice)
        return Status.SUCCESS

    may = (Peer("*", ("127.0.0.1",), ("notify",)),)
    modality = Listener(Settings(ae_title="CT1", port=0, peers=may), lambda received: 0, on_notice=hear)
    modality.start()
    line = {"ae_title": "*", "addresses": ["127.0.0.1"], "may": ["store", "commit"], "port": modality.port}
    wanted = dict.fromkeys((*INSTANCES, "1.2.3.1.9"), CR)
    try:
        with process(state, pacs.port, at=place, peers=[line]) as node:
            assert acknowledged(node.destination, FILMS) == FILMS
            with suppress(PeerUnreachable):
                commit(node.destination, "2.25.7", wanted, "CT1")
            assert node.wait() == -9
        assert len(reports) == (place == "commitment-reported")
        with process(state, pacs.port, peers=[line]) as node:
            until(lambda: rows(state, "SELECT count(*) FROM requests") == [(0,)])
            assert node.stop() == 0
    finally:
        modality.stop()
    # What the peer took and the node did not record goes out again.
    told = Commitment("2.25.7", frozenset(INSTANCES), {"1.2.3.1.9": 0x0112})
    assert reports == [told] * (1 + (place == "commitment-reported"))


def test_kill_while_a_delivered_study_is_deleted(tmp_path: Path, pacs: Receiver) -> None:
    state = tmp_path / "state"
    with process(state, pacs.port) as node:
        assert acknowledged(node.destination, FILMS) == FILMS
        until(lambda: rows(state, "SELECT state FROM jobs") == [("DELIVERED",)])
        assert node.stop() == 0
    with process(state, pacs.port, at="forgotten", early=True, least_free_bytes=1 << 62) as node:
        assert node.wait() == -9
    assert len(blobs(state, "spool")) == 2
    with process(state, pacs.port) as node:
        assert blobs(state, "spool") == blobs(state, "made") == {}
        assert acknowledged(node.destination, FILMS) == FILMS  # known, and not read again
        assert node.stop() == 0
    assert blobs(state, "spool") == {}
    assert rows(state, "SELECT state FROM jobs") == [("DELIVERED",)]
    assert len(pacs.receipts) == len(DOCUMENTS)


def test_kill_after_the_acknowledgement(tmp_path: Path, pacs: Receiver) -> None:
    state = tmp_path / "state"
    with process(state, pacs.port, quiet_s=60.0) as node:
        assert acknowledged(node.destination, FILMS[:1]) == FILMS[:1]
        node.kill()
    with process(state, pacs.port) as node:
        check_kept(state, FILMS[:1])
        assert pacs.wait(2, 10.0)
        until(lambda: {row[0] for row in rows(state, "SELECT state FROM jobs")} == {"DELIVERED"})
        node.kill()
    with process(state, pacs.port) as node:  # and nothing is sent again
        until(lambda: node.get("/ready")[0] == 200)
        assert node.stop() == 0
    assert len(pacs.receipts) == 2


def of_study(pacs: Receiver, study: str) -> list[str]:
    """What the PACS got for a study, each time it got it."""
    return [receipt.sop_instance_uid for receipt in pacs.receipts if receipt.study_uid == study]


def test_a_study_that_kills_its_reader_every_time_is_set_aside(tmp_path: Path, pacs: Receiver) -> None:
    """Between two good ones: those are read, it gets its refusal, once, whatever happens on the way."""
    state = tmp_path / "state"
    studies = [film("1.1", "1.1.1"), film("1.2", "1.2.1", fake.KILLING_BYTES), film("1.3", "1.3.1")]
    with process(state, pacs.port, quiet_s=60.0) as node:
        assert acknowledged(node.destination, studies) == studies
        assert node.wait() == -9
    for _ in range(2):
        with process(state, pacs.port) as node:
            assert node.wait() == -9
    with process(state, pacs.port, at="set-aside") as node:  # FAILED and its alarm do not wait for the refusal
        assert node.wait() == -9
        assert rows(state, "SELECT study_uid FROM jobs WHERE state = 'FAILED'") == [("1.2",)]
    for place in ("documents-spooled", "documents-stored"):
        with process(state, pacs.port, at=place) as node:
            assert node.wait() == -9
    with process(state, pacs.port) as node:
        until(lambda: of_study(pacs, "1.2"))
        until(lambda: rows(state, "SELECT count(*) FROM outbox WHERE state != 'SENT'") == [(0,)])
        ends = [("DELIVERED", 1), ("FAILED", 3), ("DELIVERED", 1)]
        assert rows(state, "SELECT state, tries FROM jobs ORDER BY id") == ends
        other = film("1.9", "1.9.1")
        assert acknowledged(node.destination, [other]) == [other]
        until(lambda: len(of_study(pacs, "1.9")) == 2)
        assert node.stop() == 0
    (refusal,) = of_study(pacs, "1.2")
    assert "CRASHED" in str(pydicom.dcmread(pacs.folder / f"{refusal}.dcm"))
    for good in ("1.1", "1.3"):
        assert set(of_study(pacs, good)) == set(fake.document_uids(f"{good}.1"))
    check_spool(state, [*studies, other])


def test_a_refusal_that_kills_its_process_every_time_goes_without_a_header(tmp_path: Path, pacs: Receiver) -> None:
    state = tmp_path / "state"
    with process(state, pacs.port, at="reading", max_tries=1) as node:
        acknowledged(node.destination, FILMS[:1])
        assert node.wait() == -9
    with process(state, pacs.port, at="set-aside", max_tries=1) as node:
        assert node.wait() == -9
    with process(state, pacs.port, max_tries=1) as node:
        until(lambda: rows(state, "SELECT kind FROM documents ORDER BY id") == [("HTML",), ("JSON",)])
        assert rows(state, "SELECT state FROM jobs") == [("FAILED",)]
        assert 'wetread_results_total{refusal="CRASHED"} 1.0' in node.get("/metrics")[1]
        assert node.stop() == 0
    assert pacs.receipts == []
    with process(state, pacs.port, max_tries=1) as node:  # and it is over
        until(lambda: node.get("/ready")[0] == 200)
        assert node.stop() == 0
    assert rows(state, "SELECT count(*) FROM documents") == [(2,)]


def test_the_same_study_five_times_interrupted_has_one_result(tmp_path: Path, pacs: Receiver) -> None:
    state = tmp_path / "state"
    for place in ("indexed", "reading", "documents-spooled", "documents-stored"):
        with process(state, pacs.port, at=place) as node:
            acknowledged(node.destination, FILMS)
            assert node.wait() == -9
    with process(state, pacs.port) as node:
        for _ in range(2):
            assert acknowledged(node.destination, FILMS) == FILMS
        until(lambda: {row[0] for row in rows(state, "SELECT state FROM jobs")} == {"DELIVERED"})
        assert node.stop() == 0
    assert sorted(receipt.sop_instance_uid for receipt in pacs.receipts) == DOCUMENTS
    assert sorted(path.stem for path in pacs.folder.iterdir()) == DOCUMENTS
    assert rows(state, "SELECT count(*) FROM instances") == [(2,)]
    check_spool(state, FILMS)
