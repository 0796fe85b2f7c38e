"""A store whose index is lost, damaged or older: rebuilt from the blobs or brought up, never silently."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.jobs.older import back_to
from tests.jobs.test_store import admit, arrive, sr, take
from tests.wire.objects import film
from wetread.errors import StoreError
from wetread.jobs.instances import Effect
from wetread.jobs.opening import Found
from wetread.jobs.spool import Spool, UnreadableBlob
from wetread.jobs.states import State
from wetread.jobs.store import Store
from wetread.wire.notices import Commitment


def lose(path: Path) -> None:
    path.unlink()


def no_database(path: Path) -> None:
    path.write_bytes(b"this is no database" * 1000)


def bad_page(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096 : len(data)] = bytes(len(data) - 4096)
    path.write_bytes(data)


@pytest.mark.parametrize("hurt", [lose, no_database, bad_page])
def test_a_lost_index_is_rebuilt(hurt: Callable[[Path], None], tmp_path: Path) -> None:
    store = Store(tmp_path)
    admit(store, *(arrive(store, f"1.{n}.1", f"1.{n}") for n in range(3)))
    store.studies.complete("1.0")
    store.studies.finish(take(store), [(sr("1.9.1", film("1.0", "1.9.1")), {})], "")
    rotten = arrive(store, "1.9.9", "1.9")
    admit(store, rotten)
    store.close()
    store.spool.path(rotten.digest).write_bytes(b"rot")
    hurt(tmp_path / "index.sqlite")
    store = Store(tmp_path)
    assert store.found is not None
    assert (store.found.rebuilt, store.found.adopted, store.found.damaged) == (True, 3, 1)
    assert store.overview.audits()[0][0] == "index-rebuilt"
    assert (tmp_path / "spool" / "damaged" / rotten.digest).read_bytes() == b"rot"
    assert sorted(store.studies.incomplete()) == ["1.0", "1.1", "1.2"]
    assert admit(store, arrive(store, "1.9.1", "1.0", 66)) == [Effect.OWN]  # our own document, from before
    assert bool(list(tmp_path.glob("index.sqlite.damaged-1"))) == (hurt is not lose)
    store.close()
    store = Store(tmp_path)
    assert store.found is not None
    assert not store.found.rebuilt
    store.close()


def test_a_blob_that_is_gone_is_said(tmp_path: Path) -> None:
    store = Store(tmp_path)
    gone = arrive(store)
    admit(store, gone)
    store.close()
    store.spool.remove(gone.digest)
    store = Store(tmp_path)
    assert store.found is not None
    assert store.found.missing == 1
    assert store.overview.audits() == [("blobs-amiss", None, {"adopted": 0, "damaged": 0, "missing": 1})]
    store.close()


def test_blobs_that_the_disk_does_not_give_keep_no_other_from_a_new_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    admit(store, *(arrive(store, f"1.{n}.1", f"1.{n}") for n in range(3)))
    store.studies.complete("1.0")
    store.studies.finish(take(store), [(sr("1.9.1", film("1.0", "1.9.1")), {})], "")
    bad = {next(blobs.digests()) for blobs in (store.spool, store.made)}
    store.close()
    lose(tmp_path / "index.sqlite")
    get = Spool.get

    def broken(self: Spool, digest: str) -> bytes:
        if digest in bad:
            raise UnreadableBlob("spool: blob cannot be read: Input/output error")
        return get(self, digest)

    with monkeypatch.context() as patch:
        patch.setattr(Spool, "get", broken)
        store = Store(tmp_path)
    assert store.found == Found(rebuilt=True, adopted=2, removed=1, damaged=1)
    store.close()
    store = Store(tmp_path)
    assert store.found == Found(adopted=1)  # the disk gives it again
    store.close()


def test_a_file_that_is_no_blob_is_left_alone(tmp_path: Path) -> None:
    """As rsync leaves it, when the folder was restored and that was cut off."""
    store = Store(tmp_path)
    admit(store, arrive(store))
    store.close()
    strays = [tmp_path / part / "00" / ".00c1.Xy12Z3" for part in ("spool", "made")]
    for stray in strays:
        stray.write_bytes(b"cut off")
    store = Store(tmp_path)
    assert store.found == Found()
    assert all(stray.exists() for stray in strays)
    store.close()


def test_other_bytes_of_what_was_deleted_are_no_sign_of_damage(tmp_path: Path) -> None:
    """The process ends before it discards them."""
    store = Store(tmp_path)
    admit(store, arrive(store))
    store.studies.complete("1.2.3")
    store.studies.finish(take(store), [], "NOT-AN-IMAGE")
    assert store.removals.remove(1, "age") == 1
    arrive(store, size=66)
    store.close()
    store = Store(tmp_path)
    assert store.found == Found()
    assert list(store.spool.digests()) == []
    assert [event for event, _, _ in store.overview.audits()] == ["removed", "conflicting-instance"]
    store.close()


def test_halves_of_different_nodes_are_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        store = Store(tmp_path / name)
        admit(store, arrive(store))
        store.close()
    (tmp_path / "two" / "index.sqlite").replace(tmp_path / "one" / "index.sqlite")
    with pytest.raises(StoreError, match="do not belong together"):
        Store(tmp_path / "one")


def test_a_store_of_schema_13_keeps_what_waits_and_what_was_promised(tmp_path: Path) -> None:
    """Its table of deliveries is made anew, as SQLite cannot alter it."""
    store = Store(tmp_path)
    admit(store, arrive(store))
    store.studies.complete("1.2.3")
    ways = {"P@h:1": ("SR",), "Q@h:1": ("SR",)}
    store.studies.finish(take(store), [(sr("1.9.1", film("1.2.3", "1.9.1")), ways)], "")
    (parcel,) = store.parcels.waiting("Q@h:1", frozenset(), 9)
    store.parcels.delivered(parcel)
    store.commitments.ask("1.5", store.commitments.due("Q@h:1", frozenset(), 9))
    store.close()
    with sqlite3.connect(tmp_path / "index.sqlite") as connection:
        for statement in back_to(13):
            connection.execute(statement)
    connection.close()
    Store(tmp_path).close()
    store = Store(tmp_path)
    assert [one.kind for one in store.parcels.waiting("P@h:1", frozenset(), 9)] == ["SR"]
    assert store.commitments.due("Q@h:1", frozenset(), 9) == []  # it was asked
    assert store.commitments.hear(Commitment("1.5", frozenset(), {"1.9.1": 0x0112})) == 0
    assert len(store.parcels.waiting("Q@h:1", frozenset(), 9)) == 1
    store.close()
    with sqlite3.connect(tmp_path / "index.sqlite") as connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE tbl_name = 'outbox'")}
    connection.close()
    assert {"ix_outbox_job", "outbox_due", "outbox_patient"} <= names


def test_a_store_of_schema_1_is_brought_up(tmp_path: Path) -> None:
    store = Store(tmp_path)
    admit(store, arrive(store))
    store.studies.complete("1.2.3")
    document = sr("1.9.1", film("1.2.3", "1.9.1"))
    assert store.studies.finish(take(store), [(document, {"P@h:1": ("SR",)})], "") is State.READ
    (digest,) = store.made.digests()
    store.close()
    store.made.path(digest).rename(store.spool.path(digest))
    with sqlite3.connect(tmp_path / "index.sqlite") as connection:
        for statement in back_to(1):
            connection.execute(statement)
    connection.close()
    store = Store(tmp_path)
    assert store.made.get(digest) == document.data
    assert len(list(store.spool.digests())) == 1
    store.close()
