"""What libraries say about a data set stays out of the log: a remark may quote a patient's name."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests import peers, phantoms, toy
from tests.serve.stage import get, until
from wetread.settings import Destination
from wetread.wire.dimse import send

NAME = "Canary^Patient"
#: Attributes and VRs that cannot have a name as their value; pydicom quotes it in a warning, a log line or an error.
BAD = (
    ("PatientAge", "AS"),
    ("PatientBirthDate", "DA"),
    ("InstanceNumber", "IS"),
    ("RescaleSlope", "DS"),
    ("ViewPosition", "CS"),
    ("SpecificCharacterSet", "CS"),
)


def bad(number: int) -> bytes:
    """A film of its own study, in which one attribute holds a patient's name."""
    keyword, vr = BAD[number]
    film = phantoms.make_film(StudyInstanceUID=f"1.{number}", SOPInstanceUID=f"1.{number}.1.1")
    film.pop(keyword, None)
    tag = phantoms.tag_of(keyword)
    value = phantoms.element(tag >> 16, tag & 0xFFFF, vr, NAME.encode())
    return phantoms.insert(phantoms.to_bytes(film), tag, value)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_remarks_of_pydicom_lose_their_text(json_logs: Callable[[], None], capfd: pytest.CaptureFixture[str]) -> None:
    json_logs()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        for number in range(len(BAD)):
            str(pydicom.dcmread(io.BytesIO(bad(number))))
    written = capfd.readouterr().err
    assert NAME not in written
    said = {(line["room"], line["category"]) for line in lines(written)}
    assert said == {("pydicom", "WARNING"), ("py.warnings", "UserWarning")}
    assert {line["event"] for line in lines(written)} == {"remark of a library"}
    assert all(line["where"].partition(".py:")[2].isdigit() for line in lines(written))


def test_remarks_are_counted_and_fill_no_disk(json_logs: Callable[[], None], capfd: pytest.CaptureFixture[str]) -> None:
    json_logs()
    for number in range(100):
        logging.getLogger("pydicom").warning("value %s", f"{NAME} {number}")
    try:
        raise ValueError(NAME)
    except ValueError:
        logging.getLogger("uvicorn.error").exception(NAME)
    *counted, error = lines(capfd.readouterr().err)
    assert [line["count"] for line in counted] == [1, 2, 4, 8, 16, 32, 64]
    assert (error["room"], error["error"], error["level"]) == ("uvicorn.error", "ValueError", "ERROR")


def test_a_served_file_with_bad_values_leaves_no_name(tmp_path: Path) -> None:
    """The whole command: such files are read or refused, and the log holds JSON lines without the name."""
    port, http_port = peers.free_port(), peers.free_port()
    environment = {
        "WETREAD_MODELS": str(toy.make_models(tmp_path / "models")),
        "WETREAD_STATE": str(tmp_path / "state"),
        "WETREAD_PORT": str(port),
        "WETREAD_HTTP_PORT": str(http_port),
        "WETREAD_ENGINE": "onnxruntime",
        "WETREAD_LOG_LEVEL": "DEBUG",
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "PYTHONWARNINGS": "always",
    }
    command = [sys.executable, "-c", "from wetread.cli import main; main()", "serve"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        peers.wait_for_port(port, process)
        films = [bad(number) for number in range(len(BAD))]
        assert send(Destination("WETREAD", "127.0.0.1", port), films) == [0] * len(films)
        until(lambda: "wetread_oldest_job_seconds 0.0\n" in get(http_port, "/metrics")[1], 30)
        process.terminate()
        _, written = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert NAME.partition("^")[0] not in written
    events = [line["event"] for line in lines(written)]
    assert events.count("job read") == len(films)
    remarks = [line for line in lines(written) if line["event"] == "remarks of libraries"]
    assert remarks
    assert all(line["count"] > 0 for line in remarks)
