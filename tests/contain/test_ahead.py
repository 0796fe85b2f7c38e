"""What was decoded while it arrived is what would have been decoded afterwards, or it is not used."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pydicom
import pytest

from tests.contain import test_decoder as decoder
from tests.serve.stage import until
from wetread import acquire
from wetread.acquire.tomography import CLASSIC
from wetread.contain import ahead as module
from wetread.contain.ahead import Ahead, Early
from wetread.contain.children import Children
from wetread.contain.decoder import Contained, decoded
from wetread.errors import DecoderDied
from wetread.records import Image, Stored
from wetread.settings import Settings

SETTINGS = Settings(decoders=1)
SLICE = pydicom.uid.CTImageStorage
Files = list[tuple[str, Stored]]


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    with Children(SETTINGS) as made:
        yield made


@pytest.fixture
def ahead(children: Children) -> Iterator[Ahead]:
    with Ahead(1) as made:
        made.decode_with(partial(decoded, children, SETTINGS), CLASSIC)
        yield made


def series(folder: Path, name: str = "a series") -> Files:
    """The files of a study, in a spool."""
    return [(one, file) for one, file in decoder.stored(decoder.CASES[name](), folder) if isinstance(file, Stored)]


def arrive(ahead: Ahead, files: Files, study: str = "1.2.3") -> None:
    """Let files come, and wait until a child takes them."""
    for name, file in files:
        ahead.take(study, SLICE, name, file)
    until(lambda: ahead._arriving[study].begun, 60.0)


@pytest.mark.parametrize(
    "name",
    [
        "a series",
        "a series of which one slice has a fraction",
        "a series of which one slice is compressed",
        "a damaged slice",
        "two patients",
    ],
)
def test_it_is_the_same_in_whatever_order_files_come(ahead: Ahead, tmp_path: Path, name: str) -> None:
    files = series(tmp_path, name)
    coming = random.Random(1).sample(files, len(files))
    arrive(ahead, coming[:-1])  # nobody told of the last one
    made = ahead.studies(files)
    assert made is not None
    decoder.check_same(made, acquire.decode(files, SETTINGS))
    assert ahead.studies(files) is None


def test_a_study_of_other_files_is_decoded_anew(ahead: Ahead, children: Children, tmp_path: Path) -> None:
    files = series(tmp_path)
    arrive(ahead, files)
    assert ahead.studies(files[1:]) is None
    decoder.check_same(Contained(children, ahead).decode(files, SETTINGS), acquire.decode(files, SETTINGS))


def test_a_study_that_nobody_takes_yet_is_decoded_anew(children: Children, tmp_path: Path) -> None:
    files = series(tmp_path)
    with Ahead(1) as ahead:
        ahead.take("1.2.3", SLICE, *files[0])  # no model is loaded yet
        ahead.decode_with(lambda files, held, foresee: (), CLASSIC)
        for name, file in files:
            ahead.take("1.2.3", SLICE, name, file)
        assert ahead.studies(files) is None
    assert Contained(children).decode(files, SETTINGS)[0].images


def test_a_system_without_a_thread_keeps_no_object_out(
    ahead: Ahead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = series(tmp_path)

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        ahead.take("1.2.3", SLICE, *files[0])
    assert ahead.studies(files) is None
    arrive(ahead, files)
    assert ahead.studies(files) is not None


def test_a_child_that_was_not_ready_is_for_the_next_study(tmp_path: Path) -> None:
    files = series(tmp_path)
    with closing(Children(SETTINGS)) as children, Ahead(1) as ahead:
        ahead.decode_with(partial(decoded, children, SETTINGS), CLASSIC)
        for name, file in files:
            ahead.take("1.2.3", SLICE, name, file)
        assert ahead.studies(files) is None  # it is not even started
        arrive(ahead, files, "1.2.4")
        made = ahead.studies(files)
        assert made is not None
        assert [process.jobs for process in children._all] == [2]


def test_only_slices_begin_and_only_so_many_studies(ahead: Ahead, tmp_path: Path) -> None:
    files = series(tmp_path)
    ahead.take("1.2.3", pydicom.uid.ComputedRadiographyImageStorage, *files[0])
    assert not ahead._arriving
    arrive(ahead, files[:1])
    ahead.take("1.2.4", SLICE, *files[1])
    assert list(ahead._arriving) == ["1.2.3"]


def test_a_study_that_kills_its_child_is_decoded_anew(tmp_path: Path) -> None:
    ends: list[str] = []
    blobs = [("bad", decoder.order("SIGSEGV"))]
    files = [(name, file) for name, file in decoder.stored(blobs, tmp_path) if isinstance(file, Stored)]
    with closing(Children(SETTINGS, ends.append, "tests.contain.victim")) as children, Ahead(1) as ahead:
        ahead.decode_with(partial(decoded, children, SETTINGS), CLASSIC)
        ahead.take("1.2.3", SLICE, *files[0])
        until(lambda: not ahead._arriving, 60.0)
        with pytest.raises(DecoderDied, match="SIGSEGV"):  # which counts as a try, as ever
            Contained(children, ahead).decode(files, SETTINGS)
    assert ends == ["SIGNAL", "SIGNAL"]


def test_a_study_that_killed_a_child_gets_no_other_while_it_arrives(tmp_path: Path) -> None:
    """Else each of its files might end one, as fast as they start."""
    ends: list[str] = []
    blobs = [(str(number), decoder.order("SIGSEGV", number)) for number in range(1, 4)]
    files = [(name, file) for name, file in decoder.stored(blobs, tmp_path) if isinstance(file, Stored)]
    with closing(Children(SETTINGS, ends.append, "tests.contain.victim")) as children, Ahead(1) as ahead:
        ahead.decode_with(partial(decoded, children, SETTINGS), CLASSIC)
        for name, file in files:
            ahead.take("1.2.3", SLICE, name, file)
            until(lambda: not ahead._arriving, 60.0)
        assert ends == ["SIGNAL"]
        assert ahead.studies(files) is None
        arrive(ahead, series(tmp_path), "1.2.4")  # others do


def test_a_file_that_is_gone_and_a_study_that_nobody_asks_for(
    ahead: Ahead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = series(tmp_path)
    lost = [("lost", Stored(tmp_path / "lost", "0" * 64, 9))]
    arrive(ahead, files[:2])
    assert ahead.studies([*files, *lost]) is None
    monkeypatch.setattr(module, "IDLE_S", 0.0)
    for name, file in files[:2]:
        ahead.take("1.2.3", SLICE, name, file)
    until(lambda: not ahead._arriving, 60.0)


def test_it_ends_while_a_study_arrives(tmp_path: Path) -> None:
    files = series(tmp_path)
    with closing(Children(SETTINGS)) as children, Ahead(1) as ahead:
        ahead.decode_with(partial(decoded, children, SETTINGS), CLASSIC)
        arrive(ahead, files)
    ahead.take("1.2.3", SLICE, *files[0])
    assert not ahead._arriving


def looked_at(ahead: Ahead, files: Files, seconds: float, monkeypatch: pytest.MonkeyPatch) -> list[Image]:
    """What was seen of files that came so far apart, by a clock of their own, before they were complete."""
    now, seen = [0.0], list[Image]()
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module, "PART", 2)
    ahead.look_with(Early(seen.extend, lambda: True))
    for count, (name, file) in enumerate(files, 1):
        now[0] += seconds
        ahead.take("1.2.3", SLICE, name, file)
        until(lambda count=count: _looked(ahead._arriving["1.2.3"], count), 60.0)
    return seen


def _looked(one: module._Arriving, count: int) -> bool:
    """Whether a child has all files that came, and what should be seen of them was."""
    due = count - count % 2 if one._leisurely() and count > 1 else 0
    return one.begun and one.waiting.empty() and len(one.given) == count and one.seen >= due


@pytest.mark.parametrize("name", ["a series", "a series of which one slice is compressed", "a series with a fraction"])
def test_slices_are_seen_before_their_study_is_complete(
    ahead: Ahead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    files = series(tmp_path, name)
    coming = random.Random(2).sample(files, len(files))
    seen = looked_at(ahead, coming, 1.0, monkeypatch)
    made = ahead.studies(files)
    assert made is not None
    decoder.check_same(made, acquire.decode(files, SETTINGS))
    (whole,) = made[0].images
    shown = [plane for image in seen for plane in image.pixels]
    assert len(shown) == len(files) - len(files) % 2
    assert {image.series_uid for image in seen} == {whole.series_uid}
    for plane in shown:
        assert plane.dtype == whole.pixels.dtype
        assert any(np.array_equal(plane, other) for other in whole.pixels)


def test_nothing_is_looked_at_while_a_sender_is_in_a_hurry(
    ahead: Ahead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = series(tmp_path)
    assert not looked_at(ahead, files, 0.001, monkeypatch)
    assert ahead.studies(files) is not None


def test_it_ends_though_slices_are_looked_at_for_ever(
    children: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, begun, end = series(tmp_path), threading.Event(), threading.Event()
    monkeypatch.setattr(module, "EVERY_S", 0.0)
    monkeypatch.setattr(module, "PART", 1)
    monkeypatch.setattr(module, "END_S", 0.05, raising=False)

    def look(images: tuple[Image, ...]) -> None:
        begun.set()
        end.wait(5.0)

    with Ahead(1) as ahead:
        ahead.decode_with(partial(decoded, children, SETTINGS), CLASSIC)
        ahead.look_with(Early(look, lambda: True))
        ahead.take("1.2.3", SLICE, *files[0])
        assert begun.wait(60.0)
        started = time.monotonic()
    assert time.monotonic() - started < 3.0
    end.set()
    until(lambda: not ahead._arriving)


def test_whoever_looks_and_fails_hurts_nobody(ahead: Ahead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(images: tuple[Image, ...]) -> None:
        raise DecoderDied("LIE")

    files = series(tmp_path)
    monkeypatch.setattr(module, "EVERY_S", 0.0)
    monkeypatch.setattr(module, "PART", 1)
    ahead.look_with(Early(fail, lambda: True))
    ahead.take("1.2.3", SLICE, *files[0])
    until(lambda: not ahead._arriving, 60.0)
    assert ahead.studies(files) is None


@pytest.mark.parametrize("how", ["a part that nobody asked for", "a part of more slices"])
def test_a_child_shows_no_more_than_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Else one that was taken over could keep every model busy for as long as it likes."""
    monkeypatch.setattr(module, "EVERY_S", 0.0)
    monkeypatch.setattr(module, "PART", 1)
    seen: list[Image] = []
    ends: list[str] = []
    (tmp_path / "file").write_bytes(bytes(40))
    with closing(Children(SETTINGS, ends.append, "tests.contain.liar")) as children, Ahead(1) as ahead:
        ahead.decode_with(partial(decoded, children, SETTINGS), CLASSIC)
        ahead.look_with(Early(seen.extend, lambda: how == "a part of more slices"))
        ahead.take("1.2.3", SLICE, how, Stored(tmp_path / "file", "0" * 64, 40))
        until(lambda: ends or seen, 60.0)
    assert not seen
    assert ends == ["LIE"]
