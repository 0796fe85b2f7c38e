"""Priors: which reports count, what stands beside the new values, and what the checker says of it."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import highdicom
import pydicom
import pytest

from tests.report import phantom, series
from wetread import report
from wetread.errors import DocumentError
from wetread.records import Code, Document, Result
from wetread.report import codes
from wetread.report.elements import Item, decode, encode, get, item, sequence
from wetread.report.page import html as page_of
from wetread.report.previous import PERTINENT, difference, said
from wetread.report.reviewed import Review, verified
from wetread.report.tree import named

PERSON = ("Doe^Jane", "1234567", "urn:oid:1.2", "Hospital", "2026-11-29T07:08:09Z")
Documents = Callable[[str], dict[str, Document]]
Results = Callable[[str], Result]


def chosen(now: Result, *earlier: Result, most: int = 9, days: int = 0) -> list[str]:
    """Dates of the studies that count."""
    known = tuple(report.reported(phantom.reports(*earlier)))
    return [one.date for one in report.priors(now, known, most, days)]


def test_the_newest_studies_count_up_to_a_number_and_an_age() -> None:
    now = phantom.result("real")  # of 2004-08-26
    some = [phantom.earlier(n, day) for n, day in enumerate(("20040801", "20030101", "20040825", "20040827"))]
    assert chosen(now, *some) == ["20040825", "20040801", "20030101"]
    assert chosen(now, *some, most=1) == ["20040825"]
    assert chosen(now, *some, days=25) == ["20040825", "20040801"]
    assert chosen(now, *some, days=24) == ["20040825"]
    assert chosen(now, *some, most=0) == []


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize(
    "header",
    [
        {"PatientID": "9RG2"},
        {"PatientID": ""},
        {"IssuerOfPatientID": "OTHER"},
        {"Modality": "DX"},
        {"BodyPartExamined": "ABDOMEN"},
        {"StudyDate": ""},
        {"StudyDate": "20040826"},  # the same time of the same day
        {"StudyDate": "20040826", "StudyTime": ""},
        {"StudyInstanceUID": "1.02.3"},  # no document may name it
        {"StudyInstanceUID": phantom.real_header().StudyInstanceUID},
    ],
)
def test_another_patient_modality_part_or_time_does_not_count(header: dict[str, str]) -> None:
    now = phantom.result("real")
    assert chosen(now, phantom.earlier()) == ["20040801"]
    odd = phantom.earlier(header=header)
    if "StudyInstanceUID" in header:
        odd = replace(odd, study_uid=header["StudyInstanceUID"])
    assert chosen(now, odd) == []


def test_an_earlier_time_of_the_same_day_counts_and_thorax_is_chest() -> None:
    same_day = phantom.earlier(day="20040826", header={"StudyTime": "070000", "BodyPartExamined": "THORAX"})
    assert chosen(phantom.result("real"), same_day) == ["20040826"]


def test_what_is_no_report_of_ours_or_says_nothing_does_not_count(documents_of: Documents) -> None:
    refused = replace(phantom.refused(), header=phantom.earlier().header, study_uid="2.25.9010")
    files = phantom.reports(refused)
    files += [documents_of("real")[kind].data for kind in ("SEG", "SC", "KOS", "PDF")]
    _, foreign = decode(phantom.reports(phantom.earlier())[0])
    files.append(encode(foreign | item(Manufacturer="Other", ManufacturerModelName="Other")))
    assert report.priors(phantom.result("real"), tuple(report.reported(files)), 9) == ()
    with pytest.raises(DocumentError):
        list(report.reported([b"nothing"]))


def test_a_report_that_was_replaced_does_not_count_and_of_several_the_last_one_does() -> None:
    first = phantom.earlier(scale=0.5)
    (old,) = phantom.reports(first)
    before = tuple(report.earlier([old]))
    assert first.image is not None
    later = replace(first, image=replace(first.image, sop_uids=("2.25.77", *first.image.sop_uids)))
    made = replace(later, regions=phantom.earlier(scale=0.8).regions)
    (new,) = phantom.reports(replace(made, revision=report.revision(made, before)))
    now = phantom.result("real")
    (prior,) = report.priors(now, tuple(report.reported([new, old])), 9)
    share = now.regions[0].measurements[0].value
    values = [group.values[0].value for group in prior.groups if group.tracking_uid == now.regions[0].tracking_uid]
    assert values == [pytest.approx(share * 0.8, rel=1e-5)]
    assert len(prior.images) == 2


def nodes(data: bytes) -> list[Item]:
    (section,) = named(sequence(decode(data)[1], "ContentSequence"), codes.PREVIOUS_FINDINGS)
    return sequence(section, "ContentSequence")


def test_the_report_states_value_date_and_difference(documents_of: Documents, result_of: Results) -> None:
    made, now = documents_of("followed"), result_of("followed")
    sr = pydicom.dcmread(io.BytesIO(made["SR"].data))
    groups = nodes(made["SR"].data)
    assert len(groups) == 3  # pneumonia and both lungs
    for group in groups:
        inner = sequence(group, "ContentSequence")
        assert get(named(inner, codes.STUDY_DATE)[0], "Date") == "20040801"
        assert get(named(inner, codes.STUDY_UID)[0], "UID") == "2.25.9010"
        assert get(named(inner, codes.TIME_POINT)[0], "TextValue") == "Prior study of 2004-08-01"
    numbers = [
        get(sequence(node, "MeasuredValueSequence")[0], "NumericValue")
        for node in sequence(groups[0], "ContentSequence")
        if get(node, "ValueType") == "NUM"
    ]
    assert numbers == ["35.2", "62.1"]
    (pertinent,) = sr.PertinentOtherEvidenceSequence
    assert pertinent.StudyInstanceUID == "2.25.9010"
    image = pertinent.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert image.ReferencedSOPInstanceUID == "2.25.9012"
    page = made["HTML"].data.decode()
    assert "Prior 2004-08-01: 35.2 % (not seen), difference +62.1 %" in page
    told = json.loads(made["JSON"].data)["priors"][0]
    assert (told["study_date"], len(told["values"])) == ("20040801", 3)
    assert told["values"][0]["difference"] == 62.1
    (share, _) = (region.measurements[0].value for region in now.regions)
    before = next(one for one in told["values"] if one["tracking_uid"] == now.regions[0].tracking_uid)
    assert before["value"] == pytest.approx(share * 0.9, rel=1e-5)
    assert before["difference"] == pytest.approx(share * 0.1, rel=1e-3)
    assert json.loads(documents_of("real")["JSON"].data)["priors"] == []
    assert not any(b"Prior " in documents_of("real")[kind].data for kind in ("SR", "HTML"))


def test_the_page_in_the_pdf_says_it_too(result_of: Results) -> None:
    from wetread.report.pdf import blocks

    texts = [block.text for block in blocks(result_of("followed"))]
    assert "Prior 2004-08-01: 35.2 % (not seen), difference +62.1 %" in texts


def test_the_same_film_and_prior_give_the_same_bytes_and_another_prior_other_uids(documents_of: Documents) -> None:
    made = documents_of("followed")
    again = {one.kind: one for one in report.documents(phantom.followed())}
    assert again["SR"].data == made["SR"].data
    other = phantom.result("real")
    other = replace(other, priors=report.priors(other, tuple(report.reported(phantom.reports(phantom.earlier(2)))), 1))
    uids = {one.sop_instance_uid for one in report.documents(other) if one.kind == "SR"}
    uids |= {made["SR"].sop_instance_uid, documents_of("real")["SR"].sop_instance_uid}
    assert len(uids) == 3


def test_another_build_is_named_and_not_compared() -> None:
    before = phantom.earlier()
    other = phantom.model("cxr-pneumonia", "fp32")
    before = replace(
        before,
        models=(before.models[0], other),
        findings=tuple(replace(one, model=other) for one in before.findings),
        explanations=tuple(replace(one, model=other) for one in before.explanations),
    )
    now = phantom.result("real")
    now = replace(now, priors=report.priors(now, tuple(report.reported(phantom.reports(before))), 1))
    group = now.priors[0].groups[0]
    assert difference(now, group, group.values[0]) is None
    (line,) = said(now, now.findings[0])
    assert line == "Prior 2004-08-01: 35.2 % (not seen), by cxr-pneumonia 1.0.0+fp32: not comparable"
    (sr,) = phantom.reports(now)
    assert report.check(sr, now.header) == ()
    assert not named(sequence(nodes(sr)[0], "ContentSequence"), codes.DIFFERENCE)
    assert named(sequence(nodes(sr)[1], "ContentSequence"), codes.DIFFERENCE)


def test_of_two_models_that_say_the_same_each_is_compared_with_itself() -> None:
    other = phantom.model("cxr-other")

    def both(made: Result, percent: float) -> Result:
        second = replace(made.findings[0], model=other, probability=percent / 100, present=percent >= 50)
        return replace(made, findings=(*made.findings, second), models=(*made.models, other))

    before = both(phantom.earlier(), 10.0)
    now = both(phantom.result("real"), 21.0)
    now = replace(now, priors=report.priors(now, tuple(report.reported(phantom.reports(before))), 1))
    first, second = (said(now, one) for one in now.findings)
    assert first[0].endswith("difference +62.1 %")
    assert first[1].endswith("by cxr-other 1.0.0+pruned-int8: not comparable")
    assert second[0].endswith("by cxr-pneumonia 1.0.0+pruned-int8: not comparable")
    assert second[1].endswith("difference +11 %")
    groups = [group for group in now.priors[0].groups if group.present is not None]
    assert [difference(now, group, group.values[0]) for group in groups] == [62.1, 11.0]


def ct(study_uid: str, day: str) -> Result:
    """The CT as another study of a patient."""
    made = series.result("ct")
    assert made.image is not None
    header = copy.deepcopy(made.header)
    header.PatientID, header.StudyDate, header.StudyInstanceUID = "P1", day, study_uid
    return replace(
        made, study_uid=study_uid, header=header, image=replace(made.image, study_uid=study_uid, header=header)
    )


def one_of_both(study_uid: str, day: str, percent: int) -> Result:
    """A study by a model that finds and outlines a tumour: finding and region are one thing that is followed."""
    made = ct(study_uid, day)
    (found,), tumour = made.findings, made.regions[1]
    found = replace(found, code=tumour.type, probability=percent / 100, tracking_uid=tumour.tracking_uid)
    judged = tuple(replace(one, finding=tumour.type) for one in made.explanations)
    return replace(made, findings=(found,), regions=(tumour,), explanations=judged)


def test_what_a_model_finds_and_outlines_has_each_prior_at_its_own_value() -> None:
    before, now = one_of_both("2.25.9", "20040801", 80), one_of_both("2.25.10", "20040901", 91)
    now = replace(now, priors=report.priors(now, tuple(report.reported(phantom.reports(before))), 1))
    assert said(now, now.findings[0]) == ["Prior 2004-08-01: 80 % (present), difference +11 %"]
    assert said(now, now.regions[0]) == ["Prior 2004-08-01: 0.258 ml, difference +0 ml"]
    page = page_of(now).decode()
    assert page.count("Prior 2004-08-01: ") == 2
    assert page.index("Prior 2004-08-01: 80 %") < page.index(">Measured<") < page.index("Prior 2004-08-01: 0.258 ml")
    (sr,) = phantom.reports(now)
    assert report.check(sr, now.header) == ()
    against = Review("correct", *PERSON, findings={now.findings[0].code.value: False})
    (left,) = nodes(verified(sr, against).data)  # the prior of what the person rejected goes with it
    assert not named(sequence(left, "ContentSequence"), codes.PROBABILITY)
    outlined = replace(now, findings=(), explanations=())
    (prior,) = report.priors(outlined, tuple(report.reported(phantom.reports(before))), 1)
    assert [group.present for group in prior.groups] == [None]


def test_of_a_series_the_prior_names_the_series() -> None:
    before, now = ct("2.25.9", "20040801"), ct("2.25.10", "20040901")
    now = replace(now, priors=report.priors(now, tuple(report.reported(phantom.reports(before))), 1))
    (sr,) = phantom.reports(now)
    assert report.check(sr, now.header) == ()
    assert len(nodes(sr)) == 3
    for group in nodes(sr):
        inner = sequence(group, "ContentSequence")
        assert before.image is not None
        assert get(named(inner, codes.SERIES_UID)[0], "UID") == before.image.series_uid
        assert not named(inner, codes.SOURCE_OF_MEASUREMENT)
    assert not sequence(decode(sr)[1], PERTINENT)


def test_other_software_gathers_new_values_only(documents_of: Documents) -> None:
    """highdicom finds the measurement groups of this study; the prior's are no part of them."""
    sr = highdicom.sr.srread(io.BytesIO(documents_of("followed")["SR"].data))
    alone = highdicom.sr.srread(io.BytesIO(documents_of("real")["SR"].data))
    content, before = (highdicom.sr.MeasurementReport.from_sequence([one]) for one in (sr, alone))
    assert len(content.get_image_measurement_groups()) == len(before.get_image_measurement_groups())
    assert len(content.get_volumetric_roi_measurement_groups()) == len(before.get_volumetric_roi_measurement_groups())


@pytest.mark.parametrize(
    ("decision", "stays"),
    [
        (Review("accept", *PERSON), 3),
        (Review("correct", *PERSON, findings={phantom.PNEUMONIA.value: False}), 2),
        (Review("reject", *PERSON), 0),
    ],
)
def test_what_a_person_rejected_is_neither_followed_nor_a_prior(
    decision: Review, stays: int, documents_of: Documents
) -> None:
    made = verified(documents_of("followed")["SR"].data, decision).data  # it passes our own check
    sections = named(sequence(decode(made)[1], "ContentSequence"), codes.PREVIOUS_FINDINGS)
    assert sum(len(sequence(one, "ContentSequence")) for one in sections) == stays
    assert bool(sequence(decode(made)[1], PERTINENT)) == bool(stays)
    (sr,) = phantom.reports(phantom.earlier(header={"StudyDate": "20040801"}))
    against = Review(decision.decision, *PERSON, findings=dict.fromkeys(decision.findings, True))
    known = tuple(report.reported([sr, verified(sr, against).data]))
    priors = report.priors(phantom.result("real"), known, 9)
    assert sum(len(prior.groups) for prior in priors) == stays


@pytest.mark.parametrize("scale", [0.7, 0.8])
def test_of_reports_of_one_moment_what_a_person_verified_counts_else_what_rests_on_more(scale: float) -> None:
    """As they stand after late images, one of which came after a review; neither replaces the other."""
    first = phantom.earlier(scale=0.5)
    assert first.image is not None
    more = replace(first, image=replace(first.image, sop_uids=("2.25.77", *first.image.sop_uids)))
    more = replace(more, regions=phantom.earlier(scale=scale).regions)
    old, new = phantom.reports(first, more)
    now = phantom.result("real")
    share = now.regions[0].measurements[0].value
    for files, wanted in (([old, new], scale), ([verified(old, Review("accept", *PERSON)).data, old, new], 0.5)):
        (prior,) = report.priors(now, tuple(report.reported(files)), 9)
        values = [group.values[0].value for group in prior.groups if group.tracking_uid == now.regions[0].tracking_uid]
        assert values == [pytest.approx(share * wanted, rel=1e-5)]


def altered(data: bytes, change: Callable[[Item, list[Item]], Any]) -> bytes:
    """A report of which the first group of the section was changed."""
    _, read = decode(data)
    (section,) = named(sequence(read, "ContentSequence"), codes.PREVIOUS_FINDINGS)
    group = sequence(section, "ContentSequence")[0]
    change(group, sequence(group, "ContentSequence"))
    return encode(read)


def _set(concept: Code, keyword: str, value: Any) -> Callable[[Item, list[Item]], Any]:
    return lambda group, inner: named(inner, concept)[0].update(item(**{keyword: value}))


@pytest.mark.parametrize(
    "change",
    [
        _set(codes.TRACKING_UID, "UID", "2.25.1"),
        _set(codes.STUDY_UID, "UID", phantom.real_header().StudyInstanceUID),
        _set(codes.STUDY_DATE, "Date", "20041301"),
        _set(codes.TIME_POINT, "RelationshipType", "CONTAINS"),
        _set(codes.PROBABILITY, "MeasuredValueSequence", []),
        lambda group, inner: group.update(item(ContentTemplateSequence=[])),
        lambda group, inner: inner.clear(),
        lambda group, inner: inner.append(inner[-1]),
    ],
)
def test_what_is_altered_is_noticed(change: Callable[[Item, list[Item]], Any], documents_of: Documents) -> None:
    sr = documents_of("followed")["SR"].data
    assert report.check(sr, phantom.header("real")) == ()
    assert report.check(altered(sr, change), phantom.header("real")) != ()
