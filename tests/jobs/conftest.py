"""Stores for the tests: each on SQLite, and those that say so on PostgreSQL too."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.jobs.postgres import postgres
from wetread.jobs.store import Store

_numbers = itertools.count()


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a PostgreSQL that runs as long as the tests."""
    with postgres() as url:
        yield url


@pytest.fixture
def database(server: str) -> str:
    """The URL of a new database."""
    import psycopg

    name = f"test{next(_numbers)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.rpartition("/")[0] + f"/{name}"


@pytest.fixture
def shared(database: str, tmp_path: Path) -> Iterator[Callable[..., Store]]:
    """Opens stores that share one database and one folder, as processes or nodes would."""
    made: list[Store] = []

    def open_one(lease_s: float = 60.0) -> Store:
        made.append(Store(tmp_path / "state", url=database, lease_s=lease_s))
        return made[-1]

    yield open_one
    for store in made:
        store.close()
