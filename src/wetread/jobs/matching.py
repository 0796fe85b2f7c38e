"""Whether a study is about the patient of an order: by assigning authority and identifier, never by name.

Identifiers are compared where both sides name the same authority; if there are none such, where one side names none.
If one of those is equal, order and image agree; if there are some and none is equal, they contradict each other.  If
nothing can be compared, because an image has no Patient ID or each side names authorities that the other does not know,
nothing is known: the study is read and delivered without the order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from wetread.records import Code, Identifier, Order
from wetread.wire.glance import Tag


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom an object is about, as its header says; "" where it does not."""

    accession: str = ""  # (0008,0050)
    patient: str = ""  # Patient ID (0010,0020)
    authority: str = ""  # Issuer of Patient ID (0010,0021)

    @property
    def identifier(self) -> Identifier:
        """The patient; some systems write all parts of the issuer into one: HOSP&1.2.3&ISO."""
        parts = (*self.authority.split("&"), "", "")
        return Identifier(self.patient, *(part.strip() for part in parts[:3]))


def identity_of(seen: Mapping[int, str]) -> Identity:
    """Return whom an object is about, of which `seen` holds attributes by tag."""
    told = (seen.get(tag, "") for tag in (Tag.ACCESSION, Tag.PATIENT, Tag.AUTHORITY))
    return Identity(*("".join(one if one.isprintable() else "?" for one in text).strip() for text in told))


class Verdict(Enum):
    """What identifiers say of two sides."""

    AGREE = "agree"
    CONTRADICT = "contradict"
    UNKNOWN = "unknown"


def same_authority(one: Identifier, other: Identifier) -> bool | None:
    """Whether two identifiers come from the same authority; None if one of them names none."""
    if not (one.authority or one.universal_id) or not (other.authority or other.universal_id):
        return None
    if one.universal_id and other.universal_id:
        return one.universal_id.casefold() == other.universal_id.casefold()
    return bool(one.authority) and one.authority.casefold() == other.authority.casefold()


def verdict(order: Iterable[Identifier], image: Iterable[Identifier]) -> Verdict:
    """Hold the identifiers of an order's patient against those of an image's, each with what it was merged into."""
    pairs = [(one, other) for one in order for other in image if one.value and other.value]
    same = [pair for pair in pairs if same_authority(*pair)]
    compared = same or [pair for pair in pairs if same_authority(*pair) is None]
    if not compared:
        return Verdict.UNKNOWN
    equal = any(one.value == other.value for one, other in compared)
    return Verdict.AGREE if equal else Verdict.CONTRADICT


@dataclass(frozen=True, slots=True)
class Candidate:
    """An order that may be a study's, by accession number or Study Instance UID."""

    id: int
    order: Order
    patient: tuple[Identifier, ...]  # with what these were merged into


@dataclass(frozen=True, slots=True)
class Match:
    """What the orders say of a study."""

    order: Order | None = None  # that it answers
    contradicts: int = 0  # the number of the order that is about somebody else; 0: none
    evidence: str = ""  # digest of the identifiers of both sides, where they contradict each other


def match(candidates: Sequence[Candidate], images: Sequence[Sequence[Identifier]]) -> Match:
    """Return the order of a study.

    Parameters
    ----------
    candidates
        The most likely first.
    images
        The patient of each of its objects that differ in that, each with what it was merged into.
    """
    contradicting = None
    for one in candidates:
        found = [verdict(one.patient, image) for image in images]
        if Verdict.CONTRADICT in found:
            contradicting = contradicting or one
        elif Verdict.AGREE in found:
            return Match(one.order)
    if contradicting is None:
        return Match()
    said = [sorted(map(_plain, contradicting.patient)), sorted(sorted(map(_plain, one)) for one in images)]
    return Match(None, contradicting.id, hashlib.sha256(json.dumps(said).encode()).hexdigest())


def _plain(one: Identifier) -> list[str]:
    return [one.value, one.authority, one.universal_id]


def joined(one: Identifier) -> str:
    """Return the authority of an identifier as one text."""
    return f"{one.authority}&{one.universal_id}&{one.universal_id_type}".rstrip("&")


def order_text(order: Order) -> str:
    """Return an order as JSON."""
    return json.dumps(asdict(order), ensure_ascii=False)


def order_of(text: str) -> Order:
    """Return the order that `order_text` wrote."""
    told: dict[str, Any] = json.loads(text)
    for name in ("accession", "placer", "filler"):
        told[name] = Identifier(**told[name])
    told["patient"] = tuple(Identifier(**one) for one in told["patient"])
    told["procedure"] = Code(**told["procedure"]) if told["procedure"] else None
    return Order(**told)
