"""May I list this? Asked before there is a listing, one question or a hundred.

The evaluator is the one that publishing uses.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from authorization.decisions import Answer, DecisionUnavailable, decide_many, question_for
from carriers.models import HostCarrier
from catalog.models import Channel, Condition, Organization, Variant
from catalog.selectors import Judged, find_variants, judged_for
from storefront.api.fields import Members, OneOf, Pattern, SoftwareVersion, Text, name_list, read_body
from storefront.api.hosts import find_hosts, served_hosts, unknown_host_message
from storefront.api.problems import RETRY_AFTER_S, FieldError, Problem, invalid, json_pointer
from storefront.api.reasons import RADIO_INCOMPATIBLE, Papers, papers_beside, present_answer
from storefront.api.restriction_shapes import RestrictionsResultsShape, RestrictionsShape
from storefront.api.times import rfc3339
from storefront.api.variants import unknown_variant_messages
from storefront.api.views import VendorView

MAX_QUESTIONS = 100
TERRITORY_HINT = "Give the territory as an ISO 3166-1 code of two capitals, e.g. US."


def territory_field(*, required: bool = True) -> Pattern:
    return Pattern("[A-Z]{2}", TERRITORY_HINT, required=required)


class QuestionBody(Members):
    variant = Text(max_length=100)
    hosts = name_list(required=False, allow_empty=False)
    condition = OneOf(choices=Condition.values)
    territory = territory_field()
    channel = OneOf(choices=Channel.values)
    software = SoftwareVersion(required=False, default="", allow_blank=True)


class QuestionsBody(Members):
    questions = serializers.ListField(child=QuestionBody(), allow_empty=False, max_length=MAX_QUESTIONS)


class RestrictionsQuery(Members):
    variant = Text(max_length=100)
    host = name_list(required=False, allow_empty=False)
    condition = OneOf(choices=Condition.values)
    territory = territory_field()
    channel = OneOf(choices=Channel.values)
    software = SoftwareVersion(required=False, default="", allow_blank=True)


class RestrictionsView(VendorView):
    scopes: ClassVar = {"GET": "catalog:read"}
    queries: ClassVar = {"GET": RestrictionsQuery}
    answers: ClassVar = {"GET": {200: RestrictionsShape}}
    problems: ClassVar = {"GET": ("decision_unavailable",)}

    def get(self, request: Request) -> Response:
        """May I list this? An empty list means yes. There needs to be no listing."""
        asked = {("hosts" if name == "host" else name): value for name, value in self.query.items()}
        places = {"variant": ("/variant", "query"), "hosts": ("/host", "query")}
        [result] = answer_questions([asked], [places], vendor=self.caller.vendor, at=self.at)
        return Response(result)


class RestrictionsQueryView(VendorView):
    scopes: ClassVar = {"POST": "catalog:read"}
    bodies: ClassVar = {"POST": QuestionsBody}
    answers: ClassVar = {"POST": {200: RestrictionsResultsShape}}
    problems: ClassVar = {"POST": ("decision_unavailable",)}
    is_question: ClassVar = True

    def post(self, request: Request) -> Response:
        """The same for up to 100 questions, answered in their order by the same evaluator."""
        questions = read_body(request, QuestionsBody)["questions"]
        places = [
            {name: (json_pointer(("questions", index, name)), "body") for name in ("variant", "hosts")}
            for index in range(len(questions))
        ]
        return Response(
            {"results": answer_questions(questions, places, vendor=self.caller.vendor, at=self.at)}
        )


# Of one question: its member -> (JSON pointer, place) to name when that member is at fault.
type Places = dict[str, tuple[str, str]]


def answer_questions(
    asked: Sequence[dict[str, Any]], places: Sequence[Places], *, vendor: Organization, at: datetime
) -> list[dict[str, Any]]:
    """One result per question, in order; all or none: raises Problem when one is unclear or undecided."""
    variants = find_variants(each["variant"] for each in asked)
    hosts = find_hosts(code for each in asked for code in each.get("hosts", ()))
    check_names(asked, places, variants=variants, hosts=hosts)
    served = served_hosts(at=at)
    points: list[tuple[dict[str, Any], HostCarrier]] = []
    ends: list[int] = []
    for each in asked:
        on = [hosts[code] for code in each["hosts"]] if "hosts" in each else served
        if not on:
            raise DecisionUnavailable("The shop sells service on no host carrier at the moment.")
        points += [(each, host) for host in on]
        ends.append(len(points))
    answers = decide_many(
        [
            question_for(
                vendor=vendor,
                variant=variants[each["variant"]],
                host=host,
                territory=each["territory"],
                channel=each["channel"],
                condition=each["condition"],
                software=each["software"],
            )
            for each, host in points
        ],
        at=at,
    )
    check_decided(answers)
    papers = papers_beside(vendor, answers)
    judged = _judged_refusals([(variants[each["variant"]], host) for each, host in points], answers, at=at)
    results = []
    for start, end, each in zip([0, *ends], ends, asked, strict=False):
        pairs = list(zip(points[start:end], answers[start:end], strict=True))
        results.append(
            {
                "variant": variants[each["variant"]].slug,
                "hosts": [host.code for (_, host), _ in pairs],
                "valid_at": rfc3339(at),
                "revision": answers[start].revision,
                "restrictions": [
                    _present_restriction(
                        each, host, answer, papers, judged.get((variants[each["variant"]].pk, host.pk))
                    )
                    for (_, host), answer in pairs
                    if not answer.is_allowed
                ],
            }
        )
    return results


def check_names(
    asked: Sequence[dict[str, Any]],
    places: Sequence[Places],
    *,
    variants: dict[str, Any],
    hosts: dict[str, HostCarrier],
) -> None:
    """Raises Problem that points at every variant and host that nobody knows."""
    unknown = [each["variant"] for each in asked if each["variant"] not in variants]
    messages = unknown_variant_messages(unknown) if unknown else {}
    faults = []
    for each, place in zip(asked, places, strict=True):
        if each["variant"] in messages:
            pointer, where = place["variant"]
            faults.append(FieldError(pointer, "unknown_variant", messages[each["variant"]], where))
        for index, code in enumerate(each.get("hosts", ())):
            if code not in hosts:
                pointer, where = place["hosts"]
                faults.append(FieldError(f"{pointer}/{index}", "unknown_host", "", where))
    if any(fault.code == "unknown_host" for fault in faults):
        message = unknown_host_message()
        faults = [
            FieldError(f.pointer, f.code, message, f.place) if f.code == "unknown_host" else f for f in faults
        ]
    if faults:
        raise invalid(faults)


def check_decided(answers: Sequence[Answer]) -> None:
    """Raises Problem when one of the answers is neither yes nor no."""
    if any(answer.outcome == "undetermined" for answer in answers):
        raise undecided()


def undecided() -> Problem:
    detail = f"It could not be decided just now. Ask again in {RETRY_AFTER_S} seconds; this is not a refusal."
    return Problem("decision_unavailable", detail)


def _judged_refusals(
    pairs: Sequence[tuple[Variant, HostCarrier]], answers: Sequence[Answer], *, at: datetime
) -> dict[tuple[int, int], Judged]:
    """The verdicts that refused, by (variant id, host id), as known when it was decided; no query where none did."""
    refused = [
        pair for pair, answer in zip(pairs, answers, strict=True) if RADIO_INCOMPATIBLE in answer.reason_codes
    ]
    if not refused:
        return {}
    variants, hosts = zip(*refused, strict=True)
    return judged_for(set(variants), set(hosts), at=at, known_at=answers[0].revision)


def _present_restriction(
    asked: dict[str, Any], host: HostCarrier, answer: Answer, papers: Papers, radio: Judged | None
) -> dict[str, Any]:
    return {
        "host": host.code,
        "territory": asked["territory"],
        "condition": asked["condition"],
        "channel": asked["channel"],
        "software": asked["software"],
        "reasons": present_answer(answer, papers, radio=radio),
    }
