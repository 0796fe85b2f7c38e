"""Orders and patients: what is kept of messages, which study answers which order, and who is stopped."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, insert, literal, select

from tests.jobs import fake
from tests.jobs.test_flow import Pacs, Seen, state
from tests.report import phantom
from tests.wire.objects import CR, SR, element, film
from tests.wire.test_ordering import message
from wetread import report
from wetread.errors import BadInput, StoreError
from wetread.jobs.delivery import Outbox
from wetread.jobs.desk import Desk
from wetread.jobs.instances import Arrival
from wetread.jobs.lanes import Lane
from wetread.jobs.matching import Verdict, identity_of, verdict
from wetread.jobs.ordering import Ordering
from wetread.jobs.parcels import Addressed
from wetread.jobs.resources import Wanted
from wetread.jobs.retention import Retention
from wetread.jobs.reviews import Conflict
from wetread.jobs.states import State
from wetread.jobs.store import Store
from wetread.jobs.tables import documents, orders, outbox
from wetread.jobs.worker import Worker
from wetread.records import Circumstances, Document, Identifier, Order, Reading, Result, Stored
from wetread.report.reviewed import Review
from wetread.settings import Destination, Settings
from wetread.wire.acknowledge import acknowledgement
from wetread.wire.glance import glance
from wetread.wire.part10 import EXPLICIT_LITTLE, header

PACS = Destination("PACS", "pacs.invalid", 104, ("SR", "SEG"))
SETTINGS = Settings(destinations=(PACS,), max_tries=3)


def named(study: str, instance: str, accession: str, patient: str, authority: str = "", size: int = 64) -> bytes:
    """A film of a patient, for an order."""
    rows = [
        (0x00080016, "UI", CR.encode()),
        (0x00080018, "UI", instance.encode()),
        (0x00080050, "SH", accession.encode()),
        (0x00080060, "CS", b"CR"),
        (0x00100010, "PN", b"Canary^Patient"),
        (0x00100020, "LO", patient.encode()),
        *((0x00100021, "LO", authority.encode()) for _ in range(bool(authority))),
        (0x0020000D, "UI", study.encode()),
        (0x0020000E, "UI", f"{study}.1".encode()),
        (0x7FE00010, "OW", bytes(size)),
    ]
    return header(CR, instance, EXPLICIT_LITTLE) + b"".join(element(*row) for row in rows)


class Remembers(fake.Fake):
    """Reads, and remembers with which orders."""

    orders: dict[str, Order | None] = {}  # noqa: RUF012

    def read_blobs(
        self,
        blobs: object,
        given: Circumstances = Circumstances(),  # noqa: B008
    ) -> tuple[Reading, ...]:
        files: list[tuple[str, bytes | Stored]] = list(blobs)  # type: ignore[call-overload]
        readings = fake.read([(name, fake.content(held)) for name, held in files])
        self.orders[readings[0].result.study_uid] = given.order
        return readings


class Bench:
    """A store with orders, a reader and a PACS."""

    def __init__(self, folder: Path, url: str = "") -> None:
        self.folder = folder
        self.store = Store(folder, url=url)
        self.seen = Seen()
        self.pacs = Pacs()
        self.moved: list[str] = []
        self.ordering = Ordering(self.store, self.moved.append, self.seen)
        self.worker = Worker(self.store, Remembers(), SETTINGS, self.seen)
        self.outbox = Outbox(PACS.names[0], PACS, self.store, self.pacs, SETTINGS, self.seen)
        self._controls = itertools.count(1)

    def tell(self, kind: str, *segments: str, control: str = "") -> str:
        data = message(kind, *segments, control=control or f"M{next(self._controls)}")
        (answer,) = self.ordering.take(data, "127.0.0.1")
        return acknowledgement(answer)[0]

    def order(self, accession: str, *patient: str, control: str = "NW", priority: str = "", zds: str = "") -> str:
        segments = [f"PID|1||{'~'.join(patient)}", f"ORC|{control}|P{accession}^RIS|||||^^^^^{priority}"]
        segments.append(f"OBR|1|P{accession}^RIS||CT^Head^L" + "|" * 14 + accession)
        return self.tell("ORM^O01", *segments, *([f"ZDS|{zds}"] if zds else []))

    def send(
        self,
        study: str,
        accession: str,
        patient: str,
        authority: str = "",
        number: int = 1,
        lane: Lane = Lane.ROUTINE,
    ) -> None:
        data = named(study, f"{study}.1.{number}", accession, patient, authority)
        seen = glance(data[data.index(b"DICM") + 4 :], EXPLICIT_LITTLE) or {}
        body = data[len(header(CR, f"{study}.1.{number}", EXPLICIT_LITTLE)) :]
        seen = glance(body, EXPLICIT_LITTLE)
        uids = (CR, f"{study}.1.{number}", study, EXPLICIT_LITTLE)
        blob = self.store.spool.put(data)
        self.store.instances.admit([Arrival(*uids, "T", blob, len(data), lane, identity=identity_of(seen))])
        if lane is not Lane.PRIOR:
            self.ordering.arrived(study, accession, lane)

    def read(self, study: str) -> State:
        self.store.studies.complete(study)
        while self.worker.step():
            pass
        return state(self.store, study)

    def settle(self) -> None:
        while self.ordering.step() == 0.0:
            pass

    def deliver(self) -> list[str]:
        while self.outbox.step() == 0.0:
            pass
        return self.pacs.stored

    @property
    def orders(self) -> dict[str, Order | None]:
        return Remembers.orders

    def desk(self) -> Desk:
        return Desk(self.folder)


#: For the tests whose SQL could differ between the two databases.
BOTH = pytest.mark.parametrize("bench", ["sqlite", "postgres"], indirect=True)


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    Remembers.orders = {}
    url = request.getfixturevalue("database") if getattr(request, "param", "") == "postgres" else ""
    made = Bench(tmp_path / "state", url)
    yield made
    made.store.close()


# ---- who agrees with whom -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "image", "expected"),
    [
        ("123^HOSP", "123^HOSP", Verdict.AGREE),
        ("123^HOSP", "123^hosp", Verdict.AGREE),
        ("123^HOSP", "124^HOSP", Verdict.CONTRADICT),
        ("123^HOSP", "123", Verdict.AGREE),
        ("123^HOSP", "124", Verdict.CONTRADICT),
        ("123", "123^HOSP", Verdict.AGREE),
        ("123", "124^HOSP", Verdict.CONTRADICT),
        ("123^HOSP", "123^OTHER", Verdict.UNKNOWN),
        ("123^HOSP", "", Verdict.UNKNOWN),
        ("", "123^HOSP", Verdict.UNKNOWN),
        ("123^HOSP 9^REG", "9^REG", Verdict.AGREE),
        ("123^HOSP 9^REG", "9", Verdict.AGREE),
        ("124^HOSP 123", "123^HOSP", Verdict.CONTRADICT),
        ("123^HOSP&1.2.3&ISO", "123^HOSP&1.2.4&ISO", Verdict.UNKNOWN),
        ("123^HOSP&1.2.3&ISO", "124^OLD&1.2.3&ISO", Verdict.CONTRADICT),
        ("123^&1.2.3&ISO", "123^HOSP", Verdict.UNKNOWN),
    ],
)
def test_identifiers_decide_where_they_can_be_compared(order: str, image: str, expected: Verdict) -> None:
    def one(text: str) -> Identifier:
        value, _, authority = text.partition("^")
        return Identifier(value, *(*authority.split("&"), "", "")[:3])

    assert verdict([one(text) for text in order.split(" ")], [one(image)]) is expected


# ---- messages -----------------------------------------------------------------------------------


def test_an_order_is_found_by_its_study(bench: Bench) -> None:
    assert bench.order("A1", "123^^^HOSP", "9^^^REG") == "AA"
    bench.send("1.1", "A1", "123", "HOSP")
    assert bench.read("1.1") is State.READ
    order = bench.orders["1.1"]
    assert order is not None
    assert (order.accession.value, order.placer, order.source) == ("A1", Identifier("PA1", "RIS"), "hl7")
    assert order.patient == (Identifier("123", "HOSP"), Identifier("9", "REG"))
    assert len(bench.deliver()) == 2


def test_a_study_without_an_order_is_read(bench: Bench) -> None:
    bench.order("A1", "123^^^HOSP")
    for study, accession, patient, authority in (
        ("1.1", "", "123", "HOSP"),
        ("1.2", "A2", "5", ""),
        ("1.3", "A1", "", ""),
    ):
        bench.send(study, accession, patient, authority)
        assert bench.read(study) is State.READ
        assert bench.orders[study] is None
    bench.send("1.4", "A1", "123", "OTHER")  # whose number that is, nobody can say
    assert bench.read("1.4") is State.READ
    assert bench.orders["1.4"] is None
    assert len(bench.deliver()) == 8


def test_an_order_may_name_the_study(bench: Bench) -> None:
    bench.order("A1", "123", zds="1.1")
    bench.send("1.1", "", "123")
    bench.read("1.1")
    assert bench.orders["1.1"] is not None


@BOTH
def test_orders_change_and_end(bench: Bench) -> None:
    bench.order("A1", "123", priority="S")
    bench.tell("ORM^O01", "PID|1||123", "ORC|XO|PA1^RIS|F9^PACS", "OBR|1|PA1^RIS||MR^Brain^L" + "|" * 27 + "^Fall")
    bench.send("1.1", "A1", "123")
    bench.read("1.1")
    order = bench.orders["1.1"]
    assert order is not None
    assert (order.accession.value, order.filler.value, order.priority) == ("A1", "F9", "STAT")  # as it was
    assert order.procedure is not None
    assert (order.procedure.value, order.indication) == ("MR", "Fall")
    assert bench.tell("ORM^O01", "PID|1||123", "ORC|CA|PA1^RIS") == "AA"
    assert bench.tell("ORM^O01", "PID|1||123", "ORC|CA|PA7^RIS") == "AA"  # nothing is left of it either way
    bench.send("1.2", "A1", "123")
    bench.read("1.2")
    assert bench.orders["1.2"] is None


def test_a_fillers_number_under_another_placers_is_another_order(bench: Bench) -> None:
    def tell(placer: str, accession: str) -> str:
        orc, obr = f"ORC|NW|{placer}|F1^PACS", f"OBR|1|{placer}|F1^PACS|CT^Head^L" + "|" * 14 + accession
        return bench.tell("ORM^O01", "PID|1||4711^^^HOSP", orc, obr)

    assert [tell("P1^RIS", "A1"), tell("P2^RIS", "A2"), tell("", "A3")] == ["AA"] * 3
    rows = bench.store.ordered.of("1.2", "A1"), bench.store.ordered.of("1.2", "A2"), bench.store.ordered.of("1.2", "A3")
    assert sorted(len(one) for one in rows) == [0, 1, 1]  # without a placer's number it is the first of the two
    assert [one.placer.value for one in rows[1]] == ["P2"]


def test_a_repeated_message_changes_nothing_and_is_answered_the_same(bench: Bench) -> None:
    new = ("ORM^O01", "PID|1||123", "ORC|NW|P1", "OBR|1|P1||CT" + "|" * 14 + "A1")
    assert bench.tell(*new, control="M1") == "AA"
    assert bench.tell("ORM^O01", "PID|1||123", "ORC|CA|P1", control="M2") == "AA"
    assert bench.tell(*new, control="M1") == "AA"  # an old one again must not bring the order back
    bench.send("1.1", "A1", "123")
    bench.read("1.1")
    assert bench.orders["1.1"] is None
    other = ("ORM^O01", "PID|1||124", "ORC|NW|P2", "OBR|1|P2||CT" + "|" * 14 + "A2")
    assert bench.tell(*other, control="M1") == "AA"  # another message: the sender counts anew
    bench.send("1.2", "A2", "124")
    bench.read("1.2")
    assert bench.orders["1.2"] is not None


@BOTH
def test_a_message_whose_name_holds_nul_is_kept(bench: Bench) -> None:
    for _ in range(2):
        assert bench.tell("ORM^O01", "PID|1||123", "ORC|NW|P1", "OBR|1|P1||CT" + "|" * 14 + "A1", control="M\0") == "AA"
    assert len(bench.store.ordered.fresh()) == 1


def test_a_wrong_message_is_answered_and_keeps_nothing(bench: Bench) -> None:
    assert bench.tell("ORM^O01", "PID|1||123", "ORC|NW|P1", "OBR|1|P1", "ORC|ZZ|P2") == "AE"
    assert bench.tell("ADT^A02", "PID|1||123") == "AR"
    (answer,) = bench.ordering.take(b"GET / HTTP/1.1", "127.0.0.1")
    assert acknowledgement(answer)[0] == "AE"
    assert bench.store.ordered.fresh() == []


def test_what_cannot_be_kept_is_rejected(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(taken: object) -> bool:
        raise StoreError("index: cannot be used now")

    monkeypatch.setattr(bench.store.ordered, "keep", fail)
    assert bench.order("A1", "123") == "AR"


def test_what_is_deleted_is_gone(bench: Bench) -> None:
    new = ("ORC|NW|P1^RIS|F1||||^^^^^S", "OBR|1|P1^RIS|F1|CXR" + "|" * 9 + "Cough" + "|" * 5 + "A1|RP1", "ZDS|1.1")
    bench.tell("ORM^O01", "PID|1||123", *new)
    deleted = ('ORC|XO|P1^RIS|F1||||""', 'OBR|1|P1^RIS|F1|""' + "|" * 9 + '""' + "|" * 5 + '""|""', 'ZDS|""')
    bench.tell("ORM^O01", "PID|1||123", *deleted)
    (order,) = bench.store.ordered.of("1.1", "F1")  # without an accession number it has that of its filler
    assert (order.procedure, order.procedure_id, order.priority, order.study_uid) == (None, "", "", "")
    assert (order.indication, order.filler, order.placer) == ("", Identifier("F1"), Identifier("P1", "RIS"))
    assert bench.store.ordered.of("1.1", "A1") == []


@BOTH
@pytest.mark.parametrize(
    ("known", "told"),
    [
        ("P1^RIS|", "P1|"),
        ("P1|", "P1^RIS|"),
        ("P1^RIS^1.2^ISO|", "P1^RIS|"),
        ("|F1^RAD", "|F1"),
        ("P1^RIS|F1^RAD", "|F1"),
    ],
)
def test_a_number_may_lack_its_authority(bench: Bench, known: str, told: str) -> None:
    def tell(control: str, numbers: str, *more: str) -> str:
        return bench.tell("ORM^O01", "PID|1||123^^^HOSP", f"ORC|{control}|{numbers}||||^^^^^S", *more)

    def orders() -> list[Order]:
        return bench.store.ordered.of("1.1", "A1")

    obr = f"OBR|1|{known}|CXR" + "|" * 14 + "A1"
    assert tell("NW", known, obr) == "AA"
    assert tell("NW", "P1%^RIS|F1%^RAD", obr.replace("P1", "P1%").replace("A1", "A2")) == "AA"  # it is no pattern
    (before,) = orders()
    assert tell("XO", told, f"OBR|1|{told}|CT") == "AA"
    (after,) = orders()
    assert after.procedure is not None
    assert after.procedure.value == "CT"
    assert after.placer in (before.placer, Identifier("P1", "RIS"))  # what is known of the authority stays
    assert after.filler == before.filler
    assert tell("CA", told) == "AA"
    assert orders() == []
    assert len(bench.store.ordered.of("1.1", "A2")) == 1


def test_a_number_of_several_orders_is_refused_without_its_authority(bench: Bench) -> None:
    for authority, patient in (("RIS", "123"), ("LIS", "123"), ("OLD", "124")):
        orc, obr = f"ORC|NW|P1^{authority}", f"OBR|1|P1^{authority}||CXR" + "|" * 14 + authority
        assert bench.tell("ORM^O01", f"PID|1||{patient}^^^HOSP", orc, obr) == "AA"
    unsure = (
        ("ORM^O01", "PID|1||123^^^HOSP", "ORC|CA|P1"),
        ("ORM^O01", "PID|1||123^^^HOSP", "ORC|XO|P1", "OBR|1|P1||CT"),
        ("SIU^S12", "SCH|1|2" + "|" * 24 + "P1", "TQ1|1||||||||S"),
    )
    for number, (kind, *segments) in enumerate(unsure):
        (answer,) = bench.ordering.take(message(kind, *segments, control=f"X{number}"), "127.0.0.1")
        assert acknowledgement(answer)[0] == "AE"
        assert b"204" in answer
    assert [len(bench.store.ordered.of("1.1", one)) for one in ("RIS", "LIS", "OLD")] == [1, 1, 1]
    assert bench.tell("ORM^O01", "PID|1||124^^^HOSP", "ORC|CA|P1") == "AA"  # that patient has but one
    assert [len(bench.store.ordered.of("1.1", one)) for one in ("RIS", "LIS", "OLD")] == [1, 1, 0]
    assert bench.tell("ORM^O01", "PID|1||9^^^HOSP", "ORC|CA|P1") == "AA"  # nothing is left of it either way
    assert [len(bench.store.ordered.of("1.1", one)) for one in ("RIS", "LIS", "OLD")] == [1, 1, 0]


# ---- several procedures of one order ------------------------------------------------------------


def ask(
    bench: Bench, rp: str, code: str, study: str, priority: str, *, control: str = "NW", patient: str = "123"
) -> None:
    """Tell one requested procedure of the order P1, which has the accession number A1."""
    obr = f"OBR|1|P1^RIS|F1^PACS|{code}" + "|" * 14 + f"A1|{rp}"
    orc, zds = f"ORC|{control}|P1^RIS|F1^PACS||||^^^^^{priority}", [f"ZDS|{study}"] if study else []
    assert bench.tell("ORM^O01", f"PID|1||{patient}", orc, obr, *zds) == "AA"


@pytest.fixture
def two(bench: Bench) -> Bench:
    """A head CT at once, and a film."""
    ask(bench, "RP1", "CTHEAD", "1.1", "S")
    ask(bench, "RP2", "CXR", "1.2", "R")
    return bench


def told(bench: Bench, *studies: str) -> list[tuple[str, str, str]]:
    """Procedure, its ID and priority of the first order that may be a study's."""
    first = [bench.store.ordered.of(study, "A1")[0] for study in studies or ("1.1", "1.2")]
    return [(one.procedure.value if one.procedure else "", one.procedure_id, one.priority) for one in first]


@pytest.mark.parametrize("first", ["orders", "studies"])
def test_each_procedure_of_an_order_is_its_own(bench: Bench, first: str) -> None:
    def order() -> None:
        ask(bench, "RP2", "CXR", "1.2", "R")
        ask(bench, "RP1", "CTHEAD", "1.1", "S")

    def send() -> None:
        for study in ("1.1", "1.2"):
            bench.send(study, "A1", "123")

    for step in (order, send) if first == "orders" else (send, order):
        step()
    bench.settle()
    assert [bench.store.overview.versions(one)[0].lane for one in ("1.1", "1.2")] == [Lane.STAT, Lane.ROUTINE]
    for study, expected in (("1.1", ("RP1", "STAT")), ("1.2", ("RP2", "ROUTINE"))):
        assert bench.read(study) is State.READ
        found = bench.orders[study]
        assert found is not None
        assert (found.procedure_id, found.priority) == expected


@pytest.mark.parametrize("named", ["study_uid", "procedure_id", "reference"])
def test_a_worklist_tells_the_procedures_of_an_order_apart(bench: Bench, named: str) -> None:
    some = Order(Identifier("A1"), Identifier("P1"), Identifier("F1"), patient=(Identifier("7"),), source="worklist")
    for _ in range(2):  # asked again, they are the same
        bench.ordering.learn([replace(some, **{named: "1.1"}), replace(some, **{named: "1.2"})])  # type: ignore[arg-type]
    kept = [getattr(one, named) for one in bench.store.ordered.of("1.9", "A1")]
    assert kept == ["1.1", "1.2"]


def test_a_change_is_one_of_the_procedure_that_it_names(two: Bench) -> None:
    ask(two, "RP2", "CXR2", "", "A", control="XO")
    assert told(two) == [("CTHEAD", "RP1", "STAT"), ("CXR2", "RP2", "URGENT")]
    two.tell("ORM^O01", "PID|1||123", "ORC|XO|P1^RIS|||||^^^^^R", "OBR|1|P1^RIS||CTHEAD")
    assert told(two) == [("CTHEAD", "RP1", "ROUTINE"), ("CXR2", "RP2", "URGENT")]
    two.tell("ORM^O01", "PID|1||123", "ORC|XO|P1^RIS|||||^^^^^S")
    assert told(two) == [("CTHEAD", "RP1", "STAT"), ("CXR2", "RP2", "STAT")]
    two.tell("SIU^S12", "SCH|1|2" + "|" * 24 + "P1^RIS", "TQ1|1||||||||A")
    assert told(two) == [("CTHEAD", "RP1", "URGENT"), ("CXR2", "RP2", "URGENT")]


def test_a_change_of_a_procedure_that_is_not_known_has_what_its_order_has(two: Bench) -> None:
    two.tell("ORM^O01", "PID|1||123", "ORC|XO|P1^RIS|||||^^^^^S", "OBR|1|P1^RIS||MR" + "|" * 15 + "RP3", "ZDS|1.3")
    assert told(two, "1.1", "1.2", "1.3") == [
        ("CTHEAD", "RP1", "STAT"),
        ("CXR", "RP2", "ROUTINE"),
        ("MR", "RP3", "STAT"),
    ]
    assert two.store.ordered.of("1.3", "")[0].accession.value == "A1"


def test_a_corrected_patient_is_that_of_all_procedures(two: Bench) -> None:
    ask(two, "RP1", "CTHEAD", "1.1", "S", control="XO", patient="124")
    two.send("1.2", "A1", "123")
    assert two.read("1.2") is State.FAILED
    assert list(two.store.withholding.undecided().values()) == ["PATIENT-MISMATCH"]


@BOTH
def test_a_cancelled_order_has_no_procedures(bench: Bench) -> None:
    ask(bench, "RP1", "CTHEAD", "1.1", "S")
    ask(bench, "RP2", "CXR", "1.2", "R")
    bench.tell("ORM^O01", "PID|1||123", "ORC|CA|P1^RIS")
    assert bench.store.ordered.of("1.1", "A1") == []


# ---- how urgent it is ---------------------------------------------------------------------------


@BOTH
def test_an_order_decides_the_lane_before_and_after_its_study(bench: Bench) -> None:
    bench.order("A1", "123", priority="S")
    bench.send("1.1", "A1", "123")
    bench.send("1.2", "A2", "124")
    bench.settle()
    assert [bench.store.overview.versions(one)[0].lane for one in ("1.1", "1.2")] == [Lane.STAT, Lane.ROUTINE]
    bench.order("A2", "124")
    bench.tell("SIU^S12", "SCH|1|2" + "|" * 24 + "PA2^RIS", "TQ1|1||||||||A")
    bench.settle()
    assert bench.store.overview.versions("1.2")[0].lane is Lane.URGENT
    assert bench.moved == ["1.1", "1.2"]


# ---- merges -------------------------------------------------------------------------------------


@BOTH
def test_no_order_lifts_a_prior_out_of_its_lane(bench: Bench) -> None:
    bench.order("A1", "123^^^HOSP", priority="S")
    bench.settle()
    bench.send("1.1", "A1", "123", "HOSP", lane=Lane.PRIOR)
    bench.tell("ADT^A08", "PID|1||123^^^HOSP~999^^^REG")  # the order of long ago is held against studies again
    bench.settle()
    assert [job.lane for job in bench.store.overview.versions("1.1")] == [Lane.PRIOR]
    bench.read("1.1")
    assert bench.deliver() == []


@pytest.mark.parametrize("first", ["order", "merge"])
@pytest.mark.parametrize(("image", "ordered"), [("T7", "999"), ("999", "T7"), ("T7", "T7"), ("999", "999")])
def test_a_merge_is_followed_from_both_sides(bench: Bench, first: str, image: str, ordered: str) -> None:
    steps: list[Callable[[], str]] = [
        lambda: bench.order("A1", f"{ordered}^^^HOSP"),
        lambda: bench.tell("ADT^A40", "PID|1||999^^^HOSP", "MRG|T7^^^HOSP"),
    ]
    for step in steps if first == "order" else reversed(steps):
        assert step() == "AA"
    bench.send("1.1", "A1", image, "HOSP")
    assert bench.read("1.1") is State.READ
    order = bench.orders["1.1"]
    assert order is not None
    assert order.patient == (Identifier("999", "HOSP"),)


@BOTH
def test_merges_are_followed_one_after_the_other_and_taken_back(bench: Bench) -> None:
    bench.tell("ADT^A40", "PID|1||2^^^HOSP", "MRG|1^^^HOSP")
    bench.tell("ADT^A40", "PID|1||3^^^HOSP", "MRG|2^^^HOSP")
    bench.order("A1", "3^^^HOSP")
    bench.send("1.1", "A1", "1")
    bench.read("1.1")
    assert bench.orders["1.1"] is not None
    bench.tell("ADT^A40", "PID|1||1^^^HOSP", "MRG|3^^^HOSP")  # round in a circle
    bench.order("A2", "3^^^HOSP")
    bench.send("1.2", "A2", "1", "HOSP")
    bench.read("1.2")
    order = bench.orders["1.2"]
    assert order is not None
    assert order.patient == (Identifier("1", "HOSP"),)


@BOTH
def test_an_update_tells_further_identifiers(bench: Bench) -> None:
    bench.order("A1", "123^^^HOSP")
    bench.tell("ADT^A08", "PID|1||123^^^HOSP~77^^^REG")
    bench.send("1.1", "A1", "77", "REG")
    bench.read("1.1")
    assert bench.orders["1.1"] is not None


# ---- who is stopped -----------------------------------------------------------------------------


def test_a_contradiction_stops_everything_until_a_person_released_it(bench: Bench) -> None:
    bench.order("A1", "123^^^HOSP")
    bench.send("1.1", "A1", "124", "HOSP")
    assert bench.read("1.1") is State.FAILED
    assert bench.orders["1.1"] is None
    assert bench.deliver() == []
    assert bench.seen.terminal == [State.FAILED]
    assert list(bench.store.withholding.undecided().values()) == ["PATIENT-MISMATCH"]
    assert bench.store.removals.due() is None


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[Bench]:
    """A study that is withheld."""
    made = Bench(tmp_path / "state")
    made.order("A1", "123^^^HOSP")
    made.send("1.1", "A1", "124", "HOSP")
    assert made.read("1.1") is State.FAILED
    made.settle()
    yield made
    made.store.close()


def test_a_person_releases(stopped: Bench) -> None:
    desk = stopped.desk()
    (row,) = desk.withheld()
    assert (row["study_uid"], row["reason"], row["documents"]) == ("1.1", "PATIENT-MISMATCH", 2)
    assert "12" not in str({key: value for key, value in row.items() if key != "age_s"})
    with pytest.raises(BadInput, match="withheld release"):
        desk.retry(row["job"])
    with pytest.raises(BadInput, match="`wetread withheld discard`"):
        desk.cancel(row["job"])
    assert desk.release(row["job"]) is State.READ
    assert desk.withheld() == []
    with pytest.raises(BadInput):
        desk.discard(row["job"])
    desk.close()
    assert len(stopped.deliver()) == 2
    assert state(stopped.store, "1.1") is State.DELIVERED
    stopped.send("1.1", "A1", "124", "HOSP", number=2)  # late: the same was decided already
    assert stopped.read("1.1") is State.READ
    stopped.order("A1", "125^^^HOSP")  # but this is another contradiction
    stopped.settle()
    assert state(stopped.store, "1.1") is State.FAILED
    for _ in range(2):
        assert [one[0] for one in stopped.store.overview.audits()][-2:] == ["mismatch-delivered", "withheld"]
        stopped.order("A1", "125^^^HOSP", priority="S")  # it is told once
        stopped.settle()


def test_a_person_discards(stopped: Bench) -> None:
    desk = stopped.desk()
    (row,) = desk.withheld()
    assert desk.discard(row["job"]) is State.CANCELED
    desk.close()
    assert stopped.deliver() == []
    assert stopped.store.removals.due() == row["job"]


@pytest.mark.parametrize("authority", ["^^^HOSP", ""])
def test_a_merge_resolves_it(stopped: Bench, authority: str) -> None:
    stopped.tell("ADT^A40", f"PID|1||123{authority}", f"MRG|124{authority}")
    stopped.settle()
    assert stopped.moved == ["1.1"]
    assert stopped.read("1.1") is State.READ
    assert stopped.orders["1.1"] is not None
    assert len(stopped.deliver()) == 2
    assert state(stopped.store, "1.1") is State.DELIVERED
    assert stopped.store.withholding.undecided() == {}


@BOTH
def test_an_order_that_comes_late_stops_what_is_queued(bench: Bench) -> None:
    bench.send("1.1", "A1", "124", "HOSP")
    assert bench.read("1.1") is State.READ
    bench.order("A1", "123^^^HOSP")
    bench.settle()
    assert bench.deliver() == []
    assert state(bench.store, "1.1") is State.FAILED


def test_one_object_of_another_patient_stops_the_study(bench: Bench) -> None:
    bench.order("A1", "123^^^HOSP")
    bench.send("1.1", "A1", "123", "HOSP")
    bench.send("1.1", "A1", "124", "HOSP", number=2)
    assert bench.read("1.1") is State.FAILED


def test_of_two_orders_with_one_number_the_patient_decides(bench: Bench) -> None:
    bench.tell("ORM^O01", "PID|1||5^^^B", "ORC|NW|P5^SITE_B", "OBR|1|P5^SITE_B||CT" + "|" * 14 + "A1")
    bench.order("A1", "123^^^A")
    bench.send("1.1", "A1", "123", "A")
    bench.read("1.1")
    order = bench.orders["1.1"]
    assert order is not None
    assert order.placer.value == "PA1"


@BOTH
def test_a_given_up_study_is_withheld_too(bench: Bench) -> None:
    from wetread.jobs.aside import Aside

    bench.order("A1", "123^^^HOSP")
    data = film("1.1", "1.1.1.1", fake.CRASHING_BYTES)
    blob = bench.store.spool.put(data)
    identity = identity_of({0x00080050: "A1", 0x00100020: "124", 0x00100021: "HOSP"})
    arrival = Arrival(CR, "1.1.1.1", "1.1", EXPLICIT_LITTLE, "T", blob, len(data), identity=identity)
    bench.store.instances.admit([arrival])
    bench.store.studies.complete("1.1")
    clock = itertools.count(0, 1000)
    worker = Worker(bench.store, Remembers(), SETTINGS, bench.seen, clock=lambda: float(next(clock)))
    while worker.step():
        pass
    assert state(bench.store, "1.1") is State.FAILED
    assert Aside(bench.store, Remembers(), SETTINGS, bench.seen).step()
    assert bench.deliver() == []
    assert list(bench.store.withholding.undecided()) == [1]
    if not bench.store.shared:
        desk = bench.desk()
        assert desk.release(1) is State.FAILED  # as it was: but its refusals leave
        desk.close()
        assert bench.deliver()


@pytest.mark.parametrize("comes", ["while it is FAILED", "while nobody looks"])
def test_an_order_that_comes_after_a_failure_stops_the_next_try(
    comes: str, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.outbox = Outbox(PACS.names[0], PACS, bench.store, bench.pacs, replace(SETTINGS, max_rejections=1), bench.seen)
    bench.pacs.status = lambda _: 0xC000
    bench.send("1.1", "A1", "124")
    bench.read("1.1")
    bench.deliver()
    assert bench.seen.terminal == [State.FAILED]
    bench.pacs.status = lambda _: 0
    bench.order("A1", "123")
    if comes == "while it is FAILED":
        for _ in range(2):
            bench.settle()
            bench.order("A1", "123", priority="S")  # it is told once
        assert [one[0] for one in bench.store.overview.audits()] == ["delivery-failed", "withheld"]
        assert bench.seen.terminal == [State.FAILED]  # which was its alarm
    desk = bench.desk()
    with pytest.raises(BadInput, match="withheld release"):
        desk.retry(1)
    assert bench.deliver() == []
    assert list(bench.store.withholding.undecided()) == [1]
    assert desk.release(1) is State.READ
    desk.close()
    assert len(bench.deliver()) == 2


def came_back(bench: Bench, study: str = "1.1") -> list[str]:
    """Let a result of others come back for a study; return the states of its deliveries."""
    document = Document("SR", "returned-sr.dcm", film(study, "1.7.7", 40, SR), SR, "1.7.7")
    assert bench.store.studies.file_returned(study, document, {PACS.names[0]: ("SR", "SEG")}) == 0
    return returned(bench)


def returned(bench: Bench) -> list[str]:
    found = select(outbox.c.state).join(documents).where(documents.c.sop_instance_uid == "1.7.7")
    with bench.store._index.reading() as connection:
        return list(connection.scalars(found))


@BOTH
def test_what_comes_back_waits_with_what_is_withheld(bench: Bench) -> None:
    bench.send("1.1", "A1", "124")
    assert bench.read("1.1") is State.READ
    bench.order("A1", "123")
    bench.settle()
    assert state(bench.store, "1.1") is State.FAILED
    assert came_back(bench) == ["WITHHELD"]
    bench.order("A1", "124", control="XO")
    bench.settle()
    assert bench.read("1.1") is State.READ
    assert len(bench.deliver()) == 3
    assert returned(bench) == ["SENT"]
    assert state(bench.store, "1.1") is State.DELIVERED


def test_what_comes_back_after_a_person_discarded_follows(stopped: Bench) -> None:
    desk = stopped.desk()
    desk.discard(1)
    desk.close()
    assert came_back(stopped) == ["CANCELED"]
    assert stopped.store.withholding.undecided() == {}
    stopped.order("A1", "124^^^HOSP", control="XO")  # the order is corrected: nothing stands in the way of others
    stopped.settle()
    assert state(stopped.store, "1.1") is State.CANCELED
    stopped.send("1.2", "A2", "7")
    assert stopped.read("1.2") is State.READ
    stopped.order("A2", "8")
    stopped.settle()
    assert state(stopped.store, "1.2") is State.FAILED
    assert stopped.deliver() == []


def reported(bench: Bench) -> list[Document]:
    """The reports of study 1.1, which wait for the PACS."""
    bench.send("1.1", "A1", "124")
    bench.store.studies.complete("1.1")
    job = bench.store.studies.take()
    assert job is not None
    made = [one for one in report.documents(phantom.result("real")) if one.kind == "SR"]
    bench.store.studies.finish(job.id, [(one, {PACS.names[0]: ("SR",)}) for one in made], "")
    return made


@pytest.mark.parametrize(("then", "left"), [("release", "SENT"), ("discard", "CANCELED"), ("correct", "SENT")])
def test_a_review_of_what_an_order_contradicts_waits_for_a_person(then: str, left: str, bench: Bench) -> None:
    made = reported(bench)
    assert len(bench.deliver()) == 1
    bench.order("A1", "123")
    bench.settle()
    accept = Review("accept", "Doe^Jane", "1234567", "", "Hospital", "2026-11-30T01:02:03Z")
    signed = bench.store.reviews.review("1.1", accept)
    assert bench.deliver() == [made[0].sop_instance_uid]
    with pytest.raises(Conflict, match="withheld or discarded"):
        bench.store.reviews.review("1.1", replace(accept, decision="reject"))
    desk = bench.desk()
    if then == "correct":
        bench.order("A1", "124", control="XO")
        bench.settle()
    else:
        getattr(desk, then)(1)
    desk.close()
    bench.deliver()
    found = select(outbox.c.state).join(documents).where(documents.c.sop_instance_uid == signed.successor)
    with bench.store._index.reading() as connection:
        assert list(connection.scalars(found)) == [left]
    if then == "discard":
        with pytest.raises(Conflict, match="withheld or discarded"):
            bench.store.reviews.review("1.1", replace(accept, decision="reject"))


def test_a_review_goes_where_the_pacs_moved_to(bench: Bench) -> None:
    reported(bench)
    bench.deliver()
    accept = Review("accept", "Doe^Jane", "1234567", "", "Hospital", "2026-11-30T01:02:03Z")
    new = replace(PACS, host="new.invalid")
    for decision, named in (("accept", [PACS, new]), ("reject", [new])):
        bench.store.reviews.review("1.1", replace(accept, decision=decision), named=named)
    assert set(bench.store.parcels.destinations()) == {PACS.names[0], new.names[0]}


def test_a_report_can_be_reviewed_until_another_is_about_its_images(bench: Bench) -> None:
    """The lateral film of an examination mostly comes by an association of its own, and is another version."""
    film_ = phantom.result("spacing")
    study = film_.study_uid

    def version(number: int, result: Result, **changes: str) -> str:
        source = copy.deepcopy(result.header)
        assert source is not None
        for keyword, value in changes.items():
            setattr(source, keyword, value)
        bench.send(study, "", "124", number=number)
        bench.store.studies.complete(study)
        job = bench.store.studies.take()
        assert job is not None
        image = result.image and replace(result.image, sop_uids=(source.SOPInstanceUID,))
        said = report.documents(replace(result, header=source, image=image))
        made: list[Addressed] = [(one, {}) for one in said if one.kind == "SR"]
        bench.store.studies.finish(job.id, made, "")
        return made[0][0].sop_instance_uid

    first = version(1, film_)
    other = {"SOPInstanceUID": "1.2.3.4", "SeriesInstanceUID": "1.2.3.5"}
    version(2, phantom.refused("spacing", "WRONG-VIEW"), **other)
    assert came_back(bench, study) == ["QUEUED"]
    assert bench.store.reviews.open(study) == [first]
    second = version(3, film_, **other)
    assert set(bench.store.reviews.open(study)) == {first, second}
    third = version(4, phantom.result("spacing", probability=0.1))
    assert set(bench.store.reviews.open(study)) == {second, third}


def test_what_comes_back_goes_where_the_pacs_moved_to(bench: Bench) -> None:
    bench.send("1.1", "A1", "124")
    assert bench.read("1.1") is State.READ
    new, other = replace(PACS, host="new.invalid"), Destination("OTHER", "other.invalid", 104)
    back = Document("SR", "returned-sr.dcm", b"x", "1.2.840.10008.5.1.4.1.1.88.33", "2.25.99")
    ways = {one.names[0]: ("SR",) for one in (new, other)}
    assert bench.store.studies.file_returned("1.1", back, ways, (new, other)) == 0
    assert set(bench.store.parcels.destinations()) == {PACS.names[0], new.names[0]}


@pytest.mark.parametrize(
    ("then", "left"), [("release", ["SENT"]), ("discard", ["CANCELED"]), ("correct", ["SENT"]), ("", ["WITHHELD"])]
)
@pytest.mark.parametrize("first", ["result", "order"])
def test_what_comes_back_of_a_delivered_study_waits_for_a_person(
    first: str, then: str, left: list[str], bench: Bench
) -> None:
    bench.send("1.1", "A1", "124")
    bench.read("1.1")
    assert len(bench.deliver()) == 2
    if first == "result":
        assert came_back(bench) == ["QUEUED"]
    bench.order("A1", "123")
    bench.settle()
    if first == "order":
        assert came_back(bench) == ["WITHHELD"]
    assert list(bench.store.withholding.undecided()) == [1]
    assert bench.store.removals.due() is None
    desk = bench.desk()
    if then == "correct":
        bench.order("A1", "124", control="XO")
        bench.settle()
    elif then:
        assert getattr(desk, then)(1) is State.DELIVERED
    desk.close()
    bench.deliver()
    assert returned(bench) == left
    assert state(bench.store, "1.1") is State.DELIVERED
    assert bench.store.removals.due() == (1 if then else None)


def test_an_order_that_cannot_be_acted_on_keeps_no_other_waiting(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2):
        bench.send(f"1.{number}", f"A{number}", "124")
        bench.read(f"1.{number}")
    hold = bench.store.withholding.hold_against

    def broken(study_uid: str) -> object:
        if study_uid == "1.1":
            raise StoreError("job 1: cannot become COMPLETE")
        return hold(study_uid)

    monkeypatch.setattr(bench.store.withholding, "hold_against", broken)
    bench.order("A1", "123")
    bench.order("A2", "123")
    bench.settle()
    assert state(bench.store, "1.2") is State.FAILED
    monkeypatch.undo()
    bench.settle()
    assert state(bench.store, "1.1") is State.FAILED


@BOTH
def test_old_orders_are_forgotten(bench: Bench) -> None:
    bench.order("A1", "123")
    bench.tell("ADT^A40", "PID|1||2", "MRG|1")
    bench.settle()
    assert bench.store.ordered.forget(3600.0) == 0
    assert bench.store.ordered.forget(-1.0) == 1


@pytest.mark.parametrize("bench", ["postgres"], indirect=True)
def test_however_many_orders_are_forgotten(bench: Bench) -> None:
    """A statement of PostgreSQL takes 65,535 parameters."""
    one = {"placer": "", "filler": "", "accession": "", "study_uid": "", "detail": "", "fresh": 0, "at": 0.0}
    number = 65_536
    with bench.store._index.writing() as connection:
        fill = insert(orders).from_select(
            list(one), select(*map(literal, one.values())).select_from(func.generate_series(1, number))
        )
        connection.execute(fill)
    assert bench.store.ordered.forget(3600.0) == number


@pytest.mark.parametrize(("keep_days", "left"), [(90.0, 0), (0.0, 1)])
def test_retention_forgets_orders(keep_days: float, left: int, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.order("A1", "123")
    bench.settle()
    later = bench.store.now() + 91 * 86400
    monkeypatch.setattr(bench.store._index, "now", lambda: later)
    Retention(bench.store, Settings(keep_orders_days=keep_days, keep_days=0.0), bench.seen).step()
    assert len(bench.store.ordered.of("1.2", "A1")) == left


def test_what_is_withheld_is_seen_by_no_other_door(bench: Bench) -> None:
    bench.order("A1", "123^^^HOSP")
    bench.send("1.1", "A1", "124", "HOSP")
    bench.store.studies.complete("1.1")
    job = bench.store.studies.take()
    assert job is not None
    device = {"fullUrl": "urn:uuid:7", "resource": {"resourceType": "Device"}}
    bundle = Document("FHIR", "fhir.json", json.dumps({"entry": [device]}).encode())
    report = Document("SR", "sr.dcm", film("1.1", "1.1.9", 32, SR), SR, "1.1.9")
    assert bench.store.studies.finish(job.id, [(one, {}) for one in (bundle, report)], "") is State.FAILED

    def seen() -> tuple[int, int, int, int]:
        store = bench.store
        made = [one for one in store.held.blobs({"StudyInstanceUID": "1.1"}) if not one.received]
        earlier = store.studies.earlier(replace(job, version=2))
        _, found = store.resources.search(Wanted("Device"), 10)
        return len(made), len(earlier), found, len(store.resources.read("Device", ["7"]))

    assert seen() == (0, 0, 0, 0)
    desk = bench.desk()
    assert desk.release(job.id) is State.DELIVERED
    desk.close()
    assert seen() == (1, 1, 1, 1)
