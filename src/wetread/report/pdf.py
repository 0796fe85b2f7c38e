"""The encapsulated PDF: the page for people, inside DICOM, for a PACS that shows no report.

It is set from the page itself, so that words and pictures are the same by construction; the
times and the moment of reading are left out, because a DICOM document is a pure function of
image and build.  The file is PDF/A-2u: fonts (DejaVu Sans: Latin, Greek, Cyrillic) and
colours are inside it.

References
----------
DICOM PS3.3 Sections A.45.1 (Encapsulated PDF), C.24.1 and C.24.2 (its modules), C.8.6.1
(SC equipment); ISO 19005-2 (PDF/A).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from importlib import resources
from typing import Any

from PIL import Image

from wetread.errors import DocumentError
from wetread.records import Result
from wetread.report import page
from wetread.report.codes import IMAGE_PROCESSING_SOURCE, IMAGING_REPORT, coded
from wetread.report.context import Context, beginning
from wetread.report.elements import Item, item
from wetread.report.equipment import MANUFACTURER
from wetread.report.planes import source_references
from wetread.report.revision import predecessors

#: Size of the type and whether it is bold, by the page's tag; points.
_TYPE = {"h1": (17, True), "h2": (11, True), "strong": (11, True), "figcaption": (8, False), "footer": (8, False)}
_PLAIN = (9.5, False)
_BLOCKS = frozenset(
    ("h1", "h2", "p", "div", "section", "tr", "strong", "small", "figcaption", "footer", "header", "table")
)
_ACROSS = 3  # pictures beside each other
_MARGIN_MM, _GAP_MM = 15.0, 4.0
#: Metadata of PDF/A; the library's own would hold the moment of writing.
_XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:pdf="http://ns.adobe.com/pdf/1.3/" xmlns:pdfaid="http://www.aiim.org/pdfa/ns/id/"
 xmp:CreateDate="{date}" pdf:Producer="{producer}" pdfaid:part="2" pdfaid:conformance="U">
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">{title}</rdf:li></rdf:Alt></dc:title>
</rdf:Description></rdf:RDF></x:xmpmeta>"""


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph or a picture of the page."""

    tag: str  # what it stood in; "img" of a picture
    text: str  # of a picture its caption
    jpeg: bytes = b""


class _Blocks(HTMLParser):
    """Takes the page apart, in the order in which it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[Block] = []
        self._text = ""
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BLOCKS:
            self._flush()
        if tag == "img":
            data = dict(attrs)["src"] or ""
            self.made.append(Block("img", "", base64.b64decode(data.partition(",")[2])))
        elif tag == "br":
            self._text += " "
        elif tag not in ("meta",):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in _BLOCKS:
            self._flush()
        self._text += ": " if tag == "th" else " " if tag in ("span", "td", "b") else ""
        self._open.pop()

    def handle_data(self, data: str) -> None:
        if not {"style", "title"} & set(self._open):
            self._text += data

    def _flush(self) -> None:
        text, self._text = " ".join(self._text.split()), ""
        if not text:
            return
        tag = next((one for one in reversed(self._open) if one in _BLOCKS), "")
        if tag == "figcaption":
            self.made[-1] = replace(self.made[-1], text=text)
        else:
            self.made.append(Block(tag, text))


def blocks(result: Result) -> list[Block]:
    """Give the page of a result as paragraphs and pictures, without what differs from reading to reading."""
    parser = _Blocks()
    parser.feed(page.html(replace(result, timings=(), read_at="")).decode())
    parser.close()
    return parser.made


@contextmanager
def _sheet(moment: tuple[str, str], title: str) -> Iterator[Any]:
    """Open a document that holds its own fonts and that two readings write alike."""
    from fpdf import FPDF  # takes a tenth of a second, and few destinations want a PDF
    from fpdf.fonts import TTFFont

    date = datetime.strptime("".join(moment)[:12].ljust(12, "0"), "%Y%m%d%H%M").replace(tzinfo=UTC)
    made = FPDF(format="A4", enforce_compliance="PDF/A-2U")
    fonts = resources.files("wetread.report") / "fonts"
    for style, name in (("", "DejaVuSans.ttf"), ("B", "DejaVuSans-Bold.ttf")):
        with resources.as_file(fonts / name) as path:
            made.add_font("DejaVu", style, path)
    made.set_creation_date(date)
    made.set_producer(MANUFACTURER)
    made.set_xmp_metadata(_XMP.format(date=date.isoformat(), producer=MANUFACTURER, title=title))
    made.set_title(title)
    made.set_lang("en")
    made.set_margin(_MARGIN_MM)
    made.set_auto_page_break(True, _MARGIN_MM)
    made.add_page()
    try:
        yield made
    finally:
        for font in made.fonts.values():
            if isinstance(font, TTFFont):
                font.ttfont.close()  # else its file stays open until the garbage is collected


def _rows(parts: list[Block]) -> Iterator[list[Block]]:
    """Put pictures that follow each other into rows; a paragraph is a row of its own."""
    row: list[Block] = []
    for part in parts:
        if row and (not part.jpeg or len(row) == _ACROSS):
            yield row
            row = []
        if part.jpeg:
            row.append(part)
        else:
            yield [part]
    if row:
        yield row


def _write(sheet: Any, part: Block) -> None:
    size, bold = _TYPE.get(part.tag, _PLAIN)
    sheet.set_font("DejaVu", "B" if bold else "", size)
    known = sheet.current_font.cmap
    text = "".join(one if ord(one) in known else "\N{REPLACEMENT CHARACTER}" for one in part.text)
    sheet.multi_cell(0, size * 0.5, text, align="L", new_x="LMARGIN", new_y="NEXT")
    sheet.ln(1.2)


def _show(sheet: Any, row: list[Block]) -> None:
    width = (sheet.epw - (_ACROSS - 1) * _GAP_MM) / _ACROSS
    tall = [rows / columns for columns, rows in (Image.open(io.BytesIO(one.jpeg)).size for one in row)]
    sheet.set_font("DejaVu", "", _TYPE["figcaption"][0])
    below = 2 + max(sheet.multi_cell(width, 4, one.text, align="L", dry_run=True, output="HEIGHT") for one in row)
    height = min(width * max(tall), sheet.eph - below)
    if sheet.will_page_break(height + below):
        sheet.add_page()
    top = sheet.get_y()
    for number, part in enumerate(row):
        left = _MARGIN_MM + number * (width + _GAP_MM)
        sheet.image(io.BytesIO(part.jpeg), left, top, min(width, height / tall[number]), alt_text=part.text)
        sheet.set_xy(left, top + height + 1)
        sheet.multi_cell(width, 4, part.text, align="L")
    sheet.set_xy(_MARGIN_MM, top + height + below)


def written(result: Result, moment: tuple[str, str], title: str) -> bytes:
    """Set the page of a result as PDF/A-2u; `moment` (DA, TM) is the date that the file bears.

    Raises
    ------
    DocumentError
        The page cannot be set, such as for a character wider than a line.
    """
    from fpdf.errors import FPDFException

    try:
        with _sheet(moment, title) as sheet:
            for row in _rows(blocks(result)):
                if row[0].jpeg:
                    _show(sheet, row)
                else:
                    _write(sheet, row[0])
            return bytes(sheet.output())
    except FPDFException as error:
        raise DocumentError(f"PDF: expected a page that can be set, got: {error}") from error


def dataset(context: Context) -> Item:
    """Make the encapsulated PDF of a result, read or refused."""
    title = "AI wet read" if context.result.refusal is None else "AI wet read: NOT READ"
    data = written(context.result, context.source.moment, title)
    made = beginning(context, "PDF") | predecessors(context, "PDF")
    if context.source.referable:
        purpose = coded(IMAGE_PROCESSING_SOURCE)
        sources = [one | item(PurposeOfReferenceCodeSequence=purpose) for one in source_references(context)]
        made |= item(SourceInstanceSequence=sources)
    return made | item(
        ConversionType="WSD",
        AcquisitionDateTime="".join(context.source.moment) if context.source.dated else "",
        BurnedInAnnotation="YES",
        DocumentTitle=title,
        ConceptNameCodeSequence=coded(IMAGING_REPORT),
        VerificationFlag="UNVERIFIED",
        MIMETypeOfEncapsulatedDocument="application/pdf",
        EncapsulatedDocumentLength=len(data),
        EncapsulatedDocument=data,
    )
