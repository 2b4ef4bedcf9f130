"""Where a policy demands a radio that works, an answer turns on the day on which a band is switched off."""

from datetime import UTC, date, datetime, timedelta

import pytest

from authorization import decisions, groundwork
from catalog.models import Channel, Condition
from seeds.factories import BUILDER, HostCarrierFactory, VariantFactory, World, make_policy, make_sellable

pytestmark = pytest.mark.django_db

SINCE = datetime(2014, 1, 1, tzinfo=UTC)
NOON = datetime(2022, 2, 1, 12, tzinfo=UTC)
OFF = date(2022, 2, 22)
MIDNIGHT = datetime(2022, 2, 22, tzinfo=UTC)


@pytest.fixture
def world() -> World:
    """A 3G phone on a network with 3G until OFF."""
    variant, host = VariantFactory.create(), HostCarrierFactory.create()
    with groundwork.recording(by=BUILDER, at=NOON, reason="a radio and a network") as recorder:
        recorder.variant_radio(
            variant=variant, fields={}, bands=[{"rat": "UMTS", "band": "B2"}], ims={}, valid_from=SINCE
        )
        recorder.network(
            host=host,
            era="2016",
            fields={"admission": "open"},
            bands=[
                {"rat": "UMTS", "band": "B2", "group": "umts", "voice": "CS", "in_service_until": OFF},
                {"rat": "LTE", "band": "B4", "group": "lte_core", "voice": "VoLTE"},
            ],
            valid_from=SINCE,
        )
    make_policy(minimum_radio="PARTIAL_3G", at=NOON)
    return make_sellable(variant=variant, host=host, at=NOON)


@pytest.mark.parametrize(
    ("at", "reasons"),
    [
        (NOON, []),
        (MIDNIGHT - timedelta(microseconds=1), []),
        (MIDNIGHT, ["RADIO_INCOMPATIBLE"]),
        (datetime(2026, 11, 22, tzinfo=UTC), ["RADIO_INCOMPATIBLE"]),
    ],
)
def test_it_may_be_sold_until_the_last_instant_before(world: World, at: datetime, reasons: list[str]) -> None:
    question = decisions.question_for(
        vendor=world.vendor,
        variant=world.variant,
        host=world.host,
        territory="US",
        channel=Channel.WEB,
        condition=Condition.NEW,
        software="",
    )
    answer = decisions.decide(question, at=at)
    assert answer.reason_codes == reasons
    if not reasons:
        assert answer.expires_at == MIDNIGHT
