"""Records on loopback that take HL7 messages: one that does as it is told, one of the package hl7, one of npm."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hl7.mllp

from tests.peers import node_program
from wetread.settings import Destination
from wetread.wire.hl7 import parse
from wetread.wire.mllp import Unframe, frame

#: What becomes of a message: its answer, byte for byte; b"" hangs up, None says nothing.
Answer = Callable[[bytes], bytes | None]


def ack(message: bytes, code: str = "AA", control: str = "", error: str = "") -> bytes:
    """An acknowledgement as one block."""
    named = control or parse(message).header.text(10)
    err = f"ERR|||{error}^x^HL70357|E\r" if error else ""
    return frame(f"MSH|^~\\&|EHR||WETREAD||20261128||ACK^R01^ACK|1|P|2.5.1\rMSA|{code}|{named}\r{err}".encode())


class Ehr:
    """Takes connections one after the other, and remembers every message that it got."""

    def __init__(self, answer: Answer = ack, context: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.answer = answer
        self.got: list[bytes] = []
        self.connections = 0
        self._context = context
        self._server = socket.create_server(("127.0.0.1", port))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.getsockname()[1])

    @property
    def destination(self) -> Destination:
        scheme = "mllp" if self._context is None else "mllps"
        return Destination("EHR", url=f"{scheme}://127.0.0.1:{self.port}")

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            try:
                with sock if self._context is None else self._context.wrap_socket(sock, server_side=True) as line:
                    self._serve(line)
            except OSError:
                pass

    def _serve(self, sock: socket.socket) -> None:
        unframe = Unframe()
        while data := sock.recv(1 << 16):
            for message in unframe.feed(data):
                self.got.append(message)
                answer = self.answer(message)
                if answer == b"":
                    return
                if answer is not None:
                    sock.sendall(answer)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(5)


@contextmanager
def ehr(answer: Answer = ack, context: ssl.SSLContext | None = None) -> Iterator[Ehr]:
    """An EHR for the time of a test."""
    made = Ehr(answer, context)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def python_hl7() -> Iterator[tuple[int, list[str]]]:
    """The MLLP server of the package hl7; yields its port and the control IDs that it got."""
    got: list[str] = []
    started = threading.Event()
    ports: list[int] = []
    loop = asyncio.new_event_loop()
    tasks: list[asyncio.Task[None]] = []

    async def serve(reader: hl7.mllp.HL7StreamReader, writer: hl7.mllp.HL7StreamWriter) -> None:
        try:
            while not writer.is_closing():
                message = await reader.readmessage()
                got.append(str(message["MSH"][0][10]))
                writer.writemessage(message.create_ack("AA"))
                await writer.drain()
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    async def listen() -> None:
        server = await hl7.mllp.start_hl7_server(serve, "127.0.0.1", 0, encoding="utf-8", limit=1 << 20)
        ports.append(server.sockets[0].getsockname()[1])
        started.set()
        async with server:
            await server.serve_forever()

    def run() -> None:
        asyncio.set_event_loop(loop)
        tasks.append(loop.create_task(listen()))
        try:
            loop.run_until_complete(tasks[0])
        except asyncio.CancelledError:
            pass
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    started.wait(10)
    try:
        yield ports[0], got
    finally:
        loop.call_soon_threadsafe(tasks[0].cancel)
        thread.join(10)


@contextmanager
def node_hl7() -> Iterator[tuple[int, Callable[[], str]]]:
    """node-hl7-server; yields its port and what reads a line about the next message that it got."""
    program = node_program("node-hl7-server")
    script = Path(__file__).parents[1] / "npm/hl7-server.mjs"
    process = subprocess.Popen([program, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"node-hl7-server ended with {process.wait()}")
        yield int(line), process.stdout.readline
    finally:
        process.kill()
        process.wait()
        process.stdin.close()  # what is called node may have started the real one, which sees this end
        process.stdout.close()
