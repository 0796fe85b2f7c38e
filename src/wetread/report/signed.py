"""The HL7 message of a review: the same observations, final, and wrong where the person did not leave them standing.

References
----------
HL7 v2.5.1 Tables 0085 (OBX-11: F, C, W) and 0123 (OBR-25: F, C), Sections 7.4.1.32 (OBR-32), 2.15.9 (MSH).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import dropwhile

from wetread.records import Filed
from wetread.report import codes
from wetread.report.message import formed
from wetread.report.observations import ABNORMAL, NORMAL, PRELIMINARY
from wetread.report.problem import require_none
from wetread.report.redrawn import Redrawn, Size
from wetread.report.reviewed import Review, Verdict, components, overruled, words
from wetread.report.words import plain
from wetread.wire import hl7

WRONG = "W"
PAGE = "ED"  # OBX-2 of the page, which says what the algorithms said
Fields = list[str]


def signed(
    message: bytes,
    review: Review,
    verdicts: Sequence[Verdict],
    filed: Filed,
    again: bool,
    drawn: Redrawn | None = None,
) -> bytes:
    """Write the message of a review.

    Parameters
    ----------
    message
        Of the result, as `wetread.report.oru` writes it.
    verdicts
        What the person says of each finding.
    again
        The result was final before: it becomes corrected.
    drawn
        The segmentation with the person's masks, if there are any.

    Raises
    ------
    DocumentError
        It failed our own check.
    """
    status = "C" if again else "F"
    parsed = hl7.parse(message)
    lines = [[one.name, *one.fields] for one in parsed.segments]
    changed = overruled(review, verdicts)
    groups = {line[4] for line in lines if line[0] == "OBX" and _code(line[3]) in changed and line[2] == "CWE"}
    text = next((line for line in lines if line[0] == "OBX" and line[2] == "TX"), None)
    if drawn is not None:
        _redraw(lines, drawn, review)
    for line in lines:
        match line[0]:
            case "MSH":
                _put(line, {7: _time(review), 10: filed.identity[:20].upper()})
            case "OBR":
                _put(line, {22: _time(review), 25: status, 32: _person(review, "&")})
            case "OBX" if line[11:12] == [PRELIMINARY]:
                stands = review.decision != "reject" and line[4] not in groups
                stands = stands and (line[2] != PAGE or review.decision == "accept")
                _put(line, {11: status if stands else WRONG})
                _verdict(line, changed, status, review)
    if text is not None:
        left = {"accept": [text[5]], "correct": _notes(lines)}.get(review.decision, [])
        _put(text, {5: "~".join([*map(hl7.escape, words(review, verdicts, drawn)), *left]), 11: status})
    data = _encoded(lines, parsed.syntax.codec)
    require_none("ORU of a review", formed(data))
    return data


def _notes(lines: list[Fields]) -> list[str]:
    """Return what notes behind observations say, each once: what was not read, and why."""
    after = dropwhile(lambda line: line[0] != "OBX", lines)
    return list(dict.fromkeys(line[3] for line in after if line[0] == "NTE"))


def _verdict(line: Fields, changed: dict[str, bool], status: str, review: Review) -> None:
    """Write what the person says of a finding, by the person."""
    code = _code(line[3])
    if code in changed and line[2] == "CWE" and _code(line[5]) in (codes.PRESENT.value, codes.ABSENT.value):
        value = codes.PRESENT if changed[code] else codes.ABSENT
        _put(line, {5: f"{value.value}^{value.meaning}^{value.scheme}", 8: ABNORMAL if changed[code] else NORMAL})
        _put(line, {11: status, 16: _person(review, "^"), 17: "", 18: ""})


def _redraw(lines: list[Fields], drawn: Redrawn, review: Review) -> None:
    """Write the person's sizes, by the person, and name the new segmentation."""
    observed = [line for line in lines if line[0] == "OBX"]
    sizes: dict[str, Size] = {
        line[4]: drawn.sizes[line[5]]
        for line in observed
        if _code(line[3]) == codes.TRACKING_UID.value and line[5] in drawn.sizes
    }
    found = {line[4] for line in observed if _code(line[3]) == codes.PROBABILITY.value}
    for line in observed:
        if line[5] == drawn.before:
            _put(line, {5: drawn.document.sop_instance_uid})
        if line[4] in sizes and line[4] not in found:  # a probability stays the algorithm's
            _put(line, {16: _person(review, "^"), 17: "", 18: ""})
            size = sizes[line[4]]
            if line[2] == "NM" and _code(line[6]) == size.unit:
                _put(line, {5: plain(size.value)})


def _person(review: Review, delimiter: str) -> str:
    """Write who reviewed: identifier, family and given name."""
    return delimiter.join(map(hl7.escape, (review.identifier, *components(review)[:2])))


def _code(field: str) -> str:
    return field.partition("^")[0]


def _put(line: Fields, values: dict[int, str]) -> None:
    """Set fields by number; of MSH the first field is the delimiter itself."""
    for place, value in values.items():
        line.extend([""] * (place + 1 - len(line)))
        line[place] = value


def _time(review: Review) -> str:
    return "".join(filter(str.isdigit, review.at)) + "+0000"


def _encoded(lines: list[Fields], codec: str) -> bytes:
    try:
        return _joined(lines).encode(codec)
    except UnicodeEncodeError:
        _put(lines[0], {18: hl7.UTF_8})
        return _joined(lines).encode()


def _joined(lines: list[Fields]) -> str:
    """Join segments; MSH-1 is the delimiter behind the name."""
    first, *others = lines
    return "".join("|".join(one).rstrip("|") + "\r" for one in ([first[0], *first[2:]], *others))
