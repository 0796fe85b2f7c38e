"""The page for people: one self-contained HTML file that is understood in five seconds.

It needs no script and no other file, holds no patient's name, and escapes every
text that is inserted.
"""

from __future__ import annotations

import base64
from functools import lru_cache
from html import escape
from pathlib import Path

import cv2

from wetread import __version__
from wetread.records import Explanation, Finding, Picture, Region, Result, Unread
from wetread.report.context import NOTICE
from wetread.report.identity import text_of
from wetread.report.previous import said as said_before
from wetread.report.sc import WARNING
from wetread.report.words import Statement, circumstances, measured, name, names, reduction, statements

JPEG_QUALITY = 88


@lru_cache(maxsize=1)
def _style() -> str:
    return (Path(__file__).parent / "page.css").read_text(encoding="utf-8")


def jpeg(picture: Picture) -> bytes:
    """Encode a picture."""
    grey = picture.name == "film"
    pixels = picture.rgb[..., 0] if grey else cv2.cvtColor(picture.rgb, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    return data.tobytes()


def _picture(picture: Picture, doubtful: bool) -> str:
    height, width = picture.rgb.shape[:2]
    caption = escape(picture.caption)
    badge = '<b class="badge">Not trustworthy</b>' if doubtful and picture.name == "heat" else ""
    return (
        f'<figure><img width="{width}" height="{height}" alt="{caption}" '
        f'src="data:image/jpeg;base64,{base64.b64encode(jpeg(picture)).decode()}"><figcaption>{badge}{caption}</figcaption></figure>'
    )


def _finding(result: Result, said: Statement) -> str:
    finding = said.finding
    at, mark = (min(max(value, 0.0), 1.0) * 100 for value in (finding.probability, finding.threshold))
    side = ' class="left"' if mark < 25 else ' class="right"' if mark > 75 else ""
    text = escape(f"Probability of {said.name}")
    slices = f'<p class="slices">{escape(said.slices.capitalize())}</p>' if said.slices else ""
    priors = _earlier(result, finding)
    label = escape(f"Probability of {said.name} {said.percent}, threshold {said.threshold}")
    return (
        f'<div class="finding{" is-present" if finding.present else ""}"><div class="said"><span>{text}</span>'
        f'<span class="value">{escape(said.percent)}</span></div>'
        f'<div class="bar" role="img" aria-label="{label}">'
        f'<i style="width:{at:.1f}%"></i><b style="left:{mark:.1f}%"></b>'
        f'<small{side} style="left:{mark:.1f}%">threshold {escape(said.threshold)}</small></div>{slices}{priors}</div>'
    )


def _earlier(result: Result, one: Finding | Region) -> str:
    """What priors had of it, with their dates."""
    return "".join(f'<p class="prior">{escape(line)}</p>' for line in said_before(result, one))


def _trust(explanation: Explanation) -> str:
    sentence = escape(explanation.sentence)
    if explanation.trustworthy:
        return f'<p class="ok">{sentence}</p>'
    return (
        f'<div class="warn" role="alert"><strong>Do not rely on the heat map: '
        f"the explanation is not trustworthy.</strong>{sentence}</div>"
    )


def _unread(unread: Unread) -> str:
    """Say what is not known because a model did not read."""
    model, refusal = unread.model, unread.refusal
    return (
        f'<div class="unread"><strong>{escape(names(unread))}: not read</strong>{escape(refusal.sentence)} '
        f"{escape(refusal.detail)} <b>Nothing is known about it: silence is not a normal result.</b>"
        f"<p><code>{escape(refusal.code)}, {escape(model.id)} {escape(model.version)}</code></p></div>"
    )


def _headline(result: Result) -> tuple[str, str, str]:
    """Give the class, the headline and the sentence under it."""
    said, unread = statements(result), ", ".join(names(one) for one in result.not_read)
    found = [one.name for one in said if one.finding.present]
    if found:
        return "present", ", ".join(found) + ": present", "The model's probability is at or above its threshold."
    if said:
        sought = ", ".join(one.name for one in said)
        return "absent", f"{sought}: not seen", "This is no statement about anything else on the image."
    if unread:
        return "unknown", f"{unread}: not read", "Read this image for it as if no AI were there."
    return "absent", "No finding asked for", "No classifier reads this image; only regions were outlined."


def _read(result: Result) -> str:
    said = statements(result)
    kind, headline, lead = _headline(result)
    parts = [f'<section class="{kind}"><h1>{escape(headline)}</h1><p class="lead">{escape(lead)}</p>']
    parts += [_finding(result, one) for one in said]
    parts += [_trust(one) for one in result.explanations]
    parts += [_unread(one) for one in result.not_read]
    return "".join([*parts, "</section>"])


def _refused(result: Result) -> str:
    refusal = result.refusal
    if refusal is None:
        return ""
    detail = f"<p>{escape(refusal.detail[:1].upper() + refusal.detail[1:])}</p>" if refusal.detail else ""
    return (
        f'<section class="stop refused" role="alert"><h1>NOT READ</h1><p>{escape(refusal.sentence)}</p>{detail}'
        '<p class="do">What to do: read this image as if no AI were there. No finding was looked for, and silence '
        "is not a normal result. Correct the cause and send the image again.</p>"
        f"<p><code>{escape(refusal.code)}</code></p></section>"
    )


def _notice(result: Result) -> str:
    return "".join(f'<div class="warn said-first">{escape(one)}.</div>' for one in circumstances(result))


def _rows(rows: list[tuple[str, str]], number: bool = False) -> str:
    kind = ' class="number"' if number else ""
    cells = (f'<tr><th scope="row">{escape(key)}</th><td{kind}>{value}</td></tr>' for key, value in rows)
    return f"<table>{''.join(cells)}</table>"


def _panel(title: str, body: str, wide: bool = False) -> str:
    return f'<section class="panel{" wide" if wide else ""}"><h2>{escape(title)}</h2>{body}</section>'


def _measured(result: Result) -> str:
    rows = [
        (f"{region.label}, {name(one.code.meaning).lower()}", escape(measured(one)) + before)
        for region in result.regions
        for before in (_earlier(result, region),)
        for one in region.measurements
    ]
    return _panel("Measured", _rows(rows, number=True)) if rows else ""


def _times(result: Result) -> str:
    if not result.timings:
        return ""
    rows = [(one.stage, f"{one.ms:.1f} ms") for one in result.timings]
    return _panel("Time of each stage", _rows(rows, number=True))


def _models(result: Result) -> str:
    rows = [
        (
            f"{model.id} {model.version}",
            f"build {escape(model.build)}, {escape(f'{model.engine} {model.engine_version}')} on {escape(model.device)}"
            f"<br><code>sha256 {escape(model.sha256)}</code>",
        )
        for model in result.models
    ]
    return _panel("Models", _rows(rows), wide=True) if rows else ""


def _origin(result: Result) -> str:
    rows = [("Study UID", f"<code>{escape(result.study_uid or 'not known')}</code>")]
    if result.image is not None and len(result.image.pixels) > 1:
        rows.append(("Series UID", f"<code>{escape(result.image.series_uid)}</code>"))
        rows.append(("Slices", str(len(result.image.pixels))))
    elif result.header is not None:
        rows.append(("Image UID", f"<code>{escape(text_of(result.header, 'SOPInstanceUID'))}</code>"))
    if result.revision is not None:
        replaced = "<br>".join(f"{one.kind} {escape(one.sop_instance_uid)}" for one in result.revision.replaced)
        rows.append(("Replaces", f"<code>{replaced}</code>"))
    if said := reduction(result.image):
        rows.append(("Pixels", escape(said)))
    if result.read_at:
        rows.append(("Read at", escape(result.read_at)))
    rows.append(("Digest", f"<code>sha256 {escape(result.digest)}</code>"))
    return _panel("Source", _rows(rows), wide=True)


def html(result: Result) -> bytes:
    """Write the page of a result, read or refused, as UTF-8."""
    head = _read(result) if result.refusal is None else _refused(result)
    doubtful = any(not one.trustworthy for one in result.explanations[:1])  # the others have no picture
    films = "".join(_picture(one, doubtful) for one in result.pictures)
    title = "NOT READ" if result.refusal is not None else _headline(result)[1]
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        f"<title>{escape(title)} - Wetread</title><style>{_style()}</style></head><body><main>"
        f'<header class="top"><div class="brand">Wetread <span>{escape(__version__)}</span></div>'
        f'<div class="notice">{WARNING}</div></header>'
        f"{_notice(result)}{head}" + (f'<div class="films">{films}</div>' if films else "") + '<div class="panels">'
        f"{_measured(result)}{_times(result)}{_models(result)}{_origin(result)}</div>"
        f"<footer>{NOTICE}</footer></main></body></html>\n"
    )
    return page.encode()
