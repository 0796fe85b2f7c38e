"""The coded concepts that the documents use besides those that come with a model.

References
----------
DICOM PS3.16 Annex D (scheme DCM) and Section 8 (SCT, UCUM, UMLS); PS3.3 Section
8.8 (code sequence macro).  Codes of the private scheme 99WETREAD are explained
in ``docs/reference/documents.md``.
"""

from __future__ import annotations

from functools import lru_cache

from wetread.records import Code
from wetread.report.elements import Item, item

PRIVATE_SCHEME = "99WETREAD"
#: Coding schemes of PS3.16 Section 8 that results use; private ones begin with 99.
SCHEMES = frozenset(
    (
        *("ACR", "ASTM-sigpurpose", "BARI", "BI", "C4", "CD10", "CD2", "CTV3", "DC", "DCM", "DCMUID", "FMA", "HPC"),
        *("I10P", "I11", "I9", "I9C", "I9CDX", "I9CP", "IBSI", "ICD10", "ICDO3", "ISO3166_1", "ISO639_1", "ISO639_2"),
        *("ITIS_TSN", "LN", "MA", "MAYOASRG", "MDC", "MDNS", "MGI", "MSH", "MVX", "NCIt", "NDC", "NEU", "NICIP"),
        *("NYUMCCG", "PATHLEX", "POS", "PUBCHEM_CID", "RADELEMENT", "RADLEX", "RFC3066", "RFC5646", "RFC6838", "RO"),
        *("SCT", "SNM3", "SRT", "UBERON", "UCUM", "UMLS", "UNS", "UPC"),
    )
)
#: Identifies the private scheme in Coding Scheme Identification: PS3.3 Section C.12.1.1.14.
PRIVATE_SCHEME_UID = "2.25.97241372518263184910925342271637310247"


def _dcm(value: str, meaning: str) -> Code:
    return Code(value, "DCM", meaning)


def _sct(value: str, meaning: str) -> Code:
    return Code(value, "SCT", meaning)


def private(value: str, meaning: str) -> Code:
    """Make a code of our own scheme; its meaning is cut to the 64 characters of VR LO."""
    return Code(value, PRIVATE_SCHEME, shortened(meaning, 64))


def shortened(text: str, most: int) -> str:
    """Cut a text at a word so that it has at most `most` characters."""
    if len(text) <= most:
        return text
    return text[: most - 2].rsplit(" ", 1)[0].rstrip(" .,;:") + " .."


# The tree of TID 1500 and its templates.
IMAGING_MEASUREMENT_REPORT = _dcm("126000", "Imaging Measurement Report")
LANGUAGE = _dcm("121049", "Language of Content Item and Descendants")
ENGLISH = Code("en", "RFC5646", "English")
OBSERVER_TYPE = _dcm("121005", "Observer Type")
DEVICE = _dcm("121007", "Device")
PERSON = _dcm("121006", "Person")
PERSON_NAME = _dcm("121008", "Person Observer Name")
DEVICE_UID = _dcm("121012", "Device Observer UID")
DEVICE_NAME = _dcm("121013", "Device Observer Name")
DEVICE_MANUFACTURER = _dcm("121014", "Device Observer Manufacturer")
DEVICE_MODEL = _dcm("121015", "Device Observer Model Name")
DEVICE_SERIAL = _dcm("121016", "Device Observer Serial Number")
PROCEDURE_REPORTED = _dcm("121058", "Procedure reported")
IMAGE_LIBRARY = _dcm("111028", "Image Library")
IMAGE_LIBRARY_GROUP = _dcm("126200", "Image Library Group")
MODALITY = _dcm("121139", "Modality")
TARGET_REGION = _dcm("123014", "Target Region")
PIXEL_ROWS = _dcm("110910", "Pixel Data Rows")
PIXEL_COLUMNS = _dcm("110911", "Pixel Data Columns")
IMAGING_MEASUREMENTS = _dcm("126010", "Imaging Measurements")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
MEASUREMENT_GROUP = _dcm("125007", "Measurement Group")
TRACKING_ID = _dcm("112039", "Tracking Identifier")
TRACKING_UID = _dcm("112040", "Tracking Unique Identifier")
FINDING = _dcm("121071", "Finding")
FINDING_CATEGORY = _sct("276214006", "Finding category")
ANATOMY = _sct("123037004", "Anatomical Structure")
FINDING_SITE = _sct("363698007", "Finding Site")
LATERALITY = _sct("272741003", "Laterality")
ALGORITHM_FAMILY = _dcm("111000", "Algorithm Family")
ALGORITHM_NAME = _dcm("111001", "Algorithm Name")
ALGORITHM_PARAMETERS = _dcm("111002", "Algorithm Parameters")
ALGORITHM_VERSION = _dcm("111003", "Algorithm Version")
REFERENCED_SEGMENT = _dcm("121191", "Referenced Segment")
SOURCE_IMAGE_FOR_SEGMENTATION = _dcm("121233", "Source image for segmentation")
SOURCE_SERIES_FOR_SEGMENTATION = _dcm("121232", "Source series for segmentation")
SOURCE_OF_MEASUREMENT = _dcm("121112", "Source of Measurement")
VISUAL_EXPLANATION = _dcm("130401", "Visual explanation")
COMMENT = _dcm("121106", "Comment")
PROBABILITY = _dcm("122157", "Probability")
PREVIOUS_FINDINGS = _dcm("121068", "Previous Findings")
TIME_POINT = Code("C2348792", "UMLS", "Time Point")
STUDY_DATE = _dcm("111060", "Study Date")
STUDY_UID = _dcm("110180", "Study Instance UID")
PRESENT = _sct("52101004", "Present")
ABSENT = _sct("272519000", "Absent")

# What our own scheme says.
THRESHOLD = private("THRESHOLD", "Probability at or above which the finding is present")
INSIDE_SHARE = private("INSIDE-SHARE", "Share of the visual explanation inside the lungs")
INSIDE_BODY = private("INSIDE-BODY", "Share of the visual explanation inside the body")
TRUST = private("EXPL-TRUST", "Trust in the visual explanation")
TRUSTED = private("TRUSTWORTHY", "Trustworthy by its own check")
NOT_TRUSTED = private("NOT-TRUSTWORTHY", "Not trustworthy")
READING_STATE = private("READING-STATE", "State of the reading")
NOT_READ = private("NOT-READ", "Not read")
REDUCED = private("REDUCED", "What was left out as the node was behind its deadlines")
NO_DOCUMENTS = private("DOCUMENTS", "No heat map object, no documents on demand")
NO_PICTURES = private("PICTURES", "No pictures")
FASTEST_BUILDS = private("BUILDS", "Fastest certified builds")
REVIEW = private("REVIEW", "Review of the AI result by a person")
ACCEPTED = private("ACCEPTED", "Accepted")
REJECTED = private("REJECTED", "Rejected")
CORRECTED = private("CORRECTED", "Corrected")
#: The steps of the setting `degrade` that change documents.
STEPS = {"documents": NO_DOCUMENTS, "pictures": NO_PICTURES, "builds": FASTEST_BUILDS}
MODEL_DIGEST = private("MODEL-DIGEST", "SHA-256 of the model's file")
ACKNOWLEDGE = private("ACKNOWLEDGE", "Where a person acknowledges the critical finding")
WADO = private("WADO-RS", "Where the instance can be retrieved")
DIFFERENCE = private("DIFFERENCE", "Value of this study minus that of the prior study")
NOT_READ_OBJECT = private("NOT-READ-OBJECT", "Object that was not read and is no image")
NOT_READ_REASON = private("NOT-READ-REASON", "Reason why the image was not read")

# What a record gets beside the tree.
STUDY = _dcm("113014", "DICOM Study")
SERIES_UID = _dcm("112002", "Series Instance UID")
ACCESSION = _dcm("121022", "Accession Number")
FINDINGS_TEXT = Code("59776-5", "LN", "Procedure Findings")

# Key Object Selection.
OF_INTEREST = _dcm("113000", "Of Interest")
KEY_OBJECT_DESCRIPTION = _dcm("113012", "Key Object Description")

# Encapsulated PDF.
IMAGING_REPORT = Code("18748-4", "LN", "Diagnostic Imaging Report")

# Purposes and derivations.
PROCESSING_EQUIPMENT = _dcm("109102", "Processing Equipment")
SEGMENTATION = _dcm("113076", "Segmentation")
BACKGROUND = _dcm("125040", "Background")
IMAGE_PROCESSING_SOURCE = _dcm("121322", "Source image for image processing operation")
IMAGE_PROCESSING = _dcm("113085", "Spatial resampling")
QUANTITY = _sct("246205007", "Quantity")
ARTIFICIAL_INTELLIGENCE = _dcm("123110", "Artificial Intelligence")

PERCENT = Code("%", "UCUM", "percent")
PIXELS = Code("{pixels}", "UCUM", "pixels")
RATIO = Code("{ratio}", "UCUM", "ratio")

#: Modality (0008,0060) to its code in CID 29 and to the imaging procedure it stands for.
MODALITIES = {
    "CR": (_dcm("CR", "Computed Radiography"), _sct("168537006", "Plain radiography")),
    "DX": (_dcm("DX", "Digital Radiography"), _sct("168537006", "Plain radiography")),
    "CT": (_dcm("CT", "Computed Tomography"), _sct("77477000", "Computed tomography")),
    "MR": (_dcm("MR", "Magnetic Resonance"), _sct("113091000", "Magnetic resonance imaging")),
    "MG": (_dcm("MG", "Mammography"), _sct("71651007", "Mammography")),
    "US": (_dcm("US", "Ultrasound"), _sct("16310003", "Ultrasonography")),
}
IMAGING = _sct("363679005", "Imaging")
CHEST_XRAY = _sct("399208008", "Plain chest X-ray")

#: Body Part Examined (0018,0015) to its code in CID 4031.
BODY_PARTS = {
    "CHEST": _sct("816094009", "Chest"),
    "THORAX": _sct("816094009", "Chest"),
    "LUNG": _sct("39607008", "Lung"),
    "HEAD": _sct("69536005", "Head"),
    "BRAIN": _sct("12738006", "Brain"),
    "ABDOMEN": _sct("818981001", "Abdomen"),
    "BREAST": _sct("76752008", "Breast"),
}


@lru_cache(maxsize=1024)
def coded(code: Code) -> Item:
    """Encode a concept as an item of the code sequence macro (PS3.3 Table 8.8-1).

    The item is shared: whoever adds to it copies it first.  A meaning of more than the 64 characters of VR LO, as
    SNOMED CT has, is cut.
    """
    keyword = "CodeValue" if len(code.value) <= 16 else "LongCodeValue"
    return item(**{keyword: code.value}, CodingSchemeDesignator=code.scheme, CodeMeaning=shortened(code.meaning, 64))
