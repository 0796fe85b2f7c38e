"""Other software reads documents back: highdicom and dcmqi the voxels, pydicom the numbers of the report."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from wetread.evidence.dicom.chance import Case
from wetread.records import FULL_SCALE, Document

_PROBABILITY, _THRESHOLD, _TRACKING, _SEGMENT = "122157", "THRESHOLD", "112040", "121191"


def read_back(case: Case, documents: Mapping[str, Document], folder: Path) -> Counter[str]:
    """Count what was read back, and what of it was not as it had been."""
    told = Counter[str]()
    regions = case.result.regions
    if "SEG" in documents:
        wanted = np.stack([region.mask for region in regions], axis=-1)
        told += _counted("highdicom SEG", np.array_equal(_by_highdicom(case, documents["SEG"]), wanted))
        if case.kind != "CR":
            told += _counted("dcmqi SEG", _by_dcmqi(case, documents["SEG"], folder))
    if "LABELMAP" in documents:
        numbers = sum(number * region.mask for number, region in enumerate(regions, 1))
        told += _counted("highdicom label map", np.array_equal(_by_highdicom(case, documents["LABELMAP"]), numbers))
    if "PM" in documents:
        given = case.result.explanations[0].map / FULL_SCALE
        told += _counted("highdicom PM", bool(np.abs(_map(documents["PM"]) - given).max() <= 1e-6))
    for right in _numbers(case, dcmread(io.BytesIO(documents["SR"].data))):
        told += _counted("SR numbers", right)
    return told


def _counted(what: str, right: bool) -> Counter[str]:
    return Counter({what: 1, f"{what} errors": int(not right)})


def _by_highdicom(case: Case, document: Document) -> Any:
    from highdicom import seg

    read, image = seg.segread(io.BytesIO(document.data)), case.result.image
    assert image is not None
    return read.get_pixels_by_source_instance(
        list(image.sop_uids),
        ignore_spatial_locations=case.kind == "CR",
        assert_missing_frames_are_empty=True,
        combine_segments=document.kind == "LABELMAP",
    )


def _map(document: Document) -> Any:
    from highdicom import pm

    read = pm.ParametricMap.from_dataset(dcmread(io.BytesIO(document.data)))
    return read.get_frame(1, apply_real_world_transform=True)


def _by_dcmqi(case: Case, document: Document, folder: Path) -> bool:
    """Whether dcmqi finds every segment of a series, voxel for voxel, at its place in the patient."""
    path, image = folder / document.name, case.result.image
    assert image is not None
    program = Path(sys.executable).parent / "segimage2itkimage"
    to = ("--outputDirectory", str(folder), "--outputType", "nrrd", "--prefix", "q")
    subprocess.run([str(program), "--inputDICOM", str(path), *to], capture_output=True, timeout=120, check=True)
    for number, region in enumerate(case.result.regions, 1):
        read, origin = _nrrd(folder / f"q-{number}.nrrd")
        begin = [at for at, place in enumerate(image.positions_mm) if np.allclose(place, origin, atol=1e-3)]
        if len(begin) != 1 or (read != 0).sum() != region.mask.sum():
            return False
        if not np.array_equal(read != 0, region.mask[begin[0] : begin[0] + len(read)]):
            return False
    return True


def _nrrd(path: Path) -> tuple[Any, list[float]]:
    """A volume that dcmqi wrote, (z, y, x), and the place of its first voxel, mm."""
    head, _, body = path.read_bytes().partition(b"\n\n")
    fields = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
    kinds = {"short": np.int16, "unsigned short": np.uint16, "float": np.float32, "unsigned char": np.uint8}
    raw = gzip.decompress(body) if fields["encoding"] == "gzip" else body
    shape = [int(one) for one in fields["sizes"].split()][::-1]
    origin = [float(one) for one in fields["space origin"].strip("()").split(",")]
    return np.frombuffer(raw, kinds[fields["type"]]).reshape(shape), origin


def _numbers(case: Case, report: Dataset) -> Iterator[bool]:
    """Whether each number of the report is, to its last printed digit, what the result says."""
    findings = {one.tracking_uid: one for one in case.result.findings}
    regions = {one.tracking_uid: one for one in case.result.regions}
    for part in report.ContentSequence:
        for group in part.get("ContentSequence", []):
            nodes = {_name(one): one for one in group.get("ContentSequence", [])}
            if _TRACKING not in nodes:
                continue
            tracked = nodes[_TRACKING].UID
            if tracked in findings:
                yield _same(nodes[_PROBABILITY], 100 * findings[tracked].probability)
                yield _same(nodes[_THRESHOLD], 100 * findings[tracked].threshold)
            for size in regions[tracked].measurements if tracked in regions else ():
                yield _same(nodes[size.code.value], size.value)


def _name(node: Dataset) -> str:
    names = node.get("ConceptNameCodeSequence")
    return str(names[0].CodeValue) if names else ""


def _same(node: Dataset, value: float) -> bool:
    """Whether a printed number is the value: percentages to 0.01, others to six significant digits."""
    measured = node.MeasuredValueSequence[0]
    printed = Decimal(str(measured.NumericValue))
    percent = measured.MeasurementUnitsCodeSequence[0].CodeValue == "%"
    last = Decimal("0.01") if percent else Decimal(1).scaleb(printed.adjusted() - 5)
    return abs(printed - Decimal(value)) <= last / 2
