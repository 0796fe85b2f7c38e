"""Two patients never become one, and one who was given a pseudonym keeps it."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from tests import phantoms
from tests.report import phantom
from wetread import report
from wetread.acquire.deidentify import Answers, Ledger, Profile, answered, asked, deidentify, deidentify_result
from wetread.settings import Settings

_STUDIES = count(1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    """A ledger whose secret is always the same: by chance two patients may have the same days."""
    with closing(sqlite3.connect(path)) as book:
        book.execute("create table secret (value blob not null)")
        book.execute("insert into secret values (?)", (bytes(32),))
        book.commit()
    with Ledger(path) as made:
        yield made


def film(identifier: str | None, issuer: str | None = None, **changes: str) -> bytes:
    """A film of a study of its own."""
    who = {"PatientID": identifier, "IssuerOfPatientID": issuer, "StudyInstanceUID": f"1.2.3.{next(_STUDIES)}"}
    attributes: dict[str, Any] = {"BurnedInAnnotation": "NO", "StudyDate": "20260110"} | who | changes
    return phantoms.to_bytes(phantoms.make_film(**attributes))


def copied(data: bytes, ledger: Ledger) -> Dataset:
    return pydicom.dcmread(io.BytesIO(deidentify(data, Profile(), ledger).data))


def known(data: bytes, ledger: Ledger) -> tuple[str, str]:
    """What tells of a copy whose it is: the pseudonym, and where dates went."""
    made = copied(data, ledger)
    return str(made.PatientName), str(made.StudyDate)


@pytest.mark.parametrize("nothing", ["", " ", None])
def test_an_identifier_that_is_not_there_is_nobodys(ledger: Ledger, nothing: str | None) -> None:
    """Names and birth dates tell two patients apart, as far as they do."""
    one, again = copied(film(nothing), ledger), copied(film(nothing, PatientName="CANARY^patient ^"), ledger)
    assert one.get("PatientID", "") == ""
    assert one.PatientName == again.PatientName != ""
    assert one.StudyDate == again.StudyDate
    others = [
        film(nothing, PatientName="Roe^Richard"),
        film(nothing, PatientBirthDate="19310408"),
        film(nothing, "HOSP"),
        film("1"),
    ]
    told = [known(data, ledger) for data in others]
    assert len({str(one.PatientName), *(name for name, _ in told)}) == 5
    assert len({str(one.StudyDate), *(date for _, date in told)}) == 5


def test_who_has_no_name_either_is_another_in_each_study(ledger: Ledger) -> None:
    first, other = (film("", PatientName=name, StudyInstanceUID=f"1.2.4.{len(name)}") for name in ("^^", ""))
    one, two = copied(first, ledger), copied(other, ledger)
    assert (one.PatientID, one.PatientName, two.PatientID, two.PatientName) == ("", "", "", "")
    assert one.StudyDate != two.StudyDate
    assert one.StudyDate == copied(first, ledger).StudyDate


def test_two_hospitals_give_one_number_to_two_patients(ledger: Ledger) -> None:
    hospitals = ("A", "B", None)
    told = [known(film("4711", issuer), ledger) for issuer in hospitals]
    assert len({name for name, _ in told}) == len({date for _, date in told}) == 3
    assert told == [known(film("4711", issuer, PatientName="Other^Name"), ledger) for issuer in (" A", "B ", "")]


def test_who_holds_no_ledger_tells_patients_apart_too(ledger: Ledger) -> None:
    for data in (film("4711", "A"), film("4711", "B"), film(""), film("", PatientName="")):
        told = asked(data, Profile())
        answers = Answers(
            {old: ledger.uid(old) for old in told.uids},
            {old: ledger.pseudonym("patient", old) for old in told.patients},
            ledger.shift_days(told.patient),
        )
        assert answered(data, Profile(), answers, Settings()) == deidentify(data, Profile(), ledger).data


@pytest.mark.parametrize(("identifier", "issuer"), [("4711", "A"), ("4711", "B"), ("", "A")])
def test_results_have_the_patient_of_their_images(ledger: Ledger, identifier: str, issuer: str) -> None:
    copied(film("4711", "A"), ledger)
    header = phantom.header("spacing")
    header.PatientID, header.IssuerOfPatientID, header.PatientName = identifier, issuer, "Yamada^Tarou=山田^太郎"
    header.StudyDate, header.PatientBirthDate = "20260110", "19310407"
    made = next(one for one in report.documents(phantom.result(header=header)) if one.kind == "SR")
    result = pydicom.dcmread(io.BytesIO(deidentify_result(made.data, Profile(), ledger).data))
    image = copied(film(identifier, issuer, PatientName=header.PatientName), ledger)
    for keyword in ("PatientID", "PatientName", "StudyDate"):
        assert result[keyword].value == image[keyword].value


# ---- ledgers that were kept without issuers ---------------------------------------------------


def aged(path: Path, *patients: tuple[str, str | None]) -> dict[str, str]:
    """Make a ledger as it was once kept, with a study of each patient; also the pseudonym of each identifier."""
    with Ledger(path) as ledger:
        given = {identifier: ledger.pseudonym("patient", identifier) for identifier, _ in patients}
        for number, (identifier, issuer) in enumerate(patients):
            told = {"PatientName": "Canary^Jane", "PatientID": identifier}
            told |= {} if issuer is None else {"IssuerOfPatientID": issuer}
            ledger.remember("study", f"2.25.{number}", json.dumps(told))
    with closing(sqlite3.connect(path)) as book:
        for identifier, pseudonym in given.items():
            book.execute("insert or replace into names values ('patient', ?, ?)", (pseudonym, identifier))
        book.commit()
    return given


@pytest.mark.parametrize("issuer", ["A", "", None])
def test_who_was_alone_keeps_the_pseudonym(path: Path, issuer: str | None) -> None:
    """Though another with the same number comes first."""
    old = aged(path, ("4711", issuer), ("4711", issuer), ('"47', "B"), ("11", "C"))
    other = "" if issuer else "A"
    with Ledger(path) as ledger:
        assert known(film("4711", other), ledger)[0] not in old.values()
        assert known(film("4711", issuer), ledger)[0] == old["4711"]
        assert known(film('"47', "B"), ledger)[0] == old['"47']
    with Ledger(path) as ledger:
        assert known(film("4711", issuer), ledger)[0] == old["4711"]


def test_of_those_who_were_one_nobody_keeps_it(path: Path) -> None:
    old = aged(path, ("4711", "A"), ("4711", "B"))
    with Ledger(path) as ledger:
        now = [known(film("4711", issuer), ledger)[0] for issuer in ("A", "B")]
        assert len({*now, old["4711"]}) == 3
        assert now == [known(film("4711", issuer), ledger)[0] for issuer in ("A", "B")]


def test_padding_of_an_identifier_stays_in_its_pseudonym(path: Path) -> None:
    old = aged(path, ("  4711", None))
    with Ledger(path) as ledger:
        assert known(film("  4711"), ledger)[0] == old["  4711"]
