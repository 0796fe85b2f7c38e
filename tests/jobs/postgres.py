"""A PostgreSQL of the tests' own: on loopback, on a port from the operating system, in a temporary folder."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL
from tempfile import TemporaryDirectory
from typing import Any

from tests.peers import free_port, require


def _program(name: str) -> str:
    """Return a program of PostgreSQL, which Debian keeps out of the usual folders."""
    places = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    return require(name, "postgresql", os.pathsep.join([*places, "/usr/local/bin", "/usr/bin"]))


@contextmanager
def postgres(*options: str) -> Iterator[str]:
    """A server for the time of the block; yields the URL of an empty database.

    PostgreSQL refuses to run as root, so as root it runs as the user `postgres` or `nobody`; that user
    cannot enter the temporary folders of pytest.
    """
    with TemporaryDirectory(prefix="wetread-postgres-") as folder:
        run: dict[str, Any] = {"check": True, "stdout": DEVNULL, "stderr": DEVNULL, "cwd": folder}
        if os.geteuid() == 0:
            run["user"] = next(one.pw_name for one in pwd.getpwall() if one.pw_name in ("postgres", "nobody"))
            shutil.chown(folder, run["user"])
        port, data = free_port(), f"{folder}/data"
        create = [_program("initdb"), "-D", data, "-U", "wetread", "-A", "trust", "--no-sync", "-E", "UTF8"]
        control = [_program("pg_ctl"), "-D", data, "-w", "-t", "60"]
        settings = f"-h 127.0.0.1 -p {port} -k {folder} {' '.join(options)}"
        subprocess.run(create, **run)
        subprocess.run([*control, "-l", f"{folder}/log", "-o", settings, "start"], **run)
        try:
            yield f"postgresql://wetread@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **run)
