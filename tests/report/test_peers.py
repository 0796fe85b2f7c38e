"""Other people's programs judge and read our documents."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from tests import slices
from tests.peers import dcmtk, orthanc, require
from tests.report import phantom, series
from tests.report.conftest import HEADERS, WANTED
from tests.report.others import dcmqi
from wetread.records import FULL_SCALE, Document, Result

pytestmark = pytest.mark.peer

Documents = Callable[[str], dict[str, Document]]
Results = Callable[[str], Result]
DICOM = ("SEG", "PM", "SR", "SC", *WANTED)
CASES = (*HEADERS, "negative", "refused", "partial", "late", "followed", "reduced", *series.KINDS)

#: Warnings of dciodvfy that stay, each with its reason.
ALLOWED = {
    "(0x0018,0x1002) UI Device UID": "IHE AIR demands Device UID; this dciodvfy is older than the attribute's place",
    "Standard Extended SOP Class": "follows from Device UID",
    "<99WETREAD>": "a private coding scheme, declared in the document",
    "attribute <Coding Scheme UID>": "the UID of the private scheme",
    "Referring Physician's Name": "repeated as the source has it: one word, a retired form",
    "needed to build DICOMDIR": "the source has no Study ID",
    "Referenced Frame Number": "of an enhanced object, in a key object selection (PS3.3 Table 10-3)",
    "attribute <Laterality>": "the source does not say which body part it is: not known, so empty (type 2C)",
}
#: Warnings of dsrdump that stay.
UNKNOWN_SETS = (
    "does not support this Specific Character Set: ISO_IR 192",  # about the tool: it cannot judge UTF-8
    "does not support this Specific Character Set: \\ISO 2022 IR 87",
    "unknown/unsupported SpecificCharacterSet (\\ISO 2022 IR 87)",  # about the tool: the set is a defined term
)


#: This dicom3tools is older than the class; highdicom and pydicom judge it.
UNKNOWN = ("LABELMAP",)


def known(paths: dict[str, Path]) -> list[Path]:
    return [path for name, path in paths.items() if name not in UNKNOWN]


def written(folder: Path, documents: dict[str, Document]) -> dict[str, Path]:
    paths = {}
    for name in DICOM:
        if name in documents:
            paths[name] = folder / documents[name].name
            paths[name].write_bytes(documents[name].data)
    return paths


@pytest.mark.parametrize("kind", CASES)
def test_dciodvfy_finds_no_error(kind: str, documents_of: Documents, tmp_path: Path) -> None:
    program = require("dciodvfy", "dicom3tools")
    for path in known(written(tmp_path, documents_of(kind))):
        done = subprocess.run([program, str(path)], capture_output=True, text=True, timeout=30, check=False)
        lines = done.stderr.splitlines()
        assert lines
        assert [line for line in lines if "Error" in line] == []
        warnings = [line for line in lines if "Warning" in line]
        assert [line for line in warnings if not any(known in line for known in ALLOWED)] == []


def source_files(kind: str, folder: Path) -> list[Path]:
    """Write what the documents are about: the film, or every instance of the series."""
    if kind in series.KINDS:
        given = [folder / f"source-{name}" for name, _ in slices.blobs(series.sources(kind))]
        for path, (_, data) in zip(given, slices.blobs(series.sources(kind)), strict=True):
            path.write_bytes(data)
        return given
    film = dcmread(str(get_testdata_file("RG1_UNCR.dcm")))
    header = phantom.header(kind if kind in HEADERS else "real")
    header.file_meta = film.file_meta
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    header.add_new("PixelData", "OW", film.PixelData)
    header.save_as(folder / "source.dcm", enforce_file_format=True)
    return [folder / "source.dcm"]


@pytest.mark.parametrize("kind", CASES)
def test_dcentvfy_finds_no_error_beside_the_source(kind: str, documents_of: Documents, tmp_path: Path) -> None:
    program = require("dcentvfy", "dicom3tools")
    paths = [str(path) for path in known(written(tmp_path, documents_of(kind)))]
    paths += [str(path) for path in source_files(kind, tmp_path)]
    done = subprocess.run([program, *paths], capture_output=True, text=True, timeout=30, check=False)
    lines = done.stderr.splitlines()
    assert [line for line in lines if "Error" in line] == []
    # An accession number is compared between study and series level, where it means two things.
    assert [
        line for line in lines if line.strip() and "Element=<AccessionNumber> IE <Study> versus <Series>" not in line
    ] == []


@pytest.mark.parametrize("kind", CASES)
def test_dsrdump_has_nothing_to_say_against_the_report(kind: str, documents_of: Documents, tmp_path: Path) -> None:
    done = dcmtk("dsrdump", written(tmp_path, documents_of(kind))["SR"])
    assert done.returncode == 0
    assert [line for line in done.stderr.splitlines() if line.strip() and not line.endswith(UNKNOWN_SETS)] == []
    text = "Not read" if kind in ("refused", "partial") else "Hemorrhage" if kind in series.KINDS else "Pneumonia"
    assert text in done.stdout


def _nrrd(path: Path) -> np.ndarray[Any, Any]:
    """Read a volume that dcmqi wrote, axes (z, y, x)."""
    head, _, body = path.read_bytes().partition(b"\n\n")
    fields = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
    kinds = {"short": np.int16, "unsigned short": np.uint16, "float": np.float32, "unsigned char": np.uint8}
    raw = gzip.decompress(body) if fields["encoding"] == "gzip" else body
    return np.frombuffer(raw, kinds[fields["type"]]).reshape([int(one) for one in fields["sizes"].split()][::-1])


def test_dcmqi_reads_the_segmentation_voxel_for_voxel(
    documents_of: Documents, result_of: Results, tmp_path: Path
) -> None:
    path = written(tmp_path, documents_of("spacing"))["SEG"]
    dcmqi(
        "segimage2itkimage",
        *("--inputDICOM", str(path), "--outputDirectory", str(tmp_path), "--outputType", "nrrd", "--prefix", "q"),
    )
    for number, region in enumerate(result_of("spacing").regions, 1):
        read = _nrrd(tmp_path / f"q-{number}.nrrd")
        assert np.array_equal(read != 0, region.mask)
    head = (tmp_path / "q-1.nrrd").read_bytes().split(b"\n\n")[0].decode()
    assert "(0.16,0,0) (0,0,-0.16)" in head


@pytest.mark.parametrize("kind", series.KINDS)
def test_dcmqi_reads_a_series_voxel_for_voxel_in_its_place(
    kind: str, documents_of: Documents, result_of: Results, tmp_path: Path
) -> None:
    """It writes the slices from the first frame to the last, with their place in the patient."""
    path = written(tmp_path, documents_of(kind))["SEG"]
    dcmqi(
        "segimage2itkimage",
        *("--inputDICOM", str(path), "--outputDirectory", str(tmp_path), "--outputType", "nrrd", "--prefix", "q"),
    )
    regions, image = result_of(kind).regions, result_of(kind).image
    assert image is not None
    assert image.directions is not None
    assert image.spacing_mm is not None
    held = np.flatnonzero(np.any([region.mask.any((1, 2)) for region in regions], axis=0))
    for number, region in enumerate(regions, 1):
        read = _nrrd(tmp_path / f"q-{number}.nrrd")
        first = next(z for z in held if _near(_origin(tmp_path / f"q-{number}.nrrd"), image.positions_mm[z]))
        assert np.array_equal(read != 0, region.mask[first : first + len(read)])
        assert read.sum() // read.max() == region.mask.sum()
    head = (tmp_path / "q-1.nrrd").read_bytes().split(b"\n\n")[0].decode()
    told = np.array([eval(one) for one in head.split("space directions: ")[1].splitlines()[0].split(" ")])
    wanted = np.array(image.directions)[::-1] * np.array(image.spacing_mm)[::-1, None]
    np.testing.assert_allclose(told[:2], wanted[:2], atol=1e-5)
    if kind != "slice":
        np.testing.assert_allclose(told[2], wanted[2], atol=1e-4)


@pytest.mark.parametrize("kind", series.KINDS)
def test_dcmqi_reads_the_report_of_a_series(
    kind: str, documents_of: Documents, result_of: Results, tmp_path: Path
) -> None:
    path, told = written(tmp_path, documents_of(kind))["SR"], tmp_path / "report.json"
    dcmqi("tid1500reader", "--inputDICOM", str(path), "--outputMetadata", str(told))
    groups = {one["TrackingUniqueIdentifier"]: one for one in json.loads(told.read_text())["Measurements"]}
    given = result_of(kind)
    assert set(groups) == {one.tracking_uid for one in given.findings} | {one.tracking_uid for one in given.regions}
    for region in given.regions:
        (size,) = groups[region.tracking_uid]["measurementItems"]
        wanted = region.measurements[0]
        assert (size["quantity"]["CodeValue"], size["units"]["CodeValue"]) == (wanted.code.value, wanted.unit.value)
        assert float(size["value"]) == pytest.approx(wanted.value, rel=1e-5)
        assert groups[region.tracking_uid]["segmentationSOPInstanceUID"] == documents_of(kind)["SEG"].sop_instance_uid


def _origin(path: Path) -> list[float]:
    head = path.read_bytes().split(b"\n\n")[0].decode()
    return [float(one) for one in head.split("space origin: (")[1].split(")")[0].split(",")]


def _near(one: Sequence[float], other: Sequence[float]) -> bool:
    return bool(np.allclose(one, other, atol=1e-3))


@pytest.mark.parametrize("kind", series.KINDS)
def test_highdicom_reads_the_segmentation_of_a_series(kind: str, documents_of: Documents, result_of: Results) -> None:
    seg = pytest.importorskip("highdicom.seg")
    read = seg.segread(io.BytesIO(documents_of(kind)["SEG"].data))
    regions, image = result_of(kind).regions, result_of(kind).image
    assert image is not None
    wanted = np.stack([region.mask for region in regions], axis=-1)
    if image.frames:
        pixels = read.get_pixels_by_source_frame(
            image.sop_uids[0], list(image.frames), assert_missing_frames_are_empty=True
        )
    else:
        pixels = read.get_pixels_by_source_instance(list(image.sop_uids), assert_missing_frames_are_empty=True)
    assert np.array_equal(pixels, wanted)
    assert read.FrameOfReferenceUID == image.header.FrameOfReferenceUID
    if kind == "slice":
        return
    geometry = read.get_volume_geometry()
    np.testing.assert_allclose(sorted(geometry.spacing), sorted(image.spacing_mm or ()), atol=1e-5)
    held = np.flatnonzero(wanted.any((1, 2, 3)))
    ends = [geometry.map_indices_to_reference(np.array([[at, 0, 0]]))[0] for at in (0, geometry.spatial_shape[0] - 1)]
    np.testing.assert_allclose(
        sorted(map(tuple, ends)), sorted(image.positions_mm[at] for at in (held[0], held[-1])), atol=1e-3
    )


@pytest.mark.parametrize("kind", [*HEADERS, "negative"])
def test_highdicom_reads_the_segmentation(kind: str, documents_of: Documents, result_of: Results) -> None:
    seg = pytest.importorskip("highdicom.seg")
    read = seg.segread(io.BytesIO(documents_of(kind)["SEG"].data))
    regions = result_of(kind).regions
    uid = result_of(kind).header.SOPInstanceUID
    pixels = read.get_pixels_by_source_instance(
        [uid], ignore_spatial_locations=True, assert_missing_frames_are_empty=True
    )
    assert np.array_equal(pixels[0], np.stack([region.mask[0] for region in regions], axis=-1))
    for number, region in enumerate(regions, 1):
        described = read.get_segment_description(number)
        assert described.tracking_uid == region.tracking_uid
        assert described.segmented_property_type.value == region.type.value
        assert described.algorithm_identification.version == "1.0.0+pruned-int8"


@pytest.mark.parametrize("kind", [*HEADERS, "negative", *series.KINDS])
def test_highdicom_reads_the_parametric_map(kind: str, documents_of: Documents, result_of: Results) -> None:
    pm = pytest.importorskip("highdicom.pm")
    read = pm.ParametricMap.from_dataset(dcmread(io.BytesIO(documents_of(kind)["PM"].data)))
    given = result_of(kind).explanations[0].map
    assert np.array_equal(read.pixel_array, given)
    values = read.get_frame(1, apply_real_world_transform=True)
    assert np.abs(values - given / FULL_SCALE).max() <= 1e-7


@pytest.mark.parametrize("kind", [*HEADERS, "negative", "late", "followed", "reduced", *series.KINDS])
def test_highdicom_reads_the_report(kind: str, documents_of: Documents, result_of: Results) -> None:
    sr = pytest.importorskip("highdicom.sr")
    given, made = result_of(kind), documents_of(kind)
    report = sr.srread(io.BytesIO(made["SR"].data)).content
    (group,) = report.get_image_measurement_groups()
    assert group.tracking_uid == given.findings[0].tracking_uid
    values = {one.name.value: one.value for one in group.get_measurements()}
    assert values["122157"] == pytest.approx(given.findings[0].probability * 100)
    assert values["THRESHOLD"] == 50.0
    said = {one.name.value: one.value.value for one in group.get_qualitative_evaluations()}
    assert said[given.findings[0].code.value] == ("52101004" if given.findings[0].present else "272519000")
    regions = report.get_volumetric_roi_measurement_groups()
    assert len(regions) == len(given.regions)
    for number, (read, region) in enumerate(zip(regions, given.regions, strict=True), 1):
        assert read.tracking_uid == region.tracking_uid
        assert read.referenced_segment.referenced_sop_instance_uid == made["SEG"].sop_instance_uid
        assert read.referenced_segment.referenced_segment_numbers == [number]
        (size,) = read.get_measurements()
        assert (size.value, size.unit.value) == (
            float(f"{region.measurements[0].value:.6g}"),
            region.measurements[0].unit.value,
        )
    observers = report.get_observer_contexts()
    assert [one.observer_identifying_attributes.uid for one in observers] == [one.device_uid for one in given.models]


@pytest.mark.parametrize("kind", ["real", "ct", "mr-enhanced"])
def test_dsrdump_and_highdicom_read_the_selection(
    kind: str, documents_of: Documents, result_of: Results, tmp_path: Path
) -> None:
    path = written(tmp_path, documents_of(kind))["KOS"]
    done = dcmtk("dsrdump", path)
    assert done.returncode == 0
    unknown = (*UNKNOWN_SETS, "Check for template constraints not yet supported")  # about the tool
    assert [line for line in done.stderr.splitlines() if line.strip() and not line.endswith(unknown)] == []
    assert "Of Interest" in done.stdout
    ko = pytest.importorskip("highdicom.ko")
    read = ko.KeyObjectSelectionDocument.from_dataset(dcmread(path))
    finding = result_of(kind).findings[0]
    assert len(read.content.get_references()) == len(finding.slices or (finding.peak,))


@pytest.mark.parametrize("kind", ["real", "spacing", "ct", "mr-enhanced", "slice"])
def test_dcmtk_takes_the_state_and_shows_the_image_by_it(kind: str, documents_of: Documents, tmp_path: Path) -> None:
    state = written(tmp_path, documents_of(kind))["GSPS"]
    assert "Test passed" in dcmtk("dcmpschk", state).stderr
    sources, shown = source_files(kind, tmp_path), tmp_path / "shown.pgm"
    frame = ["-f", "9"] if kind == "mr-enhanced" else []  # the first one is air
    done = dcmtk("dcmp2pgm", *frame, "-p", str(state), str(sources[len(sources) // 2]), str(shown))
    assert done.returncode == 0, done.stderr
    pixels = np.frombuffer(shown.read_bytes().split(b"255\n", 1)[1], np.uint8)
    assert pixels.min() < 64
    assert pixels.max() > 192


@pytest.mark.parametrize("kind", ["real", "refused", "ct"])
def test_dcmtk_takes_the_pdf_out_and_another_program_reads_its_words(
    kind: str, documents_of: Documents, tmp_path: Path
) -> None:
    path, taken = written(tmp_path, documents_of(kind))["PDF"], tmp_path / "taken.pdf"
    assert dcmtk("dcm2pdf", str(path), str(taken)).returncode == 0
    program = require("gs", "ghostscript")
    command = [program, "-q", "-dNOPAUSE", "-dBATCH", "-sDEVICE=txtwrite", "-sOutputFile=-", str(taken)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert done.stderr == ""
    words = " ".join(done.stdout.split())
    assert "AI result, not for primary diagnosis" in words
    assert ("NOT READ" if kind == "refused" else "present") in words


@pytest.mark.parametrize("kind", series.KINDS)
def test_highdicom_reads_the_label_map(kind: str, documents_of: Documents, result_of: Results) -> None:
    seg = pytest.importorskip("highdicom.seg")
    read = seg.segread(io.BytesIO(documents_of(kind)["LABELMAP"].data))
    regions, image = result_of(kind).regions, result_of(kind).image
    assert image is not None
    given = {"combine_segments": True, "assert_missing_frames_are_empty": True}
    if image.frames:
        pixels = read.get_pixels_by_source_frame(image.sop_uids[0], list(image.frames), **given)
    else:
        pixels = read.get_pixels_by_source_instance(list(image.sop_uids), **given)
    for number, region in enumerate(regions, 1):
        assert np.array_equal(pixels == number, region.mask)


def test_orthanc_keeps_every_document_and_shows_what_can_be_shown(documents_of: Documents, tmp_path: Path) -> None:
    with orthanc(tmp_path) as peer:
        for kind in ("late", "ct"):
            for name in DICOM:
                document = documents_of(kind)[name]
                stored = peer.call("/instances", document.data, "POST")
                assert stored["Status"] == "Success"
                assert peer.file(stored["ID"]) == document.data
                if name == "PDF":
                    assert peer.call(f"/instances/{stored['ID']}/tags?simplify")["DocumentTitle"] == "AI wet read"
