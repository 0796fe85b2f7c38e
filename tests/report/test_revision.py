"""Documents that replace earlier ones: which they name, and what the checker says of it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from dataclasses import replace

import pydicom
import pytest

from tests.report import phantom
from wetread import report
from wetread.errors import DocumentError
from wetread.records import Document, Predecessor, Result, Revision
from wetread.report.elements import decode, encode, get, item, sequence
from wetread.report.reviewed import Review, verified
from wetread.report.revision import PREDECESSORS
from wetread.report.sc import _lines

Documents = Callable[[str], dict[str, Document]]
Results = Callable[[str], Result]


def about(*instances: str) -> Result:
    """A refused series of these instances."""
    uids, digest = tuple(f"2.25.{one}" for one in instances), "".join(instances).ljust(64, "0")
    return replace(phantom.refused(), sop_uids=uids, digest=digest)


def version(result: Result, before: Iterable[Document] = ()) -> tuple[Revision | None, list[Document]]:
    """What a version replaces, and its SR and PDF."""
    said = tuple(report.earlier(one.data for one in before if one.sop_class_uid))
    found = report.revision(result, said)
    made = report.documents(replace(result, revision=found), kinds=("PDF",))
    return found, [one for one in made if one.kind in ("SR", "PDF")]


def named(found: Revision | None, kind: str = "SR") -> list[str]:
    assert found is not None
    return [one.sop_instance_uid for one in found.replaced if one.kind == kind]


def uid_of(documents: list[Document], kind: str = "SR") -> str:
    (found,) = (one.sop_instance_uid for one in documents if one.kind == kind)
    return found


def test_a_chain_names_the_last_version_only() -> None:
    none, first = version(about("1", "2"))
    second, more = version(about("1", "2", "3"), first)
    third, _ = version(about("1", "2", "3", "4", "5"), [*first, *more])
    assert none is None
    assert (named(second), named(second, "PDF")) == ([uid_of(first)], [uid_of(first, "PDF")])
    assert named(third) == [uid_of(more)]
    assert [one.late for one in (second, third) if one] == [1, 2]


def test_what_comes_out_as_before_keeps_its_uids() -> None:
    """A part of a series to which nothing was added is no new version, though another part is."""
    _, one = version(about("1"))
    _, first = version(about("1", "2"), one)
    _, other = version(about("8"))
    again, same = version(about("1", "2"), [*one, *first, *other])
    assert [document.sop_instance_uid for document in same] == [document.sop_instance_uid for document in first]
    assert named(again) == [uid_of(one)]
    assert version(about("9"), [*first, *other])[0] is None


def test_two_results_that_become_one_are_both_named() -> None:
    _, left = version(about("1", "2"))
    _, right = version(about("3", "4"))
    found, _ = version(about("1", "2", "3", "4", "5"), [*left, *right])
    assert named(found) == sorted((uid_of(left), uid_of(right)))
    assert found is not None
    assert found.late == 1


@pytest.mark.parametrize("reviews", [1, 2])
def test_what_a_person_signed_is_not_replaced(reviews: int, documents_of: Documents, result_of: Results) -> None:
    first = documents_of("real")["SR"]
    said, before = [first], ""
    for number in range(reviews):
        person = Review("reject", "Doe^Jane", "1", "", "Hospital", "2026-11-29T07:08:09Z", text=f"Motion {number}.")
        said.append(verified(first.data, person, before))
        before = said[-1].sop_instance_uid
    late = replace(result_of("real"), sop_uids=(phantom.header("real").SOPInstanceUID, "2.25.9"), image=None)
    found = report.revision(late, tuple(report.earlier(one.data for one in said)))
    assert named(found) == [first.sop_instance_uid]
    result = replace(result_of("real"), revision=found, read_at="2026-11-29T00:00:00Z")
    (bundle,) = (one.data for one in report.documents(result, "", ("FHIR",)) if one.kind == "FHIR")
    assert b"diagnosticReport-replaces" not in bundle  # its resource is the signed one by now


def test_what_cannot_be_a_predecessor_is_left_out(documents_of: Documents) -> None:
    source = phantom.header("real").SOPInstanceUID
    made = documents_of("real")
    said = tuple(report.earlier(one.data for one in made.values() if one.sop_class_uid))
    assert sorted(one.document.kind for one in said) == ["PDF", "SR"]
    assert all(one.sources == {source} for one in said)  # of the evidence neither SEG nor PM
    elsewhere = replace(phantom.refused(), study_uid="2.25.5", sop_uids=(source, "2.25.9"))
    assert report.revision(elsewhere, said) is None
    assert report.revision(phantom.refused(with_header=False), said) is None


def test_the_documents_say_so(documents_of: Documents, result_of: Results) -> None:
    made, study = documents_of("late"), result_of("late").study_uid
    for kind, wanted in (("SR", ["2.25.721", "2.25.731"]), ("PDF", ["2.25.711"])):
        (one,) = pydicom.dcmread(io.BytesIO(made[kind].data)).PredecessorDocumentsSequence
        assert one.StudyInstanceUID == study
        found = [series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for series in one.ReferencedSeriesSequence]
        assert found == wanted
        assert [series.SeriesInstanceUID for series in one.ReferencedSeriesSequence] == [
            series.rpartition("1")[0] for series in wanted
        ]
    for kind in ("SEG", "PM", "SC", "KOS", "GSPS", "LABELMAP"):
        assert PREDECESSORS not in pydicom.dcmread(io.BytesIO(made[kind].data))
    said = "Revision of an earlier result, because 1 image came late"
    assert said in made["HTML"].data.decode()
    assert said in _lines(result_of("late"))
    assert json.loads(made["JSON"].data)["revision"]["late"] == 1
    assert json.loads(documents_of("real")["JSON"].data)["revision"] is None
    assert b"Revision" not in documents_of("real")["HTML"].data
    for kind in ("SR", "SEG", "PDF"):
        assert made[kind].sop_instance_uid != documents_of("real")[kind].sop_instance_uid


@pytest.mark.parametrize("kind", ["SR", "PDF"])
def test_the_checker_notices_a_wrong_predecessor(kind: str, documents_of: Documents) -> None:
    source = phantom.header("real")
    _, data = decode(documents_of("late")[kind].data)
    (named_study,) = sequence(data, PREDECESSORS)
    (series, *_) = sequence(named_study, "ReferencedSeriesSequence")
    (document,) = sequence(series, "ReferencedSOPSequence")
    mine = document | item(ReferencedSOPInstanceUID=get(data, "SOPInstanceUID"))
    other_class = document | item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.66.4")
    for wrong in (
        [],
        [named_study | item(StudyInstanceUID="2.25.99")],
        [named_study | item(ReferencedSeriesSequence=[series, series])],
        *(
            [named_study | item(ReferencedSeriesSequence=series | item(ReferencedSOPSequence=one))]
            for one in (mine, other_class)
        ),
    ):
        found = report.check(encode(data | item(**{PREDECESSORS: wrong})), source)
        assert any(one.where.startswith(PREDECESSORS) for one in found), wrong
    assert report.check(encode(data), source) == ()


def test_a_predecessor_is_no_evidence() -> None:
    result = phantom.late()
    itself = Predecessor("SR", "2.25.7", str(result.header.SOPClassUID), str(result.header.SOPInstanceUID))
    with pytest.raises(DocumentError, match="no predecessor in the evidence"):
        report.documents(replace(result, revision=Revision(1, (itself,))))
