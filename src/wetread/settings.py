"""Every setting once: name, default, unit, help.  The only place that reads the environment.

A setting comes, in rising order of precedence, from its default, from the TOML
file that ``--config`` or ``WETREAD_CONFIG`` names, from the environment
(``WETREAD_`` and the name in capitals) and from the command line.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from wetread import urls
from wetread.errors import SettingsError
from wetread.routes import Alert, BurnedIn, Route, alerts_of, burned_in_of, check_keys, is_hook, rule_of

#: Ports are below this.
PORTS = 1 << 16
#: The largest number, which the index can hold, and the longest time in seconds: a socket counts it in milliseconds,
#: of 31 bits.
MOST = (1 << 63) - 1
MOST_S = 1_000_000
#: Inference engines by name; `wetread.infer.engine` says what each needs.
ENGINES = ("openvino", "onnxruntime", "openvino-gpu", "cuda", "tensorrt")
#: Kinds of documents that a destination may ask for, and what it gets if it does not say.
#: Not by default: KOS would stand among the key images that people chose, GSPS is laid over
#: the image unasked by many viewers, PDF repeats the SC, and few readers know LABELMAP.
#: IMAGE is no document: each received object of the study goes on.
IMAGE = "IMAGE"
DICOM = ("SR", "SEG", "PM", "SC", "KOS", "GSPS", "PDF", "LABELMAP", IMAGE)
HL7 = ("ORU", "ORU-PDF")
USUAL = DICOM[:4]
#: Kinds that show the image with whatever is burned into it, and its UIDs: they never go out de-identified.
SHOWING = ("SC", "PDF")
#: What a de-identified copy may keep (PS3.15 Annex E, options), and what it keeps if nobody says.
OPTIONS = ("shifted-dates", "dates", "descriptors", "patient", "device", "institution", "safe-private")
KEPT = ("shifted-dates", "descriptors", "patient")
#: By the scheme of a destination's address: the protocol, what it can carry, and what it gets if it does not say.
PROTOCOLS = {
    "": ("dimse", DICOM, USUAL),
    "http": ("dicomweb", DICOM, USUAL),
    "https": ("dicomweb", DICOM, USUAL),
    "mllp": ("hl7", HL7, HL7[:1]),
    "mllps": ("hl7", HL7, HL7[:1]),
    "fhir+http": ("fhir", ("FHIR",), ("FHIR",)),
    "fhir+https": ("fhir", ("FHIR",), ("FHIR",)),
}


@dataclass(frozen=True, slots=True)
class Destination:
    """A PACS or record that gets results, by the protocol of its address; or an archive or worklist that is asked."""

    ae_title: str  # with `url`: a name for rules
    host: str = ""
    port: int = 0
    documents: tuple[str, ...] = ()  # empty: what is usual for its protocol
    tls: bool = False
    tls_certificate: Path = Path()  # ours for this destination; empty: the node's
    tls_key: Path = Path()
    tls_authority: Path = Path()  # who signed the destination's certificate
    tls_name: str = ""  # the name in the destination's certificate; empty: its host
    commitment: bool = False  # ask it to commit itself to what it was sent; until it did, nothing of it is deleted
    url: str = ""  # without host and port: https:// of a DICOMweb service, mllp:// or fhir+https:// of a record
    token: Path = Path()  # file of the token that it is shown: Authorization: Bearer
    client_id: str = ""  # of FHIR: our name at its authorization server, which gives tokens (SMART Backend Services)
    client_key: Path = Path()  # our private key there, PEM: RSA or P-384
    token_url: str = ""  # its token endpoint; empty: what the FHIR server names
    scope: str = ""  # that is asked for; empty: system/*.cruds
    deidentify: bool | tuple[str, ...] = False  # it gets de-identified copies; true, or the options (PS3.15 Annex E)

    def __post_init__(self) -> None:
        """Refuse a kind that does not exist: it would never be sent, without a word."""
        if not isinstance(self.commitment, bool):
            raise SettingsError(f"destination {self.ae_title}, commitment: expected true or false")
        _check_address(self)
        _check_deidentify(self)
        known = self.carries
        usual = tuple(kind for kind in PROTOCOLS[urlsplit(self.url).scheme][2] if kind in known)
        if unknown := sorted(set(self.documents) - set(known)):
            expected, got = ", ".join(known), ", ".join(unknown)
            raise SettingsError(f"destination {self.ae_title}, documents: expected some of {expected}, got {got}")
        object.__setattr__(self, "documents", self.documents or usual)
        files = (self.tls_certificate, self.tls_key, self.tls_authority)
        secure = self.tls or any(urlsplit(url).scheme.endswith("s") for url in (self.url, self.token_url))
        if any(file != Path() for file in files) and not secure:
            told = "a url of https, mllps or fhir+https" if self.url else "tls = true"
            raise SettingsError(f"destination {self.ae_title}: expected {told} beside tls files; got none")

    @property
    def protocol(self) -> str:
        """How results go there: "dimse", "dicomweb", "hl7" or "fhir"."""
        return PROTOCOLS[urlsplit(self.url).scheme][0]

    @property
    def carries(self) -> tuple[str, ...]:
        """The kinds of documents that its protocol carries, and that may go there."""
        kinds = PROTOCOLS[urlsplit(self.url).scheme][1]
        return tuple(kind for kind in kinds if kind not in SHOWING) if self.deidentify else kinds

    @property
    def options(self) -> tuple[str, ...]:
        """What a de-identified copy keeps, of `OPTIONS`."""
        return self.deidentify if isinstance(self.deidentify, tuple) else KEPT

    @property
    def names(self) -> tuple[str, str]:
        """By what rules may call it: AE@host:port or AE@URL, by which the outbox knows it, and the AE title."""
        return f"{self.ae_title}@{self.url or f'{self.host}:{self.port}'}", self.ae_title


def _check_address(destination: Destination) -> None:
    """Refuse an address that is none, and what DICOMweb cannot do.

    Raises
    ------
    SettingsError
        The message never repeats a URL: it might hold a password.
    """
    where = f"destination {destination.ae_title}"
    if not destination.url:
        if not is_title(destination.ae_title):
            raise SettingsError(f"{where}: ae_title: expected {TITLE}")
        if not destination.host:
            raise SettingsError(f"{where}: expected host and port, or url")
        if not _is_port(destination.port):
            raise SettingsError(f"{where}: port: expected 1 to {PORTS - 1}, got {destination.port!r}")
        if destination.token != Path():
            raise SettingsError(f"{where}: token: expected a url beside it")
        return
    parts = urls.split(destination.url)
    if parts is None or parts.scheme not in PROTOCOLS or {"@", "?", "#"} & set(destination.url):
        raise SettingsError(
            f"{where}: url: expected https://host/path, fhir+https://host/path or mllp://host:port, "
            "without user or query, got another form"
        )
    if destination.host or destination.port or destination.commitment or destination.tls:
        raise SettingsError(f"{where}: url: expected no host, port, tls or commitment beside it")
    by_smart = bool(destination.client_id), destination.client_key != Path()
    if any(by_smart) and not (all(by_smart) and parts.scheme.startswith("fhir+") and destination.token == Path()):
        raise SettingsError(f"{where}: client_id: expected client_key with it, a url of FHIR, and no token")
    if destination.token_url and urls.split(destination.token_url) is None:
        raise SettingsError(f"{where}: token_url: expected https://host/path, got another form")
    shown = [destination.url, destination.token_url or destination.url]
    if (any(by_smart) or destination.token != Path()) and not all(urls.is_secret(urls.split(one)) for one in shown):
        raise SettingsError(f"{where}: token: expected https, as anyone on the way could read it")


def _check_deidentify(destination: Destination) -> None:
    """Refuse what is no option, and what cannot be together with it."""
    where, asked = f"destination {destination.ae_title}, deidentify", destination.deidentify
    if not asked and not isinstance(asked, tuple):
        return
    options = asked if isinstance(asked, tuple) else KEPT
    if (asked is not True and not isinstance(asked, tuple)) or set(options) - set(OPTIONS) or not options:
        raise SettingsError(f"{where}: expected true, or a list of {', '.join(OPTIONS)}; got something else")
    if {"dates", "shifted-dates"} <= set(options):
        raise SettingsError(f"{where}: expected dates or shifted-dates, got both")
    if destination.protocol not in ("dimse", "dicomweb"):
        raise SettingsError(f"{where}: expected a DICOM destination, as HL7 and FHIR are about a named patient")
    if destination.commitment:
        raise SettingsError(f"{where}: expected no commitment beside it, as the copies have other UIDs")


#: What an AE title is, for people.
TITLE = "1 to 16 ASCII characters, without backslash or a space at either end"


def is_title(text: str) -> bool:
    """Whether a text is an AE title as it is compared, without padding: PS3.5 Section 6.2, VR AE."""
    printable = text.isascii() and text.isprintable() and "\\" not in text
    return printable and 1 <= len(text) <= 16 and text == text.strip()


def _is_port(number: Any) -> bool:
    """Whether a peer can be called there."""
    return type(number) is int and 0 < number < PORTS


#: What a node may leave out while it is behind its deadlines, what is missed least first.
STEPS = ("documents", "pictures", "builds", "routine")
#: The kinds of documents that a step leaves out.
LEFT_OUT = {"documents": ("PM", "GSPS", "PDF", "LABELMAP"), "pictures": ("SC",)}


#: What a peer may be allowed to do: C-ECHO, C-STORE, notices (IAN, MPPS, commitments), to ask us for commitments;
#: to send orders (HL7); `query` has no service yet.
RIGHTS = ("echo", "store", "notify", "commit", "order", "query")


@dataclass(frozen=True, slots=True)
class Peer:
    """A machine, or a network of them, that may call us.

    Raises
    ------
    SettingsError
        An address is none, there is no address, a right is unknown, or `commit` comes without a port.
    """

    ae_title: str  # its calling AE title; "*": any
    addresses: tuple[str, ...]  # IP addresses and networks, such as 10.1.2.0/24
    may: tuple[str, ...] = ("echo", "store")  # of `RIGHTS`
    host: str = ""  # where our reports of commitments go; empty: the address that it called from
    port: int = 0  # its DICOM port, for these reports
    tls: bool = False  # these reports go by TLS, with the node's files

    def __post_init__(self) -> None:
        if not self.ae_title or not self.addresses:
            raise SettingsError(f"peer: expected an AE title and addresses, got {self.ae_title!r}, {self.addresses}")
        if not is_title(self.ae_title):
            raise SettingsError(f"peer: ae_title: expected * or {TITLE}; got {self.ae_title!r}")
        for address in self.addresses:
            try:
                ipaddress.ip_network(address)
            except ValueError as error:
                raise SettingsError(
                    f"peer {self.ae_title}: expected an IP address or network such as 10.1.2.0/24, got {error}"
                ) from error
        if unknown := sorted(set(self.may) - set(RIGHTS)):
            raise SettingsError(f"peer {self.ae_title}: expected rights of {', '.join(RIGHTS)}, got {unknown[0]!r}")
        if "commit" in self.may and not _is_port(self.port):
            raise SettingsError(
                f"peer {self.ae_title}: the right commit needs port, where it takes the reports of storage commitment; "
                f"expected 1 to {PORTS - 1}, got {self.port!r}"
            )


def _setting(default: Any, text: str, unit: str = "", least: float = 0, most: float = MOST) -> Any:
    """A dataclass field that carries its own help and unit, and the bounds of a number, which belong to it."""
    most = MOST_S if unit == "s" else most
    return field(default=default, metadata={"help": text, "unit": unit, "least": least, "most": most})


@dataclass(frozen=True, slots=True)
class Settings:
    """The configuration of one Wetread process, passed in and never global."""

    models: Path = _setting(Path(), "folder of model folders; empty: the models that ship")
    engine: str = _setting("auto", "inference engine: auto, openvino, onnxruntime, openvino-gpu, cuda or tensorrt")
    build: str = _setting("auto", "build of each model: auto (fastest certified) or a build's name")
    threads: int = _setting(0, "inference threads; 0: all cores", "1", most=1024)
    deadline_ms: float = _setting(0.0, "a model that takes longer for one image is said to; 0: none", "ms")
    state: Path = _setting(Path("~/.local/state/wetread"), "folder for the spool, index and profile")
    ae_title: str = _setting("WETREAD", "our DICOM application entity title")
    host: str = _setting("127.0.0.1", "address to listen on")
    port: int = _setting(11112, "DICOM port; 0: one from the operating system", most=PORTS - 1)
    hl7_port: int = _setting(0, "port of orders, HL7 v2 by MLLP, on the address of `host`; 0: none", most=PORTS - 1)
    http_host: str = _setting("127.0.0.1", "address of the HTTP port")
    http_port: int = _setting(
        8042, "port of /health, /ready, /metrics and /dicomweb; 0: one from the system", most=PORTS - 1
    )
    http_tls: str = _setting(
        "", "TLS at the HTTP port, files as tls_certificate: server, or mutual: callers show theirs; empty: none"
    )
    dicomweb_tokens: Path = _setting(Path(), "file of tokens, one a line; given, DICOMweb clients must show one")
    dicomweb_origins: str = _setting("", "origins of web viewers that may call /dicomweb (CORS), comma-separated")
    viewer: Path = _setting(Path(), "folder of a web viewer (dist of @ohif/app), shown at / of the HTTP port")
    destinations: tuple[Destination, ...] = _setting(
        (), "where results go: AE@host:port, or NAME@URL of DICOMweb, MLLP or FHIR, with commas"
    )
    archives: tuple[Destination, ...] = _setting(
        (),
        "who is asked how many objects a study has, and pulled from: AE@host:port, or NAME@URL, with commas",
    )
    worklists: tuple[Destination, ...] = _setting(
        (), "who is asked for the orders of studies: AE@host:port, or NAME@fhir+https://... of FHIR, with commas"
    )
    managers: tuple[Destination, ...] = _setting(
        (), "worklist managers whose work items the node claims: NAME@URL of UPS-RS, comma-separated"
    )
    workitem_codes: str = _setting(
        "110004, 110003", "codes (DCM) of work items that the node performs itself, comma-separated; empty: none"
    )
    routes: tuple[Route, ...] = _setting((), "rules: what reads a series, in which lane, where results go; file only")
    alerts: tuple[Alert, ...] = _setting(
        (), "rules: which findings are critical, put their study into STAT, and are told to whom; file only"
    )
    burned_in: tuple[BurnedIn, ...] = _setting(
        (), "rules: which images have text burned into their pixels, and where; file only"
    )
    stat_deadline_s: float = _setting(60.0, "lane STAT: a result is late after this time", "s", least=1)
    urgent_deadline_s: float = _setting(600.0, "lane URGENT: a result is late after this time", "s", least=1)
    routine_deadline_s: float = _setting(3600.0, "lane ROUTINE: a result is late after this time", "s", least=1)
    degrade: str = _setting(", ".join(STEPS), "what is left out, step by step, while studies are late; empty: nothing")
    degrade_after_s: float = _setting(60.0, "a study has been late for so long before each step; 0: never", "s")
    max_waiting: int = _setting(2000, "studies without a result before new ones are answered 0xA700", "1", least=1)
    max_waiting_bytes: int = _setting(1 << 36, "their bytes before new ones are answered 0xA700", "byte", least=1 << 20)
    min_free_bytes: int = _setting(1 << 30, "free disk below which objects are answered 0xA700", "byte")
    stat_reserve: float = _setting(0.1, "STAT, and what has begun, may stretch these limits by this share", "1", most=1)
    peers: tuple[Peer, ...] = _setting(
        (), "who may call: AE@address or AE@network, comma-separated; empty: this machine"
    )
    tls_certificate: Path = _setting(Path(), "our certificate, PEM; given, the DICOM port speaks TLS only")
    tls_key: Path = _setting(Path(), "its private key, PEM, without a password")
    tls_authority: Path = _setting(Path(), "certificates of the authority that signed those of our peers, PEM")
    open_doors: str = _setting(
        "", "doors that anyone may use, unasked who they are: dicom, hl7, http, dicomweb; joined by +"
    )
    index_url: str = _setting("", "PostgreSQL that several nodes share, postgresql://...; empty: SQLite in `state`")
    lease_s: float = _setting(
        60.0, "a node that shares the index and is silent for so long has lost its work", "s", least=1
    )
    quiet_s: float = _setting(5.0, "fallback: a study is complete after this silence", "s")
    expect_s: float = _setting(300.0, "how long announced objects are waited for after the last one; 0: not", "s")
    peer_timeout_s: float = _setting(10.0, "how long a peer may take to answer", "s", least=0.1)
    retry_first_s: float = _setting(1.0, "wait before the first new try of a delivery", "s", least=0.01)
    retry_most_s: float = _setting(300.0, "longest wait between two tries of a delivery", "s", least=0.01)
    max_rejections: int = _setting(0, "refusals of a document by a destination before it is given up; 0: never", "1")
    max_tries: int = _setting(3, "readings of one study before it is set aside", "1", least=1)
    keep_days: float = _setting(7.0, "how long what a study left is kept after its delivery; 0: for ever", "d")
    keep_orders_days: float = _setting(
        90.0, "how long an order is known after the last message about it, and a merge; 0: for ever", "d"
    )
    least_free_bytes: int = _setting(1 << 31, "with less free space delivered studies go earlier; 0: never", "byte")
    max_pdu_bytes: int = _setting(1 << 20, "largest PDU that is accepted", "byte", least=1 << 14, most=(1 << 32) - 1)
    max_object_bytes: int = _setting(1 << 29, "largest DICOM object that is taken", "byte", least=1 << 20)
    idle_timeout_s: float = _setting(
        60.0,
        "an association without traffic, or an HTTP connection on which no request comes or no answer is read, is "
        "closed after this silence",
        "s",
        least=1,
    )
    max_pixels: int = _setting(100_000_000, "largest image that is decoded", "pixel", least=1 << 16, most=1 << 40)
    least_side: int = _setting(
        1000, "longer side down to which a JPEG 2000 film is decoded, documents keep its grid; 0: every pixel", "pixel"
    )
    max_series_pixels: int = _setting(
        500_000_000, "largest series that is put together", "pixel", least=1 << 16, most=1 << 40
    )
    readers: int = _setting(
        1,
        "studies that are read side by side, beside the one that is STAT; more use more memory",
        "1",
        least=1,
        most=64,
    )
    decoders: int = _setting(
        0, "processes that parse and decode what came from outside; 0: one more than `readers`", "1", most=256
    )
    decode_ahead: int = _setting(
        1,
        "studies of slices decoded, with time also read, while they come, each in its own process; 0: none",
        "1",
        most=256,
    )
    decoder_memory_bytes: int = _setting(
        1 << 32, "most memory of one of them; what needs more is not read", "byte", least=1 << 27
    )
    decoder_cpu_s: float = _setting(20.0, "most processor time of one of them for one file", "s", least=1)
    decoder_wall_s: float = _setting(60.0, "most time of one of them for one file", "s", least=1)
    max_associations: int = _setting(20, "DICOM associations at the same time", "1", least=1)
    institution: str = _setting("", "Institution Name (0008,0080) of our documents, up to 64 characters")
    public_url: str = _setting("", "where others reach the HTTP port, https://host:port, for links; empty: no links")
    hl7_character_set: str = _setting("UNICODE UTF-8", "of HL7 messages (Table 0211); what does not fit goes as UTF-8")
    fhir: str = _setting("", "FHIR version: R4, R4B or R5; given, /fhir serves results; empty: R4, and only if sent")
    fhir_systems: tuple[tuple[str, str], ...] = _setting(
        (), "AUTHORITY=URI, comma-separated: FHIR systems of identifiers; PATIENT, ACCESSION: of those without one"
    )
    otlp_endpoint: str = _setting("", "OpenTelemetry collector that gets spans by OTLP, http://host:4318; empty: none")
    log_level: str = _setting("INFO", "DEBUG, INFO, WARNING or ERROR")

    @property
    def models_dir(self) -> Path:
        """The folder of model folders in force."""
        return _at_home("models", self.models) if self.models != Path() else shipped_models()

    @property
    def state_dir(self) -> Path:
        """The folder of the spool, the index and the profile."""
        return _at_home("state", self.state)

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of documents that some destination gets; without any destination the usual ones."""
        ruled = (kind for rule in self.routes for kinds in rule.documents.values() for kind in kinds)
        asked = (kind for place in self.destinations for kind in place.documents)
        made = frozenset((*asked, *ruled)) - {IMAGE}
        return (made or frozenset(USUAL)) | ({"FHIR"} if self.fhir else set())

    @property
    def forwards(self) -> bool:
        """Whether some destination may get received objects."""
        ruled = (kinds for rule in self.routes for kinds in rule.documents.values())
        return any(IMAGE in kinds for kinds in (*ruled, *(place.documents for place in self.destinations)))

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps of `degrade` that may be taken here, in their order; none if there shall be none.

        With `build` auto the fastest certified builds read all the time.  A destination that gets no SR must
        not lose what it gets instead.
        """
        mute = {kind for place in self.destinations if "SR" not in place.documents for kind in place.documents}
        not_here = {step for step, kinds in LEFT_OUT.items() if mute & set(kinds)}
        not_here |= {"builds"} if self.build == "auto" else set()
        named = (step.strip() for step in self.degrade.split(","))
        return tuple(step for step in named if step and step not in not_here) if self.degrade_after_s else ()

    @property
    def ledger_path(self) -> Path:
        """Where the secret of de-identified copies lies, and the way back from them."""
        return self.state_dir / "deidentification.ledger"

    @property
    def profile_path(self) -> Path:
        """Where `wetread tune` remembers what it measured."""
        return self.state_dir / "profile.json"


def _at_home(name: str, path: Path) -> Path:
    """Return the folder of a setting with its ``~`` resolved.

    Raises
    ------
    SettingsError
        There is no such home.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise SettingsError(
            f"setting {name}: {path}: expected a home folder, found none; name another place with --{name}"
        ) from error


def shipped_models() -> Path:
    """The folder of the models that ship: inside the wheel, or beside `src` in a checkout."""
    here = Path(__file__).resolve().parent
    inside = here / "models"
    return inside if inside.is_dir() else here.parents[1] / "models"


def parse_destination(text: str) -> Destination:
    """Parse ``AE@host:port``, ``AE@host:port/SR+SEG``, or ``NAME@URL`` with a scheme of `PROTOCOLS`.

    Raises
    ------
    SettingsError
        The text has another form.
    """
    name, at, url = text.partition("@")
    if at and name and "://" in url:
        return Destination(name, url=url)
    address, _, kinds = text.partition("/")
    title, at, rest = address.partition("@")
    host, colon, port = rest.rpartition(":")
    if not (at and colon and title and host and port.isdigit()):
        raise SettingsError(f"destination: expected AE@host:port, got {text!r}; for example PACS@127.0.0.1:104")
    if kinds:
        return Destination(title, host, int(port), tuple(kinds.upper().split("+")))
    return Destination(title, host, int(port))


def parse_peer(text: str) -> Peer:
    """Parse ``AE@address`` or ``AE@network``; ``*`` as AE title means any.

    Raises
    ------
    SettingsError
        The text has another form.
    """
    title, at, address = text.rpartition("@")
    if not (at and title and address):
        raise SettingsError(f"peer: expected AE@address, got {text!r}; for example CT1@10.1.2.0/24")
    return Peer(title, (address,))


def _doors(raw: Any) -> str:
    """Doors of `open_doors`, or say which there are."""
    unknown = set(str(raw).split("+")) - {"dicom", "hl7", "http", "dicomweb", ""}
    if unknown:
        raise SettingsError(
            f"setting open_doors: expected some of dicom, hl7, http and dicomweb, joined by +, got {raw!r}"
        )
    return str(raw)


def _http_tls(raw: Any) -> str:
    """Who shows a certificate at the HTTP port, or say what there is."""
    if str(raw) not in ("", "server", "mutual"):
        raise SettingsError(f"setting http_tls: expected server, mutual or nothing, got {raw!r}")
    return str(raw)


def _title(raw: Any) -> str:
    """Our AE title; under another no caller would find us."""
    if not is_title(str(raw)):
        raise SettingsError(f"setting ae_title: expected {TITLE}; got {raw!r}")
    return str(raw)


def _engine(raw: Any) -> str:
    """One of `ENGINES`, or auto."""
    if raw not in ("auto", *ENGINES):
        raise SettingsError(f"setting engine: expected auto or one of {', '.join(ENGINES)}, got {raw!r}")
    return str(raw)


def _steps(raw: Any) -> str:
    """Steps of `degrade`, each once, or say which there are."""
    named = [part.strip().lower() for part in str(raw).split(",") if part.strip()]
    if set(named) - set(STEPS) or len(set(named)) != len(named):
        raise SettingsError(f"setting degrade: expected some of {', '.join(STEPS)}, each once, got {raw!r}")
    return ", ".join(named)


def _base_url(name: str) -> Callable[[Any], str]:
    """Base URL, without what would stand in a log as a secret."""

    def parsed(raw: Any) -> str:
        text = str(raw)
        if text and (
            not text.startswith(("http://", "https://")) or urls.split(text) is None or set("@?#") & set(text)
        ):
            raise SettingsError(
                f"setting {name}: expected a URL without user or query such as http://127.0.0.1:4318, got another"
            )
        return text

    return parsed


#: HL7 Table 0211, as far as one set is enough for a whole message.
CHARACTER_SETS = ("ASCII", *(f"8859/{part}" for part in (*range(1, 10), 15)), "GB 18030-2000", "UNICODE UTF-8")


def _character_set(raw: Any) -> str:
    if raw not in CHARACTER_SETS:
        raise SettingsError(f"setting hl7_character_set: expected one of {', '.join(CHARACTER_SETS)}, got {raw!r}")
    return str(raw)


def _institution(raw: Any) -> str:
    """Name that fits into Institution Name."""
    name = str(raw)
    if len(name) > 64 or "\\" in name or not name.isprintable():
        raise SettingsError(
            f"setting institution: expected one line of up to 64 characters (VR LO) without a backslash, got {name!r}, "
            f"{len(name)} characters"
        )
    return name


def _fhir(raw: Any) -> str:
    """Version of FHIR, or none."""
    version = str(raw).upper()
    if version not in ("", "R4", "R4B", "R5"):
        raise SettingsError(f"setting fhir: expected R4, R4B, R5 or nothing, got {raw!r}")
    return version


def _systems(raw: Any) -> tuple[tuple[str, str], ...]:
    """Pairs of authority and URI, from text or a table of a settings file."""
    if isinstance(raw, str):
        raw = [part.strip().split("=", 1) for part in raw.split(",") if part.strip()]
    pairs = tuple(
        (str(one[0]).strip(), str(one[-1]).strip()) for one in (raw.items() if isinstance(raw, dict) else raw)
    )
    if not all(name and uri.startswith(("urn:", "http://", "https://")) for name, uri in pairs):
        raise SettingsError(
            "setting fhir_systems: expected AUTHORITY=URI such as PATIENT=urn:oid:1.2.3, with commas; got another"
        )
    return pairs


def _value(name: str, kind: Any, raw: Any) -> Any:
    """Turn a raw value into the type of its setting, or say what was expected."""
    try:
        if name in _PARSERS:
            return _PARSERS[name](raw)
        if kind in ("int", "float"):
            number, within = _number(kind, raw), _FIELDS[name].metadata
            if not within["least"] <= number <= within["most"]:
                raise ValueError("out of bounds")
            return number
        return _place(str(raw)) if kind == "Path" else str(raw)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"setting {name}: expected {_expected(name, kind)}, got {raw!r}") from error


def _place(text: str) -> Path:
    """Return a path; this folder, if it is named, by its whole name, as ``Path()`` says that nothing is."""
    path = Path(text)
    return Path.cwd() if text and path == Path() else path


def _number(kind: str, raw: Any) -> int | float:
    """Return a number of the setting's kind; a file's true and 1.5 are no whole numbers."""
    if isinstance(raw, bool) or (kind == "int" and isinstance(raw, float)):
        raise TypeError(kind)
    return int(raw) if kind == "int" else float(raw)


def _expected(name: str, kind: Any) -> str:
    """Say what values a setting takes."""
    if name == "port" or name.endswith("_port"):
        return f"a port, 0 to {PORTS - 1}"
    what = {"int": "a whole number", "float": "a number"}.get(kind)
    return f"{what}, {bounds(name)}" if what else str(kind)


def bounds(name: str) -> str:
    """Say between what a setting that is a number must lie; "" of all others."""
    one = _FIELDS[name]
    if one.type not in ("int", "float"):
        return ""
    least, most = one.metadata["least"], one.metadata["most"]
    return f"{least} or more" + ("" if most == MOST else f", at most {most}")


#: The settings by name.
_FIELDS = {item.name: item for item in fields(Settings)}


def _records(name: str, kind: type[Any], parse: Callable[[str], Any]) -> Callable[[Any], tuple[Any, ...]]:
    """Records from text, or from the tables of a settings file."""

    def parsed(raw: Any) -> tuple[Any, ...]:
        items = [part.strip() for part in raw.split(",") if part.strip()] if isinstance(raw, str) else raw
        listed = isinstance(items, list | tuple)
        other = [type(one).__name__ for one in (items if listed else ()) if not isinstance(one, kind | str | Mapping)]
        if other or not listed:
            got = f"one table [{name}]" if isinstance(raw, Mapping) else (*other, type(raw).__name__)[0]
            raise SettingsError(f"setting {name}: expected text, or tables [[{name}]] in a settings file, got {got}")
        return tuple(_record(f"{name}, number {number}", one, kind, parse) for number, one in enumerate(items, 1))

    return parsed


def _routes(raw: Any) -> tuple[Route, ...]:
    """Rules from the tables of a settings file."""
    if not isinstance(raw, list | tuple):
        raise SettingsError(f"routes: expected tables [[routes]] in a settings file, got {raw!r}; see --config")
    return tuple(one if isinstance(one, Route) else rule_of(one, number) for number, one in enumerate(raw, 1))


def _level(raw: Any) -> str:
    """One of the levels of the log, in either case."""
    if str(raw).upper() not in LEVELS:
        raise SettingsError(f"setting log_level: expected {', '.join(LEVELS)}, got {raw!r}")
    return str(raw).upper()


#: What a log holds at least.
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
#: Settings that are more than a number, a path or a word.
_PARSERS: dict[str, Callable[[Any], Any]] = {
    "destinations": _records("destinations", Destination, parse_destination),
    "archives": _records("archives", Destination, parse_destination),
    "worklists": _records("worklists", Destination, parse_destination),
    "managers": _records("managers", Destination, parse_destination),
    "peers": _records("peers", Peer, parse_peer),
    "routes": _routes,
    "alerts": alerts_of,
    "burned_in": burned_in_of,
    "ae_title": _title,
    "engine": _engine,
    "http_tls": _http_tls,
    "log_level": _level,
    "open_doors": _doors,
    "degrade": _steps,
    "otlp_endpoint": _base_url("otlp_endpoint"),
    "public_url": _base_url("public_url"),
    "hl7_character_set": _character_set,
    "institution": _institution,
    "fhir": _fhir,
    "fhir_systems": _systems,
}


def _check_destinations(settings: Settings) -> None:
    """Refuse a destination that stands there twice: only what the last of them asks for would go there."""
    names = [one.names[0] for one in settings.destinations]
    if twice := [name for name in names if names.count(name) > 1]:
        raise SettingsError(
            f"destinations: expected each once, got {twice[0]} twice; name it once with all its documents"
        )


def _check_routes(settings: Settings) -> None:
    """Refuse a rule that names a destination or a kind of document that does not exist."""
    places = {name: one for one in settings.destinations for name in one.names}
    expected = ", ".join(one.ae_title for one in settings.destinations) or "no destination, as none is set"
    for rule in settings.routes:
        for name in (*(rule.destinations or ()), *rule.documents):
            if name not in places:
                raise SettingsError(f"routes, {rule.label}: destination: expected {expected}; got {name!r}")
        for name, kinds in rule.documents.items():
            known = places[name].carries
            if not kinds or set(kinds) - set(known):
                got = ", ".join(sorted(set(kinds) - set(known))) or "none"
                told = f"expected some of {', '.join(known)}, got {got}"
                raise SettingsError(f"routes, {rule.label}, documents {name}: {told}")


def _check_alerts(settings: Settings) -> None:
    """Refuse a rule that would tell a destination that there is not, or that takes no message."""
    places = {name for one in settings.destinations if one.protocol in ("hl7", "fhir") for name in one.names}
    for rule in settings.alerts:
        for target in rule.to:
            if not is_hook(target) and target not in places:
                known = ", ".join(sorted(name for name in places if "@" not in name))
                expected = known or "a destination with mllp:// or fhir+https://"
                told = f"expected {expected}, or the https:// URL of a webhook; got {target!r}"
                raise SettingsError(f"alerts, {rule.name}, to: {told}")
            if not is_hook(target) and rule.acknowledged_by == "person" and not settings.public_url:
                told = "expected public_url beside it, as a message must say where a person acknowledges; got none"
                raise SettingsError(f"alerts, {rule.name}, acknowledged_by: {told}")


#: What became of settings that there are no more.
GONE = {
    "critical": "critical findings have rules now, which put their study into STAT and may tell somebody: "
    'critical = "1386000" becomes, in a file, [[alerts]] with name = "bleeding" and findings = "1386000"',
    "lanes": "rules for lanes are routes now: rename each [[lanes]] to [[routes]], its keys stay; "
    'WETREAD_LANES="STAT=ED_*" becomes, in a file, [[routes]] with lane = "STAT" and calling_ae = "ED_*"',
}


def _record(where: str, item: Any, kind: type[Any], parse: Callable[[str], Any]) -> Any:
    if not isinstance(item, Mapping):
        return parse(item) if isinstance(item, str) else item
    check_keys(where, item, kind)
    if missing := [one.name for one in fields(kind) if one.default is MISSING and one.name not in item]:
        raise SettingsError(f"{where}: expected {' and '.join(missing)}, got none")
    return kind(**{name: _field(f"{where}, {name}", name, value) for name, value in item.items()})


#: Fields of records that are text.
WORDS = ("ae_title", "host", "tls_name", "url", "client_id", "token_url", "scope")
#: Fields of records that name files.
FILES = ("tls_certificate", "tls_key", "tls_authority", "token", "client_key")
#: Fields of records that are a text or several.
LISTS = ("documents", "addresses", "may")


def _field(where: str, name: str, value: Any) -> Any:
    if (name in WORDS and not isinstance(value, str)) or (name in FILES and not isinstance(value, str | Path)):
        raise SettingsError(f"{where}: expected text, got {value!r}")
    if name == "tls" and not isinstance(value, bool):
        raise SettingsError(f"{where}: expected true or false, got {value!r}")
    if name in LISTS:
        value = [value] if isinstance(value, str) else value
        if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
            raise SettingsError(f"{where}: expected text or a list of texts, got {value!r}")
        if name == "documents" and not value:
            raise SettingsError(f"{where}: expected at least one kind, got none")
    if isinstance(value, list):
        return tuple(value)
    return Path(value) if name in FILES else value


def load(
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
    **given: Any,
) -> Settings:
    """Gather the settings from file, environment and command line.

    Parameters
    ----------
    config
        TOML file; without it the one that ``WETREAD_CONFIG`` names, if any.
    environ
        The environment; the process's own by default.
    given
        Values from the command line; None means not given.

    Raises
    ------
    SettingsError
        An unknown name, a value of the wrong type, a destination that stands there twice, a rule
        that names one that there is not, or a file that cannot be read.
    """
    environ = os.environ if environ is None else environ
    kinds = {item.name: item.type for item in fields(Settings)}
    raw: dict[str, Any] = {}
    path = config or (Path(environ["WETREAD_CONFIG"]) if environ.get("WETREAD_CONFIG") else None)
    if path is not None:
        raw.update(_read_file(path))
    raw.update({name: environ[f"WETREAD_{name.upper()}"] for name in kinds if f"WETREAD_{name.upper()}" in environ})
    raw.update({name: value for name, value in given.items() if value is not None})
    gone = [name for name in GONE if name in raw or f"WETREAD_{name.upper()}" in environ]
    if gone:
        raise SettingsError(f"setting {gone[0]!r} is gone: {GONE[gone[0]]}")
    unknown = sorted(set(raw) - set(kinds))
    if unknown:
        near = [f"did you mean {name!r}?" for name in difflib.get_close_matches(unknown[0], kinds, 1)]
        told = " ".join((f"unknown setting {unknown[0]!r};", *near, f"known are {', '.join(kinds)}"))
        raise SettingsError(told)
    made = replace(Settings(), **{name: _value(name, kinds[name], value) for name, value in raw.items()})
    _check_destinations(made)
    _check_routes(made)
    _check_alerts(made)
    if any(one.protocol not in ("dimse", "fhir") for one in made.worklists):
        raise SettingsError("worklists: expected AE@host:port or NAME@fhir+https://host/path, got another protocol")
    if any(one.protocol != "dicomweb" for one in made.managers):
        raise SettingsError("managers: expected NAME@URL of a worklist service (UPS-RS), got another protocol")
    if any(one.protocol not in ("dimse", "dicomweb") for one in made.archives):
        raise SettingsError("archives: expected AE@host:port or NAME@URL of DICOMweb, got another protocol")
    return replace(
        made,
        destinations=tuple(with_files(one, made) for one in made.destinations),
        archives=tuple(with_files(one, made) for one in made.archives),
        worklists=tuple(with_files(one, made) for one in made.worklists),
    )


#: Of the command's own variables those that are no setting.
VARIABLES = ("WETREAD_CONFIG", "WETREAD_DATA")


def strangers(environ: Mapping[str, str] | None = None) -> list[str]:
    """Return the variables that are named as settings are and set none, such as WETREAD_PEER.

    They are no error: Kubernetes makes some for each service, and this one's name may be ours.
    """
    known = {*VARIABLES, *(f"WETREAD_{name.upper()}" for name in _FIELDS)}
    given = os.environ if environ is None else environ
    return sorted(name for name in given if name.startswith("WETREAD_") and name not in known)


def with_files(destination: Destination, settings: Settings) -> Destination:
    """A destination, archive or worklist by TLS that names no files of its own uses the node's."""
    names = ("tls_certificate", "tls_key", "tls_authority")
    if not destination.tls or any(getattr(destination, name) != Path() for name in names):
        return destination
    return replace(destination, **{name: getattr(settings, name) for name in names})


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"settings file {path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"settings file {path}: expected UTF-8, got another encoding at byte {error.start}"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"settings file {path}: is not TOML: {error}") from error
