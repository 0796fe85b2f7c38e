"""Results at random: film, patient, findings, sizes, models, refusals; small, and the same for the same seed."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np

from tests.report import phantom
from wetread.errors import REFUSALS
from wetread.records import (
    FULL_SCALE,
    Code,
    Explanation,
    Finding,
    Identifier,
    Measurement,
    ModelIdentity,
    Order,
    Refusal,
    Region,
    Result,
    Timing,
    Unread,
)

FINDINGS = (
    phantom.PNEUMONIA,
    Code("1386000", "SCT", "Intracranial hemorrhage"),
    Code("RID50149", "RADLEX", "pulmonary nodule"),
    Code("SITE-17", "99WETREAD", "Nodule <b>|^~& of Ångström"),
)
TYPES = (phantom.LUNG, Code("12738006", "SCT", "Brain"), Code("80891009", "SCT", "Heart"))
SIZES = (
    (phantom.AREA, phantom.CM2),
    (Code("118565006", "SCT", "Volume"), Code("ml", "UCUM", "milliliter")),
    (Code("SHARE-17", "99WETREAD", "Share of | the film"), phantom.PERCENT),
    (Code("103339001", "SCT", "Long Axis"), Code("mm", "UCUM", "millimeter")),
)
NAMES = ("Müller^Jürgen^^Dr.^jun.", "O'Neil|X^A~B", "Yamada^Tarou=山田^太郎", "", "Doe^Jane")
HEADERS = ("spacing", "utf8", "iso2022", "empty", "real")


def share(random: Random) -> float:
    """A probability, sometimes at the edge."""
    return random.choice((0.0, 1.0, 0.5, random.random(), random.random(), random.random() ** 8))


def size(random: Random) -> float:
    return float(random.choice((0.0, 10 ** random.uniform(-6, 7), random.uniform(0, 100))))


def result(seed: int) -> Result:
    """A result; the same for the same seed."""
    random = Random(seed)
    header = phantom.header(random.choice(HEADERS))
    header.PatientID = random.choice(("4711", f"P{seed}", "A|B^C", "12&3"))
    header.PatientName = random.choice(NAMES)
    if not header.PatientName.__str__().isascii():
        header.SpecificCharacterSet = "ISO_IR 192"
    header.AccessionNumber = random.choice(("", f"A{seed}", "A|1~2"))
    header.AcquisitionDate, header.AcquisitionTime = "20261128", random.choice(("0930", "235959", "101112.123456"))
    header.ContentDate, header.ContentTime = header.AcquisitionDate, header.AcquisitionTime
    header.SOPInstanceUID, header.SeriesInstanceUID = f"2.25.1{seed}1", f"2.25.1{seed}2"
    header.StudyInstanceUID = f"2.25.1{seed}3"
    shape = (random.randrange(16, 40), random.randrange(16, 40))
    header.Rows, header.Columns = shape
    image = phantom.film(shape, header)
    models = tuple(phantom.model(name) for name in random.sample(("one", "two-2", "drei"), random.randrange(1, 4)))
    blank = Result(header.StudyInstanceUID, "x.dcm", image.digest, header, image, read_at="2026-11-29T01:02:03Z")
    blank = replace(blank, timings=(Timing("infer", 3.0),), order=order(random) if random.random() < 0.5 else None)
    if random.random() < 0.1:
        return replace(blank, refusal=refusal(random))
    findings = tuple(finding(random, number, random.choice(models)) for number in range(random.randrange(4)))
    regions = tuple(region(random, number, random.choice(models), shape) for number in range(random.randrange(4)))
    maps = tuple(explanation(random, one, shape) for one in findings if random.random() < 0.7)
    unread = tuple(
        Unread(phantom.model("blind"), (FINDINGS[-1],), refusal(random)) for _ in range(random.random() < 0.3)
    )
    return replace(blank, findings=findings, regions=regions, explanations=maps, models=models, not_read=unread)


def order(random: Random) -> Order:
    made = Order(Identifier(f"RIS|{random.randrange(99)}", "RIS"), Identifier("P^1", "EHR"), Identifier("F&1", "RIS"))
    return replace(made, patient=random.choice(((), (Identifier("M|4711", "HOSP", "1.2.3", "ISO"),))))


def refusal(random: Random) -> Refusal:
    code = random.choice(sorted(REFUSALS))
    return Refusal(code, REFUSALS[code], random.choice(("", "expected <CHEST>, got HAND|FOOT")))


def finding(random: Random, number: int, model: ModelIdentity) -> Finding:
    probability, threshold = share(random), share(random)
    site = random.choice((None, *TYPES))
    name = random.choice(("Lesion", "Läsion | 1^2", "L&R"))
    present = probability >= threshold
    return Finding(FINDINGS[number], probability, threshold, present, model, f"2.25.9{number}", name, site)


def explanation(random: Random, about: Finding, shape: tuple[int, int]) -> Explanation:
    heat = np.full(shape, FULL_SCALE // 2, np.uint16)
    inside, bound = share(random), share(random)
    said = (inside, bound, inside >= bound, "Most of it lies | there.", about.model)
    return Explanation(about.code, "class activation map", heat, *said, organ=random.choice(("lungs", "body")))


def region(random: Random, number: int, model: ModelIdentity, shape: tuple[int, int]) -> Region:
    mask = np.zeros((1, *shape), bool)
    top, left = random.randrange(shape[0] - 4), random.randrange(shape[1] - 4)
    mask[:, top : top + 3, left : left + 4] = True
    kind, side = random.choice(TYPES), random.choice((None, *phantom.SIDES))
    named = random.sample(SIZES, random.randrange(1, 4))
    sizes = tuple(Measurement(code, size(random), unit, kind, side) for code, unit in named)
    label = f"{side.meaning if side else 'Whole'} <{number}> & more"
    return Region(label, mask, phantom.ANATOMY, kind, side, model, f"2.25.8{number}", f"R|{number}", sizes)
