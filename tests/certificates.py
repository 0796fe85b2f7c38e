"""Certificates for tests, made by the program openssl: an authority and what it signs, on elliptic curves."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import peers

LOOPBACK = "IP:127.0.0.1,DNS:localhost"


@dataclass(frozen=True, slots=True)
class Side:
    """The files of one side."""

    certificate: Path
    key: Path
    authority: Path

    @property
    def settings(self) -> dict[str, Any]:
        """As fields of `Settings` and `Destination`."""
        return {"tls_certificate": self.certificate, "tls_key": self.key, "tls_authority": self.authority}


class Authority:
    """Signs certificates in a folder."""

    def __init__(self, folder: Path, name: str = "Test Authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._config = folder / "openssl.cnf"
        self._config.write_text("[req]\ndistinguished_name = name\n[name]\n")
        self.certificate = folder / "authority.pem"
        self._make("authority", name, 30, "basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign")

    def issue(self, name: str, days: int = 30, names: str = LOOPBACK, trusts: Path | None = None) -> Side:
        """Return new files of one side, which trusts this authority or another; files of that name are replaced."""
        signer = ["-CA", str(self.certificate), "-CAkey", str(self._folder / "authority.key")]
        self._make(name, name, days, "basicConstraints=critical,CA:FALSE", f"subjectAltName={names}", signer=signer)
        return Side(self._folder / f"{name}.pem", self._folder / f"{name}.key", trusts or self.certificate)

    def _make(self, file: str, name: str, days: int, *extensions: str, signer: list[str] | None = None) -> None:
        command = [peers.require("openssl", "openssl"), "req", "-x509", "-config", str(self._config), "-nodes"]
        command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", str(days)]
        command += ["-subj", f"/CN={name}", *(part for one in extensions for part in ("-addext", one))]
        command += ["-keyout", str(self._folder / f"{file}.key"), "-out", str(self._folder / f"{file}.pem")]
        subprocess.run([*command, *(signer or [])], check=True, capture_output=True, timeout=30)
