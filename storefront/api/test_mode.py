"""/v1/test-store and /v1/test-clock: what there is in a test store, and its time."""

from dataclasses import asdict
from datetime import timedelta
from typing import Any, ClassVar, cast

from django.db.models import Q
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from authorization import clock
from authorization.models import AgreementVersion
from catalog.models import Variant
from storefront import test_fixtures, test_mode
from storefront.api.fields import Instant, Members, Whole, read_body
from storefront.api.keys import PARTNERS, OrganizationPrincipal
from storefront.api.problems import FieldError, Problem, invalid
from storefront.api.test_mode_shapes import TestClockShape, TestStoreShape
from storefront.api.times import rfc3339
from storefront.api.views import ANY_KEY, KeyedView
from storefront.models import TestStore

# Seconds until a client looks again whether the clock is ready.
LOOK_AGAIN_S = 1
_LONGEST_S = test_mode.LONGEST_ADVANCE // timedelta(seconds=1)


class AdvanceBody(Members):
    """One of the two."""

    to = Instant(required=False, help_text="An instant of the test store's clock.")
    by_seconds = Whole(required=False, min_value=1, max_value=_LONGEST_S, help_text="From now on.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if len(attrs) != 1:
            raise serializers.ValidationError({"to": "Give either `to` or `by_seconds`."}, code="one_of_two")
        return attrs


class TestModeView(KeyedView):
    """A call for keys of test mode only. What it is about is the shop's row of the store."""

    # pytest collects classes by this name.
    __test__ = False

    open_to: ClassVar = PARTNERS
    is_of_a_store: ClassVar = False

    def check_caller(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if not self.caller.key.is_test:
            raise Problem("test_mode_only", "This call takes a key of test mode: sk_test_…")

    @property
    def caller(self) -> OrganizationPrincipal:
        return cast(OrganizationPrincipal, self.principal)

    @property
    def store(self) -> TestStore:
        return test_mode.store_of(self.caller.organization, at=self.at)


class TestStoreView(TestModeView):
    scopes: ClassVar = {"GET": ANY_KEY}
    answers: ClassVar = {"GET": {200: TestStoreShape}}
    problems: ClassVar = {"GET": ("test_mode_only",)}

    def get(self, request: Request) -> Response:
        """Show what there is in your test store: who behaves how, and what can be listed."""
        return Response(present_store(self.store))


class BeginAnewView(TestModeView):
    scopes: ClassVar = {"POST": "test_clock:write"}
    bodies: ClassVar = {"POST": Members}
    answers: ClassVar = {"POST": {200: TestClockShape}}
    problems: ClassVar = {"POST": ("test_mode_only",)}

    def post(self, request: Request) -> Response:
        """Throw your test store away and take a new one, on the shop's time. Keys stay."""
        read_body(request, Members)
        store = test_mode.begin_anew(store=self.store, by=self.caller.actor, at=self.at)
        return Response(present_clock(test_mode.clock_of(store, at=self.at)))


class TestClockView(TestModeView):
    scopes: ClassVar = {"GET": ANY_KEY}
    answers: ClassVar = {"GET": {200: TestClockShape}}
    problems: ClassVar = {"GET": ("test_mode_only",)}

    def get(self, request: Request) -> Response:
        """Show the time in your test store."""
        return Response(present_clock(test_mode.clock_of(self.store, at=clock.now())))


class AdvanceView(TestModeView):
    scopes: ClassVar = {"POST": "test_clock:write"}
    bodies: ClassVar = {"POST": AdvanceBody}
    answers: ClassVar = {"POST": {202: TestClockShape}}
    answer_headers: ClassVar = {"POST": {202: ("Location", "Retry-After")}}
    problems: ClassVar = {"POST": ("test_mode_only", "clock_advancing")}

    def post(self, request: Request) -> Response:
        """Move the clock of your test store on. Its workers do what falls due on the way, each thing at its time."""
        body = read_body(request, AdvanceBody)
        store = self.store
        now = test_mode.clock_of(store, at=self.at).now
        to = body["to"] if "to" in body else now + timedelta(seconds=body["by_seconds"])
        try:
            store = test_mode.advance_clock(store=store, to=to, by=self.caller.actor, at=self.at)
        except test_mode.InvalidAdvance as error:
            raise invalid([FieldError(f"/{next(iter(body))}", "invalid", str(error))]) from error
        except test_mode.ClockAdvances as error:
            raise Problem(
                "clock_advancing", str(error), headers={"Retry-After": str(LOOK_AGAIN_S)}
            ) from error
        headers = {"Location": "/v1/test-clock", "Retry-After": str(LOOK_AGAIN_S)}
        shown = present_clock(test_mode.clock_of(store, at=self.at))
        return Response(shown, status=202, headers=headers)


def present_clock(shown: test_mode.TestClock) -> dict[str, Any]:
    return {
        "now": rfc3339(shown.now),
        "state": "ready" if shown.advancing_to is None else "advancing",
        "advancing_to": rfc3339(shown.advancing_to) if shown.advancing_to else None,
    }


def present_store(store: TestStore) -> dict[str, Any]:
    """Looked up in the store itself: names and grants are those that it has now."""
    shown = present_clock(test_mode.clock_of(store, at=clock.now()))
    with test_mode.inside(store) as organization:
        at = clock.now()
        granted = AgreementVersion.objects.current().filter(
            grantee=organization, valid_from__lte=at, valid_until__gt=at
        )
        # One that is revoked for a later instant holds until then.
        makers = set(
            granted.filter(Q(revoked_at__isnull=True) | Q(revoked_at__gt=at)).values_list(
                "grantor_id", flat=True
            )
        )
        variants = [
            {
                "variant": variant.slug,
                "maker": variant.device.manufacturer.slug,
                "is_granted": variant.device.manufacturer_id in makers,
            }
            for variant in Variant.objects.order_by("pk").select_related("device__manufacturer")
        ]
    return {
        "made_at": rfc3339(store.made_at),
        "clock": shown,
        "makers": [asdict(fixture) for fixture in test_fixtures.MAKERS],
        "hosts": [asdict(fixture) for fixture in test_fixtures.HOSTS],
        "variants": variants,
    }
