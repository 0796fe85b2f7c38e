"""The docs say what the code does: tables that could drift are compared with it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from wetread import cli
from wetread.settings import Settings

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("docs/**/*.md"), ROOT / "README.md", *ROOT.glob("models/*/card.md")])


def test_settings_page_lists_every_setting_with_its_default() -> None:
    page = (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")
    for field in dataclasses.fields(Settings):
        row = f"| `{field.name}` | `{field.default}` | {field.metadata['unit']} | {field.metadata['help']} |"
        assert row in page, row


def test_command_page_names_every_verb_and_exit_code() -> None:
    page = (ROOT / "docs/reference/command.md").read_text(encoding="utf-8")
    for name in cli.commands.commands:
        assert f"`wetread {name}" in page, name
    for code in (0, 1, 2, 3, 4):
        assert f"| {code} |" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_readme_first_screen() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first = "\n".join(text.splitlines()[:70])
    for word in ("not a certified medical device", "make demo", "make test"):
        assert word in first
