"""The errors of Wetread, one tree.

::

    WetreadError                 anything Wetread raises on purpose           exit 1
    ├── NotRead                  the input was understood and must not be
    │                            read; carries a stable refusal code          exit 3
    ├── BadInput                 the input could not be found or understood   exit 4
    │   └── Blocked              an object may not leave de-identified;
    │                            carries a stable code
    ├── SettingsError            a setting has an impossible value            exit 2
    ├── ModelError               a model folder must not be loaded
    │   ├── ModelDigestError     a file differs from its declared SHA-256
    │   └── GoldenMismatch       the golden output is not reproduced
    ├── EngineError              an inference engine failed or is missing
    ├── DocumentError            a document failed our own checker; it does
    │                            not leave
    ├── DecoderDied              a child that parses and decodes was ended,
    │                            or ended by itself
    ├── StoreError               the durable store cannot promise durability
    └── WireError                a peer refused, broke off or did not answer
        ├── PeerUnreachable      no connection or no answer in time
        ├── PeerBusy             the peer has no room now; may say for how long
        └── PeerRefused          the peer answered with a failure status

A message says what was expected, what came, where, and what to do.  It never
holds a patient identifier.
"""

from __future__ import annotations


class WetreadError(Exception):
    """Base of every error that Wetread raises on purpose."""


class BadInput(WetreadError):
    """The input could not be found, opened or understood at all."""


#: Stable codes (at most 16 characters) of why an object may not leave de-identified, and what each says to people.
BLOCKED: dict[str, str] = {
    "BURNED-IN": "Text may be burned into its pixels.",
    "NO-PIXELS": "It is no image: what it holds may be a person's words.",
    "NOT-READABLE": "It cannot be parsed, or its pixels cannot be decoded.",
    "NO-COPY": "It shows the patient, or its copy did not pass our checker.",
}


class Blocked(BadInput):
    """An object may not leave de-identified: a coded reason.

    Parameters
    ----------
    code
        A key of `BLOCKED`.
    detail
        What was expected, what came and what to do; without patient identifiers.
    """

    def __init__(self, code: str, detail: str = "") -> None:
        self.code = code
        super().__init__(f"de-identification: {code}: {BLOCKED[code]}" + (f" {detail}" if detail else ""))


class SettingsError(WetreadError):
    """A setting has an impossible value."""


class ModelError(WetreadError):
    """A model folder must not be loaded."""


class ModelDigestError(ModelError):
    """A file of a model differs from the SHA-256 that `model.toml` declares."""


class GoldenMismatch(ModelError):
    """A build does not reproduce its golden output on this host."""


class EngineError(WetreadError):
    """An inference engine is missing, failed, or gave a value that is no number.

    Parameters
    ----------
    message
        What was expected, what came and where.
    code
        One of `ENGINE_CODES`.
    """

    def __init__(self, message: str, code: str = "ENGINE-FAILED") -> None:
        self.code = code
        super().__init__(message)


#: What an engine may fail of.
ENGINE_CODES: dict[str, str] = {
    "ENGINE-FAILED": "The engine is missing, cannot open the graph or gave no answer.",
    "OUT-OF-MEMORY": "The engine's device has no memory left.",
    "NOT-A-NUMBER": "The engine answered with a value that is no finite number.",
}


class DocumentError(WetreadError):
    """A document failed our own checker and must not leave."""


class DecoderDied(WetreadError):
    """A child that parses and decodes ended before its answer.

    Parameters
    ----------
    why
        A key of `DECODER_ENDS`.
    file
        The number of the file that it was reading, from 0; -1: none.
    detail
        What else is known: a signal, an error and its line.
    """

    def __init__(self, why: str, file: int = -1, detail: str = "") -> None:
        self.why = why
        self.file = file
        self.reason = DECODER_ENDS[why] + (f" ({detail})" if detail else "")
        where = "between files" if file < 0 else f"in file {file + 1}"
        super().__init__(f"decoder {where}: {self.reason}")


#: How a child that decodes may end.
DECODER_ENDS: dict[str, str] = {
    "MEMORY": "it needed more memory than `decoder_memory_bytes`",
    "CPU-TIME": "it needed more than `decoder_cpu_s` for one file",
    "WALL-TIME": "it took longer than `decoder_wall_s` for one file",
    "SIGNAL": "it was killed",
    "ERROR": "it failed",
    "LIE": "it gave an answer that cannot be",
    "START": "it did not start",
}


class StoreError(WetreadError):
    """The durable store cannot promise durability."""

    @property
    def told(self) -> str:
        """What a peer is told of it."""
        return str(self)


class WireError(WetreadError):
    """A peer on the network did not do what was asked."""


class PeerUnreachable(WireError):
    """No connection to the peer, or no answer in time."""


class PeerBusy(WireError):
    """The peer has no room now, whatever is sent.

    Parameters
    ----------
    retry_after_s
        How long it asks to be left alone, s; 0: it does not say.
    """

    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class PeerRefused(WireError):
    """The peer answered with a failure status."""


#: Stable refusal codes (at most 16 characters: DICOM VR SH) and what each says to people.
REFUSALS: dict[str, str] = {
    "NOT-AN-IMAGE": "The object holds no image to read.",
    "NOT-DICOM": "The file is neither DICOM nor a PNG or JPEG picture.",
    "UNSAFE-ARCHIVE": "The archive is encrypted, or a path or link in it leads out of it.",
    "DAMAGED-FILE": "The file is damaged and cannot be parsed.",
    "UNKNOWN-SYNTAX": "The transfer syntax of the pixels is not supported.",
    "TRUNCATED-PIXELS": "There are fewer pixels than the header declares.",
    "BAD-PIXELS": "The pixels cannot be decoded.",
    "MISSING-TAG": "An attribute that is needed to read the image safely is missing or empty.",
    "BAD-TAG": "An attribute has a value that contradicts the image or the standard.",
    "TOO-LARGE": "The image is larger than the node is configured to read.",
    "TOO-SMALL": "The image is too small to be read.",
    "BLANK-IMAGE": "The image has no content: all pixels are nearly equal.",
    "COLOUR-IMAGE": "The image is in colour; a greyscale image was expected.",
    "MULTI-FRAME": "The image has several frames where one was expected.",
    "LOCALIZER": "A localizer (scout) was sent: it plans a scan and is not read.",
    "NOT-HU": "The values of the CT image are not Hounsfield units.",
    "MIXED-SERIES": "The slices of the series differ in size, orientation or spacing: they are no volume.",
    "MISSING-SLICES": "Slices of the series are missing.",
    "DOUBLED-SLICES": "Several slices of the series lie in one place: it holds more than one volume.",
    "UNEVEN-SLICES": "The slices of the series are not equally far from each other.",
    "SHEARED-SLICES": "The slices are shifted against each other, as by a tilted gantry: they are no upright volume.",
    "WRONG-MODALITY": "No model reads this modality.",
    "WRONG-BODY-PART": "No model reads this part of the body.",
    "WRONG-VIEW": "No model reads this view.",
    "WRONG-SERIES": "No model reads this kind of series.",
    "WRONG-PLANE": "No model reads slices of this plane.",
    "TOO-FEW-SLICES": "The series has fewer slices than the model needs.",
    "SMALL-FIELD": "The image shows less of the body than the model was made for.",
    "OUTSIDE-AGE": "The patient's age is outside what the model was made for.",
    "NOT-A-CHEST": "No plausible pair of lungs was found: this may not be a frontal chest film.",
    "IMPLAUSIBLE-MASK": "What the model outlined is no such organ: this may be another part of the body.",
    "SECONDARY-IMAGE": "A secondary image (a capture or a result) was sent; only acquired images are read.",
    "FOR-PROCESSING": "The image is raw data for processing; only images for presentation are read.",
    "MIXED-PATIENTS": "Images of different patients stand under one study.",
    "DUPLICATE-UID": "Two different images carry the same SOP Instance UID.",
    "INCONSISTENT": "The model contradicts itself on this image: it may be poor, damaged, turned or of something else.",
    "UNCERTAIN": "The model is not sure enough of its answer: the image may be poor, damaged or of something else.",
    "INVERTED": "The lungs are brighter than what lies between them: the grey scale of the film seems to be inverted.",
    "CUT-OFF": "The lungs reach beyond the lower edge of the image: their lower part is missing.",
    "MODEL-FAILED": "The model gave no usable answer.",
    "NOT-ROUTED": "A rule of this site lets no model read it.",
    "CRASHED": "Reading failed unexpectedly; the study was set aside for a person.",
}


class NotRead(WetreadError):
    """The input was understood and must not be read: a coded refusal, never a guess.

    Parameters
    ----------
    code
        A key of `REFUSALS`.
    detail
        What was expected, what came and where; without patient identifiers.
    """

    def __init__(self, code: str, detail: str = "") -> None:
        self.code = code
        self.sentence = REFUSALS[code]
        self.detail = detail
        super().__init__(f"{code}: {self.sentence}" + (f" {detail}" if detail else ""))
