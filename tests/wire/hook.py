"""A receiver of webhooks on loopback that checks their signatures by itself, as Standard Webhooks say."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class Hook:
    """What it got: webhook-id and body of each that was signed rightly."""

    def __init__(self, key: str, statuses: Sequence[int] = ()) -> None:
        self.got: list[tuple[str, Any]] = []
        left = list(statuses)
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                identifier, timestamp = self.headers["webhook-id"], self.headers["webhook-timestamp"]
                signed = f"{identifier}.{timestamp}.".encode() + body
                made = base64.b64encode(hmac.digest(key.encode(), signed, hashlib.sha256)).decode()
                right = self.headers["webhook-signature"].split(" ") == [f"v1,{made}"]
                if right:
                    hook.got.append((identifier, json.loads(body)))
                self.send_response(left.pop(0) if left else 204 if right else 401)
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/hook"


@contextmanager
def hook(key: str, statuses: Sequence[int] = ()) -> Iterator[Hook]:
    """A receiver for the time of a test; its first answers may be given."""
    made = Hook(key, statuses)
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        thread.join()
        made.server.server_close()
