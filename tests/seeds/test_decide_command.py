"""`manage.py decide`: the exit code is the answer, and bad input is never one."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError

from authorization import clock, decisions
from authorization.models import Revision
from catalog.models import Organization
from seeds.factories import HostCarrierFactory, OrganizationFactory, make_agreement, make_sellable
from tests.storefront.conftest import revoke_agreement

pytestmark = pytest.mark.django_db


@pytest.fixture
def world():
    return make_sellable()


def decide(world, *more, **changes):
    named = {"vendor": world.vendor.slug, "variant": world.variant.slug, "host": world.host.code} | changes
    out = StringIO()
    code = 0
    try:
        call_command("decide", *[f"--{name}={text}" for name, text in named.items()], *more, stdout=out)
    except SystemExit as ended:
        code = int(ended.code or 0)
    except CommandError as error:
        return error.returncode, str(error)
    return code, out.getvalue()


def test_allow_is_0(world):
    assert decide(world) == (0, "allow\n")


def test_deny_is_1_with_its_reasons(world):
    revoke_agreement(world)

    assert decide(world) == (1, "deny AGREEMENT_REVOKED\n")


def test_undetermined_is_3(world):
    code, said = decide(world, "--known-at=0")

    assert (code, said) == (3, "undetermined POLICY_MISSING\n")


def test_then_and_now(world):
    before = Revision.objects.order_by("-n")[0]
    was = clock.now()
    revoke_agreement(world)

    assert decide(world, f"--at={was.isoformat()}")[0] == 0
    assert decide(world, f"--known-at={before.n}")[0] == 0
    assert decide(world, f"--known-at={was.isoformat()}")[0] == 0
    assert decide(world)[0] == 1


def test_explained_rule_by_rule(world):
    revoke_agreement(world)
    code, said = decide(world, "--explain")

    assert code == 1
    assert (
        f"[ok] approval: The host carrier has approved the variant: passed\n     on approval {world.approval} v1"
        in said
    )
    assert f"AGREEMENT_REVOKED ({world.agreement})" in said
    assert "up to manufacturer: A new agreement from its grantor." in said


def test_as_json(world):
    code, said = decide(world, "--json")
    tree = json.loads(said)

    assert code == 0
    assert (tree["outcome"], len(tree["checks"])) == ("allow", 8)


@pytest.mark.parametrize(
    ("changes", "cure"),
    [
        ({"vendor": "nobody"}, "There is no vendor 'nobody'"),
        ({"variant": "nothing"}, "There is no variant 'nothing'"),
        ({"host": "nowhere"}, "There is no host 'nowhere'"),
        ({"territory": "usa"}, "write two capitals"),
        ({"software": "?"}, "write letters or digits"),
        ({"at": "2016-02-01T12:00"}, "has no time zone"),
        ({"at": "soon"}, "write e.g."),
        ({"at": "9999-12-31T23:59:59Z"}, "at: Nothing is recorded for 9999-12-31; take an instant before"),
        ({"at": "0001-01-01T00:00:00+14:00"}, "out of reach"),
        ({"known-at": "9998-01-01T00:00:00Z"}, "known_at: 9998-01-01 00:00:00 UTC is to come"),
        ({"known-at": "9999-12-31T23:59:59Z"}, "take an instant before"),
        ({"known-at": "999"}, "There is no revision 999 yet"),
        ({"listing": "999"}, "There is no listing 999"),
        ({"listing": "one"}, "write the number"),
    ],
)
def test_bad_input_is_2_and_says_the_cure(world, changes, cure):
    code, said = decide(world, **changes)

    assert code == 2
    assert cure in said


def test_a_listing_of_another_vendor_is_refused(world):
    other = make_sellable(host=HostCarrierFactory.create())

    assert decide(world, listing=world.listing.pk)[0] == 0
    code, said = decide(world, listing=other.listing.pk)
    assert code == 2
    assert "another vendor or variant" in said


def test_only_vendors_sell(world):
    maker = OrganizationFactory.create(kind=Organization.Kind.MANUFACTURER)

    assert decide(world, vendor=maker.slug)[0] == 2


def test_a_database_that_does_not_answer_is_no_denial(world, monkeypatch):
    def fail(*args, **kwargs):
        raise DatabaseError("gone")

    monkeypatch.setattr(decisions, "present", fail)

    assert decide(world)[0] == 2


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--at=9999-12-31T23:59:59Z", "at: Nothing is recorded"),
        ("--known-at=9998-01-01T00:00:00Z", "is to come"),
    ],
)
def test_the_other_directions_refuse_the_same_instants(world, option, said):
    with pytest.raises(CommandError, match=said) as refused:
        call_command("authority", "exposure", option, stdout=StringIO())
    assert refused.value.returncode == 2


def test_the_last_year_that_is_recorded_can_be_asked_about(world):
    assert decide(world, "--explain", at="9998-12-31T23:59:59Z")[0] == 0


def test_staff_reads_of_agreements_between_others(world):
    """What the vendor is not told: which agreement further up fails, and how."""
    vendor = OrganizationFactory.create(kind=Organization.Kind.VENDOR)
    between = OrganizationFactory.create(kind=Organization.Kind.DISTRIBUTOR)
    maker = world.variant.device.manufacturer
    make_agreement(
        grantor=maker,
        grantee=between,
        may_sublicense=True,
        territories=["CA"],
        code="AG-above",
        at=clock.now(),
    )
    make_agreement(grantor=between, grantee=vendor, code="AG-below", at=clock.now())
    code, said = decide(world, "--explain", vendor=vendor.slug)

    assert code == 1
    assert "AGREEMENT_SCOPE_TERRITORY (AG-above): Agreement AG-above" in said
    assert "up to grantor" in said
