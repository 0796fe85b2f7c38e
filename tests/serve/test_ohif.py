"""OHIF in Chromium, pointed at a node with nothing in between: `make viewer` runs this and keeps what was seen.

What is checked is on the screen: the text of the page, and the pixels of the picture against those of the object.
"""

from __future__ import annotations

import io
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from tests import peers, slices
from tests.serve.stage import until
from wetread.evidence.film import film_for_every_model
from wetread.pipeline import open_reader
from wetread.serve.node import Node
from wetread.settings import Destination, Settings
from wetread.wire.dimse import send

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.slow, pytest.mark.peer]

Pixels = npt.NDArray[np.float64]
#: Where the screenshots are kept.
SEEN = Path(__file__).parents[2] / "out" / "ohif"
SWIFTSHADER = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
PATIENCE_S = 120.0
TOKEN = "a-token-of-the-tests-0123456789"
#: Real series, which the project may not hold: the folder of the training images, as the lab names it.
REAL = Path(os.environ.get("WETREAD_DATA", "../shared/data")) / "mri/hippocampus/dicom_demo"
NEAR = ("http://127.0.0.1:", "blob:", "data:")  # what the page may ask
ABORTED = "net::ERR_ABORTED"  # the page wants something else now


def film() -> Dataset:
    """The real film with its pixel spacing: 1841 columns are the 368 mm of its collimator; the file says 0."""
    made = pydicom.dcmread(io.BytesIO(film_for_every_model()))
    made.PixelSpacing = ["0.2", "0.2"]
    return made


def chest() -> list[Dataset]:
    """Six axial slices of a chest of ellipses with a large right lung, and the heart in front of the left one."""
    frame = slices.Frame(np.array([-192.0, -192.0, 0.0]), np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), (5.0, 1.5, 1.5))
    places = frame.places((6, 256, 256))
    volume = np.full(places.shape[:3], -1000.0)
    for (x, y), (across, down), value in (
        ((0, 0), (160, 110), 40),
        ((-75, 0), (55, 85), -850),
        ((80, 5), (45, 75), -850),
        ((25, -30), (50, 45), 45),
        ((0, 85), (22, 20), 300),
    ):
        volume[((places[..., 0] - x) / across) ** 2 + ((places[..., 1] - y) / down) ** 2 < 1] = value
    volume += np.random.default_rng(1).normal(0, 12, volume.shape)
    return slices.series(
        np.maximum(volume, -1024).astype(np.int16), frame, BodyPartExamined="CHEST", PatientName="Chest^Phantom"
    )


def heads() -> list[list[Dataset]]:
    """Real MR series of heads where they are at hand: the hippocampus cut out, and a whole head after contrast."""
    folders = [REAL / "Study1/13_HCropVolume", REAL / "Study3/11-T1post-18670"]
    read = [[pydicom.dcmread(file) for file in sorted(folder.glob("*.dcm"))] for folder in folders if folder.is_dir()]
    return [sorted(one, key=lambda slice_: float(slice_.ImagePositionPatient[2])) for one in read]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with the shipped models that shows OHIF, and has read a film and a CT."""
    state = tmp_path_factory.mktemp("state")
    (tokens := state / "tokens").write_text(TOKEN)
    settings = Settings(
        state=state / "own",
        port=0,
        http_port=0,
        quiet_s=0.5,
        engine="onnxruntime",
        viewer=peers.ohif(),
        dicomweb_tokens=tokens,
    )
    made = Node(settings, lambda: open_reader(settings))
    made.start()
    try:
        studies = [[film()], chest(), *heads()]
        items = [to_bytes(one) for study in studies for one in study]
        assert set(send(Destination("WETREAD", "127.0.0.1", made.port), items)) == {0}
        ended = ("DELIVERED", "REFUSED")
        until(lambda: sum(made.store.overview.counts()[one] for one in ended) == len(studies), PATIENCE_S)
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def page(node: Node) -> Iterator[Page]:
    """A page of Chromium; whatever fails in it fails here."""
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox", *SWIFTSHADER] if os.geteuid() == 0 else list(SWIFTSHADER)
    with sync_playwright() as driver, driver.chromium.launch(executable_path=peers.chromium(), args=options) as browser:
        made = browser.new_page(viewport={"width": 1400, "height": 900}, base_url=f"http://127.0.0.1:{node.http_port}")
        made.set_default_timeout(PATIENCE_S * 1000)
        made.add_init_script("localStorage.setItem('shownTours', JSON.stringify(['basicViewerTour']))")
        wrong: list[str] = []
        made.on("response", lambda answer: wrong.append(answer.url) if answer.status >= 400 else None)
        made.on("requestfailed", lambda asked: None if asked.failure == ABORTED else wrong.append(asked.url))
        made.on("request", lambda asked: None if asked.url.startswith(NEAR) else wrong.append(asked.url))
        made.goto(f"/#token={TOKEN}")
        made.get_by_role("button", name="Confirm and hide").click()  # that it is for investigational use
        yield made
        assert wrong == []


def to_bytes(one: Dataset) -> bytes:
    file = io.BytesIO()
    one.save_as(file, enforce_file_format=True)
    return file.getvalue()


def held(node: Node, modality: str, study_uid: str) -> Dataset:
    """The document of a study, as the node has it."""
    for blob in node.store.held.blobs({"StudyInstanceUID": study_uid}):
        one = pydicom.dcmread(io.BytesIO(node.store.held.get(blob)))
        if one.Modality == modality:
            return one
    raise AssertionError(modality)


def opened(page: Page, study_uid: str) -> None:
    page.goto(f"/viewer?StudyInstanceUIDs={study_uid}")


def kept(page: Page, name: str) -> None:
    SEEN.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SEEN / f"{name}.png")


def picture(page: Page, rows: int, columns: int) -> Pixels:
    """What the screen shows of an image that fits its viewport, (y, x, 3), on a grid of 256 rows."""
    box = page.locator("canvas.cornerstone-canvas").bounding_box()
    if box is None:  # another one takes its place
        return np.zeros((256, round(256 * columns / rows), 3))
    scale = min(box["height"] / rows, box["width"] / columns)
    x, y = (box["x"] + (box["width"] - columns * scale) / 2, box["y"] + (box["height"] - rows * scale) / 2)
    clip: Any = {"x": x, "y": y, "width": columns * scale, "height": rows * scale}
    shown = np.asarray(Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB"))
    return resized(shown, rows, columns)


def resized(one: npt.NDArray[Any], rows: int, columns: int) -> Pixels:
    size = round(256 * columns / rows), 256
    return np.asarray(cv2.resize(one.astype(np.float64), size, interpolation=cv2.INTER_AREA), np.float64)


def alike(one: Pixels, other: Pixels) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def eventually(look: Callable[[], float], least: float) -> None:
    """The screen comes to show it."""
    end = time.monotonic() + PATIENCE_S
    while (found := look()) < least:
        assert time.monotonic() < end, f"expected at least {least}, saw {found:.3f}"
        time.sleep(0.5)


def coloured(shown: Pixels) -> npt.NDArray[np.bool_]:
    return np.asarray(np.ptp(shown, axis=2) > 25)


def covered(shown: Pixels, mask: npt.NDArray[np.bool_]) -> float:
    """Dice of what is coloured and a mask."""
    found = coloured(shown)
    return 2 * float((found & mask).sum()) / float(found.sum() + mask.sum())


def on_screen(mask: npt.NDArray[Any], rows: int, columns: int) -> npt.NDArray[np.bool_]:
    return resized(mask, rows, columns) > 0.5


def marked(page: Page) -> tuple[str, str]:
    """The sides of the patient at the left and at the top of the picture."""
    return page.locator(".left-mid").inner_text(), page.locator(".top-mid").inner_text()


def load_segmentation(page: Page) -> None:
    page.get_by_text("AI regions").first.dblclick()
    page.get_by_role("button", name="Yes").click()


def numbers(tree: Dataset) -> Iterator[str]:
    """Every measurement of a report as a line of text."""
    for node in tree.get("ContentSequence", ()):
        yield from numbers(node)
        if node.ValueType == "NUM" and node.RelationshipType == "CONTAINS":
            (value,) = node.MeasuredValueSequence
            unit = value.MeasurementUnitsCodeSequence[0].CodeValue
            yield f"{node.ConceptNameCodeSequence[0].CodeMeaning}: {value.NumericValue} {unit}"


def test_the_study_list(page: Page) -> None:
    page.goto("/")
    page.get_by_text("CompressedSamples, RG1").wait_for()
    rows = page.get_by_role("row").filter(has_text="SEG")
    texts = rows.all_inner_texts()
    assert len(texts) == 2 + len(heads()[:1])  # of a whole head there is no segmentation
    assert any("Chest, Phantom" in text and "CT" in text for text in texts)
    assert any("THORAX" in text and "26-Aug-2004" in text and "exam Number" in text for text in texts)
    kept(page, "list")
    page.get_by_role("textbox").first.fill("phantom")
    page.get_by_text("CompressedSamples, RG1").wait_for(state="hidden")
    assert "Chest, Phantom" in rows.inner_text()


def test_a_film_with_its_segmentation_and_report(page: Page, node: Node) -> None:
    one = film()
    size = one.Rows, one.Columns
    opened(page, one.StudyInstanceUID)
    grey = resized(1 - one.pixel_array / 30000, *size)  # its window, 15000 and 30000; MONOCHROME1
    eventually(lambda: alike(picture(page, *size).mean(2), grey), 0.99)
    assert alike(picture(page, *size).mean(2)[:, ::-1], grey) < 0.95
    assert coloured(picture(page, *size)).mean() < 0.1  # a frame around it, and words
    assert marked(page) == ("R", "H")
    kept(page, "film")

    seg = held(node, "SEG", one.StudyInstanceUID)
    load_segmentation(page)
    right, left = (on_screen(frame, *size) for frame in seg.pixel_array)
    eventually(lambda: covered(picture(page, *size), right | left), 0.97)
    kept(page, "film-segmentation")
    shown = picture(page, *size)
    assert [item.SegmentLabel for item in seg.SegmentSequence] == ["Right lung", "Left lung"]
    assert right.nonzero()[1].mean() < left.nonzero()[1].mean()  # the patient looks at us
    for lung, redder in ((right, False), (left, True)):  # teal and amber
        red, _, blue = np.median(shown[lung], axis=0)
        assert bool(red > blue) == redder

    report = held(node, "SR", one.StudyInstanceUID)
    page.get_by_text("AI findings").first.dblclick()
    page.get_by_text("Pneumonia: Present").wait_for()
    text = page.locator("body").inner_text()
    lines = list(numbers(report))
    assert len(lines) == 5
    assert [line for line in lines if line not in text] == []
    kept(page, "film-report")


def test_a_map_that_ohif_would_draw_wrong_is_not_drawn(page: Page) -> None:
    one = film()
    size = one.Rows, one.Columns
    opened(page, one.StudyInstanceUID)
    grey = resized(1 - one.pixel_array / 30000, *size)
    eventually(lambda: alike(picture(page, *size).mean(2), grey), 0.99)
    page.get_by_text("AI visual").first.dblclick()
    page.get_by_text("could not be added to the viewport").first.wait_for()
    assert coloured(picture(page, *size)).mean() < 0.1  # a frame around it, and words


def test_a_series_with_its_segmentation_and_report(page: Page, node: Node) -> None:
    parts = chest()
    size = parts[0].Rows, parts[0].Columns
    opened(page, parts[0].StudyInstanceUID)
    top = parts[-1].pixel_array.astype(np.float64)  # OHIF begins at the head
    grey = resized(top, *size)
    eventually(lambda: alike(picture(page, *size).mean(2), grey), 0.97)
    assert alike(picture(page, *size).mean(2)[:, ::-1], grey) < 0.9
    assert marked(page) == ("R", "A")
    kept(page, "series")

    seg = held(node, "SEG", parts[0].StudyInstanceUID)
    load_segmentation(page)
    masks = {
        group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID: frame
        for group, frame in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True)
    }
    lungs = on_screen(masks[parts[-1].SOPInstanceUID], *size)
    eventually(lambda: covered(picture(page, *size), lungs), 0.95)
    kept(page, "series-segmentation")

    (line,) = numbers(held(node, "SR", parts[0].StudyInstanceUID))
    assert line.startswith("Volume: ")
    page.get_by_text("AI findings").first.dblclick()
    page.get_by_text(line).wait_for()
    kept(page, "series-report")


@pytest.mark.skipif(not REAL.is_dir(), reason="no real series; name their folder by WETREAD_DATA")
def test_a_real_head_with_its_segmentation_and_report(page: Page, node: Node) -> None:
    parts = heads()[0]
    study_uid, size = parts[0].StudyInstanceUID, (parts[0].Rows, parts[0].Columns)
    opened(page, study_uid)
    eventually(lambda: max(alike_slices(page, parts)), 0.75)  # words lie over a dark picture
    seg = held(node, "SEG", study_uid)
    load_segmentation(page)
    masks: dict[str, npt.NDArray[np.bool_]] = {}
    for group, frame in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        uid = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        masks[uid] = masks.get(uid, np.zeros(size, bool)) | (frame > 0)
    eventually(lambda: float(coloured(picture(page, *size)).mean()), 0.001)  # it begins where there is some
    page.locator("canvas.cornerstone-canvas").hover()
    while (now := shown_slice(page, parts)) not in masks or masks[now].sum() < 200:
        page.mouse.wheel(0, 100)
        time.sleep(0.5)
    hippocampus = on_screen(masks[now], *size)
    eventually(lambda: covered(picture(page, *size), hippocampus), 0.85)  # pixels of a millimetre
    kept(page, "head-segmentation")

    lines = list(numbers(held(node, "SR", study_uid)))
    assert len(lines) == 2
    page.get_by_text("AI findings").first.dblclick()
    for line in lines:
        page.get_by_text(line).first.wait_for()
    kept(page, "head-report")


@pytest.mark.skipif(not REAL.is_dir(), reason="no real series; name their folder by WETREAD_DATA")
def test_a_real_head_that_no_model_reads_says_so(page: Page) -> None:
    parts = heads()[1]
    opened(page, parts[0].StudyInstanceUID)
    eventually(lambda: max(alike_slices(page, parts)), 0.97)
    page.get_by_text("AI findings").first.dblclick()
    page.get_by_text("NOT READ. No model reads this kind of series.").first.wait_for()
    kept(page, "head-not-read")


def shown_slice(page: Page, parts: list[Dataset]) -> str:
    """The slice whose number stands in the corner."""
    (number,) = re.findall(r"I:\s*(\d+)", page.locator("[data-cy=viewport-overlay-bottom-right]").inner_text())
    return next(str(one.SOPInstanceUID) for one in parts if one.InstanceNumber == int(number))


def alike_slices(page: Page, parts: list[Dataset]) -> list[float]:
    """How much the screen looks like each slice, in its own window."""
    shown = picture(page, parts[0].Rows, parts[0].Columns).mean(2)
    made = []
    for one in parts:
        low = float(one.WindowCenter) - float(one.WindowWidth) / 2
        grey = np.clip((one.pixel_array - low) / float(one.WindowWidth), 0, 1)
        made.append(alike(shown, resized(grey, one.Rows, one.Columns)))
    return made
