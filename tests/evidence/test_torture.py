"""`make torture` in small, and its instruments: they must find what is wrong when something is."""

from __future__ import annotations

import json
import random
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from wetread.evidence.torture import __main__ as program
from wetread.evidence.torture import checks, lives, objects, powercut, trace
from wetread.evidence.torture.disk import Disk, Survives
from wetread.evidence.torture.lives import Plan, Torture
from wetread.evidence.torture.pacs import filed
from wetread.evidence.torture.page import numbers, page
from wetread.evidence.torture.powercut import Cuts
from wetread.evidence.torture.seen import Seen
from wetread.evidence.torture.trace import Begin, Create, Cut, MakeFolder, Remove, Rename, Synced, Write
from wetread.jobs import failpoints
from wetread.jobs.store import Store

F = "/d/f"


def test_a_few_lives(tmp_path: Path) -> None:
    torture = Torture(Plan(kills=5, seed=7, before=20, real=False), tmp_path)
    broken = [one.what for one in torture.run() if not one.holds]
    assert not [what for what in broken if not what.startswith("slowest")], torture.seen.faults
    assert sum(torture.seen.reached.values()) >= 4
    assert torture.seen.acknowledged


def test_every_place_is_in_the_cycle() -> None:
    places = lives.schedule(13 * len(lives.CYCLE), random.Random(1))
    assert len(places) == 234
    named = set(failpoints.NAMES) - set(lives.NOT_HERE)
    assert all(places.count(name) >= 13 for name in (*named, lives.SENDING, lives.STARTING))


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_few_cuts(tmp_path: Path) -> None:
    try:
        cuts, found = program.powercuts(tmp_path, 10, 12, 1)
    except RuntimeError as error:  # a container may forbid tracing
        pytest.skip(str(error))
    assert not [one for one in found if not one.holds], (cuts.lost, cuts.closed, cuts.stuck)
    assert cuts.acknowledged >= 6


# ---- the instruments find what is wrong -------------------------------------------------------


def test_what_is_lost_changed_or_loose_is_found(tmp_path: Path) -> None:
    lives.preload(tmp_path, 3)
    assert checks.at_rest(tmp_path)
    assert checks.orphans(tmp_path) == []
    store = Store(tmp_path)
    lost, rotten, whole = (objects.small("before-0", i, size=600) for i in range(3))
    store.spool.remove(lost.digest)
    store.spool.path(rotten.digest).write_bytes(b"rot")
    store.spool.put(b"loose")
    store.close()
    assert [one.split()[-1] for one in checks.after_death(tmp_path, [lost, rotten, whole], 1)] == ["lost", "changed"]
    assert len(checks.orphans(tmp_path)) == 2  # one that is gone, one that nobody knows
    seen = Seen(sent={one.instance: one for one in (lost, rotten, whole)}, exit=0)
    seen.acknowledged |= seen.sent
    broken = {one.what for one in checks.check(tmp_path, seen, [], None, 0) if not one.holds}
    assert broken == {
        "acknowledged objects lost",
        "blobs whose bytes differ (sha256)",
        "files to which nothing refers",
        "documents missing at the PACS",
    }


def test_a_document_under_another_patient_is_found() -> None:
    one = objects.small("x", 0)
    right = filed(one.data)
    seen = Seen(sent={one.instance: one})
    assert checks._strangers(seen, [right]) == []
    assert len(checks._strangers(seen, [replace(right, patient="P-y")])) == 1


def left(disk: Disk, tmp_path: Path, survives: Survives = Survives.NOTHING, seed: int = 1) -> dict[str, bytes]:
    to = tmp_path / f"{survives}-{seed}"
    to.mkdir()
    disk.leave(to, survives, random.Random(seed))
    return {str(path.relative_to(to)): path.read_bytes() for path in to.rglob("*") if path.is_file()}


def disk_after(*done: trace.Operation) -> Disk:
    disk = Disk(Path("/d"))
    for one in done:
        disk.apply(one)
    return disk


def sync(path: str, key: int = 1) -> tuple[Begin, Synced]:
    return Begin(key, path), Synced(key, path)


def test_only_what_was_synced_is_safe(tmp_path: Path) -> None:
    made = (Create(F, True), Write(F, b"ab", None), Write(F, b"c", None))
    assert left(disk_after(*made, *sync(F)), tmp_path, seed=1) == {}  # its name is not safe
    assert left(disk_after(*made, *sync("/d")), tmp_path, seed=2) == {"f": b""}  # its bytes are not
    assert left(disk_after(*made, *sync(F), *sync("/d")), tmp_path, seed=3) == {"f": b"abc"}
    late = (Begin(1, F), Write(F, b"late", 0), Synced(1, F))
    assert left(disk_after(*made, *late, *sync("/d")), tmp_path, seed=4) == {"f": b"abc"}
    cut = (*sync(F), *sync("/d"), Cut(F, 1))
    assert left(disk_after(*made, *cut), tmp_path, seed=5) == {"f": b"abc"}
    assert left(disk_after(*made, *cut, *sync(F)), tmp_path, seed=6) == {"f": b"a"}
    assert left(disk_after(*made), tmp_path, Survives.EVERYTHING) == {"f": b"abc"}


def test_a_rename_leaves_one_name_or_both(tmp_path: Path) -> None:
    begun = (MakeFolder("/d/t"), *sync("/d"), Create("/d/t/f", True), *sync("/d/t"))
    disk = disk_after(*begun, Rename("/d/t/f", "/d/g"))
    assert left(disk, tmp_path) == {"t/f": b""}
    some = {frozenset(left(disk, tmp_path, Survives.ANYTHING, seed)) for seed in range(40)}
    assert some == {frozenset(("t/f",)), frozenset(("t/f", "g")), frozenset(("g",))}
    assert left(disk_after(*begun, Remove("/d/t/f"), *sync("/d/t", 3)), tmp_path, seed=9) == {}


def test_a_torn_write_is_torn_between_sectors(tmp_path: Path) -> None:
    disk = disk_after(Create(F, True), *sync("/d"), Write(F, b"x" * 1000, 12))
    found = {left(disk, tmp_path, Survives.ANYTHING, seed)["f"] for seed in range(20)}
    assert {len(data) for data in found} == {0, 512, 1012}
    assert b"\0" * 512 + b"x" * 500 in found


def test_calls_of_two_threads_are_put_together() -> None:
    def text(value: str) -> str:
        return "".join(f"\\x{byte:02x}" for byte in value.encode())

    name = text("/d/f")
    lines = [
        f'1 openat(AT_FDCWD<{text("/x")}>, "{name}", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 3<{name}>',
        f"1 fsync(3<{name}> <unfinished ...>",
        f'2 pwrite64(3<{name}>, "{text("hi")}", 2, 5) = 2',
        f'2 openat(AT_FDCWD<{text("/x")}>, "{text("/x/y")}", O_WRONLY|O_CREAT, 0666) = 4<{text("/x/y")}>',
        "1 <... fsync resumed>) = 0",
        f'1 sendto(9<socket:[1]>, "{text("ack")}", 3, 0, NULL, 0 <unfinished ...>',
        f'2 rename("{name}", "{text("/d/g")}") = -1 ENOENT (No such file or directory)',
        f"2 ftruncate(3<{name}>, 1) = 0",
    ]
    assert list(trace.operations(lines, Path("/d"))) == [
        Create(F, True),
        Begin(1, F),
        Write(F, b"hi", 5),
        Synced(1, F),
        trace.Told(b"ack"),
        Cut(F, 1),
    ]
    with pytest.raises(ValueError, match="got fallocate"):
        list(trace.operations([f"1 fallocate(3<{name}>, 0, 0, 9) = 0"], Path("/d")))


def test_sqlite_maps_no_data_into_memory(tmp_path: Path) -> None:
    """Else the trace would not see what it writes."""
    store = Store(tmp_path)
    with store._index.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA mmap_size").scalar() in (None, 0)
    store.close()


def test_the_names_above_a_new_state_folder_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("wetread.jobs.spool.sync_folder", synced.append)
    Store(tmp_path / "a" / "state").close()
    assert {tmp_path, tmp_path / "a", tmp_path / "a" / "state", tmp_path / "a" / "state" / "spool"} <= set(synced)


def test_the_page_tells_what_does_not_hold() -> None:
    seen = Seen()
    seen.lives["indexed"], seen.reached["indexed"] = 2, 1
    cuts = Cuts(10, 2)
    cuts.cuts[Survives.NOTHING], cuts.lost = 1, ["x"]
    text = page(json.loads(json.dumps(numbers(Plan(2), seen, cuts, cuts.checks(1)))))
    assert "| indexed | 2 | 1 |" in text
    assert "| G3 | acknowledged objects lost or changed | 0 | 1 | **no** |" in text


def test_a_program_that_finds_something_ends_with_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "powercuts", lambda *given: (Cuts(1, 1), [checks.none("G3", "cuts", ["lost"])]))
    monkeypatch.setattr(sys, "argv", ["torture", "--kills", "0", "--before", "0", "--out", str(tmp_path), "--json"])
    monkeypatch.setattr(Torture, "run", lambda self: [])
    assert program.main() == 1
    monkeypatch.setattr(program, "powercuts", lambda *given: (Cuts(1, 1), []))
    assert program.main() == 0
    assert json.loads((tmp_path / "torture.json").read_text())["checks"] == []


def test_places_are_behind_answers_or_anywhere() -> None:
    answers: list[trace.Operation] = [trace.Told(b"\x07"), Create(F, True)] * 50
    assert powercut.told(answers[0]) == ""
    with pytest.raises(IndexError):  # no acknowledgement at all: nothing to cut behind
        powercut.places(answers, 20, random.Random(1))
