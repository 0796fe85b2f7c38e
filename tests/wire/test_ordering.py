"""What HL7 messages say of orders and patients."""

from __future__ import annotations

import pytest

from wetread.records import Code, Identifier
from wetread.wire.hl7 import BadMessage, Condition, parse
from wetread.wire.ordering import Change, Ended, Known, Merged, Placed, Prioritised, changes

HOSP = ("HOSP", "1.2.3", "ISO")


def message(kind: str, *segments: str, version: str = "2.5.1", processing: str = "P", control: str = "MSG1") -> bytes:
    """A message of a type and event with these segments."""
    head = f"MSH|^~\\&|RIS|HOSP|WETREAD|AI|20261128120000||{kind}|{control}|{processing}|{version}"
    return "".join(f"{one}\r" for one in (head, *segments)).encode()


def read(kind: str, *segments: str) -> list[Change]:
    return changes(parse(message(kind, *segments)))


PID = "PID|1||123^^^HOSP&1.2.3&ISO^MR~77^^^REG^PI||Canary^Patient||19700101|F"
ORC = "ORC|NW|P1^RIS|F1^PACS|||||||"
OBR = "OBR|1|P1^RIS|F1^PACS|71020^Chest two views^C4||||||||||||||A100|RP7||||||||||||^Cough and fever"
ORM = ("ORM^O01^ORM_O01", PID, "PV1|1|E", ORC, OBR, "NTE|1||since Monday", "ZDS|1.2.840.99^RIS^Application^DICOM")
OMI = (
    "OMI^O23^OMI_O23",
    PID,
    ORC,
    "TQ1|1||||||||S^STAT^HL70485",
    "OBR|1|P1^RIS|F1^PACS|71020^Chest two views^C4|||||||||||||||||||||||||||^Cough",
    "OBX|1|CWE|PREG^Pregnant^L||N^No^L",
    "IPC|A100^RIS|RP7|1.2.840.99|SPS1|CT",
)


def test_an_order_says_what_was_asked_for_and_for_whom() -> None:
    (placed,) = read(*ORM)
    assert isinstance(placed, Placed)
    assert placed.new
    order = placed.order
    assert order.accession == Identifier("A100")
    assert (order.placer, order.filler) == (Identifier("P1", "RIS"), Identifier("F1", "PACS"))
    assert order.procedure == Code("71020", "C4", "Chest two views")
    assert (order.procedure_id, order.study_uid, order.source) == ("RP7", "1.2.840.99", "hl7")
    assert order.patient == (Identifier("123", *HOSP), Identifier("77", "REG"))
    assert order.indication == "Cough and fever; since Monday"
    assert "Canary" not in repr(order)


def test_an_imaging_order_says_the_same_in_its_own_segments() -> None:
    (placed,) = read(*OMI)
    assert isinstance(placed, Placed)
    assert placed.order.accession == Identifier("A100", "RIS")
    assert (placed.order.procedure_id, placed.order.study_uid) == ("RP7", "1.2.840.99")
    assert placed.order.priority == "STAT"
    assert placed.order.indication == "Cough; Pregnant: No"


@pytest.mark.parametrize(
    ("segment", "priority"),
    [
        ("ORC|NW|P1|||||^^^^^S", "STAT"),
        ("ORC|NW|P1|||||1^once^^^^A", "URGENT"),
        ("ORC|NW|P1|||||^^^^^R", "ROUTINE"),
        ("ORC|NW|P1", ""),
    ],
)
def test_priorities(segment: str, priority: str) -> None:
    (placed,) = read("ORM^O01", PID, segment, "OBR|1|P1||CT^Head^L")
    assert isinstance(placed, Placed)
    assert placed.order.priority == priority


def test_several_orders_in_one_message() -> None:
    found = read("ORM^O01", PID, "ORC|NW|P1", "OBR|1|P1||A", "OBR|2|P2||B", "ORC|CA|P3", "OBR|3|P3||C", "ORC|XO|P4")
    assert [type(one) for one in found] == [Placed, Placed, Ended, Placed]


@pytest.mark.parametrize("control", ["CA", "OC", "DC", "SC"])
def test_cancelled(control: str) -> None:
    (ended,) = read("ORM^O01", PID, f"ORC|{control}|P1^RIS|||CA")
    assert isinstance(ended, Ended)
    assert ended.order.placer == Identifier("P1", "RIS")


def test_what_the_sender_deletes_is_told() -> None:
    (placed,) = read("ORM^O01", PID, "ORC|XO|P1", "OBR|1|P1||CT" + "|" * 27 + '""')
    assert isinstance(placed, Placed)
    assert not placed.new
    assert placed.cleared == {"indication"}


@pytest.mark.parametrize(
    ("segments", "cleared"),
    [
        (('ORC|XO|P1|||||""', "OBR|1|P1"), {"priority"}),
        (('ORC|XO|P1|||||^^^^^""', "OBR|1|P1"), {"priority"}),
        (("ORC|XO|P1", 'TQ1|1||||||||""', "OBR|1|P1"), {"priority"}),
        (("ORC|XO|P1", 'OBR|1|P1|||""'), {"priority"}),
        (("ORC|XO|P1", "OBR|1|P1" + "|" * 25 + '""'), {"priority"}),
        (("ORC|XO|P1", 'OBR|1|P1||""'), {"procedure"}),
        (("ORC|XO|P1", 'OBR|1|P1||""^""^""'), {"procedure"}),
        (("ORC|XO|P1", "OBR|1|P1" + "|" * 16 + '""'), {"accession"}),
        (("ORC|XO|P1", "OBR|1|P1" + "|" * 17 + '""'), {"procedure_id"}),
        (("ORC|XO|P1", "OBR|1|P1" + "|" * 11 + '""'), {"indication"}),
        (("ORC|XO|P1", "OBR|1|P1", 'NTE|1||""'), {"indication"}),
        (("ORC|XO|P1", "OBR|1|P1", 'OBX|1|ST|REASON||""'), {"indication"}),
        (("ORC|XO|P1", "OBR|1|P1", 'ZDS|""^^Application^DICOM'), {"study_uid"}),
        (("ORC|XO|P1", "OBR|1|P1", 'IPC|""|""|""'), {"accession", "procedure_id", "study_uid"}),
        (("ORC|XO|P1", "OBR|1|P1||CT"), set()),
    ],
)
def test_every_field_that_is_read_can_be_deleted(segments: tuple[str, ...], cleared: set[str]) -> None:
    (placed,) = read("ORM^O01", PID, *segments)
    assert isinstance(placed, Placed)
    assert placed.cleared == cleared


def test_patients() -> None:
    for event in ("A01", "A04", "A08"):
        (known,) = read(f"ADT^{event}", "EVN||20261128", PID)
        assert known == Known((Identifier("123", *HOSP), Identifier("77", "REG")))
    merged = read("ADT^A40^ADT_A39", "EVN||20261128", "PID|1||999^^^HOSP", "MRG|123^^^HOSP", "PID|2||4", "MRG|5~6")
    assert merged == [
        Merged((Identifier("123", "HOSP"),), (Identifier("999", "HOSP"),)),
        Merged((Identifier("5"), Identifier("6")), (Identifier("4"),)),
    ]


def test_appointments() -> None:
    sch = "SCH|1|2|||||||||^^^^^S|" + "|" * 13 + "|P1^RIS|F1"
    (told,) = read("SIU^S12", sch)
    assert isinstance(told, Prioritised)
    assert (told.order.placer, told.order.filler, told.order.priority) == (
        Identifier("P1", "RIS"),
        Identifier("F1"),
        "STAT",
    )
    assert read("SIU^S15", sch) == []
    assert read("SIU^S13", "SCH|1|2") == []


@pytest.mark.parametrize(
    ("data", "condition", "where"),
    [
        (message("ORU^R01"), Condition.UNSUPPORTED_MESSAGE_TYPE, "MSH-9"),
        (message("ADT^A02"), Condition.UNSUPPORTED_EVENT_CODE, "MSH-9"),
        (message(*ORM, version="3.0"), Condition.UNSUPPORTED_VERSION_ID, "MSH-12"),
        (message(*ORM, processing="T"), Condition.UNSUPPORTED_PROCESSING_ID, "MSH-11"),
        (message(*ORM, control=""), Condition.REQUIRED_FIELD_MISSING, "MSH-10"),
        (message("ORM^O01", ORC, OBR), Condition.SEGMENT_SEQUENCE, "PID"),
        (message("ORM^O01", "PID|1||^^^HOSP", ORC, OBR), Condition.REQUIRED_FIELD_MISSING, "PID-3"),
        (message("ORM^O01", PID), Condition.SEGMENT_SEQUENCE, "ORC"),
        (message("ORM^O01", PID, OBR, ORC), Condition.SEGMENT_SEQUENCE, "OBR"),
        (message("ORM^O01", PID, ORC), Condition.SEGMENT_SEQUENCE, "OBR"),
        (message("ORM^O01", PID, "ORC|NW", "OBR|1"), Condition.REQUIRED_FIELD_MISSING, "ORC-2"),
        (message("ORM^O01", PID, "ORC|ZZ|P1", OBR), Condition.TABLE_VALUE_NOT_FOUND, "ORC-1"),
        (message("ORM^O01", PID, ORC, OBR, "ZDS|x"), Condition.DATA_TYPE, "ZDS-1"),
        (message("ORM^O01", "PID|1||1\\X00\\2", ORC, OBR), Condition.DATA_TYPE, "PID-3"),
        (message("ORM^O01", f"PID|1||{'9' * 300}", ORC, OBR), Condition.DATA_TYPE, "PID-3"),
        (message("ADT^A40", PID), Condition.SEGMENT_SEQUENCE, "MRG"),
        (message("ADT^A40", "MRG|1", PID), Condition.SEGMENT_SEQUENCE, "MRG"),
        (message("SIU^S12", PID), Condition.SEGMENT_SEQUENCE, "SCH"),
    ],
)
def test_what_is_wrong_is_said_with_its_place_and_without_content(
    data: bytes, condition: Condition, where: str
) -> None:
    with pytest.raises(BadMessage) as caught:
        changes(parse(data))
    assert caught.value.condition is condition
    assert where in str(caught.value)
    assert "123" not in str(caught.value)


@pytest.mark.parametrize("name", ["PID", "MSH"])
def test_a_second_segment_from_an_unescaped_text_is_refused(name: str) -> None:
    data = message(*ORM).replace(b"|P|2.5.1", f"|P|2.5.1|||||||\r{name}|1||666^^^HOSP".encode())
    with pytest.raises(BadMessage, match=name):
        changes(parse(data))
