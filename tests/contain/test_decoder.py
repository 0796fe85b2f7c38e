"""A child gives what the same functions give in the process itself, and what kills it kills nothing else."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from tests import phantoms, slices
from tests.acquire import test_hostile as hostile
from tests.contain import liar, victim
from wetread import acquire
from wetread.acquire import Assumption
from wetread.contain.children import Children
from wetread.contain.decoder import Contained, decoded
from wetread.contain.limits import MAX_OPEN_FILES
from wetread.contain.talk import MOST_FILES
from wetread.errors import BadInput, DecoderDied, NotRead
from wetread.records import Stored, Study
from wetread.settings import Settings

SETTINGS = Settings(decoder_cpu_s=1, decoder_wall_s=20, decoders=1)
Blobs = list[tuple[str, bytes]]


@pytest.fixture(scope="module")
def contained() -> Iterator[Contained]:
    with Children(dataclasses.replace(SETTINGS, decoder_cpu_s=30)) as children:
        yield Contained(children)


Start = Callable[..., Contained]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start children of another kind; `ends` is a list that gets why they ended."""
    with ExitStack() as stack:

        def make(module: str, ends: list[str] | None = None, **given: Any) -> Contained:
            told = [] if ends is None else ends
            settings = dataclasses.replace(SETTINGS, **given)
            return Contained(stack.enter_context(Children(settings, told.append, f"tests.contain.{module}")))

        yield make


def volume() -> Any:
    made = slices.balls(slices.AXIAL, (6, 40, 36), np.array([[-8.0, -16.0, 18.0]]), (9.0,), (800,))
    made[0] += np.arange(36, dtype=np.int16)
    return made


def rich() -> Dataset:
    """A film whose header holds every kind of value."""
    film = phantoms.make_film()
    film.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    film.PatientName = pydicom.valuerep.PersonName("Yamada^Tarou=山田^太郎=やまだ^たろう")
    film.WindowCenter, film.WindowWidth = ["0.50", "-1e3 "], "4095"
    film.PatientAge, film.InstanceNumber, film.OtherPatientNames = "", None, ["A^B", "C^D"]
    film.FrameIncrementPointer = [0x00181063, 0x00181065]
    film.RedPaletteColorLookupTableDescriptor = [256, 0, 16]
    film.ReferencedImageSequence = [Dataset(), Dataset()]
    film.ReferencedImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"
    film.RequestAttributesSequence = []
    film.ExposureTimeInms, film.SelectorSVValue = 1.5, [-(1 << 62), 7]
    film.add_new(0x00091010, "UN", b"\0\xff vendor")
    film.add_new(0x00280106, "US", 3)
    return film


def alone(make: Callable[[], bytes]) -> Blobs:
    """One file and nothing else."""
    return [("film", make())]


CASES: dict[str, Callable[[], Blobs]] = {
    "a rich header": lambda: [("film.dcm", phantoms.to_bytes(rich()))],
    "a series": lambda: slices.blobs(slices.series(volume())),
    "a series with a fraction": lambda: slices.blobs(slices.series(volume(), RescaleSlope="0.5")),
    "a series in MONOCHROME1": lambda: slices.blobs(slices.series(volume(), photometric="MONOCHROME1")),
    "a series of which one slice has a fraction": lambda: slices.blobs(of_two_kinds()),
    "a series of which one slice is compressed": lambda: compressed(),
    "an enhanced object": lambda: [("enhanced.dcm", phantoms.to_bytes(slices.enhanced(volume())))],
    "a damaged slice": lambda: [*slices.blobs(slices.series(volume())), ("x", b"DICM")],
    "two patients": lambda: [("a", film_of("1.1", PatientID="A")), ("b", film_of("1.2", PatientID="B"))],
    **{name: partial(alone, make) for name, make in hostile.SEEDS.items()},
    **{name: partial(alone, make) for name, (_, make) in hostile.HOSTILE.items()},
}


def of_two_kinds() -> list[Dataset]:
    """Slices of which the second has a rescale of its own."""
    made = slices.series(volume())
    made[1].RescaleSlope = "0.5"
    return made


def compressed() -> Blobs:
    """Slices of which the second must be decoded."""
    made = slices.series(volume())
    made[1].file_meta.TransferSyntaxUID = pydicom.uid.RLELossless
    return slices.blobs(made)


def film_of(instance: str, **attributes: Any) -> bytes:
    return phantoms.to_bytes(phantoms.make_film(SOPInstanceUID=f"{phantoms.ROOT}.{instance}", **attributes))


def order(how: str, number: int = 1) -> bytes:
    """A film that makes the victim go wrong so, in a study of its own."""
    study = f"{phantoms.ROOT}.{number}"
    return film_of(f"{number}.1.1", StudyInstanceUID=study, ImageComments=victim.order(how))


def check_same(made: tuple[Any, ...], expected: tuple[Any, ...]) -> None:
    """Compare records in depth, headers by type too."""
    assert len(made) == len(expected)
    for one, other in zip(made, expected, strict=True):
        for field in dataclasses.fields(other):
            mine, theirs = getattr(one, field.name), getattr(other, field.name)
            if isinstance(theirs, np.ndarray):
                assert (mine.dtype, mine.flags.writeable) == (theirs.dtype, False)
                assert np.array_equal(mine, theirs)
            elif isinstance(theirs, Dataset):
                check_headers(mine, theirs)
                check_headers(mine.file_meta, theirs.file_meta)
            elif isinstance(theirs, tuple) and theirs and dataclasses.is_dataclass(theirs[0]):
                check_same(mine, theirs)
            else:
                assert mine == theirs, field.name


def check_headers(made: Dataset, expected: Dataset) -> None:
    assert made == expected
    for mine, theirs in zip(made, expected, strict=True):
        assert (mine.tag, mine.VR, type(mine.value)) == (theirs.tag, theirs.VR, type(theirs.value)), theirs
        if theirs.VR == "SQ":
            for pair in zip(mine.value, theirs.value, strict=True):
                check_headers(*pair)
        else:
            assert str(mine.value) == str(theirs.value)


def stored(blobs: Blobs, folder: Path) -> list[tuple[str, bytes | Stored]]:
    """The same files, as a spool has them."""
    made: list[tuple[str, bytes | Stored]] = []
    for number, (name, data) in enumerate(blobs):
        (folder / str(number)).write_bytes(data)
        made.append((name, Stored(folder / str(number), hashlib.sha256(data).hexdigest(), len(data))))
    return made


@pytest.mark.parametrize("name", CASES)
def test_a_child_gives_the_same_of_stored_files(contained: Contained, name: str, tmp_path: Path) -> None:
    blobs = CASES[name]()
    check_same(contained.decode(stored(blobs, tmp_path), SETTINGS), acquire.decode(blobs, SETTINGS))


@pytest.mark.parametrize("name", CASES)
def test_a_child_gives_the_same(contained: Contained, name: str) -> None:
    blobs = CASES[name]()
    check_same(contained.decode(blobs, SETTINGS), acquire.decode(blobs, SETTINGS))
    files = [(name, hashlib.sha256(data).hexdigest(), data) for name, data in blobs]
    refusal = NotRead("CRASHED", "Read in vain.")
    check_same(contained.given_up(files, refusal, SETTINGS), acquire.given_up(files, refusal, SETTINGS))


def test_a_study_may_have_more_films_than_a_child_open_files(contained: Contained, tmp_path: Path) -> None:
    blobs = stored([(str(one), film_of(f"7.{one}")) for one in range(MAX_OPEN_FILES + 6)], tmp_path)
    for _ in range(2):
        (images,) = [study.images for study in contained.decode(blobs, SETTINGS)]
        assert len(images) == len(blobs)


def test_every_file_of_pydicom_gives_the_same(contained: Contained) -> None:
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    for file in sorted(folder.glob("*.dcm")):
        blobs = [(file.name, file.read_bytes())]
        check_same(contained.decode(blobs, SETTINGS), acquire.decode(blobs, SETTINGS))
    check_same(contained.load([folder], SETTINGS), acquire.load([folder], SETTINGS))


def test_paths_give_the_same(contained: Contained, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "film.dcm").write_bytes(film_of("1.1.1"))
    (tmp_path / "folder" / "letter.txt").write_text("Dear colleague")
    (tmp_path / "film.png").write_bytes(hostile.picture())
    (tmp_path / "large.dcm").write_bytes(b"")
    os.truncate(tmp_path / "large.dcm", 10**9)
    paths, assume = [tmp_path / "folder", tmp_path / "film.png", tmp_path / "large.dcm"], Assumption(age=40)
    passed: list[int] = []
    studies = [one.load(paths, SETTINGS, assume, passed.append) for one in (contained, acquire)]
    check_same(*studies)
    assert passed == [1, 1]
    (tmp_path / "empty").mkdir()
    for decoder in (contained, acquire):
        with pytest.raises(BadInput, match="found none"):
            decoder.load([tmp_path / "film.png", tmp_path / "empty"], SETTINGS)
        with pytest.raises(BadInput, match="found nothing"):
            decoder.load([tmp_path / "nowhere"], SETTINGS)


def test_paths_may_be_long_in_any_letters(contained: Contained, tmp_path: Path) -> None:
    """As many as a message may tell of would not fit in it."""
    folder = tmp_path.joinpath("Исследование" * 10, "КТ" * 60, "Иванов" * 20, "Серия" * 24)
    folder.mkdir(parents=True)
    for one in range(MOST_FILES + 1):
        (folder / os.fsdecode(f"изображение {one}".encode() + b"\xff")).write_bytes(film_of(f"8.{one}"))
    (study,) = contained.load([tmp_path], SETTINGS)
    assert len(study.images) == MOST_FILES + 1


DEATHS = {
    "SIGSEGV": ("SIGNAL", "SIGSEGV"),
    "SIGKILL": ("SIGNAL", "SIGKILL"),
    "loop": ("CPU-TIME", "decoder_cpu_s"),
    "swell": ("MEMORY", "decoder_memory_bytes"),
    "fail": ("ERROR", "KeyError at victim.py:"),
}


@pytest.mark.parametrize("how", DEATHS)
def test_a_death_is_named_and_the_next_study_is_read(start: Start, how: str) -> None:
    ends: list[str] = []
    decoder, (why, word) = start("victim", ends), DEATHS[how]
    good = [("film", film_of("1.1.1"))]
    with pytest.raises(DecoderDied, match=word) as caught:
        decoder.decode([*good, ("bad", order(how))], SETTINGS)
    assert (caught.value.why, caught.value.file) == (why, 1)
    assert "Canary" not in str(caught.value)
    assert ends == [why]
    check_same(decoder.decode(good, SETTINGS), acquire.decode(good, SETTINGS))


def test_a_child_that_sleeps_is_ended(start: Start) -> None:
    decoder = start("victim", decoder_wall_s=2.0)
    with pytest.raises(DecoderDied, match="decoder_wall_s"):
        decoder.decode([("bad", order("sleep"))], SETTINGS)
    assert decoder.decode([("film", film_of("1.1.1"))], SETTINGS)[0].images


def test_a_real_file_that_needs_too_much_memory(start: Start) -> None:
    """What does not fit is refused by a code of the file where a decoder can say so; else its child dies."""
    ends: list[str] = []
    decoder = start("victim", ends, decoder_memory_bytes=150 << 20)
    large = film_of("1.1.1", stored=np.tile(phantoms.chest(100, 100), (60, 60)))
    studies: tuple[Study, ...] = ()
    with suppress(DecoderDied):
        studies = decoder.decode([("large", large)], SETTINGS)
    assert [why for why in ends if why not in ("MEMORY", "SIGNAL")] == []
    assert not any(study.images for study in studies)
    assert decoder.decode([("film", film_of("1.1.1"))], SETTINGS)[0].images


def test_of_a_folder_only_the_file_that_kills_is_lost(start: Start, tmp_path: Path) -> None:
    ends: list[str] = []
    decoder = start("victim", ends)
    for number, how in enumerate(["SIGSEGV", "", "swell", ""], 1):
        (tmp_path / f"{number}.dcm").write_bytes(order(how, number))
    studies = decoder.load([tmp_path], SETTINGS)
    refused = {item.source: item.refusal for study in studies for item in study.rejected}
    assert {image.source for study in studies for image in study.images} == {"2.dcm", "4.dcm"}
    assert {name: refusal.code for name, refusal in refused.items()} == {"1.dcm": "CRASHED", "3.dcm": "CRASHED"}
    assert "SIGSEGV" in refused["1.dcm"].detail
    assert sorted(ends) == ["MEMORY", "SIGNAL", "SIGNAL"]  # a header may kill, too


@pytest.mark.parametrize("how", [*liar.LIES, *liar.WORDS])
def test_a_lie_is_not_believed(start: Start, how: str) -> None:
    with pytest.raises(DecoderDied) as caught:
        start("liar").decode([(how, b"")], SETTINGS)
    assert caught.value.why == "LIE"


@pytest.mark.parametrize("how", [*liar.SLICES])
def test_a_lie_about_slices_is_not_believed(start: Start, how: str, tmp_path: Path) -> None:
    with pytest.raises(DecoderDied) as caught:
        start("liar").decode(stored([(how, bytes(40)), ("other", bytes(32))], tmp_path), SETTINGS)
    assert caught.value.why == "LIE"


def test_what_a_liar_says_truly_of_slices_is_believed(start: Start, tmp_path: Path) -> None:
    words = np.arange(16, dtype=np.uint16)
    files = [("true slices", bytes(8) + words.tobytes()), ("other", bytes(32))]
    for blobs in (list(files), stored(files, tmp_path)):
        ((image,),) = [study.images for study in start("liar").decode(blobs, SETTINGS)]
        assert image.pixels.dtype == np.int16
        assert image.pixels[0].ravel().tolist() == [2 * int(word) - 1024 for word in words]
        assert not image.pixels[1:].any()


def test_what_a_liar_says_truly_is_believed(start: Start) -> None:
    """Else the lies would be refused for another reason."""
    ((image,),) = [study.images for study in start("liar").decode([("the truth", b"")], SETTINGS)]
    assert image.pixels.shape == (1, 4, 4)


def test_the_text_of_an_error_stays_in_the_child(start: Start) -> None:
    with pytest.raises(DecoderDied) as caught:
        start("liar").decode([("an error", b"")], SETTINGS)
    assert caught.value.why == "ERROR"
    assert "Canary" not in str(caught.value)


def test_a_module_that_does_not_start(start: Start) -> None:
    with pytest.raises(DecoderDied, match="did not start"):
        start("nothing").decode([("film", film_of("1.1.1"))], SETTINGS)


def test_nothing_of_the_current_folder_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pydicom.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    with Children(SETTINGS) as children:
        assert Contained(children).decode([("film", film_of("1.1.1"))], SETTINGS)[0].images


def no_process(*_: Any, **__: Any) -> Any:
    raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")


def test_what_cannot_start_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, before = Contained(Children(SETTINGS)), len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(subprocess, "Popen", no_process)
    for _ in range(3):
        with pytest.raises(DecoderDied, match=r"did not start \(EAGAIN\)"):
            decoder.decode([("film", film_of("1.1.1"))], SETTINGS)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("module", "name", "call"), [(os, "memfd_create", 1), (os, "memfd_create", 2), (socket, "socketpair", 1)]
)
def test_who_has_no_descriptor_left_starts_nothing_and_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, call: int
) -> None:
    decoder, before, real, calls = (
        Contained(Children(SETTINGS)),
        len(os.listdir("/proc/self/fd")),
        getattr(module, name),
        0,
    )

    def full(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(*given)

    monkeypatch.setattr(module, name, full)
    with pytest.raises(DecoderDied, match=r"did not start \(EMFILE\)"):
        decoder.decode([("film", film_of("1.1.1"))], SETTINGS)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_death_is_named_also_where_no_other_starts(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, real = start("victim"), subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", no_process)
    with pytest.raises(DecoderDied, match="SIGKILL"):
        decoder.decode([("bad", order("SIGKILL"))], SETTINGS)
    monkeypatch.setattr(subprocess, "Popen", real)
    assert decoder.decode([("film", film_of("1.1.1"))], SETTINGS)[0].images


def test_a_job_in_hand_ends_with_the_service() -> None:
    ends: list[str] = []
    before = len(os.listdir("/proc/self/fd"))
    with Children(SETTINGS, ends.append) as children:

        def files() -> Iterator[tuple[dict[str, str], bytes]]:
            children.close()
            yield {"name": "film", "digest": ""}, film_of("1.1.1")

        with pytest.raises(DecoderDied, match="the service ends"):
            decoded(children, SETTINGS, files(), [])
    assert ends == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_children_end_with_the_service(tmp_path: Path) -> None:
    """Also where it has no time to end them."""
    program = """
import os, signal, sys
from wetread.contain.children import Children
from wetread.records import Study
from wetread.settings import Settings
children = Children(Settings())
children.start()
print(children._idle[0]._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    child = Path("/proc", done.stdout.strip())
    from tests.serve.stage import until

    until(lambda: not child.exists() or child.joinpath("stat").read_text().split()[2] == "Z", 60.0)


def test_a_large_answer_is_not_copied_and_cannot_change(contained: Contained) -> None:
    """It outlives the job, and the next one has other memory."""
    large = [("film", film_of("1.1.1", stored=np.tile(phantoms.chest(100, 100), (30, 30))))]
    first, expected = contained.decode(large, SETTINGS), acquire.decode(large, SETTINGS)
    assert not first[0].images[0].pixels.flags.owndata
    small = [("film", film_of("1.1.2"))]
    for _ in range(2):
        check_same(contained.decode(small, SETTINGS), acquire.decode(small, SETTINGS))
        check_same(contained.decode(large, SETTINGS), expected)
    check_same(first, expected)
    with pytest.raises(ValueError, match="WRITEABLE"):
        first[0].images[0].pixels.flags.writeable = True


@pytest.mark.parametrize("how", ["memory that stays mapped", "memory that stays open"])
def test_memory_that_a_liar_keeps(start: Start, how: str) -> None:
    """Who can still write to a large answer is not believed; who only holds its handle can write no more."""
    decoder = start("liar")
    if how == "memory that stays mapped":
        with pytest.raises(DecoderDied) as caught:
            decoder.decode([(how, b"")], SETTINGS)
        assert caught.value.why == "LIE"
    else:
        ((image,),) = [study.images for study in decoder.decode([(how, b"")], SETTINGS)]
        with pytest.raises(DecoderDied, match="PermissionError"):
            decoder.decode([("again", b"")], SETTINGS)
        assert not image.pixels.any()
