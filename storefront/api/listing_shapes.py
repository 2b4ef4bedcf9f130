"""A vendor's listing as the API shows it, and the decisions on it."""

from rest_framework import serializers

from authorization.models import Decision, Fact
from authorization.rules import CHECKS, FAILED, NOT_ENFORCED, PASSED, REASON_CODES
from catalog.models import Channel, Condition, OfferState
from storefront.api.listing_decisions import RULES
from storefront.api.listing_issues import ACTIONS, EXEMPTIONS
from storefront.api.reasons import SEVERITIES
from storefront.api.restriction_shapes import ReasonShape
from storefront.api.shapes import (
    Shape,
    flag,
    instant,
    many,
    money,
    number,
    one,
    open_enum,
    page_of,
    text,
    texts,
)


class OfferShape(Shape):
    """The listing on one host."""

    host = text("The code of the host carrier.")
    state = open_enum(OfferState.values, "What is recorded.")
    is_for_sale = flag("Live, and allowed at this instant.")
    reason_codes = texts("Of the recorded block or suspension.")
    answer = open_enum(
        Decision.Outcome.values,
        "What the decision says at this instant. Absent once removed.",
        required=False,
    )
    reasons = many(ReasonShape, "What the decision says at this instant.", required=False)
    decision_id = text("The decision that a live offer rests on.", required=False)
    version = number(required=False)
    state_changed_at = instant(required=False)


class PublishResultShape(Shape):
    """What publishing came to on one host."""

    host = text("The code of the host carrier.")
    is_live = flag()
    answer = open_enum(Decision.Outcome.values)
    reasons = many(ReasonShape)
    decision_id = text("Absent in a dry run.", required=False)


class ExemptionShape(Shape):
    """Whether an enforcement is put off for this offer."""

    status = open_enum(EXEMPTIONS)
    expires_at = instant("Until when it is exempt.", allow_null=True)


class EnforcementShape(Shape):
    """What an issue leads to."""

    action = open_enum(ACTIONS, "`SUSPEND`: it is off sale. `REFUSE_PUBLISH`: it cannot go on sale.")
    effective_at = instant(
        "From when on; it may lie ahead. Null: now already, and no later than its event says.",
        allow_null=True,
    )
    exemption = one(ExemptionShape)


class IssueShape(ReasonShape):
    """A reason, on one host, with what it leads to. `WARNING`: it will be one, and `effective_at` says when."""

    host = text("The code of the host carrier.")
    attribute_names = texts(
        "The members of the listing that it is about; none: another listing would not help."
    )
    enforcements = many(EnforcementShape)


class CheckEvidenceShape(Shape):
    """A paper that a check rests on. Its name stands there only where it is your own."""

    kind = open_enum((*Fact.Kind.values, "hosting", "network", "variant"))
    version = number("Which version of it.")
    document = text(required=False)


class NearestMissShape(Shape):
    """What is on record, and what of it is not enough."""

    document = text("The agreement, where it is your own.", required=False)
    version = number(required=False)
    field = open_enum(
        (
            "valid_from",
            "valid_until",
            "waived_until",
            "revoked_at",
            "state",
            "assurance",
            "models",
            "territories",
            "channels",
            "conditions",
            "software",
            "limits",
            "radio",
            "held_since",
        ),
        "What of the record.",
    )
    has = text("What the record says.", allow_null=True, allow_blank=True)
    needs = text("What would have been enough.", allow_null=True)


class CheckShape(Shape):
    """One check of a decision."""

    check = open_enum(CHECKS)
    result = open_enum(
        (PASSED, FAILED, NOT_ENFORCED), "`not_enforced`: the shop's policy does not ask for it."
    )
    rule = open_enum(RULES.values(), "The name of what is asked.")
    rests_on = many(CheckEvidenceShape, "Of an allow: the papers and their versions.")
    reason_codes = texts("Of a deny.")
    nearest_miss = one(
        NearestMissShape, "Null: nothing is on record, or it is the paper of others.", allow_null=True
    )


class AskedShape(Shape):
    """What was decided on."""

    sku = text()
    variant = text("The slug of the variant.")
    host = text("The code of the host carrier.")
    condition = open_enum(Condition.values)
    territory = text()
    channel = open_enum(Channel.values)
    software = text(required=False)


class EvidenceShape(Shape):
    """A document that the decision rests on: only ever one of your own."""

    kind = open_enum(Fact.Kind.values)
    document = text()
    version = number()


class DecisionShape(Shape):
    """A decision on record."""

    id = text()
    host = text("The code of the host carrier.")
    outcome = open_enum(("allow", "deny"))
    question = one(AskedShape)
    policy_version = text("The shop's policy that it was decided under.", allow_null=True)
    checks = many(CheckShape, "All of them, in the order in which they are asked.")
    reasons = many(ReasonShape, "Of a deny; an allow has none.")
    evidence = many(EvidenceShape)
    revision = number("The state of authority that was asked.")
    valid_at = instant()
    expires_at = instant("When the first of what it rests on ends.")


class ListingShape(Shape):
    """A listing under the vendor's SKU, with its offer on each host."""

    sku = text()
    status = open_enum(
        OfferState.values, "The first of LIVE, SUSPENDED, BLOCKED, DRAFT, REMOVED on any host."
    )
    variant = text("The slug of the variant.")
    model_number = text()
    device = text()
    hosts = texts("The codes of the host carriers.")
    condition = open_enum(Condition.values)
    territory = text("ISO 3166-1 code.")
    channel = open_enum(Channel.values)
    software = text("The version that the phone ships with; empty: not stated.")
    description = text()
    price = money()
    on_hand = number("Pieces in stock.")
    offers = many(OfferShape)
    version = number("Absent in a dry run of what is not there yet.", required=False)
    created_at = instant(required=False)
    updated_at = instant(required=False)
    issues = many(IssueShape, "With `include=issues`.", required=False)
    issues_seen_until = instant(
        "With `include=issues`. Null: warnings look 30 days ahead. Else so far only: too much ends within that time.",
        required=False,
        allow_null=True,
    )
    decisions = many(
        DecisionShape, "With `include=decisions`: of each host the newest on record.", required=False
    )


class SavedListingShape(ListingShape):
    """A listing after it was saved, or as it would be."""

    unchanged = flag("It was so already: nothing was stored.", required=False)
    validate_only = flag("It was a dry run: nothing was stored.", required=False)


class PublishedListingShape(ListingShape):
    """A listing after it was published, or as it would be."""

    results = many(PublishResultShape)
    validate_only = flag("It was a dry run: nothing was stored.", required=False)


class ListingPageShape(page_of(ListingShape)):  # type: ignore[misc]
    """A page of listings."""

    synced_to = text(
        "Keep it when the walk is done and give it as `updated_since` the next time: nothing is missed between."
    )


class FallRecordShape(Shape):
    """What ends or begins then. Its name stands there only where it is your own agreement."""

    kind = open_enum((*Fact.Kind.values, "hosting", "network", "variant"))
    version = number()
    document = text(required=False)


class FallShape(Shape):
    """An offer that is on sale and, if nothing is done, will not be."""

    sku = text()
    host = text("The code of the host carrier.")
    variant = text("The slug of the variant.")
    falls_at = instant("The first instant at which it may not be sold any more.")
    record = one(FallRecordShape, "What ends or begins then. Null: no one record.", allow_null=True)
    reasons = many(ReasonShape, "As the decision of then will give them.")


class ExposureShape(page_of(FallShape)):  # type: ignore[misc]
    """What falls by itself. A page may be short, or empty, and still have more after it."""

    valid_at = instant("All pages of a walk are decided for this instant, ...")
    revision = number("... as known at this revision.")
    until = instant("The end of the time that was asked about.")


class HostSummaryShape(Shape):
    """The offers on one host."""

    host = text("The code of the host carrier.")
    offers = serializers.DictField(child=serializers.IntegerField(), help_text="By state.")


class ReasonSummaryShape(Shape):
    """The offers that one reason stands against, as recorded."""

    code = open_enum(REASON_CODES)
    severity = open_enum(SEVERITIES)
    title = text("What it means.")
    offers = number()
    since = instant("The oldest of them.")


class ListingSummaryShape(Shape):
    """Counts of all your listings, as recorded."""

    listings = serializers.DictField(child=serializers.IntegerField(), help_text="By status.")
    by_host = many(HostSummaryShape)
    reasons = many(ReasonSummaryShape, "Those of blocked and suspended offers, most offers first.")
    ending_within_30_days = number(
        "Live offers whose clearance ends within 30 days: what falls of them GET /v1/exposure says."
    )
    synced_to = text("Counted no earlier than at this position of the event log.")
