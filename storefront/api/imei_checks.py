"""POST /v1/imei-checks: which model a phone's number belongs to, and per host what works and whether it may be brought.

A POST because the number must stand in no address; nothing is made by it. No answer repeats the number.
"""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from django.conf import settings
from django.views.decorators.debug import sensitive_variables
from rest_framework.request import Request
from rest_framework.response import Response

from carriers.admission import AdmissionAnswer, Word
from carriers.models import HostCarrier
from storefront import imei_check, rates
from storefront.api.fields import Members, Text, read_body
from storefront.api.hosts import find_hosts, unknown_host_message
from storefront.api.imei_shapes import ImeiAnswerShape
from storefront.api.keys import CarrierPrincipal, Principal, VendorPrincipal
from storefront.api.problems import FieldError, Problem, invalid
from storefront.api.times import rfc3339
from storefront.api.variants import present_variant
from storefront.api.verdicts import Day, present_judged
from storefront.api.views import KeyedView
from storefront.imei_check import HostAnswer, ImeiAnswer

# The window of settings.IMEI_CHECKS_PER_KEY.
WITHIN_S = 3600


class ImeiCheckBody(Members):
    imei = Text(
        allow_blank=True,
        error_messages={
            "invalid": "Give the number as a string, in quotes: as a JSON number it may lose digits."
        },
    )
    host = Text(required=False, max_length=32)
    on = Day(required=False)


class ImeiChecksView(KeyedView):
    scopes: ClassVar = {"POST": "catalog:read"}
    open_to: ClassVar = (VendorPrincipal, CarrierPrincipal)
    bodies: ClassVar = {"POST": ImeiCheckBody}
    answers: ClassVar = {"POST": {200: ImeiAnswerShape}}
    operation_ids: ClassVar = {"POST": "check_imei"}
    # Of a host carrier's key that asks for another network; and of one that asked too often.
    problems: ClassVar = {"POST": ("not_found", "too_many_requests")}
    is_question: ClassVar = True

    @sensitive_variables("asked", "answer")
    def post(self, request: Request) -> Response:
        """Which model is this phone, and what works on which host? The number is neither kept nor repeated."""
        asked = read_body(request, ImeiCheckBody)
        hosts = self._hosts(asked.get("host"))
        wait_s = rates.seconds_to_wait(
            "imei check by key",
            _name_of(self.principal),
            most=settings.IMEI_CHECKS_PER_KEY,
            within_s=WITHIN_S,
        )
        if wait_s:
            raise Problem(
                "too_many_requests",
                f"One key may check {settings.IMEI_CHECKS_PER_KEY} numbers in an hour.",
                headers={"Retry-After": str(wait_s)},
            )
        answer = imei_check.check(asked["imei"], at=self.at, hosts=hosts, on=asked.get("on"))
        if answer.refusal is not None:
            raise invalid([FieldError("/imei", answer.refusal.fault.lower(), answer.refusal.message)])
        return Response(present_answer(answer))

    @property
    def default_response_headers(self) -> dict[str, str]:
        return {**super().default_response_headers, "Cache-Control": "no-store"}

    def _hosts(self, code: str | None) -> Sequence[HostCarrier]:
        """All of them for a vendor; for a host carrier its own, and no other is there for it."""
        if isinstance(self.principal, CarrierPrincipal):
            if code not in (None, self.principal.host.code):
                raise Problem("not_found", "A host carrier's key checks numbers for its own network only.")
            return [self.principal.host]
        if code is None:
            return list(HostCarrier.objects.order_by("code"))
        found = find_hosts([code])
        if code not in found:
            raise invalid([FieldError("/host", "unknown_host", unknown_host_message())])
        return [found[code]]


def _name_of(principal: Principal) -> str:
    return f"{type(principal.key).__name__} {principal.key.pk}"


def present_answer(answer: ImeiAnswer) -> dict[str, Any]:
    """Of a number that is well formed."""
    number = answer.number
    return {
        "kind": answer.kind,
        "number": {"kind": number.kind, "tac": number.tac, "is_test": number.is_test} if number else None,
        "variant": present_variant(answer.variant) if answer.variant is not None else None,
        "on": answer.on.isoformat(),
        "decided_at": rfc3339(answer.decided_at),
        "hosts": [_present_host(host) for host in answer.hosts],
    }


def _present_host(answer: HostAnswer) -> dict[str, Any]:
    return {
        "host": answer.host.code,
        "name": answer.host.name,
        "fit": present_judged(answer.judged) if answer.judged is not None else None,
        "admission": present_admission(answer.admission),
        "approval": {
            "state": answer.badge.kind,
            "message": answer.badge.text,
            "detail": answer.badge.detail,
        },
        "is_sold_here": answer.is_sold_here,
    }


def present_admission(answer: AdmissionAnswer) -> dict[str, Any]:
    return {
        "outcome": answer.outcome,
        "reasons": _present_words(answer.reasons),
        "limits": _present_words(answer.limits),
        "cautions": _present_words(answer.cautions),
    }


def _present_words(words: Iterable[Word]) -> list[dict[str, str]]:
    return [{"code": word.code, "message": word.words} for word in words]
