"""Takedown requests: a manufacturer or a host carrier says that goods must come down, and the sale of them stops.

Who asks may stop its own brand or its own network and nothing else, whatever it names. That holds twice: what is named
must be its own, or the request is refused; and the hold that carries the request out always names the brand or the
network beside what was asked for, so that the engine itself stops nothing else (a hold matches what every dimension of
it matches).

By the shop's policy (settings.TAKEDOWNS) the stop is at once, or once the desk has agreed. Either way it goes through
the front door, and the request, its case and the stop are of one transaction.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Prefetch, Q, QuerySet

from authorization import holds, ledger, outbox, revocations
from authorization.actors import Actor
from authorization.changes import PlaceHold
from authorization.facts import InvalidFact
from authorization.models import Fact, HoldVersion, Revocation
from authorization.revocations import Preview
from authorization.transactions import one_transaction
from catalog.models import Channel, Condition, Device, Listing, ListingHost, Organization, Variant
from storefront import cases, withdrawals
from storefront.models import Case, TakedownRequest
from storefront.rights import Brands, Party, brands_of, owned_by

State = TakedownRequest.State

AT_ONCE, AFTER_REVIEW = "at_once", "after_review"
# Why goods must come down, by who may say so (authorization.changes.WITHDRAWAL_REASONS has the words).
REASONS: Mapping[str, tuple[str, ...]] = {
    "manufacturer": ("MANUFACTURER_DISCLAIMS", "AGREEMENT_TERMINATED", "SAFETY"),
    "carrier": ("CARRIER_TESTS_PENDING", "CARRIER_WITHDRAWS"),
}
# Names in one list of a request.
MOST_NAMES = 200
# What one request may name, in the words of the API, beside whole listings.
NAMED = ("brands", "devices", "models", "vendors")
NARROWED = ("territories", "channels", "conditions")


class TakedownRefused(ValueError):
    """The request does not allow this now. The message says why."""


@dataclass(frozen=True)
class Goods:
    """What is meant, by name. Each list that is given narrows; within a list any of its names will do.

    `brands`, `vendors`: slugs. `devices`: slugs. `models`: slugs or model numbers of variants. `listings`: pairs of a
    vendor's slug and its SKU, in place of all of these.
    """

    brands: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    vendors: tuple[str, ...] = ()
    listings: tuple[tuple[str, str], ...] = ()
    territories: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """What was named, without what was not."""
        said: dict[str, Any] = {name: list(getattr(self, name)) for name in (*NAMED, *NARROWED)}
        said["listings"] = [{"vendor": vendor, "sku": sku} for vendor, sku in self.listings]
        return {name: values for name, values in said.items() if values}


@dataclass(frozen=True)
class Wanted:
    """A request that was checked and not made yet. `targets`: of the hold that it asks for, in order."""

    party: Party
    representative: str
    reason_code: str
    statement: str
    goods: Goods
    targets: tuple[holds.Target, ...]
    # The code of its case, and of its hold.
    code: str = field(default_factory=lambda: cases.new_code("TD"))

    @property
    def change(self) -> PlaceHold:
        return _change(self.code, self.party, self.reason_code, self.statement, self.targets)


# --- what may be asked ------------------------------------------------------------------------------------------


def check(
    *,
    party: Party,
    representative: str,
    reason_code: str,
    statement: str,
    goods: Goods,
    at: datetime,
) -> Wanted:
    """The request as it would be made. Writes nothing. Raises InvalidFact at the member that is at fault."""
    if not party.may_claim:
        raise InvalidFact("party", f"{party.name} has no rights in goods that others sell.")
    if not representative.strip():
        raise InvalidFact("representative", "Nobody of this party has been verified; ask the shop's desk.")
    allowed = reasons_of(party)
    if reason_code not in allowed:
        raise InvalidFact("reason", f"Take one of {', '.join(allowed)}.")
    return Wanted(
        party=party,
        representative=representative,
        reason_code=reason_code,
        statement=cases.check_text("statement", statement),
        goods=goods,
        targets=targets_of(party, goods, at=at),
    )


def reasons_of(party: Party) -> tuple[str, ...]:
    return REASONS["carrier" if party.host is not None else "manufacturer"]


def targets_of(party: Party, goods: Goods, *, at: datetime) -> tuple[holds.Target, ...]:
    """The targets of a hold that stops these goods, as far as they are this party's. Raises InvalidFact.

    A name that does not exist and one of another maker or network get the same answer.
    """
    if not any(getattr(goods, name) for name in (*NAMED, "listings")):
        raise InvalidFact("goods", f"Say which goods: {', '.join(NAMED)} or listings.")
    if goods.listings and any(getattr(goods, name) for name in NAMED):
        raise InvalidFact("goods.listings", "Listings stand alone: leave the other names out.")
    if goods.devices and goods.models:
        raise InvalidFact("goods.models", "Name devices or models; each in a request of its own.")
    found = _Found()
    if party.host is not None:
        _find(found, goods, brands=None, host_id=party.host.pk, at=at)
        found.targets.add(("host", str(party.host.pk)))
    elif party.organization is not None:
        brands = brands_of(party.organization, at=at)
        _find(found, goods, brands=brands, host_id=None, at=at)
        _anchor(found, party.organization, brands)
    for dimension, name in (
        ("territory", "territories"),
        ("channel", "channels"),
        ("condition", "conditions"),
    ):
        found.targets |= {(dimension, value) for value in getattr(goods, name)}
    _check_words(goods)
    return holds.check_targets(found.targets, field="goods")


@dataclass
class _Found:
    """`makers`: of all that was named."""

    targets: set[holds.Target] = field(default_factory=set)
    makers: set[int] = field(default_factory=set)


def _find(found: _Found, goods: Goods, *, brands: Brands | None, host_id: int | None, at: datetime) -> None:
    """Look up what is named, among what is this party's. `brands` None: of every maker."""
    makers = Organization.objects.filter(kind=Organization.Kind.MANUFACTURER)
    devices, variants, listings = Device.objects.all(), Variant.objects.all(), Listing.objects.all()
    if brands is not None:
        own = sorted(brands.own | brands.granted)
        makers = makers.filter(pk__in=own)
        devices = devices.filter(manufacturer__in=own)
        variants = variants.filter(device__manufacturer__in=own)
        listings = listings.filter(variant__device__manufacturer__in=own)
    if host_id is not None:
        listings = listings.filter(pk__in=ListingHost.objects.filter(host=host_id).values("listing"))
    brand_ids = _ids(
        "brands", goods.brands, makers.values_list("slug", "pk"), "You have no brand of this name."
    )
    found.targets |= {("manufacturer", str(pk)) for pk in brand_ids}
    found.makers |= set(brand_ids)

    rows = list(devices.filter(slug__in=goods.devices).values_list("slug", "pk", "manufacturer"))
    ids = _ids(
        "devices", goods.devices, ((slug, pk) for slug, pk, _ in rows), "You have no device of this slug."
    )
    found.targets |= {("device", str(pk)) for pk in ids}
    found.makers |= {maker for _, _, maker in rows}

    named = Q(slug__in=goods.models) | Q(model_number__in=goods.models)
    models = list(variants.filter(named).values_list("slug", "model_number", "pk", "device__manufacturer"))
    pairs = [(name, pk) for slug, number, pk, _ in models for name in (slug, number)]
    ids = _ids("models", goods.models, pairs, "You have no model of this slug or model number.")
    found.targets |= {("variant", str(pk)) for pk in ids}
    found.makers |= {maker for *_, maker in models}

    vendors = Organization.objects.filter(kind=Organization.Kind.VENDOR, slug__in=goods.vendors)
    ids = _ids(
        "vendors", goods.vendors, vendors.values_list("slug", "pk"), "There is no vendor of this slug."
    )
    found.targets |= {("vendor", str(pk)) for pk in ids}

    sold = listings.filter(
        vendor__slug__in={vendor for vendor, _ in goods.listings}, sku__in={sku for _, sku in goods.listings}
    )
    lines = list(sold.values_list("vendor__slug", "sku", "pk", "variant__device__manufacturer"))
    ids = _ids(
        "listings",
        goods.listings,
        (((vendor, sku), pk) for vendor, sku, pk, _ in lines),
        "No listing of this vendor and SKU has goods of yours.",
    )
    found.targets |= {("listing", str(pk)) for pk in ids}
    chosen = set(ids)
    found.makers |= {maker for *_, pk, maker in lines if pk in chosen}
    if brand_ids and not found.makers <= owned_by(brand_ids, at=at):
        raise InvalidFact("goods.brands", "What you name is not of these brands; nothing would be stopped.")


def _ids[N](field_name: str, names: Sequence[N], rows: Iterable[tuple[N, int]], refusal: str) -> list[int]:
    """The id of each name. Raises InvalidFact at the first that is not there."""
    known = dict(rows) if names else {}
    for place, name in enumerate(names):
        if name not in known:
            raise InvalidFact(f"goods.{field_name}[{place}]", refusal)
    return [known[name] for name in names]


def _anchor(found: _Found, company: Organization, brands: Brands) -> None:
    """Tie the hold to the brands of who asks: the engine then stops nothing else, whatever else is named."""
    makers = {maker for maker in found.makers if maker in brands} or {company.pk}
    named = {target for target in found.targets if target[0] != "manufacturer"}
    found.targets = named | {("manufacturer", str(maker)) for maker in makers}
    lent = makers & brands.granted
    if not lent:
        return
    # A hold on a company stops all that belongs to it: of a parent only its own devices are meant.
    if any(dimension in ("device", "variant", "listing") for dimension, _ in found.targets):
        return
    if makers - lent:
        raise InvalidFact(
            "goods.brands", "You may grant for one of these for its own devices only; ask for it by itself."
        )
    devices = Device.objects.filter(manufacturer__in=lent).values_list("pk", flat=True)
    found.targets |= {("device", str(pk)) for pk in devices}
    if not devices:
        raise InvalidFact("goods.brands", "It has no devices here; there is nothing to stop.")


def _check_words(goods: Goods) -> None:
    for name, known in (("channels", Channel.values), ("conditions", Condition.values)):
        for place, word in enumerate(getattr(goods, name)):
            if word not in known:
                raise InvalidFact(f"goods.{name}[{place}]", f"Take one of: {', '.join(known)}.")


# --- acts -------------------------------------------------------------------------------------------------------


def look(wanted: Wanted, *, at: datetime) -> Preview:
    """What the stop would take off sale. Writes nothing. Raises InvalidFact."""
    return revocations.preview(wanted.change, at=at)


def is_at_once() -> bool:
    return bool(settings.TAKEDOWNS == AT_ONCE)


def find_twin(wanted: Wanted) -> TakedownRequest | None:
    """The same word of the same party, which is still open or in force: it is not said twice.

    A vendor that it names and that was let through is stopped by saying so again.
    """
    said = requests_of(wanted.party).filter(
        state__in=[State.WAITING, State.IN_FORCE],
        reason_code=wanted.reason_code,
        targets=[list(target) for target in wanted.targets],
    )
    rows = list(said.order_by("-id"))
    freed = let_through_by(rows)
    return next(
        (
            row
            for row in rows
            if row.state == State.WAITING
            or (is_stopping(row) and not set(freed[row.pk]) & set(wanted.goods.vendors))
        ),
        None,
    )


def request_takedown(*, wanted: Wanted, seen: Preview | None, by: Actor, at: datetime) -> TakedownRequest:
    """Make the request. Where the shop stops at once, nothing of it can be sold from this commit on.

    `seen`: what `look` showed; not needed where the desk decides first. Raises WorldMoved when that is not what would
    happen any more, TakedownRefused where the same word was said meanwhile, InvalidFact.
    """
    with one_transaction():
        stopped: Revocation | None = None
        if is_at_once():
            if seen is None:
                raise ValueError("A stop at once is looked at first.")
            stopped = _stop(wanted.change, party=wanted.party, said_at=at, seen=seen, by=by, at=at)
        else:
            # Behind the fence requests come one by one; without it they would not.
            type(wanted.party.row)._base_manager.select_for_update(no_key=True).get(pk=wanted.party.row.pk)
        twin = find_twin(wanted)
        if twin is not None:
            raise TakedownRefused(f"You have asked for the same in {twin.public_id}.")
        case = cases.open_case(
            kind=Case.Kind.TAKEDOWN,
            party=wanted.party,
            subject=f"Takedown: {say_goods(wanted.goods)}",
            statement=wanted.statement,
            code=wanted.code,
            revocation=stopped,
            by=by,
            at=at,
        )
        made = TakedownRequest.objects.create(
            case=case,
            state=State.IN_FORCE if stopped is not None else State.WAITING,
            reason_code=wanted.reason_code,
            statement=wanted.statement,
            representative=wanted.representative[:100],
            targets=[list(target) for target in wanted.targets],
            asked=wanted.goods.as_json(),
            hold=stopped.named_fact if stopped is not None else None,
            revocation=stopped,
            requested_by=str(by),
            requested_at=at,
        )
        _record("takedown.requested", made, by=by, at=at)
    return made


def grant(*, request: TakedownRequest, seen: Preview, note: str, by: Actor, at: datetime) -> TakedownRequest:
    """The desk agrees: the sale stops now. Raises WorldMoved, TakedownRefused, InvalidFact."""
    party = cases.party_of(request.case)
    with one_transaction():
        stopped = _stop(
            change_of(request), party=party, said_at=request.requested_at, seen=seen, by=by, at=at
        )
        # Behind the fence: who decided meanwhile has committed.
        locked = _lock(request, State.WAITING)
        _decide(
            locked, State.IN_FORCE, by=by, at=at, reason=note, hold=stopped.named_fact, revocation=stopped
        )
        Case.objects.filter(pk=locked.case_id).update(revocation=stopped)
        _record("takedown.granted", locked, by=by, at=at, reason=note)
        cases.close(
            case=locked.case,
            outcome=Case.Outcome.UPHELD,
            resolution=note.strip() or "The desk agreed: the sale of these goods has stopped.",
            by=by,
            at=at,
        )
    return locked


def decline(*, request: TakedownRequest, reason: str, by: Actor, at: datetime) -> TakedownRequest:
    """The desk does not stop these goods. Raises TakedownRefused, CaseRefused, InvalidFact."""
    with transaction.atomic():
        locked = _lock(request, State.WAITING)
        _decide(locked, State.DECLINED, by=by, at=at, reason=reason)
        _record("takedown.declined", locked, by=by, at=at, reason=reason)
        cases.close(case=locked.case, outcome=Case.Outcome.REVERSED, resolution=reason, by=by, at=at)
    return locked


def lift(
    *, request: TakedownRequest, reason: str, by: Actor, at: datetime, outcome: str = Case.Outcome.WITHDRAWN
) -> TakedownRequest:
    """Take the request back, in whole: by who asked, or by the desk (`outcome` reversed).

    What nothing else stops comes back. Raises TakedownRefused, InvalidFact.
    """
    reason = cases.check_text("reason", reason)
    with one_transaction():
        if request.state == State.IN_FORCE and is_stopping(request):
            is_mistake = outcome == Case.Outcome.REVERSED
            withdrawals.undo(
                revocation=_revocation_of(request), reason=reason, is_mistake=is_mistake, by=by, at=at
            )
        locked = _lock(request, State.WAITING, State.IN_FORCE)
        if locked.state != request.state:
            raise TakedownRefused("It was decided on meanwhile; read it again.")
        _decide(locked, State.LIFTED, by=by, at=at, reason=reason)
        _record("takedown.lifted", locked, by=by, at=at, reason=reason)
        if locked.case.state != Case.State.CLOSED:
            cases.close(case=locked.case, outcome=outcome, resolution=reason, by=by, at=at)
        elif outcome == Case.Outcome.REVERSED:
            # Who asked was told that it stands.
            _announce_lifted(locked, at=at)
    return locked


def let_through(
    *, request: TakedownRequest, vendors: Sequence[str], reason: str, by: Actor, at: datetime
) -> TakedownRequest:
    """Who asked lets these vendors (by slug) go on selling; for everybody else the stop stays.

    Raises TakedownRefused, InvalidFact.
    """
    reason = cases.check_text("reason", reason)
    found = Organization.objects.filter(kind=Organization.Kind.VENDOR, slug__in=vendors)
    known = dict(found.values_list("slug", "pk"))
    for place, slug in enumerate(vendors):
        if slug not in known:
            raise InvalidFact(f"vendors[{place}]", "There is no vendor of this slug.")
    with one_transaction():
        if not is_stopping(request):
            raise TakedownRefused("It stops nothing now; there is nothing to let through.")
        exemption = holds.Exemption(
            targets=tuple(("vendor", str(known[slug])) for slug in vendors),
            valid_from=at,
            note=reason[:300],
        )
        withdrawals.undo(
            revocation=_revocation_of(request), reason=reason, is_mistake=False, by=by, at=at, part=exemption
        )
        locked = _lock(request, State.IN_FORCE)
        _record("takedown.let_through", locked, by=by, at=at, reason=reason, vendors=sorted(set(vendors)))
    return locked


# --- reading ----------------------------------------------------------------------------------------------------


def requests_of(party: Party) -> QuerySet[TakedownRequest]:
    """All that this party asked for, with what is shown of them."""
    of_party = {f"case__{name}": row for name, row in party.columns.items() if row is not None}
    return with_standing(TakedownRequest.objects.filter(**of_party))


def with_standing(rows: QuerySet[TakedownRequest]) -> QuerySet[TakedownRequest]:
    """With the current version of each one's hold, and its proof: whether a stop stands is read from the hold."""
    current = HoldVersion.objects.current().prefetch_related("exemptions", "targets")
    return rows.select_related(
        "case__organization", "case__host", "hold", "revocation__removal_proof"
    ).prefetch_related(Prefetch("hold__hold_versions", current, to_attr="now"))


def is_stopping(request: TakedownRequest) -> bool:
    """Does its hold stand? The desk may have released it in another way."""
    if request.hold is None:
        return False
    versions = getattr(request.hold, "now", None)
    version = versions[0] if versions else holds.current(request.hold)
    return version.released_at is None


def let_through_by(requests: Sequence[TakedownRequest]) -> dict[int, list[str]]:
    """Of each of these (rows from `with_standing`) the slugs of the vendors that go on selling under it."""
    named: dict[int, list[int]] = {}
    for request in requests:
        versions = getattr(request.hold, "now", None) or []
        targets = [target for version in versions for target in version.targets.all()]
        named[request.pk] = [int(each.value) for each in targets if each.part and each.dimension == "vendor"]
    vendor_ids = {vendor_id for ids in named.values() for vendor_id in ids}
    slugs = (
        dict(Organization.objects.filter(pk__in=vendor_ids).values_list("pk", "slug")) if vendor_ids else {}
    )
    return {pk: sorted(slugs[vendor_id] for vendor_id in set(ids)) for pk, ids in named.items()}


def change_of(request: TakedownRequest) -> PlaceHold:
    """The stop that a waiting request asks for."""
    targets = tuple((dimension, value) for dimension, value in request.targets)
    return _change(
        request.case.code, cases.party_of(request.case), request.reason_code, request.statement, targets
    )


def say_goods(goods: Goods | Mapping[str, Any]) -> str:
    """What was named, in a line."""
    said = goods.as_json() if isinstance(goods, Goods) else goods
    words = []
    for name, values in said.items():
        texts = [
            f"{value['vendor']}/{value['sku']}" if isinstance(value, Mapping) else value for value in values
        ]
        more = f" and {len(texts) - 5} more" if len(texts) > 5 else ""
        words.append(f"{name} {', '.join(texts[:5])}{more}")
    return "; ".join(words)


# --- rows -------------------------------------------------------------------------------------------------------


def _change(
    code: str, party: Party, reason_code: str, statement: str, targets: tuple[holds.Target, ...]
) -> PlaceHold:
    return PlaceHold(
        code=code, placed_by=party.name, reason_code=reason_code, note=statement, targets=targets
    )


def _stop(
    change: PlaceHold, *, party: Party, said_at: datetime, seen: Preview, by: Actor, at: datetime
) -> Revocation:
    return withdrawals.confirm(
        change,
        digest=seen.digest,
        token=seen.token,
        requested_by=party.name,
        word_received_at=said_at,
        note=change.note,
        by=by,
        at=at,
    )


def _revocation_of(request: TakedownRequest) -> Revocation:
    if request.revocation is None:
        raise TakedownRefused("It has stopped nothing yet.")
    return request.revocation


def _lock(request: TakedownRequest, *states: str) -> TakedownRequest:
    """The row, locked and in one of these states. Raises TakedownRefused."""
    rows = TakedownRequest.objects.select_for_update(of=("self",), no_key=True).select_related("case")
    locked = rows.get(pk=request.pk)
    if locked.state not in states:
        who = f" by {locked.decided_by}" if locked.decided_by else ""
        raise TakedownRefused(f"It is {locked.get_state_display()} already{who}.")
    return locked


def _decide(
    request: TakedownRequest,
    state: str,
    *,
    by: Actor,
    at: datetime,
    reason: str,
    hold: Fact | None = None,
    revocation: Revocation | None = None,
) -> None:
    request.state, request.decided_by, request.decided_at = state, str(by), at
    names = ["state", "decided_by", "decided_at"]
    if revocation is not None:
        request.hold, request.revocation = hold, revocation
        names += ["hold", "revocation"]
    request.save(update_fields=names)


def _announce_lifted(request: TakedownRequest, *, at: datetime) -> None:
    outbox.announce(
        event="takedown.lifted",
        payload={"event": "takedown.lifted", "case_id": request.case_id, "request_id": request.pk},
        at=at,
    )


def _record(
    act: str, request: TakedownRequest, *, by: Actor, at: datetime, reason: str = "", **also: Any
) -> None:
    ledger.record(
        act=act,
        subject_kind="takedown_request",
        subject_id=request.pk,
        by=by,
        at=at,
        reason=reason or request.statement,
        evidence={
            "id": str(request.public_id),
            "case": request.case.code,
            "party": request.case.organization.slug if request.case.organization else str(request.case.host),
            "representative": request.representative,
            "reason_code": request.reason_code,
            "targets": request.targets,
            **also,
        },
        revision=request.revocation.revision_id if request.revocation is not None else None,
    )
