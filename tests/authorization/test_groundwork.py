"""Recordings of networks, radios and hostings: compared before the fence, written at once or not at all."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from authorization import clock, fence, groundwork, revocations
from authorization.actors import Actor
from authorization.facts import InvalidFact
from authorization.models import LedgerEntry, OutboxRow, Revision
from carriers.models import HostCarrier, Hosting, HostingVersion, Network, NetworkBand, NetworkVersion
from catalog.models import Device, Organization, Tac, Variant, VariantBand, VariantIms, VariantVersion
from seeds.factories import HostCarrierFactory, VariantFactory

pytestmark = pytest.mark.django_db

BY = Actor("system", "test")
LONG_AGO = datetime(2014, 1, 1, tzinfo=UTC)
BANDS = [
    {"rat": "LTE", "band": band, "role": "", "group": "lte_core", "voice": "volte"} for band in ("B4", "B2")
]


def record_hosting(recorder: groundwork.Recorder, host: HostCarrier, **changes: Any) -> bool:
    times = {name: changes.pop(name) for name in ("valid_from", "valid_until") if name in changes}
    return recorder.hosting(
        mvno="M",
        host=host,
        product_name="",
        fields={"plmn": "1", **changes},
        **{"valid_from": LONG_AGO, **times},
    )


def record_network(recorder: groundwork.Recorder, host: HostCarrier, bands: Any = BANDS) -> bool:
    fields = {"admission": "open", "confidence": "H"}
    return recorder.network(host=host, era="2026", fields=fields, bands=bands, valid_from=LONG_AGO)


def record_all(host: HostCarrier, variant: Any) -> tuple[list[bool], int]:
    with recording() as recorder:
        differing = [
            record_network(recorder, host),
            record_hosting(recorder, host),
            recorder.variant_radio(
                variant=variant,
                fields={"lte_confidence": "H"},
                bands=[{"rat": "LTE", "band": "B2"}, {"rat": "GSM", "band": "GSM850"}],
                ims={host.code: "yes"},
                valid_from=LONG_AGO,
            ),
        ]
    return differing, recorder.written


def recording() -> Any:
    return groundwork.recording(by=BY, at=clock.now(), reason="test")


def test_everything_of_one_recording_is_one_revision() -> None:
    host, variant = HostCarrierFactory.create(), VariantFactory.create()
    before = fence.current_revision()
    assert record_all(host, variant) == ([True, True, True], 3)
    assert fence.current_revision() == before + 1
    for model in (NetworkVersion, HostingVersion, VariantVersion):
        assert [version.rev_from for version in model.objects.all()] == [before + 1]
    assert list(NetworkBand.objects.order_by("position").values_list("band", flat=True)) == ["B4", "B2"]
    assert VariantBand.objects.count() == 2
    assert VariantIms.objects.get().host == host
    assert LedgerEntry.objects.get(revision=before + 1).evidence == {"records": 3}
    assert record_all(host, variant) == ([False, False, False], 0)
    assert fence.current_revision() == before + 1


def test_a_change_closes_the_version_before_it_and_keeps_the_rest() -> None:
    host, variant = HostCarrierFactory.create(), VariantFactory.create()
    record_all(host, variant)
    with recording() as recorder:
        assert record_network(recorder, host, bands=BANDS[:1])
        assert not record_hosting(recorder, host)
    first, second = NetworkVersion.objects.order_by("version_no")
    assert (first.rev_to, second.version_no, second.rev_to) == (second.rev_from, 2, None)
    assert (first.bands.count(), second.bands.count()) == (2, 1)
    assert Network.objects.count() == HostingVersion.objects.count() == 1


def test_nothing_is_written_and_no_fence_taken_while_the_block_runs() -> None:
    host = HostCarrierFactory.create()
    with recording() as recorder:
        record_hosting(recorder, host)
        record_network(recorder, host)
        assert not fence.is_held()
        assert not Hosting.objects.exists()
        assert not Network.objects.exists()
    assert Hosting.objects.exists()
    assert not fence.is_held()


def test_a_block_that_fails_writes_nothing() -> None:
    host = HostCarrierFactory.create()

    def record_and_fail() -> None:
        with recording() as recorder:
            record_hosting(recorder, host)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        record_and_fail()
    assert not Hosting.objects.exists()


def test_a_failure_while_writing_leaves_nothing_half_written(monkeypatch: pytest.MonkeyPatch) -> None:
    host, revisions = HostCarrierFactory.create(), Revision.objects.count()

    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr("authorization.outbox.announce", fail)
    recorder = groundwork.Recorder(by=BY, at=clock.now(), reason="test")
    recorder.create(HostCarrierFactory.build(code="new"))
    record_hosting(recorder, host)
    with pytest.raises(RuntimeError):
        recorder.finish()
    assert not Hosting.objects.exists()
    assert not HostCarrier.objects.filter(code="new").exists()
    assert Revision.objects.count() == revisions


def test_what_another_recording_brought_meanwhile_is_not_written_again() -> None:
    host = HostCarrierFactory.create()
    with recording() as late:
        assert record_hosting(late, host)
        with recording() as early:
            record_hosting(early, host)
        revision = fence.current_revision()
    assert (early.written, late.written) == (1, 0)
    assert HostingVersion.objects.count() == Hosting.objects.count() == 1
    assert fence.current_revision() == revision


def test_a_withdrawal_is_not_on_record_where_another_recording_has_brought_all_of_it() -> None:
    host = HostCarrierFactory.create()
    late = groundwork.Recorder(by=BY, at=clock.now(), reason="test")
    record_hosting(late, host)
    change = revocations.CorrectGroundwork("DATA_CORRECTED", "a hosting", late)
    seen = revocations.preview(change, at=clock.now())
    with recording() as early:
        record_hosting(early, host)
    with pytest.raises(groundwork.AlreadyRecorded):
        revocations.execute(
            change,
            digest=seen.digest,
            requested_by="the operator",
            word_received_at=clock.now(),
            note="test",
            by=BY,
            at=clock.now(),
        )
    assert HostingVersion.objects.count() == 1


def test_a_row_that_came_meanwhile_is_named_and_nothing_is_written() -> None:
    variant = VariantFactory.create()

    def asked() -> groundwork.Recorder:
        recorder = groundwork.Recorder(by=BY, at=clock.now(), reason="test")
        recorder.create(Tac(code="00100001", variant=variant, is_synthetic=True))
        return recorder

    early, late = asked(), asked()
    late.change(variant, ["notes"])
    variant.notes = "new"
    early.finish()
    with pytest.raises(InvalidFact, match="One of the TACs to be made is in the store by now"):
        late.finish()
    assert Variant.objects.get().notes == ""
    assert Tac.objects.count() == 1


def test_what_is_to_be_made_is_part_of_the_fingerprint() -> None:
    def fingerprint(
        *, is_late: bool = False, maker: str = "Acme", notes: str = "", code: str = "00100001"
    ) -> str:
        at = LONG_AGO + timedelta(days=is_late)
        made = Organization(name=maker, slug="acme", kind="manufacturer", created_at=at)
        device = Device(manufacturer=made, brand="Acme", marketing_name="One", slug="one")
        variant = Variant(device=device, slug="a-1", model_number="A1", notes=notes, checked_at=at)
        recorder = groundwork.Recorder(by=BY, at=at, reason="test")
        for row in (made, device, variant, Tac(code=code, variant=variant, is_synthetic=True)):
            recorder.create(row)
        return recorder.fingerprint()

    said = [fingerprint(), fingerprint(maker="Omni"), fingerprint(notes="x"), fingerprint(code="00100002")]
    assert len(set(said)) == 4
    assert fingerprint(is_late=True) == said[0], "whenever it is prepared"


def test_another_change_meanwhile_is_followed_by_ours() -> None:
    host = HostCarrierFactory.create()
    with recording() as late:
        record_hosting(late, host, note="late")
        with recording() as early:
            record_hosting(early, host, note="early")
    assert list(HostingVersion.objects.order_by("version_no").values_list("note", "rev_to")) == [
        ("early", fence.current_revision()),
        ("late", None),
    ]


def test_the_last_word_about_a_record_counts() -> None:
    host = HostCarrierFactory.create()
    with recording() as recorder:
        record_hosting(recorder, host, note="first")
        record_hosting(recorder, host, note="last")
    assert HostingVersion.objects.get().note == "last"


def test_ends_and_beginnings_to_come_are_announced() -> None:
    host, now = HostCarrierFactory.create(), clock.now()
    begins, ends = now + timedelta(days=3), now + timedelta(days=9)
    with recording() as recorder:
        record_hosting(recorder, host, valid_from=begins, valid_until=ends)
    due = OutboxRow.objects.filter(event="authority.boundary").exclude(handler="").order_by("due_at")
    assert list(due.values_list("due_at", flat=True)) == [begins, ends]


def test_statements_under_the_fence_do_not_grow_with_the_records() -> None:
    def statements(count: int) -> int:
        host = HostCarrierFactory.create()
        variants = [VariantFactory.create() for _ in range(count)]
        with CaptureQueriesContext(connection) as queries:
            recorder = groundwork.Recorder(by=BY, at=clock.now(), reason="test")
            for variant in variants:
                recorder.variant_radio(
                    variant=variant,
                    fields={},
                    bands=[{"rat": "LTE", "band": "B2"}],
                    ims={host.code: "no"},
                    valid_from=LONG_AGO,
                )
            compared = len(queries)
            recorder.finish()
        return len(queries) - compared

    assert statements(1) == statements(30)


# --- revisions and sources ----------------------------------------------------------------------------------

SOURCES = {"lte": ("GSMA17", "M"), "fcc": ("ADL", "H")}


def record_radio(variant: Variant, **changes: Any) -> groundwork.Recorder:
    asked: dict[str, Any] = {
        "fields": {"lte_confidence": "M"},
        "bands": [{"rat": "LTE", "band": "B2"}],
        "ims": {},
        "valid_from": LONG_AGO,
    }
    with recording() as recorder:
        recorder.variant_radio(variant=variant, **(asked | changes))
    return recorder


def said_of(variant: Variant) -> tuple[str, str, dict[str, tuple[str, str]], list[str]]:
    version = VariantVersion.objects.current().get(head=variant)
    sources = {row.value: (row.source, row.confidence) for row in version.sources.all()}
    bands = list(version.bands.values_list("band", flat=True))
    return version.hardware_revision, version.software_revision, sources, bands


def test_what_a_recording_does_not_say_is_kept() -> None:
    variant = VariantFactory.create()
    record_radio(
        variant,
        hardware_revision="P2",
        software_revision="5.1",
        sources=SOURCES,
        attributes=[("module", "X")],
    )
    record_radio(variant, bands=[{"rat": "LTE", "band": "B4"}])
    assert said_of(variant) == ("P2", "5.1", SOURCES, ["B4"])
    assert VariantVersion.objects.current().get(head=variant).attributes.get().value == "X"


@pytest.mark.parametrize(
    "changes",
    [
        {"hardware_revision": "P3"},
        {"software_revision": ""},
        {"sources": {}},
        {"sources": SOURCES | {"lte": ("GSMA17", "L")}},
    ],
)
def test_revisions_and_sources_are_part_of_what_is_compared(changes: dict[str, Any]) -> None:
    variant = VariantFactory.create()
    first: dict[str, Any] = {"hardware_revision": "P2", "software_revision": "5.1", "sources": SOURCES}
    before = record_radio(variant, **first)
    assert record_radio(variant, **first).is_empty
    prepared = groundwork.Recorder(by=BY, at=clock.now(), reason="test")
    prepared.variant_radio(
        variant=variant,
        fields={"lte_confidence": "M"},
        bands=[{"rat": "LTE", "band": "B2"}],
        ims={},
        valid_from=LONG_AGO,
        **(first | changes),
    )
    assert not prepared.is_empty
    assert prepared.fingerprint() != before.fingerprint()
    prepared.finish()
    assert VariantVersion.objects.filter(head=variant).count() == 2


def test_what_came_between_the_comparing_and_the_writing_is_kept_too() -> None:
    variant = VariantFactory.create()
    record_radio(variant, sources=SOURCES, software_revision="5.1")
    late = groundwork.Recorder(by=BY, at=clock.now(), reason="test")
    late.variant_radio(
        variant=variant,
        fields={"lte_confidence": "M"},
        bands=[{"rat": "LTE", "band": "B4"}],
        ims={},
        valid_from=LONG_AGO,
    )
    newer = {"lte": ("MM", "H")}
    record_radio(variant, sources=newer, software_revision="6.0", attributes=[("module", "X")])
    late.finish()
    assert said_of(variant) == ("", "6.0", newer, ["B4"])
    assert VariantVersion.objects.current().get(head=variant).attributes.get().value == "X"


def test_a_radio_that_was_read_ahead_is_compared_without_a_query() -> None:
    host, variant = HostCarrierFactory.create(), VariantFactory.create()
    record_radio(variant, ims={host.code: "yes"}, sources=SOURCES)
    known = groundwork.read_ahead([variant])[variant.pk]
    recorder = groundwork.Recorder(by=BY, at=clock.now(), reason="test")
    with CaptureQueriesContext(connection) as queries:
        differs = recorder.variant_radio(
            variant=variant,
            fields={"lte_confidence": "M"},
            bands=[{"rat": "LTE", "band": "B2"}],
            ims={host.code: "yes"},
            sources=SOURCES,
            valid_from=LONG_AGO,
            current=known,
        )
    assert (differs, len(queries)) == (False, 0)


# --- checked ------------------------------------------------------------------------------------------------


def test_a_recording_that_is_a_check_marks_what_it_contains_where_it_writes_anything() -> None:
    host, same, changed = HostCarrierFactory.create(), VariantFactory.create(), VariantFactory.create()
    for variant in (same, changed):
        record_radio(variant)
    at = clock.now()

    def check(band: str) -> None:
        recorder = groundwork.Recorder(by=BY, at=at, reason="test", checked_at=at)
        record_network(recorder, host)
        for variant, name in ((same, "B2"), (changed, band)):
            recorder.variant_radio(
                variant=variant,
                fields={"lte_confidence": "M"},
                bands=[{"rat": "LTE", "band": name}],
                ims={},
                valid_from=LONG_AGO,
            )
        recorder.finish()

    check("B4")
    assert set(Variant.objects.values_list("checked_at", flat=True)) == {at}
    assert Network.objects.get().checked_at == at
    Variant.objects.update(checked_at=None)
    check("B4")
    assert set(Variant.objects.values_list("checked_at", flat=True)) == {None}, (
        "the same again writes nothing"
    )


def test_a_correction_is_no_check() -> None:
    variant = VariantFactory.create()
    record_radio(variant)
    assert Variant.objects.get().checked_at is None


def test_marking_as_checked_tells_the_ledger_and_opens_no_revision() -> None:
    variant, at = VariantFactory.create(), clock.now()
    record_radio(variant)
    revision = fence.current_revision()
    groundwork.mark_checked(record=variant, note="the maker's page", by=BY, at=at)
    assert Variant.objects.get().checked_at == at
    entry = LedgerEntry.objects.get(act="reference.checked")
    assert (entry.subject_kind, entry.subject_id, entry.reason) == (
        "variant",
        str(variant.pk),
        "the maker's page",
    )
    assert fence.current_revision() == revision
    with pytest.raises(InvalidFact, match="checked later"):
        groundwork.mark_checked(record=variant, note="", by=BY, at=at - timedelta(days=1))
    assert Variant.objects.get().checked_at == at


def test_nothing_recorded_cannot_be_right() -> None:
    with pytest.raises(InvalidFact, match="record it first"):
        groundwork.mark_checked(record=VariantFactory.create(), note="", by=BY, at=clock.now())
