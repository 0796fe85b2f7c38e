"""The page: self-contained, escaped, and plain about what was not read."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np

from tests.report import phantom
from wetread import report
from wetread.records import Code, Document, Result
from wetread.report import page, words

Documents = Callable[[str], dict[str, Document]]
VOID = {"meta", "img", "br", "link", "input"}


class Outline(HTMLParser):
    """Collects tags, attributes and text, and fails on tags that do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "action", "srcset")]
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data


def outline(data: bytes) -> Outline:
    parser = Outline()
    parser.feed(data.decode())
    assert parser.open == []
    return parser


def test_the_page_stands_alone(documents_of: Documents) -> None:
    page = documents_of("real")["HTML"].data
    seen = outline(page)
    assert all(link.startswith("data:image/jpeg;base64,") for link in seen.links)
    assert not {"script", "link", "iframe", "object"} & set(seen.tags)
    assert b"http:" not in page
    assert b"https:" not in page
    assert b"url(" not in page
    assert b"@import" not in page


def test_the_page_says_what_was_found(documents_of: Documents) -> None:
    text = outline(documents_of("real")["HTML"].data).text
    for expected in ("Pneumonia: present", "97.3 %", "threshold 50.0 %", "pruned-int8", "not a medical device"):
        assert expected in text
    assert "Not trustworthy" not in text
    negative = outline(documents_of("negative")["HTML"].data).text
    assert "Pneumonia: not seen" in negative
    assert "the explanation is not trustworthy" in negative


def test_the_pictures_are_those_of_the_result(documents_of: Documents) -> None:
    images = outline(documents_of("real")["HTML"].data).images
    assert len(images) == 3
    for image, picture in zip(images, phantom.result().pictures, strict=True):
        assert image["alt"] == picture.caption
        raw = base64.b64decode((image["src"] or "").split(",", 1)[1])
        decoded = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR)
        assert decoded is not None
        assert decoded.shape == picture.rgb.shape


def test_inserted_text_is_escaped() -> None:
    evil = "<script>alert('x')</script>\"&"
    given = phantom.result()
    finding = replace(given.findings[0], code=Code("1", "99T", evil[:64]))
    given = replace(
        given,
        study_uid=evil,
        digest=evil,
        findings=(finding,),
        regions=tuple(replace(one, label=evil) for one in given.regions),
        explanations=(replace(given.explanations[0], sentence=evil),),
        pictures=tuple(replace(one, caption=evil) for one in given.pictures),
        models=tuple(replace(one, engine=evil, build=evil) for one in given.models),
    )
    from wetread.report.page import html

    seen = outline(html(given))
    assert "script" not in seen.tags
    assert seen.text.count("alert(") >= 5


def test_no_patient_stands_on_the_page(documents_of: Documents) -> None:
    for kind in ("real", "utf8", "refused"):
        text = documents_of(kind)["HTML"].data.decode()
        for secret in ("CompressedSamples", "9RG1", "王", "Wang", "1940"):
            assert secret not in text


def test_a_refusal_says_why_and_what_to_do(documents_of: Documents) -> None:
    text = outline(documents_of("refused")["HTML"].data).text
    for expected in ("NOT READ", "No model reads this part of the body.", "What to do", "WRONG-BODY-PART", "got HAND"):
        assert expected in text
    assert "probability" not in text.lower()


def test_the_page_says_what_was_not_read(documents_of: Documents) -> None:
    text = outline(documents_of("partial")["HTML"].data).text
    for expected in ("Pneumonia: not read", "as if no AI were there", "OUTSIDE-AGE", "silence is not a normal result"):
        assert expected in text
    assert "No finding asked for" not in text
    assert "NOT READ" not in text


def test_a_finding_stands_before_what_was_not_read() -> None:
    given = replace(phantom.result(), not_read=phantom.partial().not_read)
    text = outline(report.documents(given)[-2].data).text
    assert text.index("Pneumonia: present") < text.index("Pneumonia: not read")


def test_the_time_of_reading_is_shown() -> None:
    made = report.documents(replace(phantom.refused(), read_at="2026-11-24T08:00:00Z"))
    assert b"2026-11-24T08:00:00Z" in made[-2].data
    assert b"2026-11-24T08:00:00Z" in made[-1].data
    assert b"2026" not in made[0].data.replace(b"2026.4.1", b"")


def test_the_page_fits_a_small_screen(documents_of: Documents) -> None:
    """No column is wider than what there is, and no text is kept in one line but numbers."""
    style = documents_of("real")["HTML"].data.decode().partition("<style>")[2].partition("</style>")[0]
    rules = dict(re.findall(r"([^{}]+)\{([^{}]*)\}", style))
    columns = re.findall(r"minmax\(([^,]+)", style)
    assert columns
    assert all(one.startswith("min(") for one in columns)
    kept = {name.strip() for name, body in rules.items() if "nowrap" in body}
    assert kept == {".bar small", "td.number"}
    assert "white-space: normal" in rules["\n.prior "]  # below the numbers
    assert "overflow-wrap: break-word" in rules["\nbody "]


def test_people_read_no_exponents(result_of: Callable[[str], Result]) -> None:
    made = result_of("followed")
    large = [replace(one, measurements=(replace(one.measurements[0], value=61234.5),)) for one in made.regions]
    text = outline(page.html(replace(made, regions=tuple(large)))).text
    assert "61230 %" in text
    assert "difference +61220 %" in text
    assert "e+0" not in text


def test_what_lies_close_to_the_threshold_is_told_apart_from_it() -> None:
    threshold = phantom.result().findings[0].threshold
    for probability, shown in ((threshold - 4e-4, 2), (threshold - 4e-5, 3), (threshold, 1), (threshold - 0.1, 1)):
        result = phantom.result(probability=probability)
        (said,) = (one for one in words.statements(result) if one.finding is result.findings[0])
        assert {len(told.removesuffix(" %").partition(".")[2]) for told in (said.percent, said.threshold)} == {shown}
        assert (said.percent == said.threshold) == (probability == threshold)
    assert words.apart(0.496, 0.5, least=0) == ("49.6 %", "50.0 %")
    assert words.apart(0.59, 0.27, least=0) == ("59 %", "27 %")
