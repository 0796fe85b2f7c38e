"""Every setting once, and what happens to a wrong one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from wetread.errors import SettingsError
from wetread.settings import USUAL, Destination, Settings, load, parse_destination


def test_defaults_work() -> None:
    settings = load(environ={})
    assert settings == Settings()
    assert settings.models_dir.is_dir()


def test_precedence(tmp_path: Path) -> None:
    path = tmp_path / "wetread.toml"
    path.write_text('port = 1\nhttp_port = 2\nae_title = "FILE"\n')
    settings = load(path, {"WETREAD_HTTP_PORT": "3", "WETREAD_PORT": "4"}, port=5)
    assert (settings.ae_title, settings.http_port, settings.port) == ("FILE", 3, 5)
    assert load(environ={"WETREAD_CONFIG": str(path)}).ae_title == "FILE"


@pytest.mark.parametrize(
    ("environ", "said"),
    [({"WETREAD_PORT": "eleven"}, "expected int"), ({"WETREAD_QUIET_S": "-2"}, "expected float")],
)
def test_wrong_value_says_what_was_expected(environ: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load(environ=environ)


@pytest.mark.parametrize("text", ["prot = 3", "port = [", "port = 'x'"])
def test_wrong_file_says_what_was_expected(tmp_path: Path, text: str) -> None:
    path = tmp_path / "wetread.toml"
    path.write_text(text)
    with pytest.raises(SettingsError):
        load(path, {})


def test_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path / "none.toml", {})


def test_destinations(tmp_path: Path) -> None:
    assert parse_destination("PACS@127.0.0.1:104") == Destination("PACS", "127.0.0.1", 104)
    assert parse_destination("P@h:1/sr+SC").documents == ("SR", "SC")
    assert len(load(environ={"WETREAD_DESTINATIONS": "A@h:1, B@h:2"}).destinations) == 2
    path = tmp_path / "wetread.toml"
    path.write_text('[[destinations]]\nae_title = "P"\nhost = "h"\nport = 104\ndocuments = ["SR"]\n')
    assert load(path, {}).destinations == (Destination("P", "h", 104, ("SR",)),)


def test_a_destination_gets_only_documents_that_exist() -> None:
    assert load(environ={"WETREAD_DESTINATIONS": "A@h:1/SR+KOS, B@h:2/PDF"}).kinds == {"SR", "KOS", "PDF"}
    assert load(environ={}).kinds == set(USUAL)
    with pytest.raises(SettingsError, match=r"expected some of SR, .* got SEGG"):
        parse_destination("P@h:1/SR+SEGG")
    with pytest.raises(SettingsError, match="got none"):
        Destination("P", "h", 1, ())


@pytest.mark.parametrize("text", ["PACS", "PACS@host", "@host:1", "PACS@host:port", "PACS@:1"])
def test_wrong_destination_says_the_form(text: str) -> None:
    with pytest.raises(SettingsError, match="AE@host:port"):
        parse_destination(text)


def test_every_setting_says_what_it_is() -> None:
    for field in dataclasses.fields(Settings):
        assert field.metadata["help"], field.name
