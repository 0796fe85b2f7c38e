"""The frozen records that the rooms hand to each other.

They hold values, never work.  Axis order is (z, y, x) everywhere: z along the
stack, y down the rows, x along the columns; a film has one slice.  Lengths are
millimetres, areas square millimetres, times milliseconds, unless the name says
otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wetread.routes import UNROUTED, Decision, Route

Pixels = npt.NDArray[Any]
Tensor = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Levels = npt.NDArray[np.uint16]
#: The level that stands for 1.0.
FULL_SCALE = 65535
Turn = tuple[int, int, int]  # which axis of the image each axis of the model is, from 1; negative: reversed
Shown = tuple[float | None, float | None, str]  # Window Center and Width, None where not told, VOI LUT Function
Vector = tuple[float, float, float]  # (x, y, z) in the patient: to the left, to the back, to the head


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept: PS3.3 Section 8.8."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something was not read: a key of `wetread.errors.REFUSALS` and its detail."""

    code: str
    sentence: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Image:
    """One film or volume as it was acquired, with its identity.

    `header` is a read-only pydicom `Dataset` without pixel data.  Only `acquire`
    and `report` look inside; a PNG or JPEG gets one made for it.
    """

    pixels: Pixels  # (z, y, x), integer or float32, after the modality LUT; larger = more attenuating
    spacing_mm: tuple[float, float, float] | None  # (z, y, x); None: not known
    pixel_aspect: float  # height of a pixel over its width, 1.0 when square
    modality: str  # DICOM Modality (0008,0060)
    body_part: str  # DICOM Body Part Examined (0018,0015), "" when absent
    view: str  # DICOM View Position (0018,5101), "" when absent
    study_uid: str
    series_uid: str
    sop_uids: tuple[str, ...]  # one an instance, in slice order
    digest: str  # SHA-256 of the bytes that were read, of a series that of its instances' digests, hex
    source: str  # file name or "dimse", for people; never a patient identifier
    header: Any
    row_direction: str = ""  # where columns grow, by Patient Orientation (0020,0020): "L", "R", "A", "P"; "" unknown
    column_direction: str = ""  # where rows grow, by its second value: those four, "H" or "F"; "" unknown
    laterality: str = ""  # side of a paired body part: "L" or "R" by (0020,0060) or (0020,0062); "" not told
    series_description: str = ""  # DICOM Series Description (0008,103E)
    secondary: bool = False  # it, or one of its slices, was computed from others: value 2 of Image Type (0008,0008)
    positions_mm: tuple[Vector, ...] = ()  # centre of the first pixel of each slice; () where nobody knows
    directions: tuple[Vector, Vector, Vector] | None = None  # unit, in which the array's axes (z, y, x) grow
    frames: tuple[int, ...] = ()  # frame numbers in slice order, when all slices are frames of one instance
    numbers: tuple[int, ...] = ()  # Instance Number (0020,0013) in slice order; () of frames, films, or not all differ
    one_rescale: bool = True  # whether all slices have the same modality LUT
    windows: tuple[Shown, ...] = ()  # of the slices in order, where they differ; () the header's is that of all
    person: str = ""  # digest of Patient ID and its issuer, the same on a follow-up; "" where nobody is told
    ages: tuple[int, ...] = ()  # of the patient, completed years, each one that the header tells; () not known
    reduction: int = 1  # n: rows and columns were decoded at 1/n and interpolated to their grid; 1: every pixel


@dataclass(frozen=True, slots=True)
class Stored:
    """A file with one object as it came; whoever hands it on checks meanwhile that it still has its digest."""

    path: Path
    digest: str  # SHA-256 of its bytes, hex
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class Rejected:
    """One instance, or one series, that must not be read; `header` is None if it has none."""

    refusal: Refusal
    source: str
    digest: str
    header: Any = None
    sop_uids: tuple[str, ...] = ()  # of a series: every instance of the header's class


@dataclass(frozen=True, slots=True)
class Study:
    """Everything of one DICOM study that arrived, decoded or refused."""

    study_uid: str
    images: tuple[Image, ...]
    rejected: tuple[Rejected, ...] = ()


@dataclass(frozen=True, slots=True)
class Box:
    """A half-open box of rows and columns on an image: [y0, y1) x [x0, x1), in pixels."""

    y0: int
    x0: int
    y1: int
    x1: int


@dataclass(frozen=True, slots=True)
class Span:
    """How the slices of a volumetric model's grid lie on those of the image; intervals are half-open."""

    source: int  # slices of the whole image
    region: tuple[int, int]  # those that lie on the grid
    target: int  # slices of the model's grid
    content: tuple[int, int]  # where the region lies on them; outside is padding


@dataclass(frozen=True, slots=True)
class Grid:
    """How a model's grid lies on the image: a crop, a scale by axis, a padding."""

    source_shape: tuple[int, int]  # (y, x) of the whole image, pixels
    region: Box  # the part of the image that lies on the grid
    target_shape: tuple[int, int]  # (y, x) of the model's grid, pixels
    content: Box  # where the region lies on the model's grid; outside is padding
    span: Span | None = None  # along z, for a volumetric model; None: every slice by itself
    turn: Turn = (1, 2, 3)  # from the image's axes to the model's; all else here is on the model's axes


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an image becomes a tensor: data that travels with the model; the steps in their order."""

    grid: tuple[int, int]  # (y, x) of the model's grid, pixels; the physical aspect ratio is kept
    depth: int = 0  # slices of a volumetric model's grid; 0: a model of films or slices, one after the other
    axes: str = ""  # where (z, y, x) run to in the patient, such as "HPL": turn the image so; "": as acquired
    region: str = "image"  # "image"; the box around the "lungs", as a model outlines them, or in CT the "head"
    region_margin: float = 0.0  # grown on each side, as a share of the region's size
    spacing_mm: tuple[float, ...] | None = None  # (y, x), or (z, y, x) with a depth: crop or pad, do not fit
    window: tuple[float, float] | None = None  # values (HU in CT) that become 0 and 1, instead of percentiles
    percentiles: tuple[float, float] = (0.5, 99.5)  # of the content, after the resize; become 0 and 1
    percentiles_of: str = "slice"  # "slice", or "series": of all slices together
    channels: int = 1  # the grey image is repeated
    beside: bool = False  # of a series: the three channels are the slice before, the slice, the slice after
    mean: tuple[float, ...] = (0.0,)  # by channel
    std: tuple[float, ...] = (1.0,)  # by channel


@dataclass(frozen=True, slots=True)
class Prepared:
    """A tensor that a model accepts, and the way back to the image."""

    tensor: Tensor  # (n, c, y, x) float32, n the films or slices; (1, c, z, y, x) for a volumetric model
    grid: Grid  # the same for every slice
    recipe: Recipe


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """The exact build that answered; equal in every document (AIR Rev 1.3, 6.5.3.1)."""

    id: str
    version: str
    build: str  # name of the build: its precision is part of it, e.g. "pruned-int8"
    sha256: str  # of the ONNX file, hex
    device_uid: str  # DICOM Device UID (0018,1002) of this build
    manufacturer: str
    family: Code  # CID 7162
    engine: str  # a key of `wetread.infer.engine.ENGINES`
    engine_version: str
    device: str  # "CPU", "GPU"
    recipe: str  # digest of the recipe, hex
    instead_of: str = ""  # "cuda OUT-OF-MEMORY": the engine that should have answered, and why it did not


@dataclass(frozen=True, slots=True)
class Prediction:
    """The outputs of one model on its own grid."""

    model: ModelIdentity
    outputs: dict[str, Tensor]  # output name -> (n, k, ...) float32, raw logits
    grid: Grid


@dataclass(frozen=True, slots=True)
class Finding:
    """One statement of a classifier about the image."""

    code: Code
    probability: float  # calibrated, 0..1
    threshold: float  # 0..1; present when probability >= threshold
    present: bool
    model: ModelIdentity
    tracking_uid: str
    tracking_id: str
    site: Code | None = None  # where in the body, when the model says so
    slices: tuple[int, ...] = ()  # of a present one in a series: those positive by themselves, from 0
    peak: int = 0  # the slice with the highest probability


@dataclass(frozen=True, slots=True)
class Measurement:
    """One number with its UCUM unit."""

    code: Code
    value: float
    unit: Code  # scheme "UCUM"
    site: Code | None = None
    laterality: Code | None = None


@dataclass(frozen=True, slots=True)
class Region:
    """One segmented structure on the original grid of the image."""

    label: str
    mask: Mask  # (z, y, x) bool, the image's own grid
    category: Code
    type: Code
    laterality: Code | None
    model: ModelIdentity
    tracking_uid: str
    tracking_id: str
    measurements: tuple[Measurement, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where a classifier looked, and whether that deserves trust."""

    finding: Code
    method: str  # "class activation map (equals Grad-CAM on a pooled linear head)"
    map: Levels  # (y, x) on the image's own grid; 0..FULL_SCALE stands for 0..1
    inside_share: float  # share of the map's mass inside the organ, 0..1
    bound: float  # below it the map is not trustworthy: the model's own, or what chance would give
    trustworthy: bool
    sentence: str
    model: ModelIdentity
    slice: int = 0  # the slice that the map lies on, counted from 0
    organ: str = "lungs"  # inside which the map is expected: "lungs" or "body"


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment of a segmentation that somebody else made: PS3.3 Table C.8.20-4."""

    number: int
    label: str
    type: Code
    laterality: Code | None
    tracking_uid: str  # "" not told
    algorithm: str  # Segment Algorithm Name (0062,0009); "" drawn by hand


@dataclass(frozen=True, slots=True)
class SegmentFrame:
    """One frame of such a segmentation, and where it lies."""

    segment: int  # Referenced Segment Number; 0: of a label map, whose pixels are the numbers
    position_mm: tuple[float, ...]  # (x, y, z) of the centre of the first pixel; () not told
    sop_uid: str  # of the one image on which it was drawn; "" not told
    number: int  # of the frame of that image; 0: not told


@dataclass(frozen=True, slots=True)
class Segmentation:
    """A segmentation that somebody else made, decoded."""

    study_uid: str
    frame_of_reference: str  # "" not told
    directions: tuple[float, ...]  # Image Orientation (Patient), six cosines; () not told
    spacing_mm: tuple[float, ...]  # (y, x); () not told
    segments: tuple[Segment, ...]
    frames: tuple[SegmentFrame, ...]
    pixels: Pixels  # (frames, y, x) uint8 or uint16: 0 and 1, or segment numbers


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture for people: a film or slice as displayed, with or without something drawn on it."""

    name: str  # "film", "contours", "heat", "montage"
    caption: str
    rgb: npt.NDArray[np.uint8]  # (y, x, 3), reduced; rows and columns keep the physical aspect


@dataclass(frozen=True, slots=True)
class Timing:
    """Wall time of one stage."""

    stage: str
    ms: float


#: Stages that run beside the work of another, and begin and end within it.
WITHIN = {"draw": "report"}


@dataclass(frozen=True, slots=True)
class Unread:
    """One model that is for such images and did not read this one, and why."""

    model: ModelIdentity
    about: tuple[Code, ...]  # what it would have looked for; nothing is known about it
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Predecessor:
    """One document that was made before, as the standard refers to it."""

    kind: str  # "SR" or "PDF"
    series_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    reviewed: bool = False  # a person signed a version of it, which is not replaced


@dataclass(frozen=True, slots=True)
class Revision:
    """What a result replaces, because objects of its series came late."""

    late: int  # images on which nothing that is replaced rests
    replaced: tuple[Predecessor, ...]  # in the order of their SOP Instance UIDs


@dataclass(frozen=True, slots=True)
class Followed:
    """What an earlier report says of something that is followed."""

    tracking_uid: str  # the same as that of the new finding or region
    tracking_id: str
    finding: Code
    values: tuple[Measurement, ...]  # the probability of a finding in %, what was measured of a region
    present: bool | None  # the verdict on a finding; None of a region
    algorithm: str  # (111001) and (111003) of what gave them; "a person" and ""
    version: str


@dataclass(frozen=True, slots=True)
class Prior:
    """An earlier study of the patient, of the same modality and body part, as our report about it says."""

    study_uid: str
    date: str  # DICOM Study Date (0008,0020), DA
    time: str  # DICOM Study Time (0008,0030), TM; "" not known
    images: tuple[tuple[str, str, str], ...]  # Series, SOP Class and SOP Instance UID of each image
    groups: tuple[Followed, ...]


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent an object, and when."""

    calling_ae: str = ""  # "" not known
    called_ae: str = ""  # what it called us; "" not known
    at: datetime | None = None  # in the node's time zone; None: not known


@dataclass(frozen=True, slots=True)
class Identifier:
    """An identifier and who gave it: HL7 v2 CX and EI, FHIR Identifier, PS3.3 Section 10.14."""

    value: str
    authority: str = ""  # namespace, as HD.1 or Issuer of Patient ID
    universal_id: str = ""  # as HD.2
    universal_id_type: str = ""  # as HD.3: "ISO", "UUID", ...


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for, as the ordering system told it; "" and () where it did not."""

    accession: Identifier  # Accession Number (0008,0050)
    placer: Identifier = Identifier("")  # ORC-2, Placer Order Number (0040,2016)
    filler: Identifier = Identifier("")  # ORC-3, Filler Order Number (0040,2017)
    procedure: Code | None = None  # OBR-4, Requested Procedure Code Sequence (0032,1064)
    procedure_id: str = ""  # Requested Procedure ID (0040,1001)
    patient: tuple[Identifier, ...] = ()  # PID-3 after merges
    priority: str = ""  # "STAT", "URGENT", "ROUTINE"
    indication: str = ""  # OBR-31, ServiceRequest.reasonCode; for people
    study_uid: str = ""  # where the order names it: ZDS-1, IPC-3
    reference: str = ""  # of FHIR: "https://ehr.example/fhir/ServiceRequest/123"
    source: str = ""  # "hl7", "fhir" or "worklist"


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Under which one study is read."""

    earlier: tuple[bytes, ...] = ()  # DICOM documents that were made for its earlier versions
    lost: frozenset[str] = frozenset()  # Series Instance UIDs of which objects came before and were deleted since
    reduced: tuple[str, ...] = ()  # "documents", "pictures", "builds": what is left out, as others would come too late
    routes: tuple[Route, ...] = ()  # the site's rules, where they apply
    senders: Mapping[str, Sender] = field(default_factory=dict)  # SOP Instance UID -> who sent it
    order: Order | None = None  # that the study answers; None: no order is known
    priors: tuple[bytes, ...] = ()  # our reports about earlier studies of its patient


#: Nothing was said of the study before, no rule applies, and nothing is left out.
USUAL = Circumstances()


@dataclass(frozen=True, slots=True)
class Result:
    """What is said about one image, or why nothing is said."""

    study_uid: str
    source: str
    digest: str  # SHA-256 of the source bytes, hex
    header: Any  # pydicom Dataset without pixels, or None for bytes without one
    image: Image | None
    sop_uids: tuple[str, ...] = ()  # the instances of a refused series without an image
    findings: tuple[Finding, ...] = ()
    regions: tuple[Region, ...] = ()
    explanations: tuple[Explanation, ...] = ()
    pictures: tuple[Picture, ...] = ()
    models: tuple[ModelIdentity, ...] = ()  # those that answered
    not_read: tuple[Unread, ...] = ()  # those that did not, where others answered
    refusal: Refusal | None = None  # where none answered
    timings: tuple[Timing, ...] = ()
    revision: Revision | None = None  # what it replaces
    order: Order | None = None  # that it answers; never part of a DICOM document
    reduced: tuple[str, ...] = ()  # of `Circumstances.reduced`, where something was read
    priors: tuple[Prior, ...] = ()  # whose values stand beside the new ones, the newest first
    read_at: str = ""  # when, UTC, ISO 8601 to the second; never part of a DICOM document


@dataclass(frozen=True, slots=True)
class Filed:
    """How a record files a document that is no DICOM object: what comes once, in which order, and instead of what."""

    identity: str  # the same where the same is said again: it is sent once
    patient: str  # digest of who it is about: what is about one patient arrives in order
    about: str  # digest of the film or series: what is signed is never followed by what is not
    signed: bool = False  # a person stands for it


@dataclass(frozen=True, slots=True)
class Document:
    """One finished document, checked and encoded."""

    kind: str  # "SR", "SEG", "PM", "SC", "HTML", "JSON", "ORU", "FHIR"
    name: str  # file name, without patient identifiers
    data: bytes
    sop_class_uid: str = ""  # "" when it is no DICOM object
    sop_instance_uid: str = ""
    filed: Filed | None = None  # of what is sent and is no DICOM object


@dataclass(frozen=True, slots=True)
class Alarm:
    """What is said of one critical finding, and how it is known again."""

    rule: str  # name of the rule of `[[alerts]]`
    tracking_uid: str  # of the finding
    token: str  # by which it is acknowledged; nobody can guess it
    body: bytes  # JSON, for a webhook
    message: bytes = b""  # HL7; b"" where nobody knows whose image it is
    bundle: bytes = b""  # FHIR; b"" as well


@dataclass(frozen=True, slots=True)
class Reading:
    """A result together with its documents and the time that everything took."""

    result: Result
    documents: tuple[Document, ...]
    timings: tuple[Timing, ...] = field(default=())
    decision: Decision = UNROUTED  # of the site's rules
    foreseen: int = 0  # slices of which a model had answered before the study was complete
