"""URLs that a person sets or a peer tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from wetread import urls
from wetread.errors import SettingsError
from wetread.routes import Alert
from wetread.settings import Destination, parse_destination


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host",
        "https://",
        "https:///path",
        "https://h:0/",
        "https://h:99999/",
        "https://h:x/",
        "https://[::1/x",
        "https://h/münchen",
    ],
)
def test_nobody_is_reached_there(url: str) -> None:
    assert urls.split(url) is None
    assert not urls.is_secret(urls.split(url))


def test_who_can_read_what_is_sent() -> None:
    said = {"https://h/x": True, "fhir+https://h:8443/x": True, "http://127.0.0.1:1/x": True, "http://h/x": False}
    assert {url: urls.is_secret(urls.split(url)) for url in said} == said


@pytest.mark.parametrize("host", ["h:0", "h:99999", "[::1", "h/ä"])
def test_settings_name_no_such_place(host: str) -> None:
    with pytest.raises(SettingsError, match="got another form"):
        parse_destination(f"PACS@https://{host}/dicom-web")
    with pytest.raises(SettingsError, match="token_url: expected https://host/path"):
        Destination("EHR", url="fhir+https://h/fhir", token_url=f"https://{host}/token")
    with pytest.raises(SettingsError, match="to: expected https://host/path"):
        Alert("hook", to=(f"https://{host}/hook",), secret=Path("key"))
