"""Instances -> studies: duplicates, mixed patients, order."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from wetread.acquire.content import Content
from wetread.acquire.instances import Instance, give_up, read_instance, reject, run
from wetread.acquire.person import patient
from wetread.acquire.picture import Assumption
from wetread.acquire.quiet import quiet
from wetread.acquire.series import Stack, joined, stacked
from wetread.errors import NotRead
from wetread.records import Image, Rejected, Stored, Study
from wetread.settings import Settings

#: Digests that are asked for ahead: to wait for each in turn is to wait for the scheduler.
DIGESTS = 8

Item = TypeVar("Item")


def decode(
    blobs: Sequence[tuple[str, bytes | Stored]],
    settings: Settings,
    assume: Assumption = Assumption(),  # noqa: B008 - frozen
) -> tuple[Study, ...]:
    """Decode files that are in memory, or stored.

    Parameters
    ----------
    blobs
        (source, bytes) of DICOM files with their preamble, PNG or JPEG pictures.  The digest of a stored one
        is believed.
    settings
        `max_pixels` bounds what is decoded.
    assume
        Modality, body part, view and age of pictures.

    Returns
    -------
    tuple of Study
        One a Study Instance UID, in the order of arrival; inside by series, instance
        number and UID; the slices of a CT, MR or PET series are one image.  A file that names
        no valid study stands alone, under "".  Bad content never raises: every film and
        series becomes an image or a coded refusal.
        Identical files count once.

    References
    ----------
    DICOM PS3.3 Section C.7 (identity), PS3.5 Section 9 (unique identifiers).
    """
    return gather(list(read_each(map(_content, blobs), settings, assume)), settings)


def _content(blob: tuple[str, bytes | Stored]) -> tuple[str, str, bytes]:
    source, held = blob
    return (source, "", held) if isinstance(held, bytes) else (source, held.digest, held.path.read_bytes())


def read_each(
    blobs: Iterable[tuple[str, str, Content]],
    settings: Settings,
    assume: Assumption,
    begin: Callable[[int], None] = lambda number: None,
) -> Iterator[Instance]:
    """Read files one after the other; of identical ones the first.

    Parameters
    ----------
    blobs
        (source, SHA-256 in hex or "", bytes).
    begin
        Told each one's number before it is read.
    """
    seen: set[str] = set()
    with quiet(), run() as shared:
        asked = (
            (name, data, bool(told), partial(str, told) if told else shared.digest(data)) for name, told, data in blobs
        )
        for number, (source, data, _, digest) in enumerate(_ahead(asked, DIGESTS, lambda one: one[2])):
            begin(number)
            instance = read_instance(source, data, settings, assume, shared.known, digest)
            if instance.outcome.digest not in seen:
                seen.add(instance.outcome.digest)
                yield replace(instance, file=number)


def _ahead(items: Iterable[Item], count: int, known: Callable[[Item], bool]) -> Iterator[Item]:
    """Yield items, each when so many more were taken; what is known already, at once."""
    waiting: deque[Item] = deque()
    for item in items:
        waiting.append(item)
        while waiting and (len(waiting) > count or known(waiting[0])):
            yield waiting.popleft()
    yield from waiting


def given_up(files: Iterable[tuple[str, str, bytes]], refusal: NotRead, settings: Settings) -> tuple[Rejected, ...]:
    """Refuse the files of one study whose reading crashed, by their headers alone; no pixel is looked at.

    Parameters
    ----------
    files
        (source, SHA-256 in hex, bytes), taken one by one; b"" leaves the header out.
    refusal
        What happened, without patient identifiers.
    settings
        `max_pixels` bounds what is inflated.

    Returns
    -------
    One a film, a localizer, a series of slices, a file without its header.
    """
    members = sorted((give_up(*file, refusal, settings) for file in files), key=lambda member: member.order)
    return tuple(one for one in _joined(members, settings) if isinstance(one, Rejected))


def gather(instances: Sequence[Instance], settings: Settings, stack: Stack = stacked) -> tuple[Study, ...]:
    """Group instances by study, join slices to volumes, and refuse what makes a study ambiguous.

    Parameters
    ----------
    stack
        Makes one array of the slices of a volume.
    """
    instances = _without_duplicates(instances)
    studies: dict[str, list[Instance]] = {}
    for index, instance in enumerate(instances):
        studies.setdefault(instance.study_uid or f"alone {index}", []).append(instance)
    return tuple(_study(members, settings, stack) for members in studies.values())


def _study(members: list[Instance], settings: Settings, stack: Stack) -> Study:
    members = sorted(members, key=lambda member: member.order)
    patients = {patient(member.header) for member in members if member.header is not None}
    if len(patients) > 1:
        mixed = NotRead("MIXED-PATIENTS", f"Expected one patient, got {len(patients)} under one Study Instance UID.")
        members = [_refused(member, mixed) for member in members]
    outcomes = _joined(members, settings, stack)
    return Study(
        members[0].study_uid,
        tuple(outcome for outcome in outcomes if isinstance(outcome, Image)),
        tuple(outcome for outcome in outcomes if isinstance(outcome, Rejected)),
    )


def _joined(members: list[Instance], settings: Settings, stack: Stack = stacked) -> list[Image | Rejected]:
    """Join the slices of each patient: what is said under one name refers to nobody else's instances."""
    parts: dict[tuple[str, ...], list[Instance]] = {}
    for member in members:
        parts.setdefault(patient(member.header) if member.header is not None else (), []).append(member)
    return [outcome for part in parts.values() for outcome in joined(part, settings.max_series_pixels, stack)]


def _without_duplicates(instances: Sequence[Instance]) -> Sequence[Instance]:
    """Refuse every instance whose SOP Instance UID stands for different bytes."""
    counts = Counter(instance.sop_uid for instance in instances if instance.sop_uid)
    twice = {sop_uid for sop_uid, count in counts.items() if count > 1}
    if not twice:
        return instances
    refusal = NotRead("DUPLICATE-UID", "Expected one content for a SOP Instance UID, got several.")
    return [_refused(item, refusal) if item.sop_uid in twice else item for item in instances]


def _refused(member: Instance, refusal: NotRead) -> Instance:
    """Return the instance refused; one that was refused before keeps its reason."""
    outcome = member.outcome
    if isinstance(outcome, Image):
        outcome = reject(refusal, outcome.source, outcome.digest, outcome.header)
    return Instance(outcome, member.study_uid, member.sop_uid, member.order)
