"""The docs say what the code does: tables that could drift are compared with it."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from wetread import cli
from wetread.settings import Settings, bounds

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("docs/**/*.md"), ROOT / "README.md", *ROOT.glob("models/*/card.md")])


def test_settings_page_lists_every_setting_with_its_default() -> None:
    page = (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")
    for field in dataclasses.fields(Settings):
        cells = (
            f"`{field.name}`",
            f"`{'' if field.default == Path() else field.default}`",  # as "." it would name this folder
            field.metadata["unit"],
            bounds(field.name),
            field.metadata["help"],
        )
        row = f"| {' | '.join(cells)} |"
        assert row in page, row


def test_command_page_names_every_verb_and_exit_code() -> None:
    page = (ROOT / "docs/reference/command.md").read_text(encoding="utf-8")
    for name in cli.commands.commands:
        assert f"`wetread {name}" in page, name
    for code in (0, 1, 2, 3, 4):
        assert f"| {code} |" in page


def anchors(page: Path) -> set[str]:
    """The anchors that headings get where the pages are shown."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    heads = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", one) for one in re.findall(r"^#+ (.*)$", text, re.M))
    return {re.sub(r"[^\w\- ]", "", head.strip().lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            there = page.parent / target if target else page
            assert there.exists(), f"{page.name}: {target}"
            if anchor and there.suffix == ".md":
                assert anchor in anchors(there), f"{page.name}: {target}#{anchor}"


def options(words: list[str]) -> Iterator[tuple[str, bool]]:
    """Each long option of a `wetread` line, and whether the verbs before it have it."""
    verbs: list[click.Command] = [cli.commands]
    for word in words:
        if option := re.match(r"--[a-z][a-z-]*", word):
            known = {name for verb in verbs for one in verb.params for name in one.opts}
            yield option.group(), option.group() in known
        elif isinstance(verbs[-1], click.Group) and word in verbs[-1].commands:
            verbs.append(verbs[-1].commands[word])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_have_the_options_that_pages_name(page: Path) -> None:
    for line in re.findall(r"(?:^|[`$ (])wetread ([^`#;|\n]*)", page.read_text(encoding="utf-8"), re.M):
        for option, known in options(line.split()):
            assert known or option == "--help", f"{page.name}: wetread {line}: {option}"


def test_readme_first_screen() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first = "\n".join(text.splitlines()[:70])
    for word in ("not a certified medical device", "make demo", "make test"):
        assert word in first


def test_figures_of_the_readme_stand_on_pages_that_commands_write() -> None:
    """Those with an interval in a card or an evidence page, those of speed in what `make bench` wrote."""
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").replace("*", "").split())
    written = [*ROOT.glob("docs/evidence/*.md"), *ROOT.glob("models/*/card.md")]
    figure = re.compile(r"(\d\.\d+) \((\d\.\d+) to (\d\.\d+)\)")
    known = {one for page in written for one in figure.findall(page.read_text(encoding="utf-8"))}
    told = figure.findall(readme)
    assert len(told) > 8
    digits = {len(one) - 2 for figures in told for one in figures}
    rounded = {tuple(f"{float(one):.{places}f}" for one in figures) for figures in known for places in digits}
    assert [figures for figures in told if figures not in rounded] == []
    bench = json.loads((ROOT / "docs/evidence/performance.json").read_text(encoding="utf-8"))["figures"]
    found = {row["what"]: row["found"] for row in bench}
    (times,) = re.findall(r"mask (\d+\.\d) times faster than MONAI", readme)
    assert f": {times} times (first" in found["film in memory to classes, map and lung mask"]
    (ms,) = re.findall(r"(\d+) ms \(95th percentile\)", readme)
    read = next(found[what] for what in found if what.startswith("uncompressed film file"))
    (slowest,) = re.findall(r"p95 (\d+\.\d) ms", read)
    assert int(ms) == round(float(slowest))
    (seconds,) = re.findall(r"(\d\.\d\d) s \(95th percentile\)", readme)
    delivered = next(found[what] for what in found if what.startswith("film of") and "in Orthanc" in what)
    (slowest,) = re.findall(r"p95 (\d+) ms", delivered)
    assert float(seconds) == round(int(slowest) / 1000, 2)
