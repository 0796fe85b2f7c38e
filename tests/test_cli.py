"""The command: what it prints for people and machines, and its exit codes."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import pty
import re
import resource
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import click
import cv2
import pydicom
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner
from pydicom.data import get_testdata_file

from tests import phantoms, toy
from tests.report import series
from tests.wire.ehr import ehr
from wetread import acquire, cli, infer
from wetread.cli.base import write_whole
from wetread.cli.peers import show_pulled, show_steps
from wetread.cli.read import show_reading
from wetread.evidence.film import real_film
from wetread.infer import Measured
from wetread.infer.regions import PERCENT, SHARE
from wetread.jobs.instances import Arrival
from wetread.jobs.store import Store
from wetread.records import Reading
from wetread.report.page import html
from wetread.serve import demo, doctor
from wetread.serve.pull import Pulled
from wetread.settings import Destination, Settings, load
from wetread.wire import deliver as wire
from wetread.wire.part10 import EXPLICIT_LITTLE
from wetread.wire.worklist import Step

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.make_models(tmp_path_factory.mktemp("toy") / "models")


@pytest.fixture
def run(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object, columns: int = 200) -> tuple[int, str, str]:
        start = ["wetread", "--models", str(models), "--state", str(tmp_path / "state")]
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys, "argv", [*start, *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    return call


def leg() -> Path:
    return Path(str(get_testdata_file("RG3_UNCR.dcm")))


def test_read_for_people(run: Run, tmp_path: Path) -> None:
    code, out, err = run("read", real_film(), "--out", tmp_path / "out")
    assert code == 0
    assert err == ""
    for word in ("Pneumonia", "probability", "Right lung", "Heat map", "acquire", "not a certified medical device"):
        assert word in out
    written = sorted(path.suffix for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert written == [".dcm"] * 4 + [".html", ".json"]


def test_a_size_is_told_as_on_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    """A lesion of 0.043 ml is not one of 0.0 ml, and a share of the image no probability."""
    result = series.result("ct")
    region = result.regions[0]
    small = dataclasses.replace(region.measurements[0], value=0.0432)
    share = dataclasses.replace(small, code=SHARE, unit=PERCENT, value=35.487)
    result = dataclasses.replace(result, regions=(dataclasses.replace(region, measurements=(small, share)),))
    show_reading(Reading(result, ()), [])
    assert "volume 0.0432 ml, share of the image area 35.49 %" in capsys.readouterr().out
    page = html(result).decode()
    assert "0.0432 ml" in page
    assert "35.49 %" in page


@pytest.mark.parametrize("verb", ["read", "route"])
def test_a_narrow_terminal_cuts_no_word(run: Run, verb: str) -> None:
    code, out, _ = run(verb, real_film(), columns=24)
    assert code == 0
    assert "\N{HORIZONTAL ELLIPSIS}" not in out


def test_a_place_where_nothing_can_be_written_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = run("read", real_film(), "--out", tmp_path / "file" / "out")
    assert (code, err.count("\n")) == (1, 1)
    assert f"{tmp_path}/file/out" in err
    assert "Not a directory" in err


@pytest.mark.parametrize("mode", ["wb", "xb"])
def test_what_cannot_be_written_whole_leaves_no_file(tmp_path: Path, mode: str) -> None:
    whole, cut = tmp_path / "whole.dcm", tmp_path / "cut.dcm"
    write_whole(whole, b"x" * 9, mode)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))  # as full a disk as one may make here
        with pytest.raises(OSError, match="too large"):
            write_whole(cut, b"x" * (1 << 20), mode)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert [path.name for path in tmp_path.iterdir()] == ["whole.dcm"]
    if mode == "xb":
        with pytest.raises(FileExistsError):
            write_whole(whole, b"y", mode)
    assert whole.read_bytes() == b"x" * 9


def test_an_engine_that_there_is_not_is_told_which_there_are(run: Run) -> None:
    code, _, err = run("--engine", "openvina", "read", real_film())
    assert code == 2
    assert "expected auto or one of openvino, onnxruntime, openvino-gpu, cuda, tensorrt, got 'openvina'" in err


def test_demo(run: Run, tmp_path: Path) -> None:
    code, out, err = run("demo", "--out", tmp_path / "out")
    assert (code, err) == (0, "")
    assert "The receiver PACS got 4 documents by C-STORE." in out
    assert "The record EHR got by FHIR: preliminary report with 5 observations, and a task to review it." in out
    written = sorted(path.name.rpartition("-")[2] for path in (tmp_path / "out").iterdir())
    assert written == ["fhir.json", "page.html", "pm.dcm", "result.json", "sc.dcm", "seg.dcm", "sr.dcm"]


def test_demo_speaks_with_nobody_whom_a_node_knows(tmp_path: Path) -> None:
    path, places = tmp_path / "node.toml", (Destination("PACS", "127.0.0.1", 104),)
    path.write_text(
        'hl7_port = 2575\nhost = "0.0.0.0"\nhttp_host = "0.0.0.0"\nhttp_tls = "server"\ntls_key = "key.pem"\n'
        'index_url = "postgresql://db.example/index"\nmanagers = "RIS@https://ris.example"\nfhir = "R5"\n'
        'archives = "VNA@vna.example:104"\nworklists = "RIS@ris.example:104"\npeers = "CT@10.1.2.3"\n'
        'threads = 2\nmax_pixels = 70000\n[[alerts]]\nname = "bleeding"\nfindings = "1386000"\n'
    )
    here = demo.alone(load(path, {}), places, tmp_path)
    assert here == Settings(threads=2, max_pixels=70_000, port=0, http_port=0, destinations=places, state=tmp_path)


def test_read_for_machines(run: Run) -> None:
    code, out, _ = run("read", real_film(), "--json")
    (reading,) = json.loads(out)
    assert code == 0
    assert reading["findings"][0]["code"]["value"] == "233604007"
    assert {"probability", "threshold", "present"} <= set(reading["findings"][0])


def test_one_model_that_does_not_read_is_named(run: Run, models: Path, tmp_path: Path) -> None:
    shutil.copytree(models, tmp_path / "models")
    path = tmp_path / "models" / "cxr-pneumonia" / "model.toml"
    path.write_text(f"{path.read_text()}[intended]\nage_years = [1, 5]\n")
    code, out, _ = run("--models", tmp_path / "models", "read", real_film())
    assert code == 0
    assert "not read  OUTSIDE-AGE" in out
    assert "Right lung" in out
    film = acquire.load([real_film()], Settings())[0].images[0]
    cv2.imwrite(str(tmp_path / "film.png"), film.pixels[0])
    for words, codes in (((), ["MISSING-TAG"]), (("--age", 4), []), (("--age", 40), ["OUTSIDE-AGE"])):
        code, out, _ = run("--models", tmp_path / "models", "read", tmp_path / "film.png", *words, "--json")
        (reading,) = json.loads(out)
        assert code == 0
        assert [one["refusal"]["code"] for one in reading["not_read"]] == codes
        assert len(reading["findings"]) == (0 if codes else 1)


def test_what_looks_like_markup_is_text(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name such as [/V] ends what was never begun: Rich raised, and the table of the whole run was lost."""
    path = tmp_path / "odd" / "film[" / "i].dcm"
    path.parent.mkdir(parents=True)
    film = phantoms.make_film(modality="DX", ViewPosition="SAID", BodyPartExamined="CHEST")
    path.write_bytes(phantoms.to_bytes(film).replace(b"SAID", b"[/V]"))
    code, out, _ = run("read", tmp_path / "odd", real_film())
    assert code == 3
    assert "film[/i].dcm" in out
    assert "[/V]" in out
    assert "Pneumonia" in out
    code, out, _ = run("route", tmp_path / "odd")
    assert (code, "film[/i].dcm" in out) == (0, True)
    show_pulled([Pulled("1.2.3", "20261128", "[/m]", "[/d]")], dry_run=True)
    show_steps([Step("1.2.3", "[/a]", "", "", "[/p]", "[/s]", "20261128", "101500", "CR", "", "", "[/what]")])
    out = capsys.readouterr().out
    assert all(word in out for word in ("[/m]", "[/d]", "[/a]", "[/p]", "[/s]", "[/what]"))


def test_what_steers_a_terminal_is_text(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "\x1b[2Jfilm.dcm"
    path.write_bytes(b"none")
    assert r"\x1b[2Jfilm.dcm" in run("read", path)[1]
    show_pulled([Pulled("1.2.3", "20261128", "\x9b2J", "a\r\nb")], dry_run=True)
    show_steps([Step("1.2.3", "A\x1b[", "", "", "", "", "20261128", "101500", "CR", "", "", "\x07")])
    out = capsys.readouterr().out
    assert all(word in out for word in (r"\x9b2J", r"a\x0d\x0ab", r"A\x1b[", r"\x07"))
    assert not set("\x1b\x9b\x07\r") & set(out)


@pytest.mark.parametrize("words", [("check",), ("send", "A@127.0.0.1:1"), ("deidentify", "--out", "copies")])
@pytest.mark.parametrize("film", [True, False])
def test_what_steers_a_terminal_is_text_in_lines_too(
    run: Run, tmp_path: Path, words: tuple[str, ...], film: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine" / "\x1b[2Jnote.dcm"
    path.parent.mkdir()
    path.write_bytes(real_film().read_bytes() if film and words[0] == "check" else b"none")
    shutil.copy(real_film(), path.parent / "film.dcm")
    said = run(*words, path if words[0] == "check" or not film else path.parent)[1:]
    assert r"\x1b[2Jnote.dcm" in "".join(said)
    assert "\x1b" not in "".join(said)


def test_a_file_name_need_not_be_utf_8(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in (b"film\xe9.dcm", b"film.dcm"):
        shutil.copy(real_film(), Path(os.fsdecode(os.fsencode(folder / "x")[:-1] + name)))
    odd = next(path for path in folder.iterdir() if path.name != "film.dcm")
    odd.write_bytes(phantoms.to_bytes(phantoms.make_film(BurnedInAnnotation="NO")))
    told = r"film\udce9.dcm"
    code, out, _ = run("read", folder, "--json")
    assert (code, len(json.loads(out.encode()))) == (0, 2)
    code, out, _ = run("read", folder)
    assert (code, told in out, "Pneumonia" in out) == (0, True, True)
    code, out, _ = run("route", folder, "--json")
    assert (code, {row["source"] for row in json.loads(out.encode())}) == (0, {told, "film.dcm"})
    code, out, _ = run("check", odd, "--json")
    assert (code, list(json.loads(out.encode()))) == (1, [str(folder / told)])
    assert told in run("check", odd)[1]
    code, out, _ = run("deidentify", odd, "--out", tmp_path / "copies", "--json")
    assert (code, [row["file"] for row in json.loads(out.encode())]) == (0, [str(folder / told)])


def test_a_study_uid_is_told_as_a_whole(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    study = f"2.25.{'123456789' * 4}"
    show_pulled([Pulled(study, "20261128", "CR", "Chest from the front, and from the side too")], dry_run=False)
    show_steps([Step(study, "A1", "", "", "STAT", "SCANNER", "20261128", "101500", "CR", "", "", "Chest")])
    for table in capsys.readouterr().out.split("study")[1:]:
        folded = [line.split("│")[-2].strip() for line in table.splitlines() if line.startswith("│")]
        assert "".join(folded) == study


def test_not_read_is_3(run: Run) -> None:
    code, out, _ = run("read", leg(), "--json")
    assert code == 3
    assert json.loads(out)[0]["refusal"]["code"] == "WRONG-BODY-PART"
    code, out, _ = run("read", leg(), real_film())
    assert code == 3
    assert "NOT READ" in out


@pytest.mark.parametrize(
    "words",
    [
        *(("read",), ("read", "--colour", "x"), ("reed",), ("--threads", "-1", "models")),
        *(
            ("--engine", "foo", "read", real_film()),
            ("--build", "nope", "read", real_film()),
            ("--build", "nope", "tune"),
        ),
        ("--build", "nope", "serve", "--port", "0", "--http-port", "0"),
        *(("tune", "--seconds", seconds) for seconds in ("-1", "nan", "inf")),
    ],
)
def test_usage_is_2(run: Run, words: tuple[str, ...]) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("deidentify", "x", "--out", "y", "--keep", "foo"), "expected options among"),
        (("deidentify", "x", "--out", "y", "--keep", "dates", "--keep", "shifted-dates"), "got both"),
        (("jobs", "list", "--state", "lost"), "--state: expected one of"),
        (("pull", "PACS@127.0.0.1:1"), "expected a Study Instance UID"),
        (("pull", "PACS@127.0.0.1:1", "--patient", "*"), "without * and ?"),
    ],
)
def test_a_value_that_no_option_has_is_2(run: Run, words: tuple[str, ...], said: str) -> None:
    code, out, err = run(*words)
    assert (code, out, said in err) == (2, "", True)


def test_a_full_disk_is_told_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "wetread.cli", "--state", str(tmp_path), "settings"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "wetread: No space left on device\n")


def test_ctrl_c_says_that_it_stopped(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.commands, "invoke", pressed)
    code, out, err = run("settings")
    assert (code, out, err.strip()) == (130, "", "wetread: stopped")


def test_a_closed_output_ends_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert run("settings")[::2] == (0, "")
    assert run("models")[::2] == (0, "")


@pytest.mark.parametrize("text", ["foo", "2026-11-28", "20261131", "2026113", "-", "20260101-2026"])
@pytest.mark.parametrize("verb", ["pull", "worklist"])
def test_a_date_is_one_before_an_archive_is_asked(run: Run, verb: str, text: str) -> None:
    code, _, err = run(verb, "PACS@127.0.0.1:1", "--date", text)
    assert (code, f"or a range such as 20250101-20261128, got '{text}'" in err) == (2, True)


@pytest.mark.parametrize("text", ["20261128", "-20261128", "20250101-", "20250101-20261128"])
def test_a_date_may_be_a_range(run: Run, text: str) -> None:
    assert run("pull", "PACS@127.0.0.1:1", "--date", text, "--patient", "1")[0] == 1  # nobody answers there


def test_steps_are_scheduled_on_worklists_of_dicom_only(run: Run) -> None:
    code, _, err = run("worklist", "EHR@fhir+https://ehr.example/fhir")
    assert code == 2
    assert "expected AE@host:port" in err


def test_dicomweb_has_no_echo(run: Run) -> None:
    code, _, err = run("echo", "WEB@https://pacs.example/dicom-web")
    assert code == 2
    assert "expected AE@host:port" in err


def test_bad_input_is_4(run: Run, tmp_path: Path) -> None:
    code, _, err = run("read", tmp_path / "nothing-here")
    assert code == 4
    assert "nothing-here" in err
    assert "Traceback" not in err
    (tmp_path / "empty").mkdir()
    assert run("read", tmp_path / "empty")[0] == 4


def test_file_that_is_no_image_is_not_read(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear colleague")
    code, out, _ = run("read", path)
    assert code == 3
    assert "NOT-DICOM" in out


def test_what_is_passed_over_is_counted(run: Run, tmp_path: Path) -> None:
    folder, said = tmp_path / "folder", "files passed over, neither DICOM nor pictures: 2\n"
    folder.mkdir()
    shutil.copy(real_film(), folder / "film.dcm")
    (folder / "letter.txt").write_text("Dear colleague")
    (folder / "report.pdf").write_bytes(b"%PDF")
    code, out, err = run("read", folder, "--json")
    assert (code, err) == (0, said)
    assert [reading["passed_over"] for reading in json.loads(out)] == [2]
    (folder / "cut.dcm").write_bytes(b"DICM")
    code, out, err = run("read", folder)
    assert (code, err, "NOT-DICOM" in out, "Pneumonia" in out) == (3, said, True, True)


def test_missing_models_are_1(run: Run, tmp_path: Path) -> None:
    code, _, err = run("--models", tmp_path / "no", "models")
    assert code == 1
    assert "does not exist" in err


def test_models_and_tune(run: Run) -> None:
    code, out, _ = run("models")
    assert code == 0
    assert "cxr-lungs" in out
    assert "not measured" in out
    assert run("tune", "--seconds", "0")[0] == 0
    code, out, _ = run("models", "--json")
    assert {model["id"] for model in json.loads(out)} == {"cxr-lungs", "cxr-pneumonia"}
    assert "not measured" not in run("models")[1]


def test_models_cuts_no_name_and_breaks_no_head_at_80_columns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = CliRunner().invoke(cli.commands, ["models"]).output
    assert "chosen" not in out  # nothing was proven
    assert "…" not in out
    before, *tables = out.split("┏")
    titles = [before, *tables]
    assert len(tables) == len(infer.find(Settings().models_dir))
    heads = ["build", "certified", "fastest here, ms", "first choice"]
    for model, title, table in zip(infer.find(Settings().models_dir), titles, tables, strict=False):
        assert f"{model.id} {model.version} reads {'/'.join(model.modality)} " in title
        rows = [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in table.splitlines()]
        assert rows[1] == heads
        assert [row[0] for row in rows[3:] if row] == [build.name for build in model.builds]
    assert (
        CliRunner().invoke(cli.commands, ["--models", str(tmp_path), "models"]).output == f"No models in {tmp_path}.\n"
    )


def test_tune_cuts_nothing_at_80_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    why = "expected the golden output, got another: " + "a long reason " * 9
    tried = []

    def trial(model: infer.Model, option: infer.Choice, *_: object) -> infer.Trial:
        tried.append((option.build, option.engine))
        build = model.build(option.build)
        row = Measured(build.device_uid, build.sha256, option.engine, 0, 16, 16, 1234.567, 1.0, 9999.0, 3)
        return infer.Trial(model, option, *(((), why) if option.engine == "openvino" else ((row,),)))

    monkeypatch.setattr(infer, "trial", trial)
    monkeypatch.setenv("COLUMNS", "80")
    out = CliRunner().invoke(cli.commands, ["--state", str(tmp_path), "tune"]).output
    rows = [[cell.strip() for cell in line.split("│")][1:] for line in out.splitlines() if "│" in line]
    assert [(row[0], row[1]) for row in rows] == tried
    done = [row for row, (_, engine) in zip(rows, tried, strict=True) if engine != "openvino"]
    assert done
    assert all((row[2], row[4], row[5]) == ("1234.57", "9999", "all, 16, 16") for row in done)
    assert out.count(f"on openvino failed: {why}\n") == len(rows) - len(done)
    assert all(f"{model.id}\n" in out.replace(" ", "") for model in infer.find(Settings().models_dir))
    assert "Remembered in" in out


def test_tune_of_models_without_a_certificate_remembers_nothing(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models, tmp_path / "models", ignore=shutil.ignore_patterns("certificate.json"))
    words = ["--models", str(tmp_path / "models"), "--state", str(tmp_path / "state"), "tune"]
    made = CliRunner().invoke(cli.commands, words)
    assert (made.exit_code, "Nothing to measure" in made.output, "Remembered" in made.output) == (0, True, False)
    assert not (tmp_path / "state").exists()


def test_tune_remembers_each_model_as_soon_as_it_is_measured(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state" / "profile.json"
    words = ["--models", str(models), "--state", str(path.parent), "--engine", "onnxruntime", "tune", "--seconds", "0"]
    lungs, pneumonia = infer.find(models)
    known = [
        Measured(build.device_uid, build.sha256, engine, 0, 1, 1, 1.0, 1.0, 1.0, -1)
        for build in (*lungs.builds, *pneumonia.builds)
        for engine in ("onnxruntime", "openvino")
    ]
    infer.write_profile(path, dataclasses.replace(infer.read_profile(path), rows=tuple(known)))
    real = infer.trial

    def trial(model: infer.Model, *given: Any) -> infer.Trial:
        if model.id == pneumonia.id:
            raise KeyboardInterrupt
        return real(model, *given)

    monkeypatch.setattr(infer, "trial", trial)
    assert CliRunner().invoke(cli.commands, words).exit_code == 1
    others = [row for row in known if row.engine == "openvino"]

    def left() -> list[Measured]:
        return [row for row in infer.read_profile(path).rows if row in known]

    waits = {build.device_uid for build in pneumonia.builds}
    assert left() == [row for row in known if row in others or row.device_uid in waits]
    monkeypatch.setattr(infer, "trial", real)
    assert CliRunner().invoke(cli.commands, words).exit_code == 0
    assert left() == others
    assert {row.engine for row in infer.read_profile(path).rows} == {"onnxruntime", "openvino"}


def test_doctor(run: Run) -> None:
    code, out, _ = run("doctor")
    assert code == 0
    assert "reproduces its golden output" in out
    code, out, _ = run("doctor", "--json")
    assert {"what", "ok", "found", "remedy", "optional"} == set(json.loads(out)[0])


def test_doctor_names_variables_that_set_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(doctor._environment()) == []
    for name in ("WETREAD_PEER", "WETREAD_PEERS", "WETREAD_CONFIG"):
        monkeypatch.setenv(name, "CT1@10.1.2.3")
    (row,) = doctor._environment()
    assert (row.ok, row.optional, row.found) == (False, True, "WETREAD_PEER: no setting")


RULES = """
[[destinations]]
ae_title = "PACS"
host = "pacs.invalid"
port = 104

[[routes]]
name = "night"
calling_ae = "ED_*"
time = "18:00-07:00"
lane = "STAT"
documents = { PACS = ["SR"] }

[[routes]]
modality = "CR"
models = ["cxr-lungs"]

[[routes]]
modality = ["CR", "DX"]
models = []
destinations = []
"""


def test_route_explains(run: Run, tmp_path: Path) -> None:
    rules = tmp_path / "node.toml"
    rules.write_text(RULES)
    code, out, _ = run("--config", rules, "route", "--explain", real_film(), leg())
    assert code == 0
    for said in ("cxr-lungs  by rule 2", "WRONG-BODY-PART", "ROUTINE", "no destination  by rule 3", "does not fit: "):
        assert said in out
    assert "a rule above said models" in out
    who = ("--calling-ae", "ed_1", "--at", "2026-11-28T23:00")
    code, out, _ = run("--config", rules, "route", real_film(), *who, "--json")
    (row,) = json.loads(out)
    assert (code, row["lane"], row["models"], row["refusal"]) == (0, "STAT", ["cxr-lungs"], None)
    night = "rule 1 (night)"
    assert row["decided"] == {"lane": night, "documents PACS": night, "models": "rule 2", "destinations": "rule 3"}
    assert row["rules"][0]["conditions"][1] == {
        "condition": "time",
        "expected": ["18:00-07:00"],
        "got": "23:00",
        "held": True,
    }
    code, out, _ = run("route", real_film())
    assert "No rules" in out
    assert "cxr-lungs, cxr-pneumonia" in out


def test_route_of_a_job_knows_who_sent_it(run: Run, tmp_path: Path) -> None:
    data = real_film().read_bytes()
    found = pydicom.dcmread(real_film(), stop_before_pixels=True)
    with contextlib.closing(Store(tmp_path / "state")) as store:
        uids = (found.SOPClassUID, found.SOPInstanceUID, found.StudyInstanceUID)
        sent = Arrival(*uids, EXPLICIT_LITTLE, "ED_1", store.spool.put(data), len(data), called="WETREAD_ED")
        store.instances.admit([sent])
        store.studies.complete(found.StudyInstanceUID)
    rules = tmp_path / "node.toml"
    rules.write_text(RULES.replace('time = "18:00-07:00"', 'called_ae = "*_ED"'))
    code, out, _ = run("--config", rules, "route", "1", "--json")
    (row,) = json.loads(out)
    assert (code, row["lane"], row["facts"]["calling_ae"]) == (0, "STAT", "ED_1")
    assert run("--config", rules, "route", "2")[0] == 4


def test_doctor_finds_rules_that_never_count(run: Run, tmp_path: Path) -> None:
    rules = tmp_path / "node.toml"
    rules.write_text(RULES.replace('"cxr-lungs"', '"cxr-lung"').replace('["CR", "DX"]', '"CR"'))
    code, out, _ = run("--config", rules, "doctor")
    assert code == 1
    assert "names the model 'cxr-lung'" in out
    assert "there are cxr-lungs, cxr-pneumonia" in out
    assert "its models never count: rule 2 fits wherever it does" in out


def test_jobs_of_a_node(run: Run, tmp_path: Path) -> None:
    code, _, err = run("jobs", "list")
    assert code == 4
    assert "expected the state folder of a node" in err
    Store(tmp_path / "state").close()
    code, out, _ = run("jobs", "list", "--json")
    assert (code, json.loads(out)) == (0, [])
    assert run("jobs", "list", "--state", "lost")[0] == 2
    code, _, err = run("jobs", "retry", "1")
    assert code == 4
    assert "there is none" in err


def test_a_title_is_looked_for_where_the_verb_belongs(run: Run, tmp_path: Path) -> None:
    """A RIS may be a worklist, and a record that gets results, at two addresses."""
    node = tmp_path / "node.toml"
    listed = {"destinations": 'url = "mllp://127.0.0.1:2"'} | dict.fromkeys(
        ("worklists", "archives"), 'host = "127.0.0.1"\nport = 1'
    )
    node.write_text("".join(f'[[{name}]]\nae_title = "RIS"\n{at}\n' for name, at in listed.items()))
    for verb in (["worklist", "RIS"], ["pull", "RIS", "--patient", "P1"]):
        code, _, err = run("--config", node, *verb)
        assert (code, "RIS@127.0.0.1:1: no connection" in err) == (1, True), err
    assert "no answer by MLLP" in run("--config", node, "echo", "RIS")[2]
    code, _, err = run("--config", node, "echo", "PACS")
    assert (code, "a title of the settings file (--config), which has RIS; got 'PACS'" in err) == (2, True)
    assert "which has none" in run("echo", "PACS")[2]


@pytest.mark.parametrize("number", [2**63, 10**20])
def test_a_number_that_no_index_holds_is_wrong_usage(run: Run, tmp_path: Path, number: int) -> None:
    Store(tmp_path / "state").close()
    verbs = {"jobs": ("show", "retry", "cancel"), "withheld": ("release", "discard")}
    words = [(group, verb) for group in verbs for verb in verbs[group]]
    for word in (*words, ("jobs", "list", "--limit"), ("route",)):
        code, out, err = run(*word, number)
        assert (code, out, "not in the range" in err) == (2, "", True), word
    for word in words:
        assert run(*word, 2**63 - 1)[0] == 4
    assert run("route", 2**63 - 1)[0] == 4
    assert run("jobs", "list", "--limit", 2**63 - 1)[0] == 0
    assert run("jobs", "list", "--limit", 0)[0] == 2


def test_settings_hide_a_password(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WETREAD_INDEX_URL", "postgresql://reader:s3cret@db.example:5432/index")
    for extra in ((), ("--json",)):
        _, said, _ = run("settings", *extra)
        assert "s3cret" not in said
        assert "postgresql://reader:***@db.example:5432/index" in said


def test_settings_lists_every_one(run: Run) -> None:
    import dataclasses

    from wetread.settings import Settings

    code, out, _ = run("settings")
    assert code == 0
    for field in dataclasses.fields(Settings):
        assert f"WETREAD_{field.name.upper()}" in out
    values = {row["name"]: row["value"] for row in json.loads(run("settings", "--json")[1])}
    assert values["viewer"] == values["tls_key"] == ""  # not ".": set to that it would name this folder


def test_recipes_are_completed() -> None:
    found = ShellComplete(cli.commands, {}, "wetread", "_WETREAD_COMPLETE").get_completions(["lab", "train"], "ct-l")
    assert [(one.type, one.value) for one in found] == [("plain", "ct-lungs"), ("file", "ct-l")]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(run: Run, shell: str) -> None:
    code, out, _ = run("completion", shell)
    assert code == 0
    assert "_WETREAD_COMPLETE" in out


def test_check_judges_our_own_documents(run: Run, tmp_path: Path) -> None:
    run("read", real_film(), "--out", tmp_path / "out")
    ours = sorted((tmp_path / "out").rglob("*.dcm"))
    code, out, _ = run("check", *ours)
    assert code == 0, out
    assert out.count("no problem") == 4


def test_check_gives_its_own_advice(run: Run, tmp_path: Path) -> None:
    note = tmp_path / "note.dcm"
    note.write_bytes(b"no document")
    code, out, _ = run("check", note)
    assert (code, "expected the prefix DICM after 128 bytes" in out, "force" in out) == (1, True, False)


def test_jwks_of_no_file(run: Run, tmp_path: Path) -> None:
    code, out, err = run("jwks", tmp_path / "none.pem")
    assert (code, out, "got none: No such file or directory" in err) == (2, "", True)


def test_colours_stay_away_where_nobody_wants_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a terminal, which the answers of other tests do not go to."""
    command = [sys.executable, "-m", "wetread.cli", "--state", str(tmp_path), "doctor"]
    for value, coloured in (("", True), ("1", False)):
        monkeypatch.setenv("NO_COLOR", value)
        ours, theirs = pty.openpty()
        with subprocess.Popen(command, stdout=theirs, stderr=theirs) as process:
            os.close(theirs)
            said = b""
            with contextlib.suppress(OSError):  # a terminal that nobody writes to any more cannot be read
                while part := os.read(ours, 4096):
                    said += part
            os.close(ours)
        assert process.returncode in (0, 1)
        assert b"numpy" in said or b"onnxruntime" in said
        assert (b"\x1b[" in said) is coloured


def test_check_of_no_file(run: Run, tmp_path: Path) -> None:
    for path, what in ((tmp_path / "none.dcm", "none"), (tmp_path, "a folder")):
        code, out, err = run("check", path)
        assert (code, out) == (4, "")
        assert f"found {what}" in err


def test_check_finds_what_is_wrong(run: Run, tmp_path: Path) -> None:
    import pydicom

    run("read", real_film(), "--out", tmp_path / "out")
    path = next(p for p in (tmp_path / "out").rglob("*.dcm") if "seg" in p.name)
    dataset = pydicom.dcmread(path)
    del dataset.SegmentSequence
    dataset.save_as(path)
    code, out, _ = run("check", path, "--json")
    assert code == 1
    assert next(iter(json.loads(out).values()))


def test_copies_leave_and_results_come_back(run: Run, tmp_path: Path) -> None:
    dataset = phantoms.make_film(BurnedInAnnotation="NO")
    film, note, home = tmp_path / "Canary^Patient.dcm", tmp_path / "note.txt", tmp_path / "home"
    film.write_bytes(phantoms.to_bytes(dataset))
    note.write_text("no image")
    code, out, _ = run("deidentify", film, note, "--out", tmp_path / "out", "--json")
    assert code == 4
    assert [bool(row["refused"]) for row in json.loads(out)] == [False, True]
    assert pydicom.dcmread(tmp_path / "out" / "000001.dcm").PatientID != dataset.PatientID
    assert run("reidentify", tmp_path / "out", "--out", home)[0] == 0
    assert pydicom.dcmread(home / "000001.dcm").SOPInstanceUID == dataset.SOPInstanceUID


def test_copies_overwrite_nothing(run: Run, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "000001.dcm").write_bytes(phantoms.to_bytes(phantoms.make_film(BurnedInAnnotation="NO")))
    note, out = tmp_path / "note.txt", tmp_path / "out"
    note.write_text("no image")
    before = (tmp_path / "a" / "000001.dcm").read_bytes()
    for verb, more in (("deidentify", ("--keep", "uids")), ("reidentify", ())):
        for place in (tmp_path / "a", tmp_path, tmp_path / "a" / "copies"):
            code, said, err = run(verb, tmp_path / "a", "--out", place, *more)
            assert (code, said) == (4, "")
            assert "expected a folder apart from what is copied" in err
    assert sorted(place.name for place in (tmp_path / "a").iterdir()) == ["000001.dcm"]
    assert (tmp_path / "a" / "000001.dcm").read_bytes() == before
    assert run("deidentify", tmp_path / "a", "--out", out)[0] == 0
    first = (out / "000001.dcm").read_bytes()
    code, said, _ = run("deidentify", note, tmp_path / "b", "--out", out, "--json")
    assert [(row["copy"], bool(row["refused"])) for row in json.loads(said)] == [
        ("", True),
        (str(out / "000003.dcm"), False),
    ]
    assert {place.name for place in out.iterdir()} == {"000001.dcm", "000003.dcm"}
    assert (out / "000001.dcm").read_bytes() == first


def test_what_read_writes_comes_back(run: Run, tmp_path: Path) -> None:
    """A page and a JSON lie beside the documents, and belong to nobody's archive."""
    film, results = tmp_path / "film.dcm", tmp_path / "results"
    film.write_bytes(phantoms.to_bytes(phantoms.make_film(BurnedInAnnotation="NO")))
    assert run("deidentify", film, "--out", tmp_path / "copies")[0] == 0
    run("read", tmp_path / "copies", "--out", results)
    there = [path for path in results.rglob("*") if path.is_file()]
    documents = [path for path in there if path.suffix == ".dcm"]
    code, out, err = run("reidentify", results, "--out", tmp_path / "home")
    assert (code, out) == (0, f"{len(documents)} written, 0 refused\n")
    assert err.count("passed over: no DICOM file") == len(there) - len(documents) == 2
    assert run("reidentify", *there, "--out", tmp_path / "named")[0] == 4


def test_only_a_ledger_leads_back(run: Run, tmp_path: Path) -> None:
    film, ledger = tmp_path / "film.dcm", tmp_path / "nope.ledger"
    film.write_bytes(phantoms.to_bytes(phantoms.make_film()))
    for words in (("--ledger", ledger), ()):
        code, out, err = run("reidentify", film, "--out", tmp_path / "home", *words)
        assert (code, out, "expected the ledger" in err, ".ledger" in err) == (4, "", True, True)
    assert not ledger.exists()
    assert not (tmp_path / "state").exists()


def test_every_verb_has_help_and_json() -> None:
    without = {"completion", "lab", "jobs", "withheld"}
    for name, command in cli.commands.commands.items():
        assert command.help, name
        options = {option for parameter in command.params for option in parameter.opts}
        assert "--json" in options or name in without, name
    groups = [one for one in cli.commands.commands.values() if isinstance(one, click.Group)]
    for name, command in [one for group in groups for one in group.commands.items()]:
        assert command.help, name
        assert "--json" in {option for parameter in command.params for option in parameter.opts}


def test_send_says_which_file_is_wrong(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[list[bytes]] = []

    def deliver(place: Destination, items: list[bytes], *_: object) -> list[int]:
        sent.append(items)
        return [0] * len(items)

    monkeypatch.setattr(wire, "deliver", deliver)
    film = phantoms.to_bytes(phantoms.make_film())
    (tmp_path / "study").mkdir()
    note, damaged = tmp_path / "study" / "note.txt", tmp_path / "study" / "damaged.dcm"
    (tmp_path / "study" / "film.dcm").write_bytes(film)
    note.write_text("no image")
    for place in ("PACS@127.0.0.1:104", "PACS@https://pacs.example/dicom-web"):
        code, out, err = run("send", place, tmp_path / "study", "--json")
        assert (code, len(json.loads(out)), err) == (0, 1, f"{note}: passed over: no DICOM file\n")
        assert sent.pop() == [film]
        code, out, err = run("send", place, tmp_path / "study", note)
        assert (code, out, f"{note}: file: expected a DICOM file" in err, sent) == (4, "", True, [])
    damaged.write_bytes(film[:140])
    code, out, err = run("send", "PACS@127.0.0.1:104", tmp_path / "study")
    assert (code, len(out.splitlines()), f"{damaged}: not sent: file meta" in err, sent.pop()) == (1, 1, True, [film])
    damaged.write_bytes(film[:-9])
    code, out, err = run("send", "PACS@127.0.0.1:104", tmp_path / "study")
    assert (code, f"{damaged}: not sent: data set: an element ends 9 bytes" in err, sent.pop()) == (
        1,
        True,
        [film],
    )
    damaged.write_bytes(film[:140])
    (tmp_path / "study" / "film.dcm").unlink()
    code, out, err = run("send", "PACS@127.0.0.1:104", tmp_path / "study")
    assert (code, out, f"wetread: {damaged}: file meta" in err, sent) == (4, "", True, [])
    code, _, err = run("send", "EHR@mllp://127.0.0.1:2575", note)
    assert (code, f"wetread: {note}: " in err, sent) == (4, True, [])


@pytest.mark.parametrize(
    "words", [("deidentify", "--out", "out"), ("reidentify", "--out", "out"), ("send", "PACS@127.0.0.1:1")]
)
def test_what_is_not_there_or_cannot_be_entered_is_said(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    film, shut, scan = tmp_path / "film.dcm", tmp_path / "study" / "shut", os.scandir
    shut.mkdir(parents=True)
    for place in (film, shut.parent / "film.dcm"):
        place.write_bytes(phantoms.to_bytes(phantoms.make_film(BurnedInAnnotation="NO")))

    def scandir(place: Any) -> Any:
        if Path(place) == shut:
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        return scan(place)

    monkeypatch.chdir(tmp_path)
    assert run("deidentify", film, "--out", "copies")[0] == 0  # there is a ledger
    monkeypatch.setattr(os, "scandir", scandir)
    for path, said in ((tmp_path / "no.dcm", "expected a file or a folder"), (shut.parent, f"{shut}: cannot be read")):
        code, out, err = run(*words, film, path)
        assert (code, out, said in err) == (4, "", True)
        assert not Path("out").exists()


def test_a_file_that_cannot_be_read_is_named_and_the_others_go_on(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[list[bytes]] = []

    def deliver(place: Destination, items: list[bytes], *_: object) -> list[int]:
        sent.append(items)
        return [0] * len(items)

    monkeypatch.setattr(wire, "deliver", deliver)
    folder, why = tmp_path / "study", "cannot be read: Input/output error"
    folder.mkdir()
    film, broken = folder / "film.dcm", folder / "broken.dcm"
    film.write_bytes(phantoms.to_bytes(phantoms.make_film(BurnedInAnnotation="NO")))
    broken.symlink_to("/proc/self/mem")  # nobody, not even root, can read its first byte
    for verb in ("deidentify", "reidentify"):
        code, out, _ = run(verb, folder, "--out", tmp_path / verb, "--json")
        rows = {row["file"]: row["refused"] for row in json.loads(out)}
        assert (code, rows[str(broken)], len(rows)) == (4, why, 2)
    assert len(list((tmp_path / "deidentify").iterdir())) == 1
    code, out, err = run("send", "PACS@127.0.0.1:104", folder)
    assert (code, len(out.splitlines()), f"{broken}: not sent: {why}" in err) == (1, 1, True)
    assert sent.pop() == [film.read_bytes()]
    for words in (("send", "PACS@127.0.0.1:104"), ("check",), ("demo",)):
        code, out, err = run(*words, broken)
        assert (code, out, str(broken) in err, "Input/output error" in err, sent) == (4, "", True, True, []), words
    for name in ("read", "check", "deidentify", "reidentify", "send", "demo"):
        arguments = [one.type for one in cli.commands.commands[name].params if isinstance(one, click.Argument)]
        assert not [one for one in arguments if isinstance(one, click.Path) and one.readable], name


def test_hl7_goes_by_the_same_verbs(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "x.hl7"
    file.write_bytes(b"MSH|^~\\&|W||||20261128||ORU^R01^ORU_R01|C1|P|2.5.1\r")
    with ehr() as peer:
        place = f"EHR@{peer.destination.url}"
        code, out, _ = run("echo", place)
        assert (code, "takes connections; no message was sent" in out) == (0, True)
        code, out, _ = run("send", place, file)
        assert (code, out.split()[0], peer.got) == (0, "0x0000", [file.read_bytes()])


def test_doctor_warns_of_patients_in_plain_text() -> None:
    def found(url: str) -> list[tuple[bool, bool]]:
        rows = doctor._record(Destination("EHR", url=url))
        return [(row.ok, row.optional) for row in rows]

    assert found("mllp://127.0.0.1:2575") == found("mllps://ehr.example:2575") == [(True, False)]
    assert found("mllp://ehr.example:2575") == [(False, True)]
    assert found("https://pacs.example/dicom-web") == []


def test_doctor_says_why_a_node_would_not_start(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, imported, page = tmp_path / "file", tmp_path / "imported", tmp_path / "page"
    file.write_text("")
    page.mkdir()
    (page / "index.html").write_text("")
    shutil.copytree(models, imported, ignore=shutil.ignore_patterns("certificate.json"))

    def version(name: str) -> str:
        if name in gone:
            raise PackageNotFoundError(name)
        return "1.0"

    def bad(settings: Settings) -> list[str]:
        looked = (doctor._packages, doctor._engines, doctor._state, doctor._index, doctor._viewer)
        return [row.what for look in looked for row in look(settings) if not (row.ok or row.optional)]

    gone = {"psycopg", "opentelemetry-exporter-otlp-proto-http"}
    monkeypatch.setattr(doctor, "version", version)
    good = Settings(models=models, state=tmp_path / "state", viewer=page)
    assert bad(good) == []
    assert bad(dataclasses.replace(good, models=imported)) == ["models"]
    assert bad(dataclasses.replace(good, viewer=tmp_path / "nowhere")) == ["viewer"]
    assert bad(dataclasses.replace(good, state=file)) == bad(dataclasses.replace(good, state=file / "state"))
    assert bad(dataclasses.replace(good, state=file)) == ["state folder"]
    assert bad(dataclasses.replace(good, min_free_bytes=1 << 62)) == ["state folder"]  # it would answer 0xA700
    assert bad(dataclasses.replace(good, build="fp")) == ["cxr-lungs", "cxr-pneumonia"]
    assert bad(dataclasses.replace(good, engine="cuda")) == ["cxr-lungs", "cxr-pneumonia"]
    nobody = "postgresql://wetread:secret@127.0.0.1:1/index"
    assert bad(dataclasses.replace(good, index_url=nobody)) == ["psycopg", "index"]
    (row,) = doctor._index(dataclasses.replace(good, index_url=nobody))
    assert "port 1 failed: Connection refused" in row.remedy
    assert "secret" not in row.remedy
    assert bad(dataclasses.replace(good, otlp_endpoint="http://127.0.0.1:4318")) == sorted(gone)[:1]
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [one for name in ("serve", "fhir", "postgres") for one in project["optional-dependencies"][name]]
    assert {re.split(r"[>\[]", one)[0] for one in extras} <= set(doctor.PACKAGES)


def test_doctor_goes_on_where_the_state_may_not_be_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shut, stat, access = tmp_path / "shut", os.stat, os.access
    shut.mkdir()

    def hidden(place: Any, **given: Any) -> Any:
        if isinstance(place, str | Path) and shut in Path(place).parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        return stat(place, **given)

    monkeypatch.setattr(os, "stat", hidden)
    monkeypatch.setattr(os, "access", lambda place, mode: Path(place) != shut and access(place, mode))
    row = next(iter(doctor._state(Settings(state=shut / "state"))))
    assert (row.what, row.ok, row.remedy) == ("state folder", False, "name another with --state")


#: Runs each verb of the arguments, one a word list, as where an extra is not installed.
BARE = """
import json, sys
sys.modules.update(dict.fromkeys(json.loads(sys.argv[1])))
from wetread import cli
places = sys.argv[3:]
for words in json.loads(sys.argv[2]):
    sys.argv = ["wetread", *places, *words]
    try:
        cli.main()
    except SystemExit as stop:
        print(stop.code, flush=True)
"""


@pytest.mark.parametrize(
    ("extra", "gone", "verbs"),
    [
        (
            "serve",
            ["prometheus_client", "sqlalchemy", "starlette", "uvicorn", "websockets"],
            ["serve", "demo", "jobs list", "withheld list", "conformance", "route 1"],
        ),
        ("lab", ["matplotlib", "nibabel", "torch"], ["lab train ct-lungs", "lab export ct-lungs"]),
    ],
)
def test_an_extra_that_is_not_there_is_named(
    models: Path, tmp_path: Path, extra: str, gone: list[str], verbs: list[str]
) -> None:
    places = ["--models", str(models), "--state", str(tmp_path)]
    words = [json.dumps(gone), json.dumps([verb.split() for verb in verbs]), *places]
    done = subprocess.run([sys.executable, "-c", BARE, *words], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["2"] * len(verbs), done.stderr
    assert done.stderr.count(f"pip install 'wetread[{extra}]'") == len(verbs)
