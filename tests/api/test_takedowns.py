"""Takedown requests: the words of February 2016 are possible, and nobody stops what is not theirs."""

from typing import Any

import pytest
from django.core import mail
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from authorization import clock, holds, revocations
from authorization.models import Fact, HoldTarget, LedgerEntry, Revocation
from authorization.revocations import WorldMoved
from catalog.models import Organization
from seeds import factories
from storefront import accounts, cases, takedowns
from storefront.models import Case, OrganizationKey, RemovalProof, SentMessage, TakedownRequest
from storefront.rights import Party, brands_of
from storefront.takedowns import Goods
from tests.api.claimants import (
    DISCLAIMS,
    REPRESENTATIVE,
    UNTESTED,
    Incident,
    ask,
    make_incident,
    maker,
    post,
    react,
    read,
    speaker,
    variant,
)
from tests.api.conftest import Caller, pointers, problem

pytestmark = pytest.mark.django_db
ALL = "/v1/takedown-requests"
XIAOMIS = {"redmi-2", "mi-3", "mi-4", "mi-4 of honest"}
MEIZUS = {"m2-note", "m2-note on att"}


@pytest.fixture
def incident() -> Incident:
    return make_incident()


@pytest.fixture
def xiaomi(incident: Incident) -> Caller:
    return speaker(incident.xiaomi)


@pytest.fixture
def tmobile(incident: Incident) -> Caller:
    return speaker(incident.tmobile)


def test_the_words_of_2016_and_how_far_they_reach(
    incident: Incident, xiaomi: Caller, tmobile: Caller
) -> None:
    """incident-2016.md, 9.2: the maker's word covers its own phones; the carrier's covers Meizu too, on its network."""
    at = {"territories": ["US"]}
    said = read(ask(xiaomi, {"brands": ["xiaomi"], **at}, reason="MANUFACTURER_DISCLAIMS"), 201)
    # Before any worker has done anything.
    assert incident.on_sale() == MEIZUS
    assert (said["state"], said["is_stopping"], said["stopped"]["offers"]) == ("in_force", True, 4)
    assert (said["representative"], said["statement"]) == (REPRESENTATIVE, DISCLAIMS)

    asked = {"brands": ["xiaomi", "meizu"]}
    tested = read(ask(tmobile, asked, reason="CARRIER_TESTS_PENDING", statement=UNTESTED), 201)
    # What the maker has stopped already falls for the carrier's sake no more.
    assert tested["stopped"]["offers"] == 1
    assert incident.on_sale() == {"m2-note on att"}
    react()
    assert incident.live() == {"m2-note on att"}

    # The host's hold is lifted and the maker's denial stays: no Xiaomi phone returns.
    lifted = read(post(tmobile, f"{ALL}/{tested['id']}/lift", {"reason": "They passed."}))
    assert (lifted["state"], lifted["is_stopping"]) == ("lifted", False)
    react()
    assert incident.live() == incident.on_sale() == MEIZUS
    read(post(xiaomi, f"{ALL}/{said['id']}/lift", {"reason": "We have an agreement now."}))
    react()
    assert incident.live() == XIAOMIS | MEIZUS


def test_request_case_and_stop_are_of_one_transaction(
    incident: Incident, xiaomi: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: Any) -> Case:
        raise RuntimeError("after the stop, before the rows")

    monkeypatch.setattr(cases, "open_case", fail)
    assert ask(xiaomi, {"brands": ["xiaomi"]}, reason="MANUFACTURER_DISCLAIMS").status_code == 500
    assert not Fact.objects.filter(kind=Fact.Kind.HOLD).exists()
    assert incident.on_sale() == XIAOMIS | MEIZUS

    monkeypatch.undo()

    def refuse(*_: Any, **__: Any) -> Revocation:
        raise RuntimeError("no stop")

    monkeypatch.setattr(takedowns, "_stop", refuse)
    assert ask(xiaomi, {"brands": ["xiaomi"]}, reason="MANUFACTURER_DISCLAIMS").status_code == 500
    assert not TakedownRequest.objects.exists()
    assert not Case.objects.exists()
    assert not SentMessage.objects.exists()


def test_the_act_alone_is_one_transaction_too(incident: Incident, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the transaction that an Idempotency-Key brings along."""
    at = clock.now()
    wanted = takedowns.check(
        party=Party(organization=incident.xiaomi),
        representative=REPRESENTATIVE,
        reason_code="SAFETY",
        statement="They burn.",
        goods=Goods(brands=("xiaomi",)),
        at=at,
    )
    seen = takedowns.look(wanted, at=at)

    def fail(**_: Any) -> Case:
        raise RuntimeError("after the stop, before the rows")

    monkeypatch.setattr(cases, "open_case", fail)
    with pytest.raises(RuntimeError):
        takedowns.request_takedown(wanted=wanted, seen=seen, by=factories.BUILDER, at=at)
    assert not Fact.objects.filter(kind=Fact.Kind.HOLD).exists()
    assert incident.on_sale() == XIAOMIS | MEIZUS


def test_who_asked_gets_the_case_and_the_proof(incident: Incident, xiaomi: Caller) -> None:
    said = read(ask(xiaomi, {"devices": ["mi-4"]}, reason="MANUFACTURER_DISCLAIMS"), 201)
    assert said["proof"] is None
    react()
    proof = RemovalProof.objects.get()
    assert proof.recipient == "Xiaomi"
    shown = read(xiaomi.get(f"{ALL}/{said['id']}"))
    assert shown["proof"]["href"].endswith(f"/proofs/{proof.public_id}/")
    assert proof.statement["offer_count"] == shown["stopped"]["offers"] == 2

    case = read(xiaomi.get(f"/v1/cases/{said['case']}"))
    assert (case["kind"], case["state"], case["about"]) == (
        "takedown",
        "open",
        {"takedown_request": said["id"]},
    )
    assert [message["body"] for message in case["messages"]] == [DISCLAIMS]
    to_maker = [each for each in mail.outbox if each.to == [incident.xiaomi.contact_email]]
    assert {each.subject.split(":")[0] for each in to_maker} == {
        f"Your case {said['case']} is open",
        "Proof of removal",
    }
    entry = LedgerEntry.objects.get(act="takedown.requested")
    assert (entry.actor, entry.evidence["representative"]) == ("manufacturer:xiaomi", REPRESENTATIVE)


def test_a_vendor_learns_who_says_so_and_how_to_appeal_and_nothing_of_others(
    incident: Incident, xiaomi: Caller
) -> None:
    words = "Omni and Honest sell what nobody gave them."
    read(ask(xiaomi, {"devices": ["mi-4"]}, reason="MANUFACTURER_DISCLAIMS", statement=words), 201)
    react()
    [told] = [each for each in mail.outbox if each.to == [incident.omni.contact_email]]
    assert "Xiaomi" in told.body
    assert "/v1/cases" in told.body
    for theirs in ("Honest", "H-MI4", words, REPRESENTATIVE):
        assert theirs not in told.body
    listing = read(speaker(incident.omni).get("/v1/listings/SKU-MI-4"))
    [reason] = listing["offers"][0]["reasons"]
    assert reason["code"] == "ON_HOLD"
    assert "Xiaomi" in reason["message"]
    assert "appeal" in {link["rel"] for link in reason["links"]}
    assert words not in str(listing)


# --- nobody stops what is not theirs ----------------------------------------------------------------------------

FOREIGN: list[tuple[dict[str, Any], str]] = [
    ({"brands": ["meizu"]}, "/goods/brands/0"),
    ({"devices": ["mi-4", "m2-note"]}, "/goods/devices/1"),
    ({"models": ["M2-NOTE"]}, "/goods/models/0"),
    ({"models": ["m2-note-global"]}, "/goods/models/0"),
    ({"listings": [{"vendor": "honest-phones", "sku": "H-M2"}]}, "/goods/listings/0"),
]


def test_a_maker_names_only_what_is_its_own(incident: Incident, xiaomi: Caller) -> None:
    for goods, pointer in FOREIGN:
        body = problem(ask(xiaomi, goods, reason="MANUFACTURER_DISCLAIMS"), 400, "invalid_request")
        assert pointers(body) == {pointer}
        # What is another's is refused in the words of what is not there.
        [name] = goods
        nothing = {name: [{"vendor": "x", "sku": "x"}] if name == "listings" else ["no-such-thing"]}
        unknown = problem(ask(xiaomi, nothing, reason="MANUFACTURER_DISCLAIMS"), 400, "invalid_request")
        assert unknown["errors"][0]["detail"] == body["errors"][0]["detail"]
    assert not Fact.objects.filter(kind=Fact.Kind.HOLD).exists()
    assert incident.on_sale() == XIAOMIS | MEIZUS


def test_a_vendor_that_a_maker_names_loses_the_makers_goods_only(incident: Incident, xiaomi: Caller) -> None:
    said = read(ask(xiaomi, {"vendors": ["omni-electronics-hk"]}, reason="MANUFACTURER_DISCLAIMS"), 201)
    assert said["stopped"]["offers"] == 3
    assert incident.on_sale() == MEIZUS | {"mi-4 of honest"}


def test_a_carrier_stops_nothing_on_another_network(incident: Incident) -> None:
    att = speaker(incident.att)
    said = read(ask(att, {"brands": ["xiaomi", "meizu"]}, reason="CARRIER_WITHDRAWS"), 201)
    assert said["stopped"]["offers"] == 1
    assert incident.on_sale() == XIAOMIS | {"m2-note"}
    elsewhere = {"listings": [{"vendor": "honest-phones", "sku": "H-MI4"}]}
    body = problem(ask(att, elsewhere, reason="CARRIER_WITHDRAWS"), 400, "invalid_request")
    assert pointers(body) == {"/goods/listings/0"}


def test_every_stop_is_tied_to_who_asked_for_it(incident: Incident) -> None:
    """The second guard: were a foreign name let in, the hold would still match nothing of it."""
    at, meizu = clock.now(), str(incident.meizu.pk)
    foreign = ("device", str(incident.offers["m2-note"].listing.variant.device_id))
    brands = brands_of(incident.xiaomi, at=at)
    for let_in in ({foreign}, {("manufacturer", meizu), foreign}):
        found = takedowns._Found(targets=set(let_in), makers={incident.meizu.pk})
        takedowns._anchor(found, incident.xiaomi, brands)
        assert found.targets == {foreign, ("manufacturer", str(incident.xiaomi.pk))}
        factories.make_hold(targets=found.targets, at=at)
        assert incident.on_sale() == XIAOMIS | MEIZUS
    on_network = takedowns.targets_of(Party(host=incident.att), Goods(devices=("mi-4",)), at=at)
    assert ("host", str(incident.att.pk)) in on_network


def test_what_belongs_to_a_maker_is_its_own_and_its_parent_is_not(incident: Incident, xiaomi: Caller) -> None:
    at = clock.now()
    group, sister, agency = maker("group"), maker("sister"), maker("agency")
    factories.make_affiliation(parent=group, child=incident.xiaomi, at=at)
    factories.make_affiliation(parent=group, child=sister, at=at)
    factories.make_affiliation(parent=group, child=agency, may_grant_for_parent=True, at=at)
    for of in (group, sister):
        phone = variant(of, f"{of.slug}-one")
        made = factories.make_sellable(
            vendor=incident.honest, variant=phone, host=incident.att, at=at, sku=of.slug
        )
        incident.offers[of.slug] = made.offer
    everything = XIAOMIS | MEIZUS | {"group", "sister"}
    # Up and sideways: no.
    for brand in ("group", "sister"):
        problem(ask(xiaomi, {"brands": [brand]}, reason="SAFETY"), 400, "invalid_request")
    # One that may grant for its parent speaks for the parent's own devices, not for its sisters'.
    said = read(ask(speaker(agency), {"brands": ["group"]}, reason="MANUFACTURER_DISCLAIMS"), 201)
    assert incident.on_sale() == everything - {"group"}
    read(post(speaker(agency), f"{ALL}/{said['id']}/lift", {"reason": "Solved."}))
    # Down: yes, the brand that is named alone, or all of it.
    owner = speaker(group)
    read(ask(owner, {"brands": ["sister"]}, reason="MANUFACTURER_DISCLAIMS"), 201)
    assert incident.on_sale() == everything - {"sister"}
    read(ask(owner, {"vendors": ["honest-phones"]}, reason="MANUFACTURER_DISCLAIMS"), 201)
    assert incident.on_sale() == everything - {"sister", "group", "mi-4 of honest"}


def test_only_a_verified_representative_of_a_maker_or_carrier_asks(
    incident: Incident, xiaomi: Caller, stranger: Caller
) -> None:
    goods = {"brands": ["xiaomi"]}
    distributor = factories.OrganizationFactory.create(kind=Organization.Kind.DISTRIBUTOR)
    for caller in (speaker(incident.omni), speaker(distributor)):
        problem(ask(caller, goods, reason="MANUFACTURER_DISCLAIMS"), 403, "not_for_this_key")
        problem(caller.get(ALL), 403, "not_for_this_key")
    problem(ask(stranger, goods, reason="MANUFACTURER_DISCLAIMS"), 401, "unauthenticated")
    usual = speaker(incident.xiaomi, scopes=None, representative="")
    refused = problem(ask(usual, goods, reason="MANUFACTURER_DISCLAIMS"), 403, "missing_scope")
    assert refused["scope"] == accounts.TAKES_DOWN
    OrganizationKey.objects.update(representative="")
    refused = problem(ask(xiaomi, goods, reason="MANUFACTURER_DISCLAIMS"), 403, "not_for_this_key")
    assert "representative" in refused["detail"]
    assert not TakedownRequest.objects.exists()


def test_of_the_requests_of_others_nothing_is_found(
    incident: Incident, xiaomi: Caller, tmobile: Caller
) -> None:
    said = read(ask(xiaomi, {"devices": ["mi-4"]}, reason="SAFETY"), 201)
    for caller in (tmobile, speaker(incident.meizu)):
        problem(caller.get(f"{ALL}/{said['id']}"), 404, "not_found")
        problem(post(caller, f"{ALL}/{said['id']}/lift", {"reason": "x"}), 404, "not_found")
        problem(caller.get(f"/v1/cases/{said['case']}"), 404, "not_found")
        assert read(caller.get(ALL))["data"] == []
    assert incident.on_sale() == (XIAOMIS | MEIZUS) - {"mi-4", "mi-4 of honest"}


# --- how it is asked --------------------------------------------------------------------------------------------


def test_what_is_asked_must_say_something(incident: Incident, xiaomi: Caller, tmobile: Caller) -> None:
    one = [{"vendor": "omni-electronics-hk", "sku": "SKU-MI-4"}]
    for caller, goods, reason, pointer in (
        (xiaomi, {}, "SAFETY", "/goods"),
        (xiaomi, {"territories": ["US"]}, "SAFETY", "/goods"),
        (xiaomi, {"devices": ["mi-4"], "models": ["MI-3"]}, "SAFETY", "/goods/models"),
        (xiaomi, {"devices": ["mi-4"], "listings": one}, "SAFETY", "/goods/listings"),
        (xiaomi, {"vendors": ["nobody"]}, "SAFETY", "/goods/vendors/0"),
        (xiaomi, {"devices": ["mi-4"], "conditions": ["mint"]}, "SAFETY", "/goods/conditions/0"),
        (xiaomi, {"devices": ["mi-4"]}, "CARRIER_WITHDRAWS", "/reason"),
        (tmobile, {"devices": ["mi-4"]}, "SAFETY", "/reason"),
        (tmobile, {"brands": ["meizu"], "devices": ["mi-4"]}, "CARRIER_WITHDRAWS", "/goods/brands"),
        (xiaomi, {"devices": ["mi-4"], "hosts": ["att"]}, "SAFETY", "/goods/hosts"),
    ):
        assert pointers(problem(ask(caller, goods, reason=reason), 400, "invalid_request")) == {pointer}
    empty = ask(xiaomi, {"devices": ["mi-4"]}, reason="SAFETY", statement="  ")
    assert pointers(problem(empty, 400, "invalid_request")) == {"/statement"}
    assert not TakedownRequest.objects.exists()


def test_a_request_is_made_once(incident: Incident, xiaomi: Caller) -> None:
    body = {"reason": "SAFETY", "statement": "They burn.", "goods": {"devices": ["mi-4"]}}
    problem(xiaomi.post(ALL, body), 400, "idempotency_key_required")
    first = post(xiaomi, ALL, body, key="one")
    again = post(xiaomi, ALL, body, key="one")
    assert (first.content, again["Idempotent-Replayed"]) == (again.content, "true")
    # Under another key it is the same word still.
    unchanged = read(post(xiaomi, ALL, body, key="two"))
    assert (unchanged["unchanged"], unchanged["id"]) == (True, read(first, 201)["id"])
    assert (TakedownRequest.objects.count(), Revocation.objects.count()) == (1, 1)
    # Once lifted it may be said anew.
    read(post(xiaomi, f"{ALL}/{unchanged['id']}/lift", {"reason": "Solved."}))
    assert read(post(xiaomi, ALL, body, key="three"), 201)["id"] != unchanged["id"]


def test_of_two_at_once_one_is_refused_and_stops_nothing_more(
    incident: Incident, xiaomi: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one commits between the first look for a twin and the fence."""
    goods = {"devices": ["mi-4"]}
    read(ask(xiaomi, goods, reason="SAFETY"), 201)
    real, looks = takedowns.find_twin, [None]

    def too_early(wanted: Any) -> TakedownRequest | None:
        return looks.pop() if looks else real(wanted)

    monkeypatch.setattr(takedowns, "find_twin", too_early)
    problem(ask(xiaomi, goods, reason="SAFETY"), 409, "already_open")
    assert (TakedownRequest.objects.count(), Revocation.objects.count(), Case.objects.count()) == (1, 1, 1)


def test_a_trial_says_what_would_stop_and_stops_nothing(incident: Incident, xiaomi: Caller) -> None:
    body = {"reason": "SAFETY", "statement": "x", "goods": {"brands": ["xiaomi"]}}
    tried = read(xiaomi.post(f"{ALL}?validate_only=true", body))
    assert (tried["would_stop"], tried["validate_only"], tried["state"]) == (4, True, "in_force")
    assert incident.on_sale() == XIAOMIS | MEIZUS
    assert not TakedownRequest.objects.exists()
    assert not Case.objects.exists()
    assert not Revocation.objects.exists()


def test_a_world_that_moves_meanwhile_is_looked_at_again(
    incident: Incident, xiaomi: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A revision comes between the look and the fence: nothing of the first try stays, and the second one holds."""
    real = revocations._execute_if_unmoved
    moved: list[Any] = []

    def slip_in_between(*args: Any, **kwargs: Any) -> Revocation | None:
        if not moved:
            moved.append(args)
            with transaction.atomic():
                transaction.set_rollback(True)
            return None
        return real(*args, **kwargs)

    monkeypatch.setattr(revocations, "_execute_if_unmoved", slip_in_between)
    read(ask(xiaomi, {"devices": ["mi-4"]}, reason="SAFETY"), 201)
    assert len(moved) == 1
    assert (TakedownRequest.objects.count(), Case.objects.count()) == (1, 1)
    assert "mi-4" not in incident.on_sale()


def test_a_race_that_is_lost_inside_the_transaction_is_said_as_such(
    incident: Incident, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The desk's page shows the new picture then; nothing can be asked any more in the transaction that is lost."""
    settings.TAKEDOWNS = takedowns.AFTER_REVIEW
    read(ask(speaker(incident.xiaomi), {"devices": ["mi-4"]}, reason="SAFETY"), 201)
    request, at = TakedownRequest.objects.get(), clock.now()
    seen = revocations.preview(takedowns.change_of(request), at=at)

    def lose(*_: Any) -> None:
        with transaction.atomic():
            transaction.set_rollback(True)

    monkeypatch.setattr(revocations, "_execute_if_unmoved", lose)
    with pytest.raises(WorldMoved) as lost:
        takedowns.grant(request=request, seen=seen, note="", by=factories.BUILDER, at=at)
    assert lost.value.preview is None
    request.refresh_from_db()
    assert request.state == "waiting"


def test_lifting_for_one_vendor_leaves_the_stop_for_all_others(incident: Incident, xiaomi: Caller) -> None:
    said = read(ask(xiaomi, {"brands": ["xiaomi"]}, reason="MANUFACTURER_DISCLAIMS"), 201)
    react()
    path = f"{ALL}/{said['id']}/lift"
    body = problem(post(xiaomi, path, {"reason": "x", "vendors": ["nobody"]}), 400, "invalid_request")
    assert pointers(body) == {"/vendors/0"}
    shown = read(post(xiaomi, path, {"reason": "They signed.", "vendors": ["honest-phones"]}))
    assert (shown["state"], shown["let_through"]) == ("in_force", ["honest-phones"])
    react()
    assert incident.live() == incident.on_sale() == MEIZUS | {"mi-4 of honest"}
    read(post(xiaomi, path, {"reason": "All did."}))
    problem(post(xiaomi, path, {"reason": "Again."}), 409, "invalid_transition")
    gone = post(xiaomi, path, {"reason": "x", "vendors": ["honest-phones"]})
    problem(gone, 409, "invalid_transition")


def test_a_hold_that_the_desk_released_is_told_as_it_is(incident: Incident, xiaomi: Caller) -> None:
    said = read(ask(xiaomi, {"devices": ["mi-4"]}, reason="SAFETY"), 201)
    request = TakedownRequest.objects.get()
    assert request.hold is not None
    holds.release_hold(fact=request.hold, by=factories.BUILDER, at=clock.now(), reason="by hand")
    shown = read(xiaomi.get(f"{ALL}/{said['id']}"))
    assert (shown["state"], shown["is_stopping"]) == ("in_force", False)
    # It may be said anew, and the old word lifted.
    assert read(ask(xiaomi, {"devices": ["mi-4"]}, reason="SAFETY"), 201)["is_stopping"]
    assert read(post(xiaomi, f"{ALL}/{said['id']}/lift", {"reason": "Tidy."}))["state"] == "lifted"
    assert "mi-4" not in incident.on_sale()


# --- by the desk first ------------------------------------------------------------------------------------------


def test_where_the_shop_decides_first_nothing_stops_until_it_has(
    incident: Incident, xiaomi: Caller, settings: Any
) -> None:
    settings.TAKEDOWNS = takedowns.AFTER_REVIEW
    said = read(ask(xiaomi, {"devices": ["mi-4"]}, reason="MANUFACTURER_DISCLAIMS"), 201)
    assert (said["state"], said["stopped"], said["is_stopping"]) == ("waiting", None, False)
    assert incident.on_sale() == XIAOMIS | MEIZUS
    request, at = TakedownRequest.objects.get(), clock.now()
    seen = revocations.preview(takedowns.change_of(request), at=at)
    takedowns.grant(request=request, seen=seen, note="", by=factories.BUILDER, at=at)
    assert incident.on_sale() == (XIAOMIS | MEIZUS) - {"mi-4", "mi-4 of honest"}
    revocation = Revocation.objects.get()
    assert (revocation.requested_by, revocation.word_received_at) == ("Xiaomi", request.requested_at)
    shown = read(xiaomi.get(f"{ALL}/{said['id']}"))
    assert (shown["state"], shown["stopped"]["offers"]) == ("in_force", 2)
    assert read(xiaomi.get(f"/v1/cases/{said['case']}"))["outcome"] == "upheld"
    with pytest.raises(takedowns.TakedownRefused):
        takedowns.decline(request=request, reason="No.", by=factories.BUILDER, at=at)


def test_a_declined_request_stops_nothing_and_says_why(
    incident: Incident, xiaomi: Caller, settings: Any
) -> None:
    settings.TAKEDOWNS = takedowns.AFTER_REVIEW
    said = read(ask(xiaomi, {"devices": ["mi-4"]}, reason="MANUFACTURER_DISCLAIMS"), 201)
    twin = read(ask(xiaomi, {"devices": ["mi-4"]}, reason="MANUFACTURER_DISCLAIMS"))
    assert (twin["id"], twin["unchanged"]) == (said["id"], True)
    request, at = TakedownRequest.objects.get(), clock.now()
    takedowns.decline(request=request, reason="Show us the contract.", by=factories.BUILDER, at=at)
    react()
    assert read(xiaomi.get(f"{ALL}/{said['id']}"))["state"] == "declined"
    case = read(xiaomi.get(f"/v1/cases/{said['case']}"))
    assert (case["outcome"], case["resolution"]) == ("reversed", "Show us the contract.")
    assert "Show us the contract." in mail.outbox[-1].body
    seen = revocations.preview(takedowns.change_of(request), at=at)
    with pytest.raises(takedowns.TakedownRefused):
        takedowns.grant(request=request, seen=seen, note="", by=factories.BUILDER, at=at)
    assert incident.on_sale() == XIAOMIS | MEIZUS


def test_a_look_that_is_stale_stops_nothing(incident: Incident, xiaomi: Caller, settings: Any) -> None:
    settings.TAKEDOWNS = takedowns.AFTER_REVIEW
    read(ask(xiaomi, {"devices": ["mi-4"]}, reason="MANUFACTURER_DISCLAIMS"), 201)
    request, at = TakedownRequest.objects.get(), clock.now()
    seen = revocations.preview(takedowns.change_of(request), at=at)
    factories.make_hold(targets=[("listing", str(incident.offers["mi-4"].listing_id))], at=at)
    with pytest.raises(WorldMoved):
        takedowns.grant(request=request, seen=seen, note="", by=factories.BUILDER, at=clock.now())
    request.refresh_from_db()
    assert request.state == "waiting"
    assert not HoldTarget.objects.filter(dimension="device").exists()


# --- figures ----------------------------------------------------------------------------------------------------


def test_the_list_asks_as_much_for_many_as_for_few(incident: Incident, xiaomi: Caller) -> None:
    def asked() -> int:
        with CaptureQueriesContext(connection) as found:
            read(xiaomi.get(ALL))
        return len(found)

    for device in ("mi-4", "mi-3"):
        said = read(ask(xiaomi, {"devices": [device]}, reason="SAFETY"), 201)
        read(post(xiaomi, f"{ALL}/{said['id']}/lift", {"reason": "x", "vendors": ["honest-phones"]}))
    few = asked()
    for vendor in ("omni-electronics-hk", "honest-phones"):
        goods = {"devices": ["redmi-2"], "vendors": [vendor]}
        read(ask(xiaomi, goods, reason="SAFETY"), 201)
    assert len(read(xiaomi.get(ALL))["data"]) == 4
    assert asked() == few
    page = read(xiaomi.get(f"{ALL}?limit=3&state=in_force"))
    rest = read(xiaomi.get(f"{ALL}?limit=3&state=in_force&cursor={page['next_cursor']}"))
    assert (len(page["data"]), len(rest["data"])) == (3, 1)


def test_a_vendor_that_was_let_through_is_stopped_by_saying_so_again(
    incident: Incident, xiaomi: Caller
) -> None:
    slug = incident.omni.slug
    goods = {"brands": ["xiaomi"], "vendors": [slug]}
    said = read(ask(xiaomi, goods, reason="MANUFACTURER_DISCLAIMS"), 201)
    read(post(xiaomi, f"{ALL}/{said['id']}/lift", {"reason": "A letter came.", "vendors": [slug]}))
    react()
    assert incident.live() == XIAOMIS | MEIZUS
    claim = f"/v1/claims/{incident.offers['mi-4'].pk}/disclaim"
    again = read(post(xiaomi, claim, {"statement": "It was forged."}), 201)
    assert (again["stopped"]["offers"], again["unchanged"]) == (3, False)
    assert incident.on_sale() == {"mi-4 of honest", *MEIZUS}
    assert read(ask(xiaomi, goods, reason="MANUFACTURER_DISCLAIMS"))["id"] == again["id"]


def test_a_case_that_was_closed_meanwhile_is_no_crash(
    incident: Incident, xiaomi: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = read(ask(xiaomi, {"brands": ["xiaomi"]}, reason="MANUFACTURER_DISCLAIMS"), 201)

    def closed(**_: Any) -> Case:
        raise cases.CaseRefused("It was closed.")

    monkeypatch.setattr(cases, "close", closed)
    problem(post(xiaomi, f"{ALL}/{said['id']}/lift", {"reason": "They stopped."}), 409, "invalid_transition")
    assert read(xiaomi.get(f"{ALL}/{said['id']}"))["is_stopping"]
