"""What only some destinations ask for: selection, presentation state, PDF, label map."""

from __future__ import annotations

import copy
import io
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from pydicom import Dataset, dcmread

from tests import slices
from tests.report import phantom, series
from tests.report.conftest import WANTED
from wetread import acquire, report
from wetread.errors import DocumentError
from wetread.records import Document, Picture, Result, Shown, Timing
from wetread.report import page, pdf
from wetread.report.outlines import MOST_LINES, MOST_VERTICES, polylines
from wetread.report.sc import WARNING
from wetread.settings import Settings

Documents = Callable[[str], dict[str, Document]]
Results = Callable[[str], Result]


def read(document: Document) -> Dataset:
    return dcmread(io.BytesIO(document.data))


def kinds(result: Result, wanted: tuple[str, ...] = WANTED) -> set[str]:
    return {one.kind for one in report.documents(result, kinds=wanted)} & set(WANTED)


def test_only_what_is_asked_for_is_made(result_of: Results) -> None:
    assert kinds(result_of("real"), ()) == set()
    assert kinds(result_of("real"), ("KOS", "SR")) == {"KOS"}


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        ("real", set(WANTED)),
        ("negative", {"GSPS", "PDF", "LABELMAP"}),
        ("partial", {"GSPS", "PDF", "LABELMAP"}),
        ("refused", {"PDF"}),
    ],
)
def test_a_document_is_made_where_it_has_something_to_say(kind: str, made: set[str], result_of: Results) -> None:
    assert kinds(result_of(kind)) == made


def test_a_table_or_several_rescales_as_modality_lut_have_no_state_and_overlapping_regions_no_label_map() -> None:
    table = phantom.result("real")
    table.header.ModalityLUTSequence = [Dataset()]
    assert "GSPS" not in kinds(table)
    curve = phantom.result("real")
    curve.header.VOILUTSequence = [Dataset()]
    curve.header.WindowCenter, curve.header.WindowWidth = "2048", "2000"
    assert "GSPS" in kinds(curve)
    del curve.header.WindowWidth
    assert "GSPS" not in kinds(curve)
    several = series.result("ct")
    assert several.image is not None
    assert "GSPS" in kinds(several)
    assert "GSPS" not in kinds(replace(several, image=replace(several.image, one_rescale=False)))
    made = phantom.result("real")
    twice = (made.regions[0], replace(made.regions[1], mask=made.regions[0].mask))
    assert "LABELMAP" not in kinds(replace(made, regions=twice))


@pytest.mark.parametrize("side", ["L", ""])
def test_a_series_of_both_sides_names_none(side: str) -> None:
    made = series.result("ct")
    assert made.image is not None
    header = copy.deepcopy(made.header)  # of the first slice
    header.ImageLaterality, header.BodyPartExamined = "L", "KNEE"
    image = replace(made.image, header=header, laterality=side)
    documents = report.documents(replace(made, header=header, image=image), kinds=("GSPS",))
    told = {one.kind: read(one).get("Laterality", "") for one in documents if one.kind in ("SEG", "PM", "SC", "GSPS")}
    assert told == dict.fromkeys(("SEG", "PM", "SC", "GSPS"), side)


def test_the_selection_names_the_slices_with_the_finding(documents_of: Documents, result_of: Results) -> None:
    finding, uids = result_of("ct").findings[0], series.image("ct").sop_uids
    tree = read(documents_of("ct")["KOS"]).ContentSequence
    images = [one.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for one in tree if one.ValueType == "IMAGE"]
    assert images == [uids[slice_] for slice_ in finding.slices]
    (said,) = [one.TextValue for one in tree if one.ValueType == "TEXT" and "Key" in str(one.ConceptNameCodeSequence)]
    assert said.startswith(WARNING)
    assert "Hemorrhage: present" in said
    enhanced = read(documents_of("mr-enhanced")["KOS"])
    frames = [one.ReferencedSOPSequence[0] for one in enhanced.ContentSequence if one.ValueType == "IMAGE"]
    assert [int(one.ReferencedFrameNumber) for one in frames] == [
        series.image("mr-enhanced").frames[slice_] for slice_ in result_of("mr-enhanced").findings[0].slices
    ]


def filled(shape: tuple[int, ...], lines: list[Any]) -> Any:
    """Fill polylines whose vertices are the centres of border pixels; holes stay holes."""
    made = np.zeros(shape, np.uint8)
    cv2.drawContours(made, [np.rint(line - 0.5).astype(np.int32)[:, None] for line in lines], -1, 1, cv2.FILLED)
    return made.astype(bool)


@pytest.mark.parametrize("kind", ["real", "ct", "mr-enhanced"])
def test_the_outlines_of_the_state_lie_on_the_masks(kind: str, documents_of: Documents, result_of: Results) -> None:
    given, state = result_of(kind), read(documents_of(kind)["GSPS"])
    image = given.image
    assert image is not None
    seen = 0
    for one in state.GraphicAnnotationSequence:
        if "GraphicObjectSequence" not in one:
            assert one.TextObjectSequence[0].UnformattedTextValue.startswith(WARNING)
            continue
        number = int(one.GraphicLayer.rsplit(" ", 1)[1])
        where = one.ReferencedImageSequence[0]
        if image.frames:
            slice_ = image.frames.index(int(where.ReferencedFrameNumber))
        else:
            slice_ = image.sop_uids.index(where.ReferencedSOPInstanceUID)
        lines = [np.array(graphic.GraphicData).reshape(-1, 2) for graphic in one.GraphicObjectSequence]
        mask = given.regions[number - 1].mask[slice_]
        both = np.logical_and(filled(mask.shape, lines), mask).sum()
        assert 2 * both / (filled(mask.shape, lines).sum() + mask.sum()) > 0.97
        seen += 1
    assert seen == sum(int(region.mask.any((1, 2)).sum()) for region in given.regions)


def test_a_state_looks_as_the_image_does(documents_of: Documents, result_of: Results) -> None:
    """Its window and rescale are the image's own: MONOCHROME1 stays inverse, HU stay HU."""
    film, header = read(documents_of("spacing")["GSPS"]), result_of("spacing").header
    assert film.PresentationLUTShape == "INVERSE"
    assert film.SoftcopyVOILUTSequence[0].WindowCenter == header.WindowCenter
    assert film.DisplayedAreaSelectionSequence[0].PresentationPixelSpacing == [0.16, 0.16]
    slices = read(documents_of("ct")["GSPS"])
    assert (slices.RescaleSlope, slices.RescaleIntercept) == (
        result_of("ct").header.RescaleSlope,
        result_of("ct").header.RescaleIntercept,
    )
    assert len(slices.ReferencedSeriesSequence[0].ReferencedImageSequence) == len(series.image("ct").sop_uids)


@pytest.mark.parametrize(
    ("windows", "function", "expected"),
    [
        ((), "", ("40", "400", None)),
        ((), "SIGMOID", ("40", "400", "SIGMOID")),
        ((), "MAGIC", ("40", "400", None)),
        (
            ((40.0, 400.0, ""), *[(None, None, "")] * 8),
            "SIGMOID",
            ("-150", "1700", None),
        ),  # air to the denser ball
    ],
)
def test_a_state_of_slices_has_the_window_that_all_of_them_have(
    windows: tuple[Shown, ...], function: str, expected: tuple[str, str, str | None]
) -> None:
    made = series.result("ct")
    assert made.image is not None
    header = copy.deepcopy(made.header)
    header.WindowCenter, header.WindowWidth, header.VOILUTFunction = ["40", "50"], ["400", "350"], function
    made = replace(made, header=header, image=replace(made.image, header=header, windows=windows))
    (state,) = [read(one) for one in report.documents(made, kinds=("GSPS",)) if one.kind == "GSPS"]
    (window,) = state.SoftcopyVOILUTSequence
    assert (str(window.WindowCenter), str(window.WindowWidth), window.get("VOILUTFunction")) == expected
    assert state.RescaleType == "HU"  # which CT need not say


@pytest.mark.parametrize("framed", [False, True])
def test_a_state_of_slices_with_windows_of_their_own_has_each(framed: bool) -> None:
    given = [(40.0, 400.5, "SIGMOID") if number % 3 else (-600.0, 1500.0, "") for number in range(9)]
    order = [8, 0, 7, 1, 6, 2, 5, 3, 4] if framed else list(range(9))
    made = slices.enhanced(series.volume(), series.FRAME, "CT", order) if framed else None
    members = [made] if made is not None else slices.series(series.volume(), series.FRAME)
    for place, number in enumerate(order):
        shown = Dataset()
        shown.WindowCenter, shown.WindowWidth, shown.VOILUTFunction = given[number]
        if made is None:
            members[place].update(shown)
        else:
            made.PerFrameFunctionalGroupsSequence[place].FrameVOILUTSequence = [shown]
    ((image,),) = [study.images for study in acquire.decode(slices.blobs(members), Settings())]
    assert list(image.windows) == given
    result = series.result("ct")
    result = replace(result, study_uid=image.study_uid, header=image.header, image=image, pictures=())
    (state,) = [read(one) for one in report.documents(result, kinds=("GSPS",)) if one.kind == "GSPS"]
    told = {}
    for item in state.SoftcopyVOILUTSequence:
        window = (float(item.WindowCenter), float(item.WindowWidth), item.get("VOILUTFunction", ""))
        for one in item.ReferencedImageSequence:
            numbers = one.get("ReferencedFrameNumber", 1)
            for number in numbers if framed else [numbers]:
                told[one.ReferencedSOPInstanceUID, int(number)] = window
    frames = (
        [(image.sop_uids[0], number) for number in image.frames] if framed else [(uid, 1) for uid in image.sop_uids]
    )
    assert told == dict(zip(frames, given, strict=True))


def test_outlines_have_few_vertices_and_keep_holes_and_specks() -> None:
    rng = np.random.default_rng(7)
    rough = cv2.GaussianBlur(rng.random((900, 900)), (0, 0), 6) > 0.5
    lines = polylines(rough)
    assert len(lines) <= MOST_LINES
    assert max(map(len, lines)) <= MOST_VERTICES
    ring = np.zeros((60, 60), bool)
    ring[10:50, 10:50] = True
    ring[20:40, 20:40] = False
    assert len(polylines(ring)) == 2
    speck = np.zeros((9, 9), bool)
    speck[4, 5] = True
    (line,) = polylines(speck)
    assert line.tolist() == [[5, 4], [6, 4], [6, 5], [5, 5], [5, 4]]


@pytest.mark.parametrize("axes", [(40, 40), (40, 25), (50, 8)])
def test_what_is_thin_is_outlined_along_itself(axes: tuple[int, int]) -> None:
    """Not by a box around it: an arc and a slanting line enclose nothing."""
    thin = np.zeros((128, 128), np.uint8)
    cv2.ellipse(thin, (64, 64), axes, 0, 180, 300, 1)
    cv2.line(thin, (10, 100), (10 + axes[0], 100 + axes[1] // 2), 1)
    lines = polylines(thin.astype(bool))
    assert np.array_equal(filled(thin.shape, lines), thin.astype(bool))
    assert max(map(len, lines)) <= MOST_VERTICES


@pytest.mark.parametrize("kind", ["real", "negative", "partial", "refused", "ct"])
def test_the_pdf_has_the_words_and_pictures_of_the_page(kind: str, result_of: Results) -> None:
    result = replace(result_of(kind), timings=(), read_at="")
    html = page.html(result).decode().partition("</style>")[2]
    words = re.sub(r"<[^>]+>", " ", html).split()
    parts = pdf.blocks(result)
    said = " ".join(one.text for one in parts).replace(":", "")
    assert [one for one in words if one.replace(":", "") not in said and "&" not in one] == []
    assert len([one for one in parts if one.jpeg]) == len(result.pictures)
    assert html.count("<img") == len(result.pictures)
    assert "trustworthyWhere" not in said


def test_the_pdf_is_the_same_whenever_the_image_was_read(result_of: Results) -> None:
    again = replace(result_of("real"), timings=(Timing("acquire", 1.0),), read_at="2031-01-01T00:00:00Z")
    for kind in WANTED:
        one, other = (
            next(d.data for d in report.documents(result, kinds=(kind,)) if d.kind == kind)
            for result in (result_of("real"), again)
        )
        assert one == other


def test_the_pdf_holds_its_fonts_and_says_so(documents_of: Documents) -> None:
    data = read(documents_of("utf8")["PDF"])
    inside = bytes(data.EncapsulatedDocument)
    assert inside.startswith(b"%PDF-1.7")
    assert b'pdfaid:part="2" pdfaid:conformance="U"' in inside
    assert inside.count(b"/FontFile2") >= 2
    assert data.PatientName == "Wang^XiaoDong=王^小东"
    assert b"Wang" not in inside


def test_pictures_of_the_pdf_leave_room_for_their_captions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Captions of three lines and more were set across the next picture, and a long film ran off its page."""
    block = pdf.Block("img", "Slice 8 of 12, counted from the feet, stretched for display. " * 3)
    shown = page.jpeg(Picture("film", "", np.full((660, 100, 3), 128, np.uint8)))
    with pdf._sheet(("20240131", "120000"), "title") as sheet:
        ends, cell = [0.0], sheet.multi_cell

        def spied(*given: Any, **named: Any) -> Any:
            made = cell(*given, **named)
            ends.append(sheet.get_y() if "dry_run" not in named else 0.0)
            return made

        monkeypatch.setattr(sheet, "multi_cell", spied)
        pdf._show(sheet, [replace(block, jpeg=shown)] * 3)
        assert sheet.page == 1
        assert max(ends) < sheet.get_y() <= sheet.page_break_trigger + 2


def test_a_page_that_cannot_be_set_is_a_document_error(result_of: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "_MARGIN_MM", 104.9)  # leaves no room for a letter on A4
    with pytest.raises(DocumentError, match="PDF: expected a page that can be set"):
        pdf.written(result_of("refused"), ("20240131", "120000"), "title")


@pytest.mark.parametrize("kind", ["real", "empty", *series.KINDS])
def test_the_label_map_says_what_the_segmentation_says(kind: str, documents_of: Documents, result_of: Results) -> None:
    data, regions = read(documents_of(kind)["LABELMAP"]), result_of(kind).regions
    pixels = data.pixel_array.reshape(-1, data.Rows, data.Columns)
    held = np.flatnonzero(np.any([region.mask.any((1, 2)) for region in regions], axis=0))
    assert len(pixels) == len(held)
    for number, region in enumerate(regions, 1):
        assert np.array_equal(pixels == number, region.mask[held])
        assert data.SegmentSequence[number].TrackingUID == region.tracking_uid
    assert data.SegmentSequence[0].SegmentNumber == 0


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_a_sound_segmentation_of_other_software_breaks_only_what_it_does_not_claim(kind: str) -> None:
    """IHE AIR's equipment is not in it, and Content Creator's Name (type 2) is left out."""
    hd = pytest.importorskip("highdicom")
    from pydicom.sr.codedict import codes

    family = codes.cid7162.ArtificialIntelligence
    described = hd.seg.SegmentDescription(
        *(1, "Liver", codes.SCT.Organ, codes.SCT.Liver, "AUTOMATIC"),
        algorithm_identification=hd.AlgorithmIdentificationSequence(name="other", family=family, version="1"),
        tracking_id="Liver",
        tracking_uid="1.2.3.4",
    )
    source = series.sources("ct")
    mask = (series.volume() == 300).astype(np.uint8)[: len(source)]
    made = hd.seg.Segmentation(
        *(source, mask, kind, [described], "1.2.3", 1, "1.2.4", 1, "Other", "Model", "1", "1"),
    )
    problems = report.check(made)
    assert {one.where for one in problems if one.clause != "AIR"} == {"ContentCreatorName"}
