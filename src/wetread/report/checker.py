"""The checker: judges a document by the table of rules before it may leave.

It judges the bytes, not what we meant to write.  It knows our own eight kinds of
document; another SOP class is a problem of its own.  What other software made is judged
by the standard and by AIR, not by our habits.

References
----------
DICOM PS3.3, PS3.5, PS3.10 and PS3.16; IHE AIR Rev 1.3, Section 6.5.3.1.  The table
is `wetread.report.rules`.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom.errors import InvalidDicomError

from wetread.errors import DocumentError
from wetread.report import enclosed, numbered, presented, previous, raster, revision, selected, together, tree, values
from wetread.report.characters import codecs_of
from wetread.report.codes import PROCESSING_EQUIPMENT
from wetread.report.context import KINDS
from wetread.report.elements import (
    CHARACTER_SET,
    EXPLICIT_LE,
    Item,
    decode,
    entry_of,
    get,
    item,
    sequence,
    walk,
)
from wetread.report.equipment import MANUFACTURER, MODEL_NAME
from wetread.report.identity import OPTIONAL, REQUIRED, Source, identify
from wetread.report.problem import HABIT, Problem
from wetread.report.rules import RULES, Rule
from wetread.uids import IMPLEMENTATION_CLASS_UID

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: What pydicom raises on damaged files; InvalidDicomError is an Exception of its own.
_UNREADABLE = (
    InvalidDicomError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
_FRAMES = "PerFrameFunctionalGroupsSequence"
_EVIDENCE = "CurrentRequestedProcedureEvidenceSequence"
_KIND_OF = {kind.sop_class_uid: name for name, kind in KINDS.items()}
#: Classes of other software that are judged as ours: Basic Text, Enhanced and Comprehensive SR, multi-frame captures.
_KIND_OF |= {f"1.2.840.10008.5.1.4.1.1.88.{number}": "SR" for number in ("11", "22", "33")}
_KIND_OF |= {f"1.2.840.10008.5.1.4.1.1.7.{number}": "SC" for number in ("1", "2", "3", "4")}
#: What images of floating point numbers do not have.
_INTEGER = (
    *("BitsStored", "HighBit", "PixelRepresentation", "PixelData"),
    *("RealWorldValueFirstValueMapped", "RealWorldValueLastValueMapped"),
)


def check(data: bytes | Dataset, source: Dataset | None = None) -> tuple[Problem, ...]:
    """Judge a document.

    Parameters
    ----------
    data
        A DICOM file or a pydicom data set.
    source
        Header of the image that the document is about; with it, patient, study and
        references are compared too.

    Returns
    -------
    tuple of Problem
        Empty when nothing is wrong.
    """
    try:
        encoded = data if isinstance(data, bytes) else _encoded(data)
        return problems_of(_explicit(encoded), None if source is None else identify(source))
    except DocumentError as error:
        return (Problem("file", str(error), "PS3.10 Section 7.1"),)


def _encoded(dataset: Any) -> bytes:
    """Encode a pydicom data set as a file in Explicit VR Little Endian."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    target = io.BytesIO()
    meta = getattr(dataset, "file_meta", None)
    if meta is None:
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = UID(str(dataset.get("SOPClassUID", "")))
        meta.MediaStorageSOPInstanceUID = UID(str(dataset.get("SOPInstanceUID", "")))
        meta.TransferSyntaxUID = UID(EXPLICIT_LE)
        dataset.file_meta = meta
    try:
        dataset.save_as(target, enforce_file_format=True)
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        raise DocumentError(f"data set: expected values that can be encoded: {error}") from error
    return target.getvalue()


def _explicit(encoded: bytes) -> bytes:
    """Turn a file of another transfer syntax into Explicit VR Little Endian."""
    if EXPLICIT_LE.encode() + b"\0" in encoded[132:1000]:
        return encoded
    if encoded[128:132] != b"DICM":
        raise DocumentError("file: expected the prefix DICM after 128 bytes (PS3.10 Section 7.1), got other bytes")
    from pydicom import dcmread
    from pydicom.uid import UID

    try:
        dataset: Any = dcmread(io.BytesIO(encoded))
        if dataset.file_meta.TransferSyntaxUID.is_compressed and "PixelData" in dataset:
            dataset.decompress()
        dataset = _turned(dataset) if dataset.file_meta.TransferSyntaxUID == EXPLICIT_BIG else dataset
        dataset.file_meta.TransferSyntaxUID = UID(EXPLICIT_LE)
        target = io.BytesIO()
        dataset.save_as(target, implicit_vr=False, little_endian=True, enforce_file_format=True)
    except _UNREADABLE as error:
        raise DocumentError(f"file: expected a DICOM file that can be read: {error}") from error
    return target.getvalue()


def _turned(dataset: Any) -> Dataset:
    """Return a big endian data set as one that can be written little endian: pydicom leaves the order of words."""
    from pydicom.dataset import Dataset

    made = Dataset()
    for element in dataset:
        if element.VR == "OW":
            element.value = np.frombuffer(element.value, ">u2").astype("<u2").tobytes()
        made.add(element)
    made.file_meta = dataset.file_meta
    return made


def problems_of(encoded: bytes, source: Source | None) -> tuple[Problem, ...]:
    """Judge a file in Explicit VR Little Endian against an identified source.

    Raises
    ------
    DocumentError
        The bytes cannot be read at all.
    """
    return judged(decode(encoded), source)


def judged(decoded: tuple[Item, Item], source: Source | None) -> tuple[Problem, ...]:
    """Judge what `wetread.report.elements.decode` made of a file, as `problems_of`."""
    meta, data = decoded
    if _is_ours(meta, data):
        return tuple(_problems(meta, data, source))
    return tuple(one for one in _problems(meta, _foreign(data), source) if one.clause != HABIT)


def _problems(meta: Item, data: Item, source: Source | None) -> list[Problem]:
    """Judge a data set by the standard, by AIR and by our habits."""
    kind = _KIND_OF.get(get(data, "SOPClassUID", ""))
    if kind is None:
        return [Problem("SOPClassUID", f"expected that of {', '.join(KINDS)}, got another", "wetread check")]
    found = [*values.misplaced(data)]
    if found:
        return found
    found = [*_file(meta, data)]
    if kind == "SR" and get(data, "SOPClassUID") != KINDS["SR"].sop_class_uid:
        found.append(Problem("SOPClassUID", "expected Comprehensive 3D SR, got another SR", "AIR"))
    data = _spread(data) if kind == "SEG" else data
    for rule in RULES[kind]:
        if not (raster.is_floating(data) and rule.path.endswith(_INTEGER)):
            found += _ruled(rule, [("", data)], 0)
    modules, uids = ({}, frozenset()) if source is None else (source.modules, source.uids)
    found += values.problems(data, modules, uids)
    found += _equipment(data)
    for judge in _JUDGES[kind]:
        found += judge(data)
    if source is not None:
        found += _same(kind, data, source)
        found += together.habits(kind, data, source)
    return found


def _is_ours(meta: Item, data: Item) -> bool:
    """Whether we wrote a file, or an archive wrote it anew and left the equipment as it was."""
    made = (get(data, "Manufacturer"), get(data, "ManufacturerModelName"))
    return get(meta, "ImplementationClassUID") == IMPLEMENTATION_CLASS_UID or made == (MANUFACTURER, MODEL_NAME)


def _foreign(data: Item) -> Item:
    """Leave what the standard gives others a choice of where our rules look for it.

    Functional groups may be shared or of each frame; equipment that acquired the image may have contributed too.
    """
    items = sequence(data, "ContributingEquipmentSequence")
    if items:
        kept = [one for one in items if _purpose(one) in ("", PROCESSING_EQUIPMENT.value)]
        data = data | item(ContributingEquipmentSequence=kept)
    shared, frames = sequence(data, "SharedFunctionalGroupsSequence")[:1], sequence(data, _FRAMES)
    if not (shared and frames):
        return data
    whole = [shared[0] | frame for frame in frames]
    return data | item(**{_FRAMES: whole, "SharedFunctionalGroupsSequence": [whole[0] | shared[0]]})


def _purpose(equipment: Item) -> str:
    return next((get(one, "CodeValue", "") for one in sequence(equipment, "PurposeOfReferenceCodeSequence")), "")


def _spread(data: Item) -> Item:
    """Give each frame the segment and source that a segmentation tells of all of them at once."""
    shared = sequence(data, "SharedFunctionalGroupsSequence")[:1]
    frames = sequence(data, _FRAMES)
    keywords = ("SegmentIdentificationSequence", "DerivationImageSequence")
    common = {tag: one[tag] for one in shared for tag, _ in map(entry_of, keywords) if tag in one}
    return data | item(**{_FRAMES: [common | frame for frame in frames]}) if common and frames else data


def _file(meta: Item, data: Item) -> Iterator[Problem]:
    for here, there in (("MediaStorageSOPClassUID", "SOPClassUID"), ("MediaStorageSOPInstanceUID", "SOPInstanceUID")):
        if get(meta, here) != get(data, there):
            yield Problem(here, f"expected the value of {there}, got another", "PS3.10 Section 7.1")
    declared = data.get(CHARACTER_SET, ("CS", ""))[1]
    if not codecs_of(declared):
        yield Problem("SpecificCharacterSet", "expected a defined term, got another", "PS3.3 C.12.1.1.2")
    if declared == "" and any(isinstance(value, str) and not value.isascii() for _, _, (_, value) in walk(data)):
        yield Problem("SpecificCharacterSet", "expected one for text beyond ASCII, got none", "PS3.3 C.12.1")


def _ruled(rule: Rule, items: list[tuple[str, Item]], depth: int) -> Iterator[Problem]:
    tag, last = rule.tags[depth], depth == len(rule.tags) - 1
    keyword = rule.path.split(".")[depth]
    for path, data in items:
        entry = data.get(tag)
        if not last:
            children = entry[1] if entry is not None and entry[0] == "SQ" else []
            yield from _ruled(
                rule, [(f"{path}{keyword}[{n}].", child) for n, child in enumerate(children, 1)], depth + 1
            )
        elif entry is None:
            if rule.type != "3":
                yield Problem(path + keyword, f"expected an attribute of type {rule.type}, got none", rule.clause)
        elif rule.type == "1" and len(entry[1]) == 0:
            yield Problem(path + keyword, "expected a value, got none", rule.clause)
        elif rule.values and len(entry[1]) and _shown(entry[1]) not in rule.values:
            allowed = ", ".join(rule.values)
            yield Problem(path + keyword, f"expected one of {allowed}, got another value", rule.clause)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else "\\".join(str(one) for one in value)


def _equipment(data: Item) -> Iterator[Problem]:
    """Judge that a kind names each algorithm once and by its own Device UID."""
    items = sequence(data, "ContributingEquipmentSequence")
    uids = [get(one, "DeviceUID", "") for one in items]
    if len(set(uids)) != len(uids):
        yield Problem("ContributingEquipmentSequence", "expected a Device UID of its own for each algorithm", "AIR")


def _same(kind: str, data: Item, source: Source) -> Iterator[Problem]:
    """Judge that the document is about the source: patient, study, references."""
    for keyword in (*REQUIRED, *OPTIONAL, "StudyInstanceUID"):
        tag = entry_of(keyword)[0]
        if keyword == "StudyDescription" and tag not in data:
            continue
        if data.get(tag, ("", None))[1] != source.modules.get(tag, ("", None))[1]:
            yield Problem(keyword, "expected the value of the source, got another", "PS3.3 C.7.1.1, C.7.2.1")
    if not source.referable:
        return
    if kind == "KOS":
        yield from _chosen(data, source)
        return
    found = {
        (get(item_, "ReferencedSOPInstanceUID"), get(item_, "ReferencedSOPClassUID")) for item_ in _references(data)
    }
    missing = [uid for uid in source.sop_uids if (uid, source.sop_class_uid) not in found]
    if missing:
        said = f"expected a reference to every source image, got none to {len(missing)}"
        yield Problem("ReferencedSOPInstanceUID", said, "AIR")
    wanted = {"SR": _EVIDENCE, "SEG": "", "PM": "", "LABELMAP": "", "GSPS": ""}.get(kind)
    if wanted is None:
        return
    studies = sequence(data, wanted) if wanted else [data]
    series = [get(one, "SeriesInstanceUID") for study in studies for one in sequence(study, "ReferencedSeriesSequence")]
    if source.series_uid not in series:
        yield Problem("ReferencedSeriesSequence", "expected the series of the source image, got none", "PS3.3 C.12.2")
    if kind == "SR":
        yield from _requests(data, source)
    if wanted and any(get(study, "StudyInstanceUID") != source.study_uid for study in studies):
        yield Problem(wanted, "expected the study of the source, got another", "PS3.3 C.17.2.3")


def _chosen(data: Item, source: Source) -> Iterator[Problem]:
    """Judge that a selection names images of the source only."""
    named = {(get(one, "ReferencedSOPInstanceUID"), get(one, "ReferencedSOPClassUID")) for one in _references(data)}
    whole = len(source.sop_uids) > 1  # a header alone tells one instance of its series
    if any(kind != source.sop_class_uid or (whole and uid not in source.sop_uids) for uid, kind in named):
        yield Problem("ReferencedSOPInstanceUID", "expected images of the source only, got another", "AIR")
    for study in sequence(data, _EVIDENCE):
        series = [get(one, "SeriesInstanceUID") for one in sequence(study, "ReferencedSeriesSequence")]
        if get(study, "StudyInstanceUID") != source.study_uid or series != [source.series_uid]:
            yield Problem(_EVIDENCE, "expected study and series of the source, got others", "PS3.3 C.17.6.2.1")
    yield from _requests(data, source)


def _requests(data: Item, source: Source) -> Iterator[Problem]:
    """Judge that the report names the requests that the source names."""
    accession = get(source.modules, "AccessionNumber", "")
    named = sequence(data, "ReferencedRequestSequence")
    if not named and (accession or source.requests):
        yield Problem("ReferencedRequestSequence", "expected the request of the source, got none", "PS3.3 C.17.2")
    if len(named) > len(source.asked):
        yield Problem("ReferencedRequestSequence", "expected the requests of the source, got more", "PS3.3 C.17.2")
    for number, (one, expected) in enumerate(zip(named, source.asked, strict=False), 1):
        for keyword, value in expected.items():
            if get(one, keyword) != value:
                where = f"ReferencedRequestSequence[{number}].{keyword}"
                yield Problem(where, "expected the value of the source, got another", "PS3.3 C.17.2")


def _references(data: Item) -> Iterator[Item]:
    tag = entry_of("ReferencedSOPInstanceUID")[0]
    if tag in data:
        yield data
    for vr, value in data.values():
        if vr == "SQ":
            for child in value:
                yield from _references(child)


_JUDGES: dict[str, tuple[Callable[[Item], Iterator[Problem]], ...]] = {
    "SEG": (raster.pixels, raster.frames, raster.segments),
    "PM": (raster.pixels, raster.frames, raster.mapping),
    "SR": (tree.problems, revision.problems, previous.problems),
    "SC": (raster.pixels,),
    "KOS": (selected.problems,),
    "GSPS": (presented.problems,),
    "PDF": (enclosed.problems, revision.problems),
    "LABELMAP": (raster.pixels, raster.frames, numbered.problems),
}
