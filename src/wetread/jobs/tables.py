"""The index: which objects, jobs, documents and deliveries there are.

Times are seconds since the epoch, for people, metrics, retention and leases; what is due when is kept
in memory, so that a clock that jumps delays nothing.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

from wetread.wire.queryable import ATTRIBUTES, KEYS

SCHEMA = 14

metadata = MetaData()

#: One row: tells that this index belongs to this spool.
store = Table(
    "store",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("schema", Integer, nullable=False),
)

#: One version of one study.
jobs = Table(
    "jobs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_uid", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("tries", Integer, nullable=False, default=0),
    Column("reason", String, nullable=False, default=""),  # refusal code, or why it failed
    Column("lane", Integer, nullable=False, server_default="2"),  # `wetread.jobs.lanes.Lane`
    Column("created_at", Float, nullable=False),
    Column("changed_at", Float, nullable=False),
    Column("trace_id", String(32), nullable=False, server_default=""),  # of the association of its first object
    UniqueConstraint("study_uid", "version"),
    Index("jobs_next", "state", "lane", "tries", "created_at", "id"),  # what waits in a lane, in the order of service
)

#: Every object that was acknowledged.
instances = Table(
    "instances",
    metadata,
    Column("sop_instance_uid", String(64), primary_key=True),
    Column("sop_class_uid", String(64), nullable=False),
    Column("transfer_syntax", String(64), nullable=False),
    Column("job", Integer, ForeignKey("jobs.id"), nullable=False, index=True),
    Column("digest", String(64), nullable=False, index=True),
    Column("bytes", BigInteger, nullable=False),
    Column("series_uid", String(64), nullable=False, server_default=""),  # "" not known
    Column("source", String(16), nullable=False),  # AE title of who sent it
    Column("called", String(16), nullable=False, server_default=""),  # AE title that it called us by
    Column("received_at", Float, nullable=False),
    # Whom it is about, to be held against orders: (0008,0050), (0010,0020) and (0010,0021); "" not told
    Column("accession", String, nullable=False, server_default="", index=True),
    Column("patient", String, nullable=False, server_default=""),
    Column("authority", String, nullable=False, server_default=""),
)

#: What one process has taken for itself: a job that it reads, a destination that it sends to.
leases = Table(
    "leases",
    metadata,
    Column("name", String, primary_key=True),
    Column("holder", String(36), nullable=False),
    Column("until", Float, nullable=False),
)

#: Every job that was given up and whose refusals are not made yet.
aside = Table(
    "aside",
    metadata,
    Column("job", Integer, ForeignKey("jobs.id"), primary_key=True),
    Column("begun", Integer, nullable=False, default=0),  # processes that began to make them
)

#: Every job whose blobs were deleted when they had been kept long enough; its other rows stay.
removed = Table(
    "removed",
    metadata,
    Column("job", Integer, ForeignKey("jobs.id"), primary_key=True),
    Column("at", Float, nullable=False),
)

#: Everything that was made for a job.
documents = Table(
    "documents",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job", Integer, ForeignKey("jobs.id"), nullable=False, index=True),
    Column("kind", String(8), nullable=False),
    Column("name", String, nullable=False),
    Column("sop_instance_uid", String(64), nullable=False, index=True),  # "" when it is no DICOM object
    Column("digest", String(64), nullable=False, index=True),  # "" when its bytes were deleted after delivery
    Column("identity", String(64), nullable=False, server_default="", index=True),  # `records.Filed`; "" of DICOM
    Column("about", String(64), nullable=False, server_default="", index=True),
    Column("signed", Integer, nullable=False, server_default="0"),
    Column("sop_class_uid", String(64), nullable=False, server_default=""),
    Column("series_uid", String(64), nullable=False, server_default=""),  # "" not known, or no DICOM object
)

#: What a blob says of itself, for searches; filled when somebody searches, see `wetread.jobs.held`.
described = Table(
    "described",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("received", Integer, nullable=False),  # 1: an object that came, 0: one of our documents
    *(Column(name, String, nullable=False, index=name in KEYS) for name in ATTRIBUTES),
)

#: What a FHIR bundle says, for searches; filled when somebody asks, see `wetread.jobs.resources`.
resources = Table(
    "resources",
    metadata,
    Column("digest", String(64), primary_key=True),  # of the bundle
    Column("type", String(24), primary_key=True),  # "" of a bundle that cannot be read
    Column("id", String(64), primary_key=True),
    Column("identifiers", String, nullable=False),  # system|value, each between line feeds
    Column("patient", String, nullable=False),  # the same, of the patient
    Column("status", String(24), nullable=False),
    Column("date", String(32), nullable=False),
    Index("resources_by_id", "type", "id"),
)

#: What persons decided about results.
reviews = Table(
    "reviews",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job", Integer, ForeignKey("jobs.id"), nullable=False),
    Column("report", String(64), nullable=False, index=True),  # SOP Instance UID of the SR that was reviewed
    Column("successor", String(64), nullable=False),  # that of the verified one
    Column("decision", String(8), nullable=False),
    Column("reviewer", String, nullable=False),  # identifier of the practitioner
    Column("said", String(64), nullable=False),  # digest of all that was said, but for when
    Column("verdicts", String, nullable=False),  # JSON: model, code, said, true
    Column("at", Float, nullable=False),
)

#: Each document, and each received object, on its way to each destination.
outbox = Table(
    "outbox",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("document", Integer, ForeignKey("documents.id")),  # that, or
    Column("instance", String(64), ForeignKey("instances.sop_instance_uid")),  # an object that goes on
    Column("job", Integer, ForeignKey("jobs.id"), nullable=False, index=True),
    Column("destination", String, nullable=False),  # AE@host:port
    Column("state", String(8), nullable=False),
    Column("tries", Integer, nullable=False, default=0),
    Column("status", Integer, nullable=False, default=0),  # last one of C-STORE or commitment that was no success
    Column("reason", String(16), nullable=False, server_default=""),  # why it may not leave: `wetread.errors.BLOCKED`
    Column("queued_at", Float, nullable=False),
    Column("sent_at", Float),
    Column("patient", String(64), nullable=False, server_default=""),  # what has one arrives in order; "" of DICOM
    UniqueConstraint("document", "destination"),
    UniqueConstraint("instance", "destination"),
    Index("outbox_due", "destination", "state", "id"),
    Index("outbox_patient", "patient", "destination", "state", "id"),
)

#: What a destination was asked to commit itself to, of what it confirmed.
commitments = Table(
    "commitments",
    metadata,
    Column("parcel", Integer, ForeignKey("outbox.id"), primary_key=True),
    Column("transaction_uid", String(64), nullable=False, index=True),
    Column("state", String(8), nullable=False),  # `wetread.jobs.commitments.Promise`
    Column("at", Float, nullable=False),
)

#: What peers asked us to commit ourselves to, and were not told yet.
requests = Table(
    "requests",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("ae_title", String(16), nullable=False),  # who asked
    Column("address", String(64), nullable=False),  # where it called from
    Column("transaction_uid", String(64), nullable=False),
    Column("instances", String, nullable=False),  # SOP class=SOP instance, parted by spaces
    Column("at", Float, nullable=False),
    UniqueConstraint("ae_title", "transaction_uid"),
)

#: How many objects a study has, or one of its series, as somebody said.
expected = Table(
    "expected",
    metadata,
    Column("study_uid", String(64), primary_key=True),
    Column("series_uid", String(64), primary_key=True),  # "" of the whole study
    Column("source", String(16), primary_key=True),  # `wetread.jobs.announced.Source`
    Column("number", Integer, nullable=False),
)

#: Which objects somebody said make up a study.
notices = Table(
    "notices",
    metadata,
    Column("sop_instance_uid", String(64), primary_key=True),  # of the notice
    Column("sop_class_uid", String(64), nullable=False),
    Column("study_uid", String(64), nullable=False, index=True),  # "" when it is about several
    Column("state", String(16), nullable=False),  # Performed Procedure Step Status (0040,0252)
    Column("instances", String, nullable=False),  # their SOP Instance UIDs, parted by spaces
    Column("at", Float, nullable=False),
)

#: Work items: unified procedure steps that somebody put on our list.
workitems = Table(
    "workitems",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("uid", String(64), nullable=False, unique=True),  # SOP Instance UID
    Column("state", String(16), nullable=False, index=True),  # `wetread.wire.ups.StepState`
    Column("transaction_uid", String(64), nullable=False, server_default=""),  # of who claimed it; nobody is told
    Column("content", String, nullable=False),  # DICOM JSON, without the Transaction UID
    Column("base", String, nullable=False),  # URL under which its creator knows us
    Column("created_at", Float, nullable=False),
    Column("changed_at", Float, nullable=False),
)

#: Work items that this node performs.
performing = Table(
    "performing",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("manager", String, nullable=False),  # whose list it stands on; "": ours
    Column("workitem", String(64), nullable=False),  # SOP Instance UID
    Column("transaction_uid", String(64), nullable=False),
    Column("content", String, nullable=False),  # DICOM JSON, as it was when it was found
    Column("claimed", Integer, nullable=False, server_default="0"),
    Column("canceling", String, nullable=False, server_default=""),  # DICOM JSON: somebody wants it canceled, and why
    Column("told", String, nullable=False, server_default=""),  # the progress that was told last
    Column("begun_at", Float, nullable=False),
    UniqueConstraint("manager", "workitem"),
)

#: Who is told of which work items.
subscriptions = Table(
    "subscriptions",
    metadata,
    Column("ae_title", String(16), primary_key=True),
    Column("workitem", String(64), primary_key=True),  # "": of all that are to come
    Column("locked", Integer, nullable=False),  # 1: it must not be forgotten when it has ended
    Column("filter", String, nullable=False),  # of those to come: matching keys, JSON; "": all
    Index("subscribers", "workitem"),
)

#: What subscribers are to be told; a number is never given twice.
events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("ae_title", String(16), nullable=False, index=True),
    Column("report", String, nullable=False),  # DICOM JSON
    Column("at", Float, nullable=False, index=True),
    sqlite_autoincrement=True,
)

#: Every order that is known and was not cancelled.
orders = Table(
    "orders",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("placer", String, nullable=False, index=True),  # its parts, joined by ^
    Column("filler", String, nullable=False, index=True),
    Column("accession", String, nullable=False, index=True),  # without its issuer
    Column("study_uid", String(64), nullable=False, index=True),  # "" where the order names none
    Column("detail", String, nullable=False),  # `wetread.records.Order` as JSON
    Column("fresh", Integer, nullable=False, index=True),  # 1: studies that are here have not been held against it yet
    Column("at", Float, nullable=False),
)

#: The patients of orders, by each of their identifiers.
subjects = Table(
    "subjects",
    metadata,
    Column("order_id", Integer, ForeignKey("orders.id"), primary_key=True),
    Column("value", String, primary_key=True),
    Column("authority", String, primary_key=True),  # as `wetread.jobs.matching.authority` joins it
    Index("subjects_by_value", "value"),
)

#: Identifiers that were merged into others, by HL7 A40.
merges = Table(
    "merges",
    metadata,
    Column("value", String, primary_key=True),
    Column("authority", String, primary_key=True),
    Column("survivor", String, nullable=False),  # `wetread.records.Identifier` as JSON
    Column("at", Float, nullable=False),
)

#: HL7 messages that were acknowledged with AA: the same one again changes nothing.
messages = Table(
    "messages",
    metadata,
    Column("sender", String, primary_key=True),  # MSH-3 and MSH-4
    Column("control_id", String, primary_key=True),  # MSH-10
    Column("digest", String(64), nullable=False),  # some senders count anew: another message is no repetition
    Column("at", Float, nullable=False),
)

#: Every job whose documents go nowhere until a person has looked.
withheld = Table(
    "withheld",
    metadata,
    Column("job", Integer, ForeignKey("jobs.id"), primary_key=True),
    Column("reason", String(32), nullable=False),
    Column("evidence", String(64), nullable=False),  # digest of what contradicts: the same again was decided already
    Column("order_id", Integer, nullable=False),  # the order that it contradicts; it may be gone
    Column(
        "decided", String(16), nullable=False, server_default=""
    ),  # "", "released", "discarded", "resolved", "delivered"
    Column("at", Float, nullable=False),
)

#: Every critical finding that somebody is told of.
alerts = Table(
    "alerts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job", Integer, ForeignKey("jobs.id"), nullable=False, index=True),
    Column("rule", String, nullable=False),
    Column("study_uid", String(64), nullable=False),
    Column("tracking_uid", String(64), nullable=False),
    Column("token", String(64), nullable=False, unique=True),
    Column("state", String(16), nullable=False, index=True),  # `wetread.jobs.alerts.Told`
    Column("step", Integer, nullable=False),  # whose turn it is, of `to`
    Column("begun_at", Float, nullable=False),  # when that turn began
    Column("told_at", Float),  # when whose turn it is took it
    Column("ended_at", Float),
    Column("body", String, nullable=False),  # JSON for webhooks; "" once it ended
    Column("message", String, nullable=False),  # HL7, which names the patient; "" once it ended
    Column("bundle", String, nullable=False),  # FHIR, as well
    UniqueConstraint("rule", "study_uid", "tracking_uid"),
)

#: What a person may have to look into.
audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("event", String(32), nullable=False),
    Column("job", Integer),
    Column("detail", String, nullable=False),
)
