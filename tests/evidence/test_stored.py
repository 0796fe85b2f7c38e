"""The rows about results in Orthanc: a real one is asked, and its absence is told."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.peers import require
from wetread.evidence import stored
from wetread.settings import shipped_models


def test_a_film_goes_in_and_its_documents_lie_in_orthanc(tmp_path: Path) -> None:
    require("Orthanc", "orthanc")
    (tmp_path / "cxr-lungs").symlink_to(shipped_models() / "cxr-lungs")
    row = stored.film(tmp_path, 1)
    assert re.search(r"its [3-9] documents in Orthanc", row.what)
    assert row.runs == 1
    assert row.found.startswith("p50 ")


def test_a_machine_without_orthanc_claims_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *given, **named: None)
    (row,) = stored.figures(tmp_path, 5)
    assert not row.reached
    assert "install the package orthanc" in row.found
