"""Who made a document: this software, and the algorithms that contributed.

The values of an algorithm are made once, here, so that they are equal wherever a
document names it (IHE AIR Rev 1.3, Section 6.5.3.1).

References
----------
DICOM PS3.3 Sections C.7.5.1 and C.7.5.2 (equipment), C.12.1 (Contributing
Equipment Sequence), Table 10-19 (algorithm identification macro).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from wetread import __version__
from wetread.records import Code, ModelIdentity
from wetread.report.codes import ARTIFICIAL_INTELLIGENCE, PROCESSING_EQUIPMENT, coded
from wetread.report.elements import Item, item
from wetread.uids import derive

MANUFACTURER = "Wetread"
MODEL_NAME = "Wetread"


@dataclass(frozen=True, slots=True)
class Algorithm:
    """The names of one algorithm, as every document spells them."""

    name: str  # (111001), AlgorithmName, ManufacturerModelName
    version: str  # (111003), AlgorithmVersion, SoftwareVersions: version+build
    manufacturer: str  # (121014), AlgorithmSource, Manufacturer
    device_uid: str  # (121012), DeviceUID
    family: Code  # CID 7162


def algorithm(model: ModelIdentity) -> Algorithm:
    """Name the build of a model; the build is part of the version."""
    return Algorithm(model.id, f"{model.version}+{model.build}", model.manufacturer, model.device_uid, model.family)


def software() -> Algorithm:
    """Name this software itself: it alone contributed when no model was asked."""
    return Algorithm(
        MODEL_NAME, __version__, MANUFACTURER, derive("wetread software", __version__), ARTIFICIAL_INTELLIGENCE
    )


def contributors(models: Sequence[ModelIdentity]) -> tuple[Algorithm, ...]:
    """Name every algorithm once, in the order of the models; without models the software."""
    return tuple(dict.fromkeys(algorithm(model) for model in models)) or (software(),)


def serial_number(models: Sequence[ModelIdentity]) -> str:
    """Give a Device Serial Number: it names this software with this very set of builds."""
    text = "\x1f".join([__version__, *(model.sha256 for model in models)])
    return hashlib.sha256(text.encode()).hexdigest()[:16].upper()


def equipment(models: Sequence[ModelIdentity], institution: str) -> Item:
    """Make the General and Enhanced General Equipment modules."""
    made = item(
        Manufacturer=MANUFACTURER,
        ManufacturerModelName=MODEL_NAME,
        DeviceSerialNumber=serial_number(models),
        SoftwareVersions=__version__,
    )
    if institution:
        made |= item(InstitutionName=institution)
    return made


def contributing(algorithms: Sequence[Algorithm]) -> Item:
    """Make the Contributing Equipment Sequence: one item an algorithm, with its Device UID."""
    return item(
        ContributingEquipmentSequence=[
            item(
                PurposeOfReferenceCodeSequence=coded(PROCESSING_EQUIPMENT),
                Manufacturer=one.manufacturer,
                ManufacturerModelName=one.name,
                SoftwareVersions=one.version,
                DeviceUID=one.device_uid,
                ContributionDescription="Algorithm that contributed to this result",
            )
            for one in algorithms
        ]
    )


def identification(one: Algorithm) -> Item:
    """Make an item of the algorithm identification macro."""
    return item(
        AlgorithmFamilyCodeSequence=coded(one.family),
        AlgorithmName=one.name,
        AlgorithmVersion=one.version,
        AlgorithmSource=one.manufacturer,
    )
