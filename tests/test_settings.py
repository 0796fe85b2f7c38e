"""Every setting once, and what happens to a wrong one."""

from __future__ import annotations

import dataclasses
import pwd
from pathlib import Path

import pytest

from wetread.errors import SettingsError
from wetread.infer import engine
from wetread.routes import Route
from wetread.settings import (
    ENGINES,
    USUAL,
    Destination,
    Peer,
    Settings,
    bounds,
    load,
    parse_destination,
    shipped_models,
)


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
    ("text", "named"), [("", False), (".", True), ("./", True), ("models", True), ("~/models", True)]
)
def test_this_folder_is_a_folder_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, named: bool) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    place = tmp_path / "models" if "models" in text else tmp_path
    for settings in (load(environ={"WETREAD_MODELS": text}), load(environ={}, models=text)):
        assert settings.models_dir.absolute() == (place if named else shipped_models())


def test_where_there_is_no_home_a_place_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: object) -> None:
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setattr(pwd, "getpwnam", nobody)
    homeless = load(environ={"WETREAD_MODELS": "~nobody/models"})
    for name in ("state", "models"):
        with pytest.raises(SettingsError, match=f"setting {name}: ~.*: expected a home folder, .* with --{name}"):
            getattr(homeless, f"{name}_dir")
    assert load(environ={"WETREAD_STATE": "/var/lib/wetread"}).profile_path.name == "profile.json"


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"WETREAD_PORT": "eleven"}, "port: expected a port, 0 to 65535"),
        ({"WETREAD_HL7_PORT": "65536"}, "hl7_port: expected a port, 0 to 65535"),
        ({"WETREAD_MAX_REJECTIONS": "-1"}, "expected a whole number, 0 or more"),
        ({"WETREAD_MAX_TRIES": "-1"}, "expected a whole number, 1 or more"),
        ({"WETREAD_MAX_TRIES": "0"}, "expected a whole number, 1 or more"),
        ({"WETREAD_MAX_ASSOCIATIONS": "0"}, "expected a whole number, 1 or more"),
        ({"WETREAD_MAX_WAITING": "0"}, "expected a whole number, 1 or more"),
        ({"WETREAD_READERS": "0"}, "expected a whole number, 1 or more, at most 64"),
        ({"WETREAD_READERS": "1000000"}, "expected a whole number, 1 or more, at most 64"),
        ({"WETREAD_THREADS": "999999"}, "expected a whole number, 0 or more, at most 1024"),
        ({"WETREAD_STAT_RESERVE": "5"}, "expected a number, 0 or more, at most 1"),
        ({"WETREAD_MAX_PDU_BYTES": "1"}, "expected a whole number, 16384 or more"),
        ({"WETREAD_MAX_PDU_BYTES": "5000000000"}, "at most 4294967295"),
        ({"WETREAD_MAX_OBJECT_BYTES": "1"}, "expected a whole number, 1048576 or more"),
        ({"WETREAD_MAX_PIXELS": "0"}, "expected a whole number, 65536 or more"),
        ({"WETREAD_MAX_SERIES_PIXELS": "0"}, "expected a whole number, 65536 or more"),
        ({"WETREAD_DECODER_MEMORY_BYTES": "0"}, "expected a whole number, 134217728 or more"),
        ({"WETREAD_DECODER_WALL_S": "0"}, "expected a number, 1 or more, at most 1000000"),
        ({"WETREAD_DECODER_CPU_S": "0"}, "expected a number, 1 or more"),
        ({"WETREAD_IDLE_TIMEOUT_S": "0"}, "expected a number, 1 or more"),
        ({"WETREAD_LEASE_S": "0"}, "expected a number, 1 or more"),
        ({"WETREAD_PEER_TIMEOUT_S": "0"}, "expected a number, 0.1 or more"),
        ({"WETREAD_PEER_TIMEOUT_S": "1e7"}, "expected a number, 0.1 or more, at most 1000000"),
        ({"WETREAD_RETRY_FIRST_S": "0"}, "expected a number, 0.01 or more"),
        ({"WETREAD_KEEP_DAYS": "1e300"}, "expected a number, 0 or more"),
        ({"WETREAD_ENGINE": "foo"}, "engine: expected auto or one of openvino, .*, got 'foo'"),
        ({"WETREAD_AE_TITLE": "A" * 17}, "ae_title: expected 1 to 16 ASCII characters"),
        ({"WETREAD_AE_TITLE": ""}, "ae_title: expected 1 to 16"),
        ({"WETREAD_AE_TITLE": "  "}, "ae_title: expected 1 to 16"),
        ({"WETREAD_AE_TITLE": "A "}, "ae_title: expected 1 to 16"),
        ({"WETREAD_AE_TITLE": "Röntgen"}, "ae_title: expected 1 to 16"),
        ({"WETREAD_AE_TITLE": "A\\B"}, "ae_title: expected 1 to 16"),
        ({"WETREAD_AE_TITLE": "A\tB"}, "ae_title: expected 1 to 16"),
        ({"WETREAD_DESTINATIONS": f"{'A' * 17}@h:1"}, "destination A+: ae_title: expected 1 to 16"),
        ({"WETREAD_WORKLISTS": "A\\B@h:1"}, "ae_title: expected 1 to 16"),
        ({"WETREAD_PEERS": f"{'A' * 17}@10.0.0.1"}, "peer: ae_title: expected .* or 1 to 16"),
        ({"WETREAD_QUIET_S": "-2"}, "expected a number, 0 or more"),
        ({"WETREAD_QUIET_S": "nan"}, "expected a number, 0 or more"),
        ({"WETREAD_QUIET_S": "inf"}, "expected a number"),
        ({"WETREAD_INSTITUTION": "x" * 76}, "institution: expected one line of up to 64 characters .*76 characters"),
        ({"WETREAD_INSTITUTION": "Haus\\7"}, "institution: expected .* without a backslash"),
        ({"WETREAD_INSTITUTION": "Haus\n7"}, "institution: expected one line"),
        ({"WETREAD_LOG_LEVEL": "LOUD"}, "log_level: expected DEBUG, INFO, WARNING, ERROR, got 'LOUD'"),
    ],
)
def test_wrong_value_says_what_was_expected(environ: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load(environ=environ)


def test_what_a_site_may_want_is_within_the_bounds() -> None:
    """What is 0 and means off, each default, and the names of rules that are no AE title."""
    off = ["threads", "deadline_ms", "hl7_port", "degrade_after_s", "min_free_bytes", "stat_reserve", "expect_s"]
    off += [
        "quiet_s",
        "max_rejections",
        "keep_days",
        "keep_orders_days",
        "least_free_bytes",
        "least_side",
        "decode_ahead",
    ]
    made = load(environ={f"WETREAD_{name.upper()}": "0" for name in off})
    assert not any(getattr(made, name) for name in off)
    for field in dataclasses.fields(Settings):
        if field.type in ("int", "float"):
            assert load(environ={f"WETREAD_{field.name.upper()}": str(field.default)}) == Settings()
            assert bounds(field.name)
    assert load(environ={"WETREAD_AE_TITLE": "A" * 16}).ae_title == "A" * 16
    name = "the archive in the cloud"
    assert load(environ={"WETREAD_DESTINATIONS": f"{name}@https://h/dicom-web"}).destinations[0].ae_title == name
    assert set(ENGINES) == set(engine.ENGINES)
    assert all(load(environ={"WETREAD_ENGINE": one}).engine == one for one in ("auto", *ENGINES))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('institution = "Universit\u00e4tsklinikum"'.encode("latin-1"), "expected UTF-8"),
        (b"destinations = [1]", "setting destinations: expected"),
        (b"engine = 3", "setting engine: expected auto"),
        (b'[[destinations]]\nae_title = 5\nhost = "h"\nport = 104', "ae_title: expected text, got 5"),
    ],
)
def test_a_file_that_cannot_be_says_so(tmp_path: Path, text: bytes, said: str) -> None:
    path = tmp_path / "wetread.toml"
    path.write_bytes(text)
    with pytest.raises(SettingsError, match=said):
        load(path, {})
    assert load(environ={"WETREAD_LOG_LEVEL": "debug"}).log_level == "DEBUG"


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("worklists", "WEB@https://pacs.example/dicom-web"),
        ("archives", "EHR@mllp://ehr.example:2575"),
        ("managers", "RIS@ris.example:104"),
    ],
)
def test_who_is_asked_speaks_what_is_asked_by(name: str, place: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}: expected (AE@host:port|NAME@URL)"):
        load(environ={f"WETREAD_{name.upper()}": place})
    made = load(environ={"WETREAD_ARCHIVES": "WEB@https://pacs.example/dicom-web"})
    assert made.archives[0].protocol == "dicomweb"
    made = load(environ={"WETREAD_WORKLISTS": "EHR@fhir+https://ehr.example/fhir, RIS@ris.example:104"})
    assert [one.protocol for one in made.worklists] == ["fhir", "dimse"]


@pytest.mark.parametrize("text", ["prot = 3", "port = [", "port = 'x'", "port = true", "max_tries = 1.5"])
def test_wrong_file_says_what_was_expected(tmp_path: Path, text: str) -> None:
    path = tmp_path / "wetread.toml"
    path.write_text(text)
    with pytest.raises(SettingsError):
        load(path, {})


def test_a_misspelt_setting_is_told_the_one_that_was_meant(tmp_path: Path) -> None:
    path = tmp_path / "wetread.toml"
    path.write_text("[[destination]]")
    with pytest.raises(SettingsError, match=r"unknown setting 'destination'; did you mean 'destinations'\? known are"):
        load(path, {})
    path.write_text("zzz = 1")
    with pytest.raises(SettingsError, match="unknown setting 'zzz'; known are models"):
        load(path, {})


PACS = 'ae_title = "P"\nhost = "h"\nport = 104\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f'[[destinations]]\n{PACS}[[destinations]]\n{PACS}document = ["SR"]',
            "destinations, number 2: unknown key 'document'",
        ),
        ('[[archives]]\nhost = "h"\nport = 104', "archives, number 1: expected ae_title, got none"),
        (
            f"[[worklists]]\n{PACS}ports = 1",
            "worklists, number 1: unknown key 'ports'; expected some of ae_title, host",
        ),
        ('[[managers]]\nae_title = "P"\nuri = "https://h"', "managers, number 1: unknown key 'uri'"),
        (
            '[[peers]]\naddress = "10.1.2.3"',
            "peers, number 1: unknown key 'address'; expected some of ae_title, addresses",
        ),
        ("[[peers]]", "peers, number 1: expected ae_title and addresses, got none"),
        (f"[[destinations]]\n{PACS}documents = [1]", "documents: expected text or a list of texts, got .1."),
        (f"[[destinations]]\n{PACS}documents = {{}}", "documents: expected text or a list of texts"),
        (f'[[destinations]]\n{PACS}tls = "false"', "tls: expected true or false, got 'false'"),
        (f"[[destinations]]\n{PACS}tls_key = 5", "tls_key: expected text, got 5"),
        ('[[peers]]\nae_title = "P"\naddresses = [1]', "addresses: expected text or a list of texts"),
        ("destinations = 5", "setting destinations: expected text, or tables ..destinations.. .*, got int"),
        (
            f"[destinations]\n{PACS}",
            "setting destinations: expected text, or tables ..destinations.. .*, got one table .destinations",
        ),
        (
            f"[[destinations]]\n{PACS}[[destinations]]\n{PACS}documents = 'SC'",
            "destinations: expected each once, got P@h:104 twice; name it once with all its documents",
        ),
        ("peers = [[1]]", "setting peers: expected text, or tables ..peers.. .*, got list"),
    ],
)
def test_a_table_that_cannot_be_says_which_and_why(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "wetread.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=said):
        load(path, {})


def test_a_list_of_one_may_be_text(tmp_path: Path) -> None:
    path = tmp_path / "wetread.toml"
    path.write_text(
        f'[[destinations]]\n{PACS}documents = "SR"\n[[peers]]\nae_title = "P"\naddresses = "10.1.2.3"\nmay = "store"'
    )
    made = load(path, {})
    assert made.destinations == (Destination("P", "h", 104, ("SR",)),)
    assert made.peers == (Peer("P", ("10.1.2.3",), ("store",)),)


def test_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path / "none.toml", {})


@pytest.mark.parametrize("place", ["A@h:0", "A@h:65536", "A@https://h:65536/dicom-web", "A@mllp://h:0"])
def test_a_port_at_which_nobody_can_be_called_is_an_error(place: str) -> None:
    with pytest.raises(SettingsError, match="destination A"):
        load(environ={"WETREAD_DESTINATIONS": place})


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


def test_a_destination_that_gets_nothing_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "wetread.toml"
    path.write_text('[[destinations]]\nae_title = "P"\nhost = "h"\nport = 104\ndocuments = []\n')
    with pytest.raises(SettingsError, match="got none"):
        load(path, {})


@pytest.mark.parametrize(
    ("text", "protocol", "documents"),
    [
        ("P@h:1", "dimse", USUAL),
        ("P@https://h/dicom-web", "dicomweb", USUAL),
        ("P@mllp://h:2575", "hl7", ("ORU",)),
        ("P@mllps://h:2575", "hl7", ("ORU",)),
        ("P@fhir+https://h/fhir", "fhir", ("FHIR",)),
    ],
)
def test_the_address_names_the_protocol(text: str, protocol: str, documents: tuple[str, ...]) -> None:
    made = parse_destination(text)
    assert (made.protocol, made.documents) == (protocol, documents)


def test_a_protocol_carries_its_own_kinds() -> None:
    with pytest.raises(SettingsError, match="expected some of ORU, ORU-PDF, got SR"):
        Destination("EHR", url="mllp://h:2575", documents=("SR",))
    with pytest.raises(SettingsError, match="got another form"):
        parse_destination("P@ftp://h/x")


def test_a_rule_gives_a_destination_what_its_protocol_carries(tmp_path: Path) -> None:
    path = tmp_path / "wetread.toml"
    rule = '[[destinations]]\nae_title = "EHR"\nurl = "mllp://h:2575"\n[[routes]]\ndocuments = {{EHR = ["{}"]}}\n'
    path.write_text(rule.format("ORU-PDF"))
    assert load(path, {}).kinds == {"ORU", "ORU-PDF"}
    path.write_text(rule.format("SEG"))
    with pytest.raises(SettingsError, match="expected some of ORU, ORU-PDF, got SEG"):
        load(path, {})


def test_an_institution_may_have_64_characters() -> None:
    name = "Universitätsklinikum, Klinik für Radiologie".ljust(64, "x")
    assert load(environ={"WETREAD_INSTITUTION": name}).institution == name


def test_an_hl7_character_set_is_one_of_table_0211() -> None:
    assert load(environ={"WETREAD_HL7_CHARACTER_SET": "8859/1"}).hl7_character_set == "8859/1"
    with pytest.raises(SettingsError, match="expected one of ASCII"):
        load(environ={"WETREAD_HL7_CHARACTER_SET": "latin1"})


@pytest.mark.parametrize("text", ["PACS", "PACS@host", "@host:1", "PACS@host:port", "PACS@:1"])
def test_wrong_destination_says_the_form(text: str) -> None:
    with pytest.raises(SettingsError, match="AE@host:port"):
        parse_destination(text)


def test_every_setting_says_what_it_is() -> None:
    for field in dataclasses.fields(Settings):
        assert field.metadata["help"], field.name


RULES = """
[[destinations]]
ae_title = "PACS"
host = "pacs.invalid"
port = 104

[[routes]]
name = "stroke"
modality = ["CT", "MR"]
study_description = "*stroke*"
lane = "STAT"

[[routes]]
models = []
destinations = ["PACS"]
documents = { PACS = ["SR", "GSPS"] }
"""


def test_rules_come_from_tables(tmp_path: Path) -> None:
    path = tmp_path / "wetread.toml"
    path.write_text(RULES)
    settings = load(path, {})
    assert settings.routes == (
        Route(name="stroke", modality=("CT", "MR"), study_description=("*stroke*",), lane="STAT", number=1),
        Route(models=(), destinations=("PACS",), documents={"PACS": ("SR", "GSPS")}, number=2),
    )
    assert settings.kinds == {*USUAL, "GSPS"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('["PACS"]', '["PACS", "VNA"]', r"routes, rule 2: destination: expected PACS; got 'VNA'"),
        ("{ PACS", "{ VNA", r"routes, rule 2: destination: expected PACS; got 'VNA'"),
        ('"GSPS"]', '"GSP"]', r"routes, rule 2, documents PACS: expected some of SR, .*, got GSP"),
        ('["SR", "GSPS"]', "[]", r"routes, rule 2, documents PACS: expected some of SR, .*, got none"),
        ("lane =", "lanes =", r"routes, rule 1: unknown key 'lanes'"),
    ],
)
def test_a_wrong_rule_says_what_was_expected(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "wetread.toml"
    path.write_text(RULES.replace(old, new))
    with pytest.raises(SettingsError, match=said):
        load(path, {})


def test_the_old_spelling_of_rules_says_what_to_write(tmp_path: Path) -> None:
    path = tmp_path / "wetread.toml"
    path.write_text('[[lanes]]\nlane = "STAT"\ncalling_ae = "ED"\n')
    with pytest.raises(SettingsError, match=r"rename each \[\[lanes\]\] to \[\[routes\]\]"):
        load(path, {})
    with pytest.raises(SettingsError, match=r"becomes, in a file, \[\[routes\]\]"):
        load(environ={"WETREAD_LANES": "STAT=ED"})
    with pytest.raises(SettingsError, match=r"routes: expected tables \[\[routes\]\] in a settings file"):
        load(environ={"WETREAD_ROUTES": "STAT=ED"})


ALERTS = """
public_url = "https://node.example"
[[destinations]]
ae_title = "EHR"
url = "mllp://h:2575"
[[alerts]]
name = "bleeding"
findings = "1386000"
lanes = ["stat"]
to = ["EHR", "https://hooks.example/x"]
secret = "hook.key"
"""


def test_alerts_are_rules(tmp_path: Path) -> None:
    path = tmp_path / "wetread.toml"
    path.write_text(ALERTS)
    (rule,) = load(path, {}).alerts
    assert (rule.findings, rule.lanes, rule.within_s, rule.secret) == (("1386000",), ("STAT",), 300.0, Path("hook.key"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "bleeding"', "", "expected a name"),
        ('["stat"]', '["FAST"]', "lanes: expected some of STAT, URGENT, ROUTINE, got 'FAST'"),
        ('"EHR", "https', '"RIS", "https', "expected EHR, or the https:// URL of a webhook; got 'RIS'"),
        ("https://hooks", "http://hooks", "expected https://host/path"),
        ("https://hooks", "https://u:p@hooks", "expected https://host/path"),
        ('secret = "hook.key"', "", "expected the file of a key"),
        ('public_url = "https://node.example"', "", "expected public_url beside it"),
        ("findings", "finding", "unknown key 'finding'"),
        ('findings = "1386000"', "probability = 2", "expected 0 to 1"),
        ('findings = "1386000"', 'probability = "much"', "expected a number"),
        ('findings = "1386000"', "within_s = 0", "expected more than 0"),
        ('findings = "1386000"', 'acknowledged_by = "nobody"', "expected one of answer, person"),
        ('findings = "1386000"', "models = [1]", "expected text or a list of texts"),
        ("[[alerts]]", '[[alerts]]\nname = "bleeding"\n[[alerts]]', "'bleeding' twice"),
    ],
)
def test_an_impossible_alert_is_an_error(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "wetread.toml"
    assert old in ALERTS
    path.write_text(ALERTS.replace(old, new))
    with pytest.raises(SettingsError, match=said):
        load(path, {})


def test_critical_is_a_rule_now() -> None:
    with pytest.raises(SettingsError, match=r"becomes, in a file, \[\[alerts\]\]"):
        load(environ={"WETREAD_CRITICAL": "1386000"})
