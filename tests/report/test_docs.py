"""The reference page says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from wetread.infer.regions import SHARE
from wetread.records import Code
from wetread.report import codes, rules_page
from wetread.report.context import KINDS
from wetread.report.rules import ALL
from wetread.settings import DICOM, HL7, IMAGE

CHOICE = (Path(__file__).parents[2] / "docs/how-to/choose-documents.md").read_text(encoding="utf-8")
PAGE = (Path(__file__).parents[2] / "docs/reference/documents.md").read_text(encoding="utf-8")


def test_the_private_codes_are_those_of_the_code() -> None:
    known = [one for one in vars(codes).values() if isinstance(one, Code)]
    ours = {one.value: one.meaning for one in [*known, SHARE] if one.scheme == codes.PRIVATE_SCHEME}
    table = re.findall(r"^\| ([A-Z-]+) \| ([^|]+) \|$", PAGE.split("## Private codes")[1], re.MULTILINE)
    assert dict(table) == ours
    assert codes.PRIVATE_SCHEME_UID in PAGE


def test_the_page_of_rules_is_the_table_of_rules() -> None:
    page = Path(__file__).parents[2] / "docs/reference/rules.md"
    assert page.read_text(encoding="utf-8") == rules_page.text()


def test_the_kinds_that_a_destination_may_ask_for_are_those_that_are_made() -> None:
    assert set(DICOM) - {IMAGE} == set(KINDS) == set(ALL)
    for name in (*DICOM, *HL7):
        assert f"\n| {name} |" in CHOICE, name


def test_the_kinds_are_those_of_the_code() -> None:
    series = PAGE.split("## Series")[1]
    for name, kind in KINDS.items():
        modality = kind.modality or "the film's"
        assert f"| {name} | {kind.series_number} | {modality} |" in series
