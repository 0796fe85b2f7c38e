"""One file -> one image, or one coded refusal.  Bad content never raises."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from pydicom.uid import DeflatedExplicitVRLittleEndian

from wetread.acquire.age import ages
from wetread.acquire.attributes import is_uid, text, values
from wetread.acquire.content import Content
from wetread.acquire.frames import early
from wetread.acquire.geometry import column_direction, laterality, pixel_aspect, row_direction, spacing_mm
from wetread.acquire.layout import Layout, check_identity, check_kind, is_secondary, read_layout
from wetread.acquire.parse import Parsed, looks_like_dicom, parse
from wetread.acquire.person import person
from wetread.acquire.picture import Assumption, is_picture, read_picture
from wetread.acquire.pixels import Rescale, decode_pixels, decode_stored
from wetread.acquire.planes import normal, read_plane, stack
from wetread.acquire.quiet import FOREIGN_ERRORS, quiet
from wetread.acquire.settle import Known
from wetread.acquire.tomography import check_units, classic, frame_headers, frame_windows, is_enhanced, is_slice
from wetread.errors import NotRead
from wetread.records import Image, Pixels, Refusal, Rejected
from wetread.settings import Settings

_IDENTITY = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")


@dataclass(frozen=True, slots=True)
class Instance:
    """What became of one file, with the identity that grouping needs."""

    outcome: Image | Rejected
    study_uid: str = ""  # "" when the file names no valid one
    sop_uid: str = ""
    order: tuple[str, int, str] = ("", 0, "")  # series, instance number, SOP instance
    blank: bool = False  # a slice without content: at the end of a series that is no fault
    rescale: Rescale | None = None  # what the pixels of a slice wait for until its volume has its array
    at: int | None = None  # where those pixels lie in the file, byte for byte; None: nowhere
    file: int = -1  # its number among the files, if they have any

    @property
    def header(self) -> Any:
        """Its attributes, None when it has none that can be trusted."""
        return self.outcome.header


def reject(refusal: NotRead, source: str, digest: str, header: Any = None) -> Rejected:
    """Turn a refusal that was raised into the record of it."""
    return Rejected(Refusal(refusal.code, refusal.sentence, refusal.detail), source, digest, header)


def max_file_bytes(settings: Settings) -> int:
    """Return the most bytes that one file, or one inflated data set, may have."""
    return 4 * settings.max_pixels + (64 << 20)


Digest = Callable[[], str]


@dataclass(frozen=True, slots=True)
class Run:
    """What the instances of one call share: a second thread for digests, and values that they have in common."""

    beside: Executor
    known: Known = field(default_factory=dict)

    def digest(self, data: Content) -> Digest:
        """Start the SHA-256 of a file; the call that gives it waits for it.

        It needs the interpreter for a moment only: on two cores it costs no time.
        """
        return self.beside.submit(lambda: hashlib.sha256(data).hexdigest()).result


@contextmanager
def run() -> Iterator[Run]:
    """Start what the instances of one call share."""
    with ThreadPoolExecutor(1) as beside:
        yield Run(beside)


def read_instance(
    source: str, data: Content, settings: Settings, assume: Assumption, known: Known, digest: Digest
) -> Instance:
    """Read one file.

    Parameters
    ----------
    source
        File name or "dimse", for people.
    data
        The file.
    settings
        `max_pixels` bounds what is decoded.
    assume
        What a PNG or JPEG cannot say itself.
    known
        `Run.known` of this call.
    digest
        `Run.digest` of the file.

    Returns
    -------
    The pixels of a single slice are stored values that wait for `Instance.rescale`, which
    `wetread.acquire.series.joined` applies.
    """
    try:
        if len(data) > max_file_bytes(settings):
            raise NotRead("TOO-LARGE", f"Expected at most {max_file_bytes(settings)} bytes, got {len(data)}.")
        if is_picture(data) and not looks_like_dicom(data):
            image = read_picture(source, data, digest(), settings.max_pixels, assume)
            return Instance(image, image.study_uid, image.sop_uids[0], (image.series_uid, 1, image.sop_uids[0]))
        parsed = parse(data, max_file_bytes(settings), known)
    except NotRead as refusal:
        return Instance(reject(refusal, source, digest()))
    return _read_parsed(parsed, source, digest, settings)


def read_header(data: bytes, settings: Settings) -> Any:
    """Read whose image a file is, and nothing else: for a file whose reading crashed.

    Parameters
    ----------
    data
        The file; its pixels are not looked at.
    settings
        `max_pixels` bounds what is inflated.

    Returns
    -------
    Dataset or None
        Its attributes as `read_instance` keeps them; None when there are none that can be trusted.
    """
    try:
        with quiet():
            if len(data) > max_file_bytes(settings):
                return None
            return _trusted(parse(data, max_file_bytes(settings)).header)
    except NotRead:
        return None
    except FOREIGN_ERRORS:  # what `parse` did not foresee may be what crashed the reading
        return None


def give_up(source: str, digest: str, data: bytes, refusal: NotRead, settings: Settings) -> Instance:
    """Refuse a file whose reading crashed, by its header alone; b"" leaves the header out."""
    header = read_header(data, settings) if data else None
    rejected = reject(refusal, source, digest, header)
    return Instance(rejected) if header is None else Instance(rejected, *_named(header))


def _trusted(header: Any) -> Any:
    """Return the header if it names study, series, instance and class: nothing is filed under less."""
    return header if all(_uid_or_empty(header, keyword) for keyword in _IDENTITY) else None


def _read_parsed(parsed: Parsed, source: str, digest: Digest, settings: Settings) -> Instance:
    header = parsed.header
    study_uid, sop_uid, order = _named(header)
    try:
        check_kind(parsed)
        check_identity(header)
        if is_enhanced(header):
            header = classic(header)
            parsed = replace(parsed, header=header)
        layout = early(parsed, read_layout(header, settings.max_pixels), settings.least_side)
        if is_slice(header):
            check_units(header)
        pixels, rescale, blank = _decoded(parsed, layout)
        at = _place(pixels, parsed) if rescale is not None else None
        image = replace(_image(header, pixels, source, digest()), reduction=1 << layout.level)
        image = _placed(image) if is_slice(header) else image
    except NotRead as refusal:
        return Instance(reject(refusal, source, digest(), _trusted(header)), study_uid, sop_uid, order)
    return Instance(image, study_uid, sop_uid, order, blank, rescale, at)


def _decoded(parsed: Parsed, layout: Layout) -> tuple[Pixels, Rescale | None, bool]:
    """Pixels, what they wait for, and whether they are blank; only those of a single slice wait."""
    if is_slice(parsed.header) and layout.frames == 1:
        return decode_stored(parsed, layout, may_be_blank=True)
    pixels, blank = decode_pixels(parsed, layout, may_be_blank=is_slice(parsed.header))
    return pixels, None, blank


def _place(stored: Pixels, parsed: Parsed) -> int | None:
    """Where stored values lie in the file, if they are a view of it."""
    if parsed.pixel is None or parsed.syntax == DeflatedExplicitVRLittleEndian:
        return None
    return parsed.pixel.offset if np.may_share_memory(stored, np.frombuffer(parsed.data, np.uint8)) else None


def _image(header: Any, pixels: Pixels, source: str, digest: str) -> Image:
    spacing = spacing_mm(header)
    return Image(
        pixels=pixels,
        spacing_mm=spacing,
        pixel_aspect=pixel_aspect(header, spacing),
        modality=text(header, "Modality"),
        body_part=text(header, "BodyPartExamined"),
        view=text(header, "ViewPosition"),
        study_uid=text(header, "StudyInstanceUID"),
        series_uid=text(header, "SeriesInstanceUID"),
        sop_uids=(text(header, "SOPInstanceUID"),),
        digest=digest,
        source=source,
        header=header,
        row_direction=row_direction(header),
        column_direction=column_direction(header),
        laterality=laterality(header),
        series_description=text(header, "SeriesDescription"),
        secondary=is_secondary(header),
        ages=ages(header),
        person=person(header),
    )


def _placed(image: Image) -> Image:
    """A slice with its place in the patient, where it tells one; the frames of an instance in order."""
    if len(image.pixels) > 1:
        return _framed(image)
    image = replace(image, numbers=_instance_numbers(image.header))
    frames = frame_headers(image.header)
    plane = read_plane(frames[0] if frames else image.header)
    if plane is None:
        return image
    directions = (normal(plane.across, plane.down), plane.down, plane.across)
    return replace(image, positions_mm=(plane.position,), directions=directions)


def _framed(image: Image) -> Image:
    """The frames of one instance as a volume."""
    if not is_enhanced(image.header):
        raise NotRead("MULTI-FRAME", "Expected one frame in an object of its class.")
    planes = [plane for frame in frame_headers(image.header) if (plane := read_plane(frame)) is not None]
    if len(planes) != len(image.pixels) or image.spacing_mm is None:
        raise NotRead("MISSING-TAG", "Expected position, orientation and Pixel Spacing of every frame.")
    found = stack(planes, min(image.spacing_mm[1:]))
    pixels = np.ascontiguousarray(image.pixels[list(found.order)])
    pixels.flags.writeable = False
    return replace(
        image,
        pixels=pixels,
        spacing_mm=(found.distance_mm, image.spacing_mm[1], image.spacing_mm[2]),
        positions_mm=found.positions_mm,
        directions=found.directions,
        frames=tuple(index + 1 for index in found.order),
        windows=frame_windows(image.header, found.order),
    )


def _named(header: Any) -> tuple[str, str, tuple[str, int, str]]:
    """Return study, instance, and the order among the instances of a study."""
    study_uid, series_uid, sop_uid = (_uid_or_empty(header, keyword) for keyword in _IDENTITY[:3])
    return study_uid, sop_uid, (series_uid, _instance_number(header), sop_uid)


def _uid_or_empty(header: Any, keyword: str) -> str:
    found = values(header, keyword)
    return str(found[0]) if len(found) == 1 and is_uid(found[0]) else ""


def _instance_number(header: Any) -> int:
    return (*_instance_numbers(header), 0)[0]


def _instance_numbers(header: Any) -> tuple[int, ...]:
    """The Instance Number (0020,0013), () where there is none."""
    found = values(header, "InstanceNumber")
    return (int(found[0]),) if found and isinstance(found[0], int) else ()
