"""TLS in both directions: who gets in, what is said of who does not, and that nobody waits for anyone."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.certificates import Authority, Side
from tests.wire.objects import CR, film
from tests.wire.test_listener import Bench
from wetread.errors import PeerRefused, PeerUnreachable, SettingsError
from wetread.serve import doctor
from wetread.settings import Destination, Peer, Settings, load
from wetread.wire import associate, tls
from wetread.wire.access import check_exposure, who_may_call
from wetread.wire.associate import Associate, Context
from wetread.wire.dimse import Listener, echo, send
from wetread.wire.guard import Guard
from wetread.wire.part10 import EXPLICIT_LITTLE
from wetread.wire.transport import Pdu

pytestmark = pytest.mark.peer  # certificates are made by the program openssl

SETTINGS = Settings(port=0, peer_timeout_s=2.0)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def node(authority: Authority) -> Side:
    return authority.issue("node")


@pytest.fixture(scope="module")
def caller(authority: Authority) -> Side:
    return authority.issue("caller")


@pytest.fixture
def listening() -> Iterator[Callable[..., Bench]]:
    with ExitStack() as stack:

        def make(**given: object) -> Bench:
            made = Bench(replace(SETTINGS, **given))  # type: ignore[arg-type]
            stack.callback(made.listener.stop, 0.5)
            return made

        yield make


@pytest.fixture
def bench(listening: Callable[..., Bench], node: Side) -> Bench:
    return listening(**node.settings)


def secure(bench: Bench, side: Side, **given: object) -> Destination:
    """The listener as a destination by TLS."""
    return replace(bench.destination, tls=True, **side.settings, **given)  # type: ignore[arg-type]


def refusals(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Reason and detail of each refused connection in the log; the peer may learn it a moment before."""
    end = time.monotonic() + 2.0
    while "association refused" not in caplog.messages and time.monotonic() < end:
        time.sleep(0.01)
    found = [one for one in caplog.records if one.getMessage() == "association refused"]
    return [(str(one.__dict__["reason"]), str(one.__dict__.get("detail", ""))) for one in found]


def test_both_show_a_certificate_and_objects_come_through(bench: Bench, caller: Side) -> None:
    items = [film(instance=f"1.2.3.1.{n}", size=400_000) for n in range(3)]
    assert echo(secure(bench, caller)) < 2.0
    assert send(secure(bench, caller), items) == [0, 0, 0]
    assert [kept.data for kept in bench.objects] == items


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions_and_suites(bench: Bench, caller: Side, version: ssl.TLSVersion) -> None:
    context = tls.Files(caller.certificate, caller.key, caller.authority).context(server=False)
    context.maximum_version = version
    with context.wrap_socket(bench.connect(), server_hostname="127.0.0.1") as sock:
        cipher = sock.cipher()
        assert cipher is not None
        assert "GCM" in cipher[0] or "CHACHA20" in cipher[0]
        assert version is not ssl.TLSVersion.TLSv1_2 or cipher[0] in tls.SUITES


def test_old_versions_and_suites_are_refused(bench: Bench, caller: Side) -> None:
    context = tls.Files(caller.certificate, caller.key, caller.authority).context(server=False)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA")
    with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
        context.wrap_socket(bench.connect(), server_hostname="127.0.0.1")
    assert {
        context.minimum_version for context in (tls.Files(*files(caller)).context(side) for side in (True, False))
    } == {ssl.TLSVersion.TLSv1_2}


def files(side: Side) -> tuple[Path, Path, Path]:
    """The three files of a side."""
    return side.certificate, side.key, side.authority


def test_no_certificate(bench: Bench, caller: Side, caplog: pytest.LogCaptureFixture) -> None:
    context = ssl.create_default_context(cafile=caller.authority)
    sock = context.wrap_socket(bench.connect(), server_hostname="127.0.0.1")
    with sock, pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
        sock.recv(1)
    assert refusals(caplog) == [("TLS handshake", "TLS: the peer showed no certificate")]


def test_a_reset_while_tls_begins_ends_nothing_else(
    bench: Bench, caller: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_context: ssl.SSLContext, sock: socket.socket, **_given: object) -> None:
        socket.socket(fileno=sock.detach()).close()  # as `ssl.SSLSocket` leaves it
        raise OSError("the peer is gone")

    with monkeypatch.context() as patched, bench.connect() as sock:
        patched.setattr(ssl.SSLContext, "wrap_socket", broken)
        sock.send(b"\x16\x03\x01")
        with suppress(ConnectionResetError):
            assert sock.recv(1) == b""
    assert echo(secure(bench, caller)) < 2.0


def test_whatever_goes_wrong_over_one_connection_the_port_stays_open(
    bench: Bench, caller: Side, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def wrong(_guard: Guard, _waiting: object) -> None:
        raise RuntimeError("unforeseen")

    with monkeypatch.context() as patched, bench.connect() as sock:
        patched.setattr(Guard, "_read", wrong)
        sock.send(b"\x16\x03\x01")
        with suppress(ConnectionResetError):
            assert sock.recv(1) == b""
    assert echo(secure(bench, caller)) < 2.0
    assert "connection dropped" in caplog.messages


def test_a_certificate_of_another_authority(
    bench: Bench, tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = Authority(tmp_path / "other", "Other").issue("stranger", trusts=authority.certificate)
    with pytest.raises(PeerUnreachable, match="does not know the authority of our certificate"):
        echo(secure(bench, stranger))
    ((reason, detail),) = refusals(caplog)
    assert reason == "TLS handshake"
    assert "certificate" in detail


def test_a_node_of_another_authority(bench: Bench, tmp_path: Path) -> None:
    distrustful = Authority(tmp_path / "other", "Other").issue("distrustful")
    with pytest.raises(PeerUnreachable, match="the certificate of the peer is refused"):
        echo(secure(bench, distrustful))


def test_a_certificate_for_another_host(bench: Bench, caller: Side, listening: Callable[..., Bench]) -> None:
    with pytest.raises(PeerUnreachable, match="refused: Hostname mismatch"):
        echo(secure(bench, caller, tls_name="pacs.example"))
    assert echo(secure(bench, caller, tls_name="localhost")) < 2.0


def test_tls_to_a_plain_port(listening: Callable[..., Bench], caller: Side, caplog: pytest.LogCaptureFixture) -> None:
    bench = listening()
    with pytest.raises(PeerUnreachable, match="the peer does not speak TLS at this port"):
        echo(secure(bench, caller))
    assert [reason for reason, _ in refusals(caplog)] == ["TLS at a plain port"]
    assert echo(bench.destination) < 1.0


def test_a_plain_caller_at_a_tls_port(bench: Bench, caller: Side, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(PeerRefused, match="does it expect TLS"):
        echo(bench.destination)
    assert refusals(caplog) == [("no TLS at a TLS port", "")]
    assert echo(secure(bench, caller)) < 2.0


def test_a_plain_caller_at_a_foreign_tls_port(node: Side) -> None:
    context = tls.Files(*files(node)).context(server=True)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            sock, _ = server.accept()
            with pytest.raises(ssl.SSLError):
                context.wrap_socket(sock, server_side=True)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(PeerUnreachable, match="needs tls = true"):
            echo(Destination("X", "127.0.0.1", server.getsockname()[1]), timeout_s=2.0)
        thread.join()


def test_500_sockets_that_do_not_finish_the_handshake_delay_nobody(bench: Bench, caller: Side) -> None:
    hello = ssl.MemoryBIO()
    context = tls.Files(*files(caller)).context(server=False)
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), hello, server_hostname="127.0.0.1").do_handshake()
    data = hello.read()
    with ExitStack() as stack:
        for number in range(500):
            sock = stack.enter_context(bench.connect())
            sock.sendall((b"", data[:1], data[:40], data)[number % 4])
        assert echo(secure(bench, caller)) < 1.0
        assert bench.listener.associations <= 1


def test_one_that_is_silent_after_the_handshake_is_closed(
    listening: Callable[..., Bench], node: Side, caller: Side
) -> None:
    bench = listening(**node.settings, peer_timeout_s=0.5)
    context = tls.Files(*files(caller)).context(server=False)
    with context.wrap_socket(bench.connect(), server_hostname="127.0.0.1") as sock:
        begin = time.monotonic()
        assert sock.recv(1) == b""
        assert 0.2 < time.monotonic() - begin < 3.0


def test_a_request_in_drops_and_data_behind_it(bench: Bench, caller: Side) -> None:
    context = tls.Files(*files(caller)).context(server=False)
    wish = Associate("WETREAD", "TEST", (Context(1, CR, (EXPLICIT_LITTLE,)),), 16384)
    data = associate.encode(Pdu.ASSOCIATE_RQ, wish)
    with context.wrap_socket(bench.connect(), server_hostname="127.0.0.1") as sock:
        for begin in range(0, 90, 30):
            sock.sendall(data[begin : begin + 30])
        sock.sendall(data[90:] + bytes((Pdu.RELEASE_RQ, 0, 0, 0, 0, 4, 0, 0, 0, 0)))  # in one record
        raw = b""
        while piece := sock.recv(1 << 16):
            raw += piece
    assert raw[0] == Pdu.ASSOCIATE_AC
    assert raw[-10] == Pdu.RELEASE_RP


def test_the_list_holds_behind_tls_too(listening: Callable[..., Bench], node: Side, caller: Side) -> None:
    bench = listening(**node.settings, peers=(Peer("CT1", ("127.0.0.1",)),))
    assert echo(secure(bench, caller), "CT1") < 2.0
    with pytest.raises(PeerRefused, match="calling AE title not recognized"):
        echo(secure(bench, caller), "CT2")


def test_certificates_are_exchanged_under_load(
    listening: Callable[..., Bench], tmp_path: Path, authority: Authority, caller: Side
) -> None:
    used = Side(tmp_path / "node.pem", tmp_path / "node.key", tmp_path / "authority.pem")

    def put(side: Side) -> None:
        for source, target in zip(files(side), files(used), strict=True):
            shutil.copy(source, target.with_suffix(".new"))
            os.replace(target.with_suffix(".new"), target)
            time.sleep(0.02)  # for a moment key and certificate do not fit together

    put(authority.issue("first"))
    bench = listening(**used.settings)
    over = threading.Event()
    statuses: list[int] = []
    failures: list[Exception] = []

    def load_it(number: int) -> None:
        while not over.is_set():
            try:
                statuses.extend(send(secure(bench, caller), [film(instance=f"1.2.3.{number}", size=50_000)] * 3))
            except Exception as error:  # noqa: BLE001 - the test asks for none
                failures.append(error)

    threads = [threading.Thread(target=load_it, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    shown = []
    for number in range(4):
        put(authority.issue(f"next{number}"))
        context = tls.Files(*files(caller)).context(server=False)
        with context.wrap_socket(bench.connect(), server_hostname="127.0.0.1") as sock:
            certificate = sock.getpeercert()
            assert certificate is not None
            shown.append(certificate["subject"][0][0][1])
    over.set()
    for thread in threads:
        thread.join()
    assert shown == [f"next{number}" for number in range(4)]
    assert not failures
    assert len(statuses) >= 9
    assert not any(statuses)


def test_a_withdrawn_authority_lets_nobody_in(
    listening: Callable[..., Bench], tmp_path: Path, authority: Authority, caller: Side
) -> None:
    used = authority.issue("withdrawing", trusts=tmp_path / "trusted.pem")
    shutil.copy(authority.certificate, used.authority)
    bench = listening(**used.settings)
    assert echo(secure(bench, caller)) < 2.0
    shutil.copy(Authority(tmp_path / "other", "Other").certificate, used.authority)
    with pytest.raises(PeerUnreachable, match="TLS"):
        echo(secure(bench, caller))


def test_broken_files_leave_the_last_in_force(
    listening: Callable[..., Bench], authority: Authority, caller: Side, caplog: pytest.LogCaptureFixture
) -> None:
    side = authority.issue("broken")
    bench = listening(**side.settings)
    side.certificate.write_text("no certificate")
    assert echo(secure(bench, caller)) < 2.0
    assert "TLS files not read; the last remain in force" in caplog.messages


@pytest.mark.parametrize("name", ["tls_certificate", "tls_key", "tls_authority"])
def test_files_that_cannot_be_used_are_said_at_start(authority: Authority, tmp_path: Path, name: str) -> None:
    good = authority.issue("good").settings
    with pytest.raises(SettingsError, match="expected tls_certificate, tls_key and tls_authority together"):
        Listener(replace(SETTINGS, **{**good, name: Path()}), lambda received: 0).start()
    with pytest.raises(SettingsError, match="cannot be used: No such file"):
        Listener(replace(SETTINGS, **{**good, name: tmp_path / "none.pem"}), lambda received: 0).start()


def test_a_key_with_a_password_does_not_wait_for_the_terminal(authority: Authority, tmp_path: Path) -> None:
    import subprocess

    side = authority.issue("locked")
    locked = tmp_path / "locked.key"
    command = ["openssl", "ec", "-in", str(side.key), "-aes256", "-passout", "pass:secret", "-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    with pytest.raises(SettingsError, match="cannot be used"):
        Listener(replace(SETTINGS, **{**side.settings, "tls_key": locked}), lambda received: 0).start()


def test_a_destination_uses_its_own_files_or_the_nodes(tmp_path: Path, node: Side, caller: Side) -> None:
    path = tmp_path / "wetread.toml"
    lines = [f'{name} = "{file}"' for name, file in node.settings.items()]
    head = '[[destinations]]\nhost = "h"\nport = 2762\n'
    lines += [f'{head}ae_title = "A"\ntls = true', f'{head}ae_title = "B"', f'{head}ae_title = "C"\ntls = true']
    lines += [f'{name} = "{file}"' for name, file in caller.settings.items()]
    path.write_text("\n".join(lines))
    a, b, c = load(path, {}).destinations
    assert (a.tls_certificate, b.tls_certificate, c.tls_certificate) == (node.certificate, Path(), caller.certificate)
    assert [tls.connect_context(one) is None for one in (a, b, c)] == [False, True, False]
    with pytest.raises(SettingsError, match="got none"):
        tls.connect_context(Destination("A", "h", 2762, tls=True))


def test_when_a_certificate_ends(authority: Authority, tmp_path: Path) -> None:
    ends = tls.ends_at(authority.issue("lasting", days=10).certificate)
    assert timedelta(days=9, hours=23) < ends - datetime.now(UTC) < timedelta(days=10, hours=1)
    far = tls.ends_at(authority.issue("far", days=20000).certificate)  # after 2049: GeneralizedTime
    assert far.year >= datetime.now(UTC).year + 54
    (tmp_path / "none.pem").write_text("no certificate")
    for path in (tmp_path / "none.pem", tmp_path / "missing.pem"):
        with pytest.raises(SettingsError, match="expected a certificate in PEM"):
            tls.ends_at(path)


@pytest.mark.parametrize(("days", "ok"), [(10, False), (60, True)])
def test_the_doctor_tells_when_a_certificate_ends(authority: Authority, days: int, ok: bool) -> None:
    side = authority.issue("examined", days)
    pacs = Destination("PACS", "h", 2762, tls=True, **side.settings)
    rows = [row for row in doctor._doors(Settings(destinations=(pacs,))) if row.what == "certificate PACS"]
    assert [row.ok for row in rows] == [ok]
    assert f"ends in {days - 1} days" in rows[0].found
    side.key.write_text("")
    (row,) = [row for row in doctor._doors(Settings(**side.settings)) if row.what == "certificate WETREAD"]
    assert not row.ok
    assert "cannot be used" in row.remedy


def test_tls_stands_for_a_list(node: Side) -> None:
    settings = Settings(host="0.0.0.0", **node.settings)
    check_exposure(settings)
    assert "certificate of our authority" in who_may_call(settings)
