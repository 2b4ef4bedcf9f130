"""One run of the story on one store, under one policy.

Shoppers and the vendor act over HTTP. Staff act through the functions that the admin calls. Nothing here
writes a state itself, and nothing is taken from what the store says of itself where it can be seen from
outside.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime

import httpx
from django.db import connection
from django.db.models import QuerySet

from authorization import clock
from authorization.models import OutboxRow, Revocation
from authorization.revocations import PlaceHold, RevokeAgreement, WorldMoved
from authorization.rules import REASON_CODES
from catalog.models import ListingHost, OfferState
from seeds.replay import shoppers
from seeds.replay.findings import Findings, Told, Withdrawal
from seeds.replay.measure import Overdue, wait_for
from seeds.replay.shoppers import CARD_DECLINED, PHONE_ONLY, Outcome, Shopper, Wish
from seeds.replay.stage import DESK, Setup, Stage
from seeds.replay.story import Basis, Story
from seeds.replay.timeline import Timeline
from seeds.replay.vendor import reasons_of
from seeds.replay.withdrawing import Word, withdraw
from seeds.world2016 import OMNI_PHONES, Phone
from storefront import audit, notices, proofs
from storefront.models import Notice, Order, OrderLine, RefusedCheckout, RemovalProof, SentMessage


def play(setup: Setup, story: Story, timeline: Timeline) -> Findings:
    """The whole run. What goes wrong is in the findings; only a bug raises."""
    findings = Findings(policy=setup.policy, dates=story.key, story=story.title, database=connection.vendor)
    run = _Run(Stage(setup, timeline, findings), story)
    try:
        run.play()
    except (Overdue, shoppers.Lost, httpx.HTTPError, WorldMoved) as error:
        findings.overdue = str(error) or type(error).__name__
    findings.timeline = [asdict(entry) for entry in timeline.entries]
    return findings


class _Run:
    def __init__(self, stage: Stage, story: Story) -> None:
        self.stage, self.story, self.findings = stage, story, stage.findings
        self.withdrawn: list[tuple[Revocation, Withdrawal]] = []
        # Shoppers who stand at the till with a form that was true when they opened it.
        self.waiting: list[tuple[Shopper, str]] = []

    def play(self) -> None:
        self.stage.set_the_scene(self.story.eve)
        with self.stage.on_the_air():
            self._vendor_lists()
            self._shoppers_come()
            self._next_morning()
            try:
                self._maker_speaks()
                self._carrier_speaks()
            finally:
                for shopper, _ in self.waiting:
                    shopper.close()
            self._shop_answers()
            self._look_back()

    # --- the days before ----------------------------------------------------------------------------------

    def _vendor_lists(self) -> None:
        self.stage.enter(self.story.listed, self.stage.world.omni.name)
        self.findings.should_go_live = [] if self.stage.is_gate_shut else [phone.sku for phone in OMNI_PHONES]
        for phone in OMNI_PHONES:
            self._list_one(phone)

    def _list_one(self, phone: Phone) -> None:
        stage, seller = self.stage, self.stage.world.omni.name
        variant = stage.variant(phone)
        stored = stage.vendor.put(phone, host=stage.world.host.code)
        stored.raise_for_status()
        published = stage.vendor.publish(phone)
        name = f"{variant.device} at ${phone.price_amount}"
        if published.status_code == 200:
            self.findings.went_live.append(phone.sku)
            chosen = f"that it was model {variant.model_number} is simulated"
            stage.say(seller, f"PUT and publish: {name} is live ({chosen})", Basis.REPORTED)
            return
        if published.status_code != 409:
            published.raise_for_status()
        reasons = reasons_of(stored.json()) or reasons_of(published.json())
        self.findings.refusals[phone.sku] = [list(reason) for reason in reasons]
        codes = ", ".join(dict.fromkeys(code for code, _ in reasons))
        stage.say(seller, f"PUT: {name} is {stored.json()['status']}; publish: 409, {codes}")

    def _shoppers_come(self) -> None:
        stage = self.stage
        stage.enter(self.story.bought, "shoppers")
        redmi2, mi3, mi4, m2_note = stage.slugs(OMNI_PHONES)
        wishes = [
            Wish(redmi2, "starter"),
            Wish(redmi2, PHONE_ONLY),
            Wish(mi3, PHONE_ONLY),
            Wish(mi4, "everyday"),
            Wish(m2_note, PHONE_ONLY),
            *(Wish(slug, "everyday") for slug in stage.honest_slugs()),
        ]
        self._buy_all(wishes)
        with stage.shopper("card") as shopper:
            outcome = shopper.buy(Wish(stage.honest_slugs()[0]), CARD_DECLINED)
        stage.say("shopper", f"pays with a card that its bank declines: {outcome.value}")

    def _next_morning(self) -> None:
        stage = self.stage
        stage.enter(self.story.next_morning, "shoppers")
        slugs = stage.slugs(OMNI_PHONES)
        # Fresh orders, whose money is not captured and whose parcel has not left when the word comes.
        self._buy_all([Wish(slug) for slug in slugs])
        if stage.is_gate_shut:
            return
        wanted = [*slugs, *slugs]
        self.waiting = list(zip(stage.at_the_till("cart", wanted), wanted, strict=True))
        stage.say("shoppers", f"{len(self.waiting)} stand at the checkout and have not paid yet")

    def _buy_all(self, wishes: Sequence[Wish]) -> None:
        purchases = [self._purchase(number, wish) for number, wish in enumerate(wishes, start=1)]
        for wish, outcome in zip(wishes, shoppers.at_once(purchases), strict=True):
            with_plan = f"with the plan {wish.plan}" if wish.plan else "phone only"
            self.stage.say("shopper", f"{wish.device_slug}, {with_plan}: {outcome.value}")
            if outcome is not self._expected(wish):
                self.findings.wrong.append(f"Buying {wish.device_slug} came to: {outcome.value}.")

    def _expected(self, wish: Wish) -> Outcome:
        is_importers = wish.device_slug in self.stage.slugs(OMNI_PHONES)
        return Outcome.NOT_OFFERED if is_importers and self.stage.is_gate_shut else Outcome.BOUGHT

    def _purchase(self, number: int, wish: Wish) -> Callable[[], Outcome]:
        def purchase() -> Outcome:
            with self.stage.shopper(str(number)) as shopper:
                return shopper.buy(wish)

        return purchase

    # --- the words ----------------------------------------------------------------------------------------

    def _maker_speaks(self) -> None:
        stage, maker = self.stage, self.stage.world.xiaomi
        received_at = stage.enter(self.story.maker_speaks, maker.name)
        stage.jump(self.story.maker_decided_at)
        fact = stage.world.claimed[maker.slug]
        word = Word(
            party=maker.name,
            code=fact.code,
            change=RevokeAgreement(fact.pk, "MANUFACTURER_DISCLAIMS"),
            received_at=received_at,
            note="The manufacturer says that no distributor may sell its phones in the US.",
            covers=stage.phones_of(maker.slug),
        )
        if self._withdraw(word):
            self._check_scope()

    def _check_scope(self) -> None:
        """The trap of 2016: the maker's word covers its own phones, and not everything of this vendor."""
        (m2_note,) = self.stage.phones_of(self.stage.world.meizu.slug)
        with self.stage.shopper("scope") as shopper:
            outcome = shopper.buy(Wish(self.stage.slug(m2_note)))
        if outcome is not Outcome.BOUGHT:
            self.findings.wrong.append("The Meizu m2 note fell with Xiaomi's word, which is not about it.")
        self.stage.say(
            "shop",
            f"the Meizu m2 note is STILL on sale (just now: {outcome.value}): the maker's word covers Xiaomi "
            "phones only",
        )

    def _carrier_speaks(self) -> None:
        stage, host = self.stage, self.stage.world.host
        received_at = stage.enter(self.story.carrier_speaks, host.name)
        stage.jump(self.story.carrier_decided_at)
        variants = [("variant", str(variant.pk)) for variant in stage.world.omni_variants]
        hold = PlaceHold(
            code="HOLD-TMOBILE-TESTS",
            placed_by=host.name,
            reason_code="CARRIER_TESTS_PENDING",
            note="Xiaomi and Meizu phones are to be tested on the network first.",
            targets=(("host", str(host.pk)), *variants),
        )
        word = Word(
            party=host.name,
            code=hold.code,
            change=hold,
            received_at=received_at,
            note=hold.note,
            # It covers all four; three of them are down already.
            covers=stage.phones_of(stage.world.meizu.slug),
        )
        if self._withdraw(word):
            stage.say("shop", "the m2 note is down as well: the carrier's word covers both brands")

    def _withdraw(self, word: Word) -> bool:
        done = withdraw(self.stage, word, self.waiting)
        if done is not None:
            self.withdrawn.append(done)
        return done is not None

    # --- what follows -------------------------------------------------------------------------------------

    def _shop_answers(self) -> None:
        stage = self.stage
        stage.jump(self.story.answered.at)
        if not self.withdrawn:
            stage.say("shop", "has nothing to tell: none of these phones was ever on sale")
            return
        with stage.timeline.waiting("the drafted notice"):
            drafts = wait_for("the notice of every withdrawal to be drafted", self._drafts)
        stage.say("shop", self.story.answered.words, self.story.answered.basis)
        for draft in drafts:
            self._publish(draft)
        for revocation, withdrawal in self.withdrawn:
            self._fetch_proof(revocation, withdrawal)

    def _drafts(self) -> list[Notice] | None:
        """The notices that tell of all withdrawals, or None while one is missing."""
        ids = [revocation.pk for revocation, _ in self.withdrawn]
        found = list(Notice.objects.filter(revocations__in=ids).distinct())
        told = {pk for notice in found for pk in notice.revocations.values_list("pk", flat=True)}
        return found if told.issuperset(ids) else None

    def _publish(self, draft: Notice) -> None:
        notice = notices.publish_notice(notice=draft, by=DESK, at=clock.now())
        address = f"/notices/{notice.slug}/"
        self.stage.read(address)
        self.findings.notice = address
        self.findings.told.append(Told(_iso(clock.now()), "the public", f"notice: {notice.title}"))
        self.stage.say("desk", f"publishes the notice that the workers drafted: {notice.title}")

    def _fetch_proof(self, revocation: Revocation, withdrawal: Withdrawal) -> None:
        with self.stage.timeline.waiting("the proof of removal"):
            proof = wait_for(
                f"the proof of removal for {withdrawal.requested_by}",
                lambda: RemovalProof.objects.filter(revocation=revocation).first(),
            )
        withdrawal.proof = f"/proofs/{proof.public_id}/"
        page = self.stage.read(withdrawal.proof)
        unnamed = [sku for sku in withdrawal.previewed if sku not in page]
        withdrawal.is_proof_valid = proofs.verify_proof(proof)
        if unnamed:
            self.findings.wrong.append(f"The proof for {proof.recipient} does not name {', '.join(unnamed)}.")
        named = len(withdrawal.previewed) - len(unnamed)
        signed = "signature valid" if withdrawal.is_proof_valid else "SIGNATURE NOT VALID"
        self.stage.say(
            proof.recipient, f"opens its proof of removal: {signed}; offers taken down on its word: {named}"
        )

    # --- looking back -------------------------------------------------------------------------------------

    def _look_back(self) -> None:
        self.stage.jump(self.story.looked_back_at)
        self.stage.quiet("the last reactions")
        for revocation, withdrawal in self.withdrawn:
            self._count_orders(revocation, withdrawal)
        findings, honest = self.findings, self.stage.world.honest
        findings.orders = Order.objects.count()
        findings.honest_orders = _orders(OrderLine.objects.filter(vendor=honest))
        findings.late_orders = len(audit.late_orders())
        # For want of authority: a card that is declined is no refusal of the store.
        findings.refused_checkouts = sum(
            any(code in REASON_CODES for code in codes)
            for codes in RefusedCheckout.objects.values_list("reason_codes", flat=True)
        )
        messages = SentMessage.objects.order_by("sent_at", "id")
        findings.told += [Told(_iso(m.sent_at), m.recipient, f"{m.kind}: {m.subject}") for m in messages]
        findings.told.sort(key=lambda told: told.at)
        self._read_watchers()
        dead = OutboxRow.objects.filter(is_dead=True).count()
        if dead:
            findings.wrong.append(f"Work that was given up: {dead} outbox rows.")

    def _count_orders(self, revocation: Revocation, withdrawal: Withdrawal) -> None:
        omni = self.stage.world.omni
        lines = OrderLine.objects.filter(listing__sku__in=withdrawal.previewed, vendor=omni)
        before = lines.filter(order__revision__lt=revocation.revision_id)
        withdrawal.orders_before = _orders(before)
        withdrawal.orders_held = _orders(before.filter(order__state=Order.State.HELD))
        withdrawal.orders_after = _orders(lines.filter(order__revision__gte=revocation.revision_id))

    def _read_watchers(self) -> None:
        stage, findings = self.stage, self.findings
        watchers = (stage.pages, stage.listings, stage.honest_pages)
        findings.failed_requests = sum(watcher.failed_requests for watcher in watchers)
        findings.offered_pages = stage.pages.ever_offered()
        live = ListingHost.objects.filter(listing__vendor=stage.world.honest, state=OfferState.LIVE)
        skus = set(live.values_list("listing__sku", flat=True))
        findings.honest_listings = list(stage.world.honest_skus)
        findings.honest_fell = [sku for sku in findings.honest_listings if sku not in skus]
        findings.honest_fell += stage.honest_pages.ever_gone()


def _orders(lines: QuerySet[OrderLine]) -> int:
    return lines.values("order").distinct().count()


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
