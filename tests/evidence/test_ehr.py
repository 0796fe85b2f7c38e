"""The figures of orders and records, in small."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from tests import peers
from wetread.evidence.ehr import __main__ as command
from wetread.evidence.ehr import fhir, hostile, patients
from wetread.evidence.ehr.mutants import CONTENT, FRAMING, campaign
from wetread.evidence.ehr.page import Section, write


def test_mutated_messages_harm_nothing(tmp_path: Path) -> None:
    found = hostile.attack(tmp_path / "state", campaign(1000, seed=7))
    assert set(found.sent) == {*CONTENT, *FRAMING, "none: a good message"}
    told = (found.failed, found.hangs, found.unanswered, found.lost, found.leaks, found.injected)
    assert told == ([], 0, 0, 0, 0, 0)
    assert found.answers["segments reordered"]["AE"]
    assert found.answers["another type"]["AR"]
    assert found.answers["VT inside"]["cut off"] == found.sent["VT inside"]


def test_no_result_meets_a_wrong_patient(tmp_path: Path) -> None:
    some = patients.plans(64)
    assert {one.fate for one in some} == set(patients.FATES)
    checks, table = patients.campaign(tmp_path / "state", some)
    assert [promise for promise, held in checks.items() if not held] == [], table


def test_the_folder_of_pages_is_made_or_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[Section] = []

    def work() -> Section:
        made.append(Section("a", "First", "Done.", {"it holds": True}, [["x"], [1000]], 1.0))
        return made[-1]

    monkeypatch.setattr(command, "SECTIONS", {"a": work})
    monkeypatch.setattr(logging.getLogger("wetread"), "setLevel", lambda level: None)  # of this process, for good
    monkeypatch.setattr(sys, "argv", ["ehr", "--out", str(tmp_path / "new" / "folder")])
    assert command.main() == 0
    assert (tmp_path / "new/folder/ehr.md").is_file()
    monkeypatch.setattr(sys, "argv", ["ehr", "--out", str(tmp_path / "new/folder/ehr.md")])
    with pytest.raises(SystemExit, match="2"):
        command.main()
    assert "ehr.md: expected a folder, or room for one: File exists" in capsys.readouterr().err
    assert len(made) == 1


def test_a_section_that_is_not_made_anew_stays(tmp_path: Path) -> None:
    one = Section("a", "First", "Done.", {"it holds": True}, [["x"], [1000]], 1.0)
    write(tmp_path, [one])
    write(tmp_path, [Section("b", "Second", "Done.", {"it holds": False}, [["y"], [2]], 1.0)])
    page = (tmp_path / "ehr.md").read_text(encoding="utf-8")
    for told in ("## First", "| 1,000 |", "- holds: it holds", "## Second", "**DOES NOT HOLD**"):
        assert told in page


@pytest.mark.slow
@pytest.mark.peer
def test_bundles_are_valid_and_arrive_once_after_an_outage() -> None:
    peers.node_program("@medplum/fhir-router")
    found = fhir.run(2, 8)
    assert [promise for promise, held in found.checks.items() if not held] == [], found.rows


@pytest.mark.slow
def test_the_whole_figures_hold() -> None:
    for section in (hostile.run(20_000), patients.run(2000)):
        assert section.holds, section
