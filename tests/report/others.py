"""Sound objects that other software makes of a CT series: highdicom and dcmqi."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from tests import slices
from tests.report import series

_SERIES, _MAKER = "1.2.826.0.1.3680043.8.498.77.1", ("Other", "Model", "1", "1")
_POLYLINE = np.array([[1.0, 1.0], [5.0, 1.0], [5.0, 5.0], [1.0, 1.0]])


def _highdicom() -> Any:
    return pytest.importorskip("highdicom")


def liver() -> np.ndarray[Any, Any]:
    return np.asarray(series.volume() == 300)


def _uid(number: int) -> str:
    return f"1.2.826.0.1.3680043.8.498.77.2.{number}"


def segmentation(kind: str, algorithm: str = "AUTOMATIC") -> Dataset:
    """A highdicom SEG without tracking, as its author may leave it out."""
    hd = _highdicom()
    family = codes.cid7162.ArtificialIntelligence
    by = hd.AlgorithmIdentificationSequence(name="other", family=family, version="1") if algorithm != "MANUAL" else None
    described = hd.seg.SegmentDescription(
        *(1, "Liver", codes.SCT.Organ, codes.SCT.Liver, algorithm), algorithm_identification=by
    )
    mask = liver().astype(np.float32) * 0.7 if kind == "FRACTIONAL" else liver().astype(np.uint8)
    made: Dataset = hd.seg.Segmentation(
        series.sources("ct"), mask, kind, [described], _SERIES, 1, _uid(1), 1, *_MAKER, fractional_type="PROBABILITY"
    )
    return made


def report(kind: str, observer: str) -> Dataset:
    """A highdicom SR of TID 1500 with a segment and a polygon, measured by a person or a device."""
    hd = _highdicom()
    sources, seg = series.sources("ct"), segmentation("BINARY")
    identity: Any = {
        "Device": lambda: hd.sr.DeviceObserverIdentifyingAttributes(uid=_uid(9), name="dev", manufacturer_name="Other"),
        "Person": lambda: hd.sr.PersonObserverIdentifyingAttributes(name="Doe^John"),
    }[observer]()
    context = hd.sr.ObserverContext(getattr(codes.DCM, observer), identity)
    volumetric = hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=_uid(77), identifier="1"),
        referenced_segment=hd.sr.ReferencedSegment(
            *(seg.SOPClassUID, seg.SOPInstanceUID, 1),
            source_series=hd.sr.SourceSeriesForSegmentation(sources[0].SeriesInstanceUID),
        ),
        finding_type=codes.SCT.Liver,
        measurements=[hd.sr.Measurement(codes.SCT.Volume, 12.5, codes.UCUM.CubicMillimeter)],
    )
    source = hd.sr.SourceImageForRegion(sources[3].SOPClassUID, sources[3].SOPInstanceUID)
    planar = hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=_uid(78), identifier="2"),
        referenced_region=hd.sr.ImageRegion(hd.sr.GraphicTypeValues.POLYLINE, _POLYLINE, source),
        finding_type=codes.SCT.Mass,
        measurements=[hd.sr.Measurement(codes.SCT.Area, 2.5, codes.UCUM.SquareMillimeter)],
    )
    whole = hd.sr.MeasurementReport(
        hd.sr.ObservationContext(**{f"observer_{observer.lower()}_context": context}),
        hd.sr.CodedConcept("25045-6", "LN", "CT unspecified body region"),
        imaging_measurements=[volumetric] if kind == "EnhancedSR" else [volumetric, planar],
    )
    made: Dataset = getattr(hd.sr, kind)(
        evidence=[*sources, seg],
        content=whole[0],
        series_number=1,
        series_instance_uid=_SERIES,
        sop_instance_uid=_uid(2),
        instance_number=1,
        manufacturer="Other",
        is_complete=True,
        is_final=True,
        institution_name="X",
    )
    return made


def capture(samples: int) -> Dataset:
    hd = _highdicom()

    pixels = np.zeros((50, 60, 3), np.uint8) if samples == 3 else np.zeros((50, 60), np.uint16)
    made: Dataset = hd.sc.SCImage.from_ref_dataset(
        *(series.sources("ct")[0], pixels, "RGB" if samples == 3 else "MONOCHROME2", 8 if samples == 3 else 16),
        *("PATIENT", _SERIES, 2, _uid(3), 1, "Other"),
        pixel_spacing=(1, 1),
        patient_orientation=("L", "P"),
    )
    return made


def selection() -> Dataset:
    hd = _highdicom()
    who = hd.sr.ObserverContext(codes.DCM.Person, hd.sr.PersonObserverIdentifyingAttributes(name="Doe^John"))
    chosen = series.sources("ct")[:2]
    content = hd.ko.KeyObjectSelection(codes.DCM.OfInterest, chosen, observer_person_context=who, description="see")
    made: Dataset = hd.ko.KeyObjectSelectionDocument(chosen, content, _SERIES, 3, _uid(4), 1, "Other")
    return made


def state() -> Dataset:
    hd = _highdicom()

    images = series.sources("ct")[:3]
    layer = hd.pr.GraphicLayer("L", 1, description="d")
    drawn = hd.pr.GraphicObject("POLYLINE", _POLYLINE[:3], "PIXEL")
    made: Dataset = hd.pr.GrayscaleSoftcopyPresentationState(
        *(images, _SERIES, 4, _uid(5), 1, *_MAKER),
        content_label="PR",
        graphic_layers=[layer],
        graphic_annotations=[hd.pr.GraphicAnnotation(images, layer, graphic_objects=[drawn])],
    )
    return made


def parametric(kind: type[Any]) -> Dataset:
    hd = _highdicom()
    ends = (0, 65535) if kind is np.uint16 else (0.0, 1.0)
    mapping = hd.pm.RealWorldValueMapping("1", "x", codes.UCUM.NoUnits, ends, slope=1.0, intercept=0.0)
    made: Dataset = hd.pm.ParametricMap(
        *(series.sources("ct"), liver().astype(kind), _SERIES, 5, _uid(6), 1, *_MAKER),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        window_center=0.5,
        window_width=1,
    )
    return made


#: What highdicom makes, by name.
HIGHDICOM: dict[str, Callable[[], Dataset]] = {
    "SEG binary": lambda: segmentation("BINARY"),
    "SEG binary, by hand": lambda: segmentation("BINARY", "MANUAL"),
    "SEG fractional": lambda: segmentation("FRACTIONAL"),
    "SEG label map": lambda: segmentation("LABELMAP"),
    "Comprehensive 3D SR": lambda: report("Comprehensive3DSR", "Device"),
    "Comprehensive 3D SR, by a person": lambda: report("Comprehensive3DSR", "Person"),
    "Comprehensive SR": lambda: report("ComprehensiveSR", "Device"),
    "Enhanced SR, by a person": lambda: report("EnhancedSR", "Person"),
    "SC in colour": lambda: capture(3),
    "SC in grey": lambda: capture(1),
    "KOS": selection,
    "GSPS": state,
    "PM of integers": lambda: parametric(np.uint16),
    "PM of floats": lambda: parametric(np.float32),
}


def _code(value: str, scheme: str, meaning: str) -> dict[str, str]:
    return {"CodeValue": value, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning}


def _nrrd(path: Path, volume: np.ndarray[Any, Any]) -> None:
    """Write a volume (z, y, x) where the CT series lies, in ITK's axes."""
    frame = series.FRAME
    axes = zip((frame.across, frame.down, frame.normal), frame.spacing[::-1], strict=True)
    vectors = " ".join("(" + ",".join(f"{one:.10g}" for one in axis * step) + ")" for axis, step in axes)
    head = [
        "NRRD0004",
        f"type: {'float' if volume.dtype == np.float32 else 'unsigned char'}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, volume.shape[::-1]))}",
        f"space directions: {vectors}",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: raw",
        "space origin: (" + ",".join(f"{one:.10g}" for one in frame.origin) + ")",
    ]
    path.write_bytes("\n".join([*head, "", ""]).encode() + volume.tobytes())


def dcmqi(program: str, *arguments: str | Path) -> None:
    """Run a program of dcmqi; without it the test is skipped, or fails where CI says so."""
    path = Path(sys.executable).parent / program
    if not path.exists():
        message = f"{program} is missing: install the Python package dcmqi"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    command = [str(path), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def of_dcmqi(folder: Path) -> dict[str, bytes]:
    """What dcmqi makes: a SEG, a label map, a parametric map, and an SR about the SEG."""
    images = folder / "images"
    images.mkdir()
    for name, data in slices.blobs(series.sources("ct")):
        (images / name).write_bytes(data)
    told = {"SeriesDescription": "AI", "SeriesNumber": "300", "InstanceNumber": "1", "BodyPartExamined": "ABDOMEN"}
    told |= {"ContentCreatorName": "Doe^John", "ClinicalTrialSeriesID": "S", "ClinicalTrialTimePointID": "1"}
    _segmented(folder, images, told)
    _mapped(folder, images, told)
    _measured(folder, images, told)
    return {path.stem: path.read_bytes() for path in sorted(folder.glob("*.dcm"))}


def _segmented(folder: Path, images: Path, told: dict[str, str]) -> None:
    segment = {
        "labelID": 1,
        "SegmentDescription": "Liver",
        "SegmentLabel": "Liver",
        "SegmentAlgorithmType": "SEMIAUTOMATIC",
        "SegmentAlgorithmName": "other",
        "SegmentedPropertyCategoryCodeSequence": _code("123037004", "SCT", "Anatomical Structure"),
        "SegmentedPropertyTypeCodeSequence": _code("10200004", "SCT", "Liver"),
        "TrackingIdentifier": "Liver",
        "TrackingUniqueIdentifier": _uid(21),
        "recommendedDisplayRGBValue": [221, 130, 101],
    }
    (folder / "seg.json").write_text(json.dumps({**told, "segmentAttributes": [[segment]]}))
    _nrrd(folder / "seg.nrrd", liver().astype(np.uint8))
    for kind in ("binary", "labelmap"):
        dcmqi(
            *("itkimage2segimage", "--inputImageList", folder / "seg.nrrd", "--inputDICOMDirectory", images),
            *("--segmentationType", kind, "--inputMetadata", folder / "seg.json"),
            *("--outputDICOM", folder / f"SEG {kind}.dcm"),
        )


def _mapped(folder: Path, images: Path, told: dict[str, str]) -> None:
    about = {
        **told,
        "DerivedPixelContrast": "NONE",
        "QuantityValueCode": _code("246205007", "SCT", "Quantity"),
        "MeasurementUnitsCode": _code("{ratio}", "UCUM", "ratio"),
        "RealWorldValueSlope": 1,
        "DerivationCode": _code("110816", "DCM", "Time Course of Signal"),
        "FrameLaterality": "U",
    }
    (folder / "pm.json").write_text(json.dumps(about))
    _nrrd(folder / "pm.nrrd", liver().astype(np.float32))
    dcmqi(
        *("itkimage2paramap", "--inputImage", folder / "pm.nrrd", "--inputDICOMDirectory", images),
        *("--inputMetadata", folder / "pm.json", "--outputDICOM", folder / "PM.dcm"),
    )


def _measured(folder: Path, images: Path, told: dict[str, str]) -> None:
    from pydicom import dcmread

    seg, first = dcmread(folder / "SEG binary.dcm"), series.sources("ct")[0]
    group = {
        "TrackingIdentifier": "Liver",
        "ReferencedSegment": 1,
        "SourceSeriesForImageSegmentation": first.SeriesInstanceUID,
        "segmentationSOPInstanceUID": seg.SOPInstanceUID,
        "Finding": _code("10200004", "SCT", "Liver"),
        "MeasurementMethod": _code("126401", "DCM", "SUV Body Weight"),
        "measurementItems": [
            {
                "value": "12.5",
                "quantity": _code("118565006", "SCT", "Volume"),
                "units": _code("mm3", "UCUM", "cubic millimeter"),
            }
        ],
    }
    about = {
        **told,
        "observerContext": {"ObserverType": "PERSON", "PersonObserverName": "Doe^John"},
        "VerificationFlag": "UNVERIFIED",
        "CompletionFlag": "COMPLETE",
        "activitySession": "1",
        "timePoint": "1",
        "procedureReported": _code("77477000", "SCT", "Computed tomography"),
        "imageLibrary": sorted(path.name for path in images.iterdir()),
        "compositeContext": ["SEG binary.dcm"],
        "Measurements": [group],
    }
    (folder / "sr.json").write_text(json.dumps(about))
    dcmqi(
        *("tid1500writer", "--inputImageLibraryDirectory", images, "--inputCompositeContextDirectory", folder),
        *("--inputMetadata", folder / "sr.json", "--outputDICOM", folder / "SR.dcm"),
    )


def faults(problems: Sequence[Any]) -> set[tuple[str, str]]:
    """Where a standard is broken, without numbers of items, and its clause; AIR is another matter."""
    return {(re.sub(r"\[\d+\]", "", one.where), one.clause) for one in problems if one.clause != "AIR"}
