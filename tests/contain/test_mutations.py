"""Files changed at random, in children: each is answered for, and this process neither dies nor grows.

`pytest tests/contain/test_mutations.py -m slow --mutations 1000000` is the long way.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from pathlib import Path

import pytest

from tests import hostile
from tests.acquire import test_hostile as codestreams
from wetread.contain.children import Children
from wetread.contain.decoder import Contained
from wetread.errors import REFUSALS, DecoderDied
from wetread.settings import Settings

SETTINGS = Settings(max_pixels=1_000_000, decoder_cpu_s=5.0, decoders=1)
BATCH = 50
MOST_GROWTH = 64 << 20


def grown() -> int:
    """Bytes of this process that are in memory and its own."""
    return 1024 * int(re.findall(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())[0])


def fuzz(count: int, seed: int) -> Counter[str]:
    """Read so many mutated files; return how each was answered."""
    chance = random.Random(seed)
    seeds = [make() for make in codestreams.SEEDS.values()]
    seeds += [data for data in hostile.objects().values() if len(data) < 16_384]
    answers: Counter[str] = Counter()
    with Children(SETTINGS) as children:
        decoder = Contained(children)
        for number in range(0, count, BATCH):
            files = [(f"{number}", codestreams.mutated(chance.choice(seeds), chance)) for _ in range(BATCH)]
            answers.update(answered(decoder, files))
    return answers


def answered(decoder: Contained, files: list[tuple[str, bytes]]) -> list[str]:
    """The answer to each file; of a batch that ended its child, one by one."""
    try:
        studies = decoder.decode(files, SETTINGS)
    except DecoderDied as death:
        if len(files) == 1:
            return [f"died of {death.why}"]
        return [answer for file in files for answer in answered(decoder, [file])]
    told = [rejected.refusal.code for study in studies for rejected in study.rejected]
    return told + ["read" for study in studies for _ in study.images]


def check(answers: Counter[str], count: int) -> None:
    dead = {name: number for name, number in answers.items() if name.startswith("died")}
    assert set(answers) - set(dead) <= {*REFUSALS, "read"}
    assert "died of LIE" not in dead  # else our own child says what we do not believe
    assert "died of ERROR" not in dead  # else `wetread.acquire` raises what it does not foresee
    assert answers.total() > 0.9 * count  # identical files count once


def test_mutations() -> None:
    check(fuzz(1000, 1), 1000)


@pytest.mark.slow
def test_many_mutations(request: pytest.FixtureRequest) -> None:
    count = request.config.getoption("--mutations")
    fuzz(1000, 2)
    before = grown()
    answers = fuzz(count, 3)
    print(answers)  # noqa: T201 - with -s, for who runs it
    check(answers, count)
    assert grown() - before < MOST_GROWTH
