"""Several acts that commit together: the fence holds through all of them, and one that fails takes all with it."""

from contextlib import suppress

import pytest
from django.db import IntegrityError, connections, transaction

from authorization import clock, fence, offers
from authorization.models import LedgerEntry, Revision
from authorization.transactions import one_transaction, undone
from carriers.models import HostCarrier
from catalog.models import ListingHost
from seeds import factories
from seeds.factories import make_sellable

pytestmark = pytest.mark.django_db(transaction=True)


def revise(reason: str = "test") -> Revision:
    with transaction.atomic():
        return fence.exclusive(by=factories.BUILDER, reason=reason, at=clock.now())


def test_acts_inside_take_the_fence_and_commit_together():
    before = Revision.objects.count()
    with one_transaction():
        first = revise()
        # Between the two acts nobody gets in: the fence goes with the whole, not with the act that took it.
        assert fence.is_held()
        second = revise()
    assert not fence.is_held()
    assert (second.n, Revision.objects.count()) == (first.n + 1, before + 2)


def together(*acts):
    with one_transaction():
        for act in acts:
            act()


def fail():
    raise RuntimeError("the second act")


def test_what_fails_takes_all_that_went_before_with_it():
    with pytest.raises(RuntimeError, match="the second act"):
        together(revise, fail)
    assert not Revision.objects.exists()


def test_an_error_that_was_caught_inside_is_no_success():
    host = factories.HostCarrierFactory.create()

    def fail_quietly():
        with suppress(IntegrityError), transaction.atomic():
            HostCarrier.objects.create(code=host.code, name="twice")

    with pytest.raises(transaction.TransactionManagementError, match="rolled back"):
        together(revise, fail_quietly)
    assert not Revision.objects.filter(reason="test").exists()


def test_one_inside_another_is_the_same_one():
    def both():
        together(revise)
        assert "savepoint" in vars(connections["default"]), "the outer one goes on"
        revise()

    together(both)
    assert Revision.objects.count() == 2
    with pytest.raises(RuntimeError):
        together(revise, lambda: together(fail))
    assert Revision.objects.count() == 2
    assert "savepoint" not in vars(connections["default"])


def test_afterwards_savepoints_are_made_again():
    with one_transaction():
        revise()
    with transaction.atomic():
        with pytest.raises(IntegrityError), transaction.atomic():
            Revision.objects.create(n=1, recorded_at=clock.now(), actor="x", reason="x", snapshot="0")
        assert Revision.objects.count() == 1
    with pytest.raises(RuntimeError):
        together(fail)
    assert "savepoint" not in vars(connections["default"])


def test_a_rehearsal_inside_undoes_itself_and_nothing_else():
    @undone()
    def rehearse(and_then=lambda: None):
        HostCarrier.objects.all().delete()
        and_then()

    with one_transaction():
        host = factories.HostCarrierFactory.create()
        rehearse()
        with pytest.raises(RuntimeError, match="the second act"):
            rehearse(fail)
        revise()
    assert HostCarrier.objects.get() == host
    assert Revision.objects.filter(reason="test").count() == 1
    assert "savepoint" not in vars(connections["default"])


def test_behind_the_fence_nothing_is_rehearsed():
    """The way back to the savepoint would free what was taken after it."""

    def rehearse():
        with undone():
            pass

    with pytest.raises(fence.FenceMisuse, match="before the fence"):
        together(revise, rehearse)


def test_under_a_savepoint_the_fence_is_refused_inside_too():
    with transaction.atomic(), pytest.raises(fence.FenceMisuse, match="outermost"):
        together(revise)


def test_a_publication_and_its_ledger_row_go_with_the_rest():
    world = make_sellable()
    ledger_rows = LedgerEntry.objects.count()
    with pytest.raises(RuntimeError):
        together(
            lambda: offers.withdraw_listing(listing=world.listing, by=factories.BUILDER, at=clock.now()), fail
        )
    assert LedgerEntry.objects.count() == ledger_rows
    assert ListingHost.objects.get(pk=world.offer.pk).state == world.offer.state
