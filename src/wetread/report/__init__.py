"""Result -> clinical documents.

Reads a `Result` and says it as DICOM SEG, SR, PM and SC, on demand as KOS, GSPS, PDF and
label map, as HL7 message and FHIR transaction, as one HTML page and as JSON.  It decides nothing clinical: labels,
codes and thresholds come with the model.
Every document passes our own checker before it leaves, or nothing leaves; an HL7 message or FHIR transaction that does
not pass may be left out alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain

from wetread.errors import DocumentError
from wetread.records import Document, Result
from wetread.report import fhir, gsps, kos, labelmap, oru, page, pdf, pm, sc, seg, sr, together
from wetread.report.alarm import alarm, critical_findings
from wetread.report.checker import check, judged
from wetread.report.context import Context, context_of, left_out
from wetread.report.elements import Item, decode, encode, get
from wetread.report.equipment import MANUFACTURER
from wetread.report.fhir.site import Site, site_of
from wetread.report.identity import Source, bare
from wetread.report.priors import Reported, priors, reported
from wetread.report.problem import Problem
from wetread.report.revision import Earlier, earlier, revision
from wetread.report.summary import encoded as encoded_summary
from wetread.report.summary import summary
from wetread.report.values import unfit
from wetread.wire.hl7 import UTF_8

__all__ = [
    "MANUFACTURER",
    "Earlier",
    "Problem",
    "Reported",
    "Site",
    "alarm",
    "bare",
    "check",
    "critical_findings",
    "documents",
    "earlier",
    "priors",
    "reported",
    "revision",
    "site_of",
    "summary",
    "unfit",
]


def _datasets(context: Context) -> Iterator[tuple[str, Item]]:
    """Make the DICOM documents that a result calls for and that show no picture."""
    result = context.result
    read = result.refusal is None
    if read and result.regions and context.source.referable:
        yield "SEG", seg.dataset(context)
    if read and result.explanations and context.source.referable and not left_out(result, "PM"):
        yield "PM", pm.dataset(context, result.explanations[0])
    yield "SR", sr.dataset(context)


def _captured(context: Context) -> Iterator[tuple[str, Item]]:
    """Make the capture of the picture that says most, if there is one."""
    result = context.result
    picture = sc.picture_of(result)
    if result.refusal is None and picture is not None and not left_out(result, "SC"):
        yield "SC", sc.dataset(context, picture)


def _wanted(context: Context, kinds: Collection[str]) -> Iterator[tuple[str, Item]]:
    """Make what only some destinations ask for, as far as the result has it."""
    result = context.result
    read = result.refusal is None
    kinds = {kind for kind in kinds if not left_out(result, kind)}
    if "KOS" in kinds and read and context.source.referable and kos.chosen(context):
        yield "KOS", kos.dataset(context)
    if "GSPS" in kinds and read and result.image is not None and gsps.possible(context):
        yield "GSPS", gsps.dataset(context, result.image)
    if "LABELMAP" in kinds and read and labelmap.possible(context):
        yield "LABELMAP", labelmap.dataset(context)
    if "PDF" in kinds:
        yield "PDF", pdf.dataset(context)


class _Desk:
    """Where the DICOM documents of one result are encoded, and judged one by one and together."""

    def __init__(self, source: Source, stem: str) -> None:
        self._source, self._stem = source, stem
        self._read: dict[str, Item] = {}
        self._found: list[tuple[str, Problem]] = []

    def write(self, datasets: Iterable[tuple[str, Item]]) -> Iterator[Document]:
        """Encode documents and judge each by itself."""
        for kind, data in datasets:
            written = encode(data)
            decoded = decode(written)
            self._read[kind] = decoded[1]
            self._found += ((kind, one) for one in judged(decoded, self._source))
            name = f"{self._stem}-{kind.lower()}.dcm"
            yield Document(kind, name, written, get(data, "SOPClassUID"), get(data, "SOPInstanceUID"))

    def close(self) -> None:
        """Judge all of them together; raise `DocumentError` if anything was wrong with any."""
        found = self._found or [("all", one) for one in together.problems(self._read, self._source)]
        if found:
            said = "; ".join(f"{kind}: {problem}" for kind, problem in found[:5])
            raise DocumentError(f"documents: expected none with a problem, got {len(found)}: {said}")


@contextmanager
def _alone(kind: str, failed: dict[str, str] | None) -> Iterator[None]:
    """Let what is made for a record fail by itself, where somebody asks what failed."""
    try:
        yield
    except DocumentError as error:
        if failed is None:
            raise
        failed[kind] = str(error)


#: What is not known of the site where nobody says it.
_ANYWHERE = Site()


def documents(
    result: Result,
    institution: str = "",
    kinds: Collection[str] = (),
    public_url: str = "",
    character_set: str = UTF_8,
    site: Site = _ANYWHERE,
    illustrate: Callable[[Result], Result] = lambda result: result,
    failed: dict[str, str] | None = None,
) -> tuple[Document, ...]:
    """Write every document of a result.

    Parameters
    ----------
    result
        Read or refused; a refused one gives an SR that says so.  Without a header,
        or with one that names no study, only the page and the JSON are written.
    institution
        Institution Name (0008,0080) of the documents; "" leaves it out.
    kinds
        What is made beside SEG, PM, SR and SC: "KOS", "GSPS", "PDF", "LABELMAP", "ORU",
        "ORU-PDF", "FHIR"; others are ignored.
    public_url
        Where this node's HTTP port can be reached, for links; "" leaves them out.
    character_set
        Of HL7 messages: HL7 Table 0211.
    site
        What FHIR needs to know of the site.
    illustrate
        Gives the result its pictures; called in a thread of its own, beside what needs none.
    failed
        Takes the HL7 messages and FHIR transactions that did not pass, by kind with the reason: the others leave
        without them, and the JSON says so.  None: what does not pass raises.

    Returns
    -------
    tuple of Document
        SEG, PM, SR, SC, then those asked for, as far as the result calls for them; then HL7
        messages, FHIR, HTML and JSON.
        Two results that differ in their timings only give the same DICOM bytes.

    Raises
    ------
    DocumentError
        A document did not pass our own checker; none leaves, unless `failed` takes it.
    """
    context = context_of(result, institution)
    stem = hashlib.sha256(f"{result.digest}{result.study_uid}{result.source}".encode()).hexdigest()[:8]
    made: list[Document] = []
    with ThreadPoolExecutor(1) as beside:
        # Drawing and the page's JPEGs need no interpreter most of the time.
        illustrated = beside.submit(illustrate, result)
        html = beside.submit(lambda: page.html(illustrated.result()))
        if context is not None:
            desk = _Desk(context.source, stem)
            made += desk.write(_datasets(context))
            context = replace(context, result=illustrated.result())
            made += desk.write(chain(_captured(context), _wanted(context, kinds)))
            desk.close()
            for kind in (one for one in oru.KINDS if one in kinds):
                with _alone(kind, failed):
                    message = oru.document(context, kind, stem, public_url, character_set)
                    made += [message] if message is not None else []
        page_, result = html.result(), illustrated.result()
    if context is not None and "FHIR" in kinds and oru.patients(context):  # a record files nothing about nobody
        with _alone("FHIR", failed):
            data = fhir.bundle(context, site, public_url, [one for one in made if one.sop_class_uid], page_)
            made.append(Document("FHIR", f"{stem}-fhir.json", data, filed=oru.filed_of(context, "FHIR")))
    made.append(Document("HTML", f"{stem}-page.html", page_))
    made.append(Document("JSON", f"{stem}-result.json", encoded_summary(result, failed)))
    return tuple(made)
