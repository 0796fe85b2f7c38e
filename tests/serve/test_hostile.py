"""Files made to hurt, by every route into the program that people run: it lives, answers and does not grow."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import hostile, phantoms, toy
from tests.contain import victim
from tests.serve.stage import get, rows, until
from wetread.contain.children import Children
from wetread.contain.decoder import Contained
from wetread.errors import REFUSALS
from wetread.jobs.states import TERMINAL, State
from wetread.pipeline import open_reader
from wetread.serve.node import Node
from wetread.serve.receiver import Receiver
from wetread.settings import Destination, Settings
from wetread.wire.dimse import STORED, echo, send

COMMAND = "from wetread.cli import main; main()"
MOST_GROWTH = 64 << 20


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.make_models(tmp_path_factory.mktemp("toy") / "models")


@contextmanager
def serving(models: Path, state: Path, *paths: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """`wetread serve`, ready; `paths` come first on Python's own."""
    words = ["--models", models, "--state", state, "serve", "--port", 0, "--http-port", 0, "--json"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, paths), *filter(None, sys.path)])}
    with (state / "log").open("wb") as log:
        node = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
        )
    assert node.stdout is not None
    try:
        told = json.loads(node.stdout.readline())
        until(lambda: get(told["http_port"], "/ready")[0] == 200, 120.0)
        yield node, told
    finally:
        node.terminate()
        node.wait(60.0)
        node.stdout.close()


def memory(pid: int) -> int:
    """Bytes that belong to the node itself and are in memory."""
    told = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(re.findall(r"RssAnon:\s+(\d+)", told)[0])


def ended(state: Path) -> dict[str, tuple[str, str]]:
    """State and refusal of each study."""
    return {uid: (kept, reason) for uid, kept, reason in rows(state, "SELECT study_uid, state, reason FROM jobs")}


def film(number: int, **attributes: Any) -> bytes:
    """A film in a study of its own."""
    root = f"{phantoms.ROOT}.{number}"
    uids: dict[str, Any] = {"StudyInstanceUID": root, "SeriesInstanceUID": f"{root}.1", "SOPInstanceUID": f"{root}.1.1"}
    return phantoms.to_bytes(phantoms.make_film(phantoms.chest(96, 80), **uids, **attributes))


def test_by_c_store(models: Path, tmp_path: Path) -> None:
    files = hostile.objects()
    with serving(models, tmp_path) as (node, told):
        address = Destination("WETREAD", "127.0.0.1", told["port"])
        warm = [film(900 + number) for number in range(3)]
        assert set(send(address, warm, timeout_s=60.0)) == {0}
        until(lambda: len(ended(tmp_path)) == 3 and all(one[0] in TERMINAL for one in ended(tmp_path).values()), 60.0)
        before = memory(node.pid)
        statuses = dict(zip(files, send(address, list(files.values()), timeout_s=60.0), strict=True))
        assert send(address, [film(800)], timeout_s=60.0) == [0]
        echo(address)
        accepted = [name for name, status in statuses.items() if status in STORED]
        assert {name for name in files if name.startswith("UID")}.isdisjoint(accepted)
        assert len(accepted) > 40
        expected = len(accepted) + 1 + 3
        until(lambda: [one[0] in TERMINAL for one in ended(tmp_path).values()].count(True) == expected, 120.0)
        found = ended(tmp_path)
        assert node.poll() is None
        assert memory(node.pid) - before < MOST_GROWTH
        metrics = get(told["http_port"], "/metrics")[1]
    assert found[f"{phantoms.ROOT}.800"][0] == State.DELIVERED
    assert {state for state, _ in found.values()} == {State.DELIVERED, State.REFUSED}
    codes = set(re.findall(r'wetread_results_total\{refusal="([A-Z-]+)"\}', metrics))
    assert {"TOO-LARGE", "BAD-TAG", "DAMAGED-FILE", "TRUNCATED-PIXELS", "BAD-PIXELS"} <= codes <= set(REFUSALS)
    log = (tmp_path / "log").read_text()
    assert not any(secret in log for secret in phantoms.SECRETS)


def test_by_the_command(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    for number, data in enumerate(hostile.objects().values()):
        (folder / f"{number:02}.dcm").write_bytes(data)
    (folder / "good.dcm").write_bytes(film(1))
    words = ["--models", models, "--state", tmp_path / "state", "read", folder, "--json"]
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *map(str, words)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 3, done.stderr
    told = {reading["image"]["digest"]: reading["refusal"] for reading in json.loads(done.stdout)}
    assert set(told) == {hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
    assert told[hashlib.sha256(film(1)).hexdigest()] is None
    assert {refusal["code"] for refusal in told.values() if refusal} <= set(REFUSALS) - {"CRASHED"}


@pytest.mark.parametrize("name", hostile.FILES)
def test_a_file_that_a_person_names(name: str, tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(hostile.FILES[name]())
    with Children(Settings(decoders=1)) as children:
        (study,) = Contained(children).load([tmp_path / "film"], Settings())
    (rejected,) = study.rejected
    assert rejected.refusal.code in ("TOO-LARGE", "UNSAFE-ARCHIVE", "NOT-DICOM", "DAMAGED-FILE", "NOT-AN-IMAGE")


def test_a_study_that_kills_its_decoder_is_set_aside_and_the_others_are_read(
    models: Path, tmp_path: Path, pacs: Receiver
) -> None:
    settings = Settings(
        models=models,
        state=tmp_path / "state",
        port=0,
        http_port=0,
        destinations=(Destination("PACS", "127.0.0.1", pacs.port, ("SR",)),),
        retry_first_s=0.05,
        retry_most_s=0.1,
        quiet_s=0.2,
    )
    killer = film(2, ImageComments=victim.order("SIGSEGV", "DECODER"))
    ends: list[str] = []
    with Children(settings, ends.append, "tests.contain.victim") as children:
        node = Node(settings, lambda: open_reader(settings, decoder=Contained(children)))
        node.start()
        try:
            assert node.wait_ready(120.0)
            address = Destination("WETREAD", "127.0.0.1", node.port)
            assert send(address, [film(1), killer, film(3)]) == [0, 0, 0]
            until(lambda: sum(node.store.overview.counts()[one] for one in ("DELIVERED", "FAILED")) == 3, 120.0)
            until(lambda: len(pacs.receipts) == 3, 60.0)
            assert node.store.overview.counts()["FAILED"] == 1
        finally:
            node.stop(2.0)
    assert ends == ["SIGNAL"] * settings.max_tries  # its header was read without harm
    (job,) = [row for row in ended(settings.state).values() if row[0] == State.FAILED]
    assert "SIGSEGV" in job[1]


def test_gdcm_is_not_loaded_by_the_node(models: Path, tmp_path: Path) -> None:
    """Also where it is installed: pydicom loads it whenever it is there."""
    trap = tmp_path / "trap"
    trap.mkdir()
    text = "import os, pathlib\npathlib.Path(__file__).with_name(f'by-{os.getpid()}').touch()\n"
    (trap / "gdcm.py").write_text(f"{text}class Version:\n    GetVersion = staticmethod(lambda: '3.0.24')\n")
    (tmp_path / "state").mkdir()
    with serving(models, tmp_path / "state", trap) as (node, told):
        address = Destination("WETREAD", "127.0.0.1", told["port"])
        assert send(address, [film(1)], timeout_s=60.0) == [0]
        until(lambda: [one[0] for one in ended(tmp_path / "state").values()] == [State.DELIVERED], 60.0)
        assert not (trap / f"by-{node.pid}").exists()
