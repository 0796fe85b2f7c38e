"""The side that takes HL7 messages: one thread and one event loop, however many peers there are and however slow.

A peer that is not on the list, or does not speak MLLP, or begins a message and does not end it, is cut off.  One that
is silent between messages may stay: interface engines keep their connection for days.  When there are too many, the
one that was silent longest goes first.  Messages of one connection are answered one after the other.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from wetread.errors import SettingsError
from wetread.settings import Settings
from wetread.wire.access import Access, Refusal
from wetread.wire.mllp import BadFrame, Unframe, frame
from wetread.wire.tls import Files, Rotating, reason

log = logging.getLogger("wetread.wire")

MOST_CONNECTIONS = 64
CHUNK = 1 << 16
WORKERS = 4  # messages that are being kept at the same time
PAUSE_S = 0.05  # when nothing can be accepted

#: Keeps a message, and returns its answers; it may wait for the disk.  Called from several threads.
OnMessage = Callable[[bytes, str], Sequence[bytes]]
#: Told why a connection was cut off.
OnRefusal = Callable[[Refusal], None]


@dataclass(slots=True, eq=False)
class _Connection:
    address: str
    last: float  # when it was accepted, or its last message was answered
    busy: bool = False  # a message of it is being kept or answered
    task: asyncio.Task[None] | None = None
    transport: asyncio.Transport | None = None  # once it has one, that closes the socket


class Listener:
    """The HL7 port.

    Parameters
    ----------
    settings
        `host`, `hl7_port`, `peers`, `open_doors`, `tls_*`, `peer_timeout_s` and `idle_timeout_s` are used.
    on_message
        What to do with a message and the address that it came from.
    on_refusal
        Told of every connection that was cut off.
    """

    def __init__(self, settings: Settings, on_message: OnMessage, on_refusal: OnRefusal = lambda refusal: None) -> None:
        self._settings = settings
        self._access = Access(settings)
        self._on_message = on_message
        self._on_refusal = on_refusal
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="wetread-hl7")
        self._thread = threading.Thread(target=self._run, name="wetread-hl7", daemon=True)
        self._open: set[_Connection] = set()
        self._over = asyncio.Event()
        self._tls: Rotating | None = None
        self.port = settings.hl7_port

    def start(self) -> None:
        """Bind and accept; afterwards `port` is the port in use.

        Raises
        ------
        SettingsError
            The address cannot be bound, or a TLS file cannot be used.
        """
        host, port = self._settings.host, self._settings.hl7_port
        files = Files.of(self._settings)
        self._tls = Rotating(files) if files else None
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._listening = socket.create_server((host, port), family=family, backlog=64)
        except OSError as error:
            raise SettingsError(f"HL7 port: {host}:{port} cannot be bound: {error.strerror}") from error
        self._listening.setblocking(False)
        self.port = int(self._listening.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._thread.start()

    def stop(self, grace_s: float = 5.0) -> None:
        """Take no more, answer what is being kept, then cut off."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(grace_s)
        self._workers.shutdown(wait=False)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._listen())
        finally:
            self._loop.close()

    async def _listen(self) -> None:
        self._loop.add_reader(self._listening, self._accept)
        await self._over.wait()
        self._loop.remove_reader(self._listening)
        self._listening.close()
        tasks = [one.task for one in self._open if one.task is not None]
        for one in self._open:
            if not one.busy:
                self._cut(one)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._settings.peer_timeout_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @staticmethod
    def _cut(connection: _Connection) -> None:
        if connection.task is not None:
            connection.task.cancel()

    def _accept(self) -> None:
        try:
            sock, (address, *_) = self._listening.accept()
        except OSError:  # no file descriptor left, or the peer is gone already
            self._loop.remove_reader(self._listening)
            self._loop.call_later(PAUSE_S, self._resume)
            return
        if not self._access.may(address, "order"):
            self._refused(Refusal.ADDRESS, address)
            sock.close()
            return
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(address, time.monotonic())
        self._open.add(connection)
        connection.task = self._loop.create_task(self._serve(connection, sock))
        connection.task.add_done_callback(lambda _: self._ended(connection, sock))
        if len(self._open) > MOST_CONNECTIONS:
            self._refused(Refusal.LOCAL_LIMIT, address)
            self._cut(min(self._open, key=lambda one: (one.busy, one.last)))

    def _resume(self) -> None:
        if not self._over.is_set():
            self._loop.add_reader(self._listening, self._accept)

    def _ended(self, connection: _Connection, sock: socket.socket) -> None:
        """Also of a connection that was cut off before its task began."""
        self._open.discard(connection)
        if connection.transport is None:
            sock.close()

    async def _serve(self, connection: _Connection, sock: socket.socket) -> None:
        """One connection from its handshake to its end; never raises."""
        reader = asyncio.StreamReader(CHUNK)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            connection.transport = transport = await self._connected(protocol, sock)
            transport.set_write_buffer_limits(0)  # so that `drain` waits until the peer has taken all
            writer = asyncio.StreamWriter(transport, protocol, reader, self._loop)
            await self._talk(connection, reader, writer)
        except BadFrame as error:
            tls = "that is TLS" in str(error)
            self._refused(Refusal.TLS_AT_PLAIN_PORT if tls else Refusal.MALFORMED, connection.address, str(error))
        except TimeoutError:
            self._refused(Refusal.SILENT, connection.address)
        except ssl.SSLError as error:
            self._refused(Refusal.TLS_HANDSHAKE, connection.address, reason(error))
        except OSError as error:
            log.info("HL7 connection lost", extra={"address": connection.address, "reason": reason(error)})
        except Exception as error:  # noqa: BLE001 - the door: one connection must not end the service
            log.error("HL7 connection failed", extra={"reason": type(error).__name__})
        finally:
            if connection.transport is not None:
                unsent = connection.transport.get_write_buffer_size()
                connection.transport.abort() if unsent else connection.transport.close()

    async def _connected(self, protocol: asyncio.Protocol, sock: socket.socket) -> asyncio.Transport:
        wait = {"ssl_handshake_timeout": self._settings.peer_timeout_s} if self._tls else {}
        context = self._tls.context() if self._tls else None
        transport, _ = await self._loop.connect_accepted_socket(lambda: protocol, sock, ssl=context, **wait)
        return transport

    async def _talk(self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        unframe, until = Unframe(), 0.0
        while not self._over.is_set():
            wait_s = max(0.0, until - time.monotonic()) if unframe.begun else None
            data = await asyncio.wait_for(reader.read(CHUNK), wait_s)
            if not data:
                return
            if not unframe.begun:
                until = time.monotonic() + self._settings.idle_timeout_s
            for message in unframe.feed(data):
                await self._answer(connection, message, writer)
                until = time.monotonic() + self._settings.idle_timeout_s

    async def _answer(self, connection: _Connection, message: bytes, writer: asyncio.StreamWriter) -> None:
        """Have a message kept, and send what that says; a message that came whole is kept even if the peer left."""
        connection.busy = True
        answers = await self._loop.run_in_executor(self._workers, self._on_message, message, connection.address)
        writer.writelines(map(frame, answers))
        await asyncio.wait_for(writer.drain(), self._settings.peer_timeout_s)
        connection.busy, connection.last = False, time.monotonic()

    def _refused(self, refusal: Refusal, address: str, detail: str = "") -> None:
        about = {"reason": refusal, "address": address, "detail": detail}
        log.warning("HL7 connection cut off", extra={name: value for name, value in about.items() if value})
        self._on_refusal(refusal)
