"""Files with which the node proves who it is are opened when it starts, not when somebody waits for a finding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority
from wetread.errors import SettingsError
from wetread.routes import Alert
from wetread.serve import doctor, run
from wetread.settings import Destination, Settings
from wetread.wire import credentials

#: What must never be in a message.
CANARY = "canary-in-the-file"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that can be used by their setting's name, and `canary`, which is of no use."""
    made = tmp_path_factory.mktemp("files")
    side = Authority(made).issue("node")
    for name, file in (("certificate", side.certificate), ("key", side.key)):
        (made / name).write_bytes(file.read_bytes())
    (made / "token").write_text("a token\n")
    (made / "secret").write_text("s" * 24)
    (made / "canary").write_text(CANARY[:-1] + "\x01")
    return made


def settings_of(what: str, folder: Path, file: str) -> Settings:
    """Settings in which one thing names a file, everything else none."""
    path = folder / file
    tls: dict[str, Any] = {"tls_certificate": folder / "certificate", "tls_key": folder / "key"}
    dicom: dict[str, Any] = {"host": "h", "port": 104, "tls": True}
    web, record = "https://h/dicom-web", "fhir+https://h/fhir"
    made: dict[str, dict[str, Any]] = {
        "secret": {"alerts": (Alert("X", to=("https://h/x",), secret=path),)},
        "token": {"destinations": (Destination("X", url=web, token=path),)},
        "token of an archive": {"archives": (Destination("X", url=web, token=path),)},
        "token of a worklist": {"worklists": (Destination("X", url=record, token=path),)},
        "token of a manager": {"managers": (Destination("X", url=web, token=path),)},
        "client_key": {"destinations": (Destination("X", url=record, client_id="c", client_key=path),)},
        "tls_authority": {"destinations": (Destination("X", url=web, tls_authority=path),)},
        "tls_certificate": {"destinations": (Destination("X", url="mllps://h:1", **{**tls, "tls_certificate": path}),)},
        "tls_authority by DIMSE": {"destinations": (Destination("X", **dicom, **tls, tls_authority=path),)},
    }
    return Settings(**made[what])


THINGS = {
    "secret": "secret",
    "token": "token",
    "token of an archive": "token",
    "token of a worklist": "token",
    "token of a manager": "token",
    "client_key": "key",
    "tls_authority": "authority.pem",
    "tls_certificate": "certificate",
    "tls_authority by DIMSE": "authority.pem",
}


@pytest.mark.parametrize("what", THINGS)
@pytest.mark.parametrize("file", ["missing", "canary"])
def test_a_file_that_cannot_be_used_ends_the_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch, what: str, file: str
) -> None:
    monkeypatch.setattr(run, "Children", lambda *given: pytest.fail("the node began to start"))
    settings = settings_of(what, folder, file)
    with pytest.raises(SettingsError) as caught:
        run.run(settings)
    said = str(caught.value)
    assert said.startswith(("destination X: ", "alerts, X: "))
    assert what.split()[0] in said
    assert str(folder / file) in said
    assert CANARY[:-1] not in said
    rows = [row for row in doctor._doors(settings) if row.what in ("files of X", "alert X", "record X")]
    assert [row.ok for row in rows] == [False]
    assert said == rows[0].remedy


@pytest.mark.parametrize("what", [what for what in THINGS if what != "client_key"])
def test_a_file_that_can_be_used_is_no_matter(folder: Path, what: str) -> None:
    settings = settings_of(what, folder, THINGS[what])
    credentials.check_credentials(settings)
    assert all(row.ok for row in doctor._doors(settings) if row.what != "certificate X")


def test_a_client_key_of_another_kind_is_named(folder: Path) -> None:
    with pytest.raises(SettingsError, match=f"client_key {folder}/key: expected an RSA or P-384 key"):
        credentials.check_credentials(settings_of("client_key", folder, "key"))  # P-256


def test_the_doctor_opens_the_tokens_of_dicomweb(folder: Path) -> None:
    for file, found in (("missing", [False]), ("secret", [])):
        rows = doctor._doors(Settings(dicomweb_tokens=folder / file))
        assert [row.ok for row in rows if row.what == "tokens of DICOMweb"] == found
