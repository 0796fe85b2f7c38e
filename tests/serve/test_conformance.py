"""The conformance statement says what the code does, and its annex what the standard's tables say."""

from __future__ import annotations

import dataclasses
import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID

import wetread.wire
from wetread.cli import commands
from wetread.records import Result
from wetread.report.context import KINDS
from wetread.serve.conformance import objects, page, pages, tables
from wetread.serve.conformance.specimens import specimens
from wetread.settings import Settings
from wetread.wire.associate import right_of
from wetread.wire.command import PENDING, STORED, Status
from wetread.wire.commitment import Failure

REFERENCE = Path(__file__).parents[2] / "docs/reference"


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return pages(Settings())


def test_the_pages_are_what_the_code_gives(made: dict[str, str]) -> None:
    for name, text in made.items():
        assert (REFERENCE / name).read_text(encoding="utf-8") == text, "wetread conformance --out docs/reference"


def test_every_table_has_its_place() -> None:
    told = "".join(page.text(name) for name in ("conformance.md", "objects.md"))
    assert set(re.findall(r"\{\{(\w+)\}\}", told)) == set(page.contents(Settings()))


def constants() -> Iterator[tuple[str, str, Any]]:
    for one in pkgutil.iter_modules(wetread.wire.__path__):
        for name, value in vars(importlib.import_module(f"wetread.wire.{one.name}")).items():
            yield one.name, name, value


def kind_of(uid: str) -> str:
    return UID_dictionary.get(uid, ("", ""))[1]


def test_every_class_that_the_wire_names_is_in_the_statement(made: dict[str, str]) -> None:
    """Whoever adds a service finds here that it is not told yet."""
    named = {value for _, _, value in constants() if isinstance(value, str) and kind_of(value) == "SOP Class"}
    assert named >= set(tables.SCU)
    for uid in named:
        assert f"`{uid}`" in made["conformance.md"], (
            f"enter {UID(uid).name} in tables.SCU, or tell it in conformance.md"
        )


def test_every_right_is_a_service() -> None:
    assert {right_of(uid) for uid in tables.provided()} == {"echo", "notify"}
    assert set(tables.provided()) & set(tables.SCU)


def test_every_status_is_told_and_none_is_made_up(made: dict[str, str]) -> None:
    told = {int(code, 16) for code in re.findall(r"\b0x([0-9A-F]{4})\b", made["conformance.md"])}
    kinds: set[type[IntEnum]] = {Status, Failure}
    known = {int(one) for kind in kinds for one in kind} | PENDING | STORED
    known |= {value for _, name, value in constants() if isinstance(value, int) and name.isupper()}
    known |= {0xA710}  # Error ID of MPPS
    assert {int(one) for kind in kinds for one in kind} <= told
    assert told <= known


def test_the_annex_knows_the_modules_of_the_standard() -> None:
    """The modules of the annex against highdicom's copy of PS3.3."""
    pytest.importorskip("highdicom")

    def read(name: str) -> Any:
        return json.loads(pkgutil.get_data("highdicom", f"_standard/{name}.json") or b"")

    iods, modules, attributes = map(read, ("sop_class_iod_map", "iod_module_map", "module_attribute_map"))
    for kind, pairs in objects.created().items():
        keys = [one["key"] for one in modules[iods[KINDS[kind].sop_class_uid]]]
        for one in objects.attributes(pairs):
            if " > " in one.path:
                continue
            module = objects.module_of(kind, one.path)
            homes = {key for key in keys if any(a["keyword"] == one.path and not a["path"] for a in attributes[key])}
            words = module.lower().replace(" ", "-")
            assert (not homes) if module.startswith("none") else any(words in key for key in homes), (kind, one.path)


def test_the_specimens_have_everything_that_a_result_can_have() -> None:
    """Else the annex would miss the attributes that come of it."""
    made = list(specimens())
    never_told = {"timings", "order", "read_at", "sop_uids"}
    for field in dataclasses.fields(Result):
        assert field.name in never_told or any(getattr(one, field.name) for one in made), field.name


def test_what_a_specimen_copies_is_not_what_is_always_there() -> None:
    seen = {kind: {one.path: one for one in objects.attributes(pairs)} for kind, pairs in objects.created().items()}
    assert all(rows["PatientID"].source == "COPY" for rows in seen.values())
    assert all(rows["InstitutionName"].source == "CONFIG `institution`" for rows in seen.values())
    assert seen["SR"]["VerificationFlag"].source == "FIXED `UNVERIFIED`"
    assert seen["SR"]["PredecessorDocumentsSequence"].presence == "ANAP"
    assert seen["SEG"]["SegmentSequence > TrackingUID"].presence == "ALWAYS"
    assert seen["PM"]["AcquisitionContextSequence"].presence == "EMPTY"
    assert seen["KOS"]["StudyID"].presence == "VNAP"


def test_the_verb_tells_the_node_s_own_title(tmp_path: Path) -> None:
    settings = tmp_path / "node.toml"
    settings.write_text('ae_title = "AIREADER"\nmax_associations = 7\n')
    told = CliRunner().invoke(commands, ["--config", str(settings), "conformance", "--out", str(tmp_path / "out")])
    assert told.exit_code == 0, told.output
    text = (tmp_path / "out/conformance.md").read_text()
    assert "`AIREADER`" in text
    assert "| 7 (setting `max_associations`)" in text
    assert (tmp_path / "out/objects.md").exists()
