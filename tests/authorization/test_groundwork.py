"""Recordings of networks, radios and hostings: compared before the fence, written at once or not at all."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from authorization import clock, fence, groundwork
from authorization.actors import Actor
from authorization.models import LedgerEntry, OutboxRow, Revision
from carriers.models import HostCarrier, Hosting, HostingVersion, Network, NetworkBand, NetworkVersion
from catalog.models import VariantBand, VariantIms, VariantVersion
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
