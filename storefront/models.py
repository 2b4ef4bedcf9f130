"""What the shop itself keeps: keys of vendors, plans, carts, payments, orders, notices and proofs."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q

from authorization.models import Decision, Fact, Revocation, Sweep
from carriers.models import HostCarrier, Hosting
from catalog.models import Listing, ListingHost, Organization, Variant


class ApiKey(models.Model):
    """A key of the API. Only the SHA-256 of the key is kept; the key is shown once."""

    label = models.CharField(max_length=64)
    prefix = models.CharField(max_length=16, help_text="First characters, to recognise the key by")
    last_four = models.CharField(max_length=4)
    key_hash = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    # storefront.scopes names them. A key has what stands here and nothing else.
    scopes = models.JSONField(default=list, blank=True)
    # Of a key that is being replaced: the key that takes its place.
    successor = models.OneToOneField(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="replaces"
    )

    class Meta:
        abstract = True


class OrganizationKey(ApiKey):
    """Of a vendor, a distributor or a manufacturer.

    One of test mode opens the organization's test store and nothing of the shop (storefront.test_mode).
    """

    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="api_keys")
    is_test = models.BooleanField("test mode", default=False)
    representative = models.CharField(
        max_length=100, blank=True, help_text="Whom the desk has verified: who speaks for the organization"
    )

    def __str__(self) -> str:
        return f"{self.prefix}…{self.last_four} of {self.organization}"


class CarrierDuties(models.Model):
    """What somebody may do in the name of a host carrier on its technical acceptances."""

    is_desk = models.BooleanField("certification desk", default=False)
    is_lab = models.BooleanField("lab", default=False)
    is_approver = models.BooleanField("approver", default=False)

    class Meta:
        abstract = True


class CarrierKey(ApiKey, CarrierDuties):
    """Of a host carrier."""

    host = models.ForeignKey(HostCarrier, on_delete=models.PROTECT, related_name="api_keys")

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(is_desk=True) | Q(is_lab=True) | Q(is_approver=True),
                name="storefront_carrierkey_duty",
            )
        ]

    def __str__(self) -> str:
        return f"{self.prefix}…{self.last_four} of {self.host}"


class CarrierMember(CarrierDuties):
    """A user of a host carrier: sees and works on that carrier's acceptances and nothing else."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="carrier_member"
    )
    host = models.ForeignKey(HostCarrier, on_delete=models.PROTECT, related_name="members")

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(is_desk=True) | Q(is_lab=True) | Q(is_approver=True),
                name="storefront_carriermember_duty",
            )
        ]

    def __str__(self) -> str:
        return f"{self.user} of {self.host}"


class ReferenceImport(models.Model):
    """A file of reference data as it was uploaded: what it would change is looked at first, then applied."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=150)
    content = models.TextField()
    sha256 = models.CharField(max_length=64)
    uploaded_by = models.CharField(max_length=150)
    uploaded_at = models.DateTimeField()
    applied_by = models.CharField(max_length=150, blank=True)
    applied_at = models.DateTimeField(null=True, blank=True)
    # Counts and differences as they were when it was applied.
    report = models.JSONField(default=dict, blank=True)
    revocation = models.OneToOneField(
        Revocation, on_delete=models.PROTECT, null=True, blank=True, related_name="reference_import"
    )

    def __str__(self) -> str:
        return self.name


class PrepaidPlan(models.Model):
    """A prepaid plan that the shop sells on one hosting, and what it needs of a phone."""

    hosting = models.ForeignKey(Hosting, on_delete=models.PROTECT, related_name="plans")
    slug = models.SlugField(max_length=64, unique=True)
    name = models.CharField(max_length=100)
    price_amount = models.DecimalField(max_digits=12, decimal_places=2)
    price_currency = models.CharField(max_length=3, default="USD")
    allowance = models.CharField(max_length=150)
    needs_voice = models.BooleanField(default=True)
    needs_data = models.BooleanField(default=True)
    needs_volte = models.BooleanField(default=False)
    is_on_sale = models.BooleanField(default=True)
    is_simulated = models.BooleanField(default=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(price_amount__gt=0), name="storefront_plan_price_positive")
        ]

    def __str__(self) -> str:
        return self.name


class Cart(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return str(self.id)


class CartLine(models.Model):
    """One offer in a cart, with the plan chosen for it or the phone only (`plan` empty).

    The prices are what the shopper saw; a sale at another price is refused and says so.
    """

    cart = models.ForeignKey(Cart, on_delete=models.CASCADE, related_name="lines")
    offer = models.ForeignKey(ListingHost, on_delete=models.PROTECT, related_name="cart_lines")
    plan = models.ForeignKey(PrepaidPlan, on_delete=models.PROTECT, null=True, blank=True)
    quantity = models.PositiveIntegerField(default=1)
    price_amount = models.DecimalField(max_digits=12, decimal_places=2)
    price_currency = models.CharField(max_length=3)
    plan_price_amount = models.DecimalField(max_digits=12, decimal_places=2, null=True, blank=True)
    added_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["cart", "offer"], name="storefront_cartline_once"),
            models.CheckConstraint(condition=Q(quantity__gte=1), name="storefront_cartline_quantity"),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} x {self.offer}"


class PaymentIntent(models.Model):
    """Committed before the provider is called, so that no authorization can exist that we know nothing of."""

    class State(models.TextChoices):
        CREATED = "created", "created"
        AUTHORIZED = "authorized", "authorized"
        CAPTURED = "captured", "captured"
        VOIDING = "voiding", "given up: being voided or refunded"
        VOIDED = "voided", "voided"
        REFUNDED = "refunded", "refunded"
        DECLINED = "declined", "declined"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # A checkout form carries its own key: sending it twice is one intent.
    checkout_key = models.UUIDField(unique=True)
    cart_id = models.UUIDField()
    amount = models.DecimalField(max_digits=12, decimal_places=2)
    currency = models.CharField(max_length=3)
    state = models.CharField(max_length=16, choices=State, default=State.CREATED)
    provider_id = models.CharField(max_length=64, blank=True)
    decline_reason = models.CharField(max_length=200, blank=True)
    # Of a sold intent: what was given back of `amount`, before the capture or after it.
    refunded_amount = models.DecimalField(max_digits=12, decimal_places=2, default=0)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["provider_id"], condition=~Q(provider_id=""), name="storefront_intent_provider_id"
            ),
            models.CheckConstraint(
                condition=Q(refunded_amount__gte=0) & Q(refunded_amount__lte=models.F("amount")),
                name="storefront_intent_refunded",
            ),
        ]
        indexes = [
            # What may have been left behind by a checkout that ended half-way.
            models.Index(
                fields=["created_at"],
                name="storefront_intent_open",
                condition=Q(state__in=["created", "authorized"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.amount} {self.currency} {self.state}"


class Order(models.Model):
    """A sale. `transaction_id` is the database's own name of the transaction that made it (see docs/the-sale.md)."""

    class State(models.TextChoices):
        PLACED = "placed", "placed"
        HELD = "held", "held: an authority was withdrawn before it shipped"
        SHIPPED = "shipped", "shipped"
        REFUNDED = "refunded", "refunded"

    id = models.BigAutoField(primary_key=True)
    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    state = models.CharField(max_length=16, choices=State, default=State.PLACED)
    intent = models.OneToOneField(PaymentIntent, on_delete=models.PROTECT, related_name="order")
    buyer_name = models.CharField(max_length=150)
    buyer_email = models.EmailField()
    ship_to = models.TextField()
    total_amount = models.DecimalField(max_digits=12, decimal_places=2)
    total_currency = models.CharField(max_length=3)
    sold_at = models.DateTimeField()
    revision = models.PositiveBigIntegerField()
    transaction_id = models.CharField(max_length=32)
    held_reason = models.CharField(max_length=300, blank=True)
    # While it is held: since when, on which withdrawal (empty: by the desk itself), and by when the desk decides.
    held_at = models.DateTimeField(null=True, blank=True)
    held_on = models.ForeignKey(
        Revocation, on_delete=models.PROTECT, null=True, blank=True, related_name="held_orders"
    )
    decide_by = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["-sold_at"], name="storefront_order_sold"),
            models.Index(fields=["id"], name="storefront_order_placed", condition=Q(state="placed")),
            models.Index(fields=["decide_by"], name="storefront_order_held", condition=Q(state="held")),
        ]

    def __str__(self) -> str:
        return f"order {self.id}"


class OrderLine(models.Model):
    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="lines")
    offer = models.ForeignKey(ListingHost, on_delete=models.PROTECT, related_name="order_lines")
    listing = models.ForeignKey(Listing, on_delete=models.PROTECT, related_name="order_lines")
    vendor = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="order_lines")
    plan = models.ForeignKey(PrepaidPlan, on_delete=models.PROTECT, null=True, blank=True)
    decision = models.ForeignKey(Decision, on_delete=models.PROTECT, related_name="order_lines")
    quantity = models.PositiveIntegerField()
    refunded_quantity = models.PositiveIntegerField(default=0)
    price_amount = models.DecimalField(max_digits=12, decimal_places=2)
    price_currency = models.CharField(max_length=3)
    plan_price_amount = models.DecimalField(max_digits=12, decimal_places=2, null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(refunded_quantity__lte=models.F("quantity")), name="storefront_line_refunded"
            )
        ]
        # A vendor's orders, in order of their ids.
        indexes = [models.Index(fields=["vendor", "order"], name="storefront_line_vendor")]

    def __str__(self) -> str:
        return f"{self.quantity} x {self.listing}"


class Recall(models.Model):
    """A unit that was sold before its goods were withdrawn for safety: whose buyer is to be told, and was."""

    revocation = models.ForeignKey(Revocation, on_delete=models.PROTECT, related_name="recalls")
    line = models.ForeignKey(OrderLine, on_delete=models.PROTECT, related_name="recalls")
    found_at = models.DateTimeField()
    told_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["revocation", "line"], name="storefront_recall_once")]

    def __str__(self) -> str:
        return f"recall of {self.line}"


class WaitlistEntry(models.Model):
    """Somebody who wants to be told when a phone can be bought again. Twice confirmed, ended with one click."""

    class WaitsFor(models.TextChoices):
        APPROVAL = "approval", "until it may be sold again"
        STOCK = "stock", "until it is in stock again"

    email = models.EmailField()
    variant = models.ForeignKey(Variant, on_delete=models.CASCADE, related_name="waitlist")
    waits_for = models.CharField(max_length=16, choices=WaitsFor)
    # Whoever has the token may confirm and end the entry: it stands in the mails only.
    token = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField()
    confirmed_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    told_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "waitlist entries"
        constraints = [
            models.UniqueConstraint(
                fields=["email", "variant"],
                condition=Q(ended_at__isnull=True, told_at__isnull=True),
                name="storefront_waitlist_once",
            )
        ]
        indexes = [
            models.Index(fields=["created_at"], name="storefront_waitlist_created"),
            models.Index(
                fields=["variant"],
                name="storefront_waitlist_open",
                condition=Q(ended_at__isnull=True, told_at__isnull=True, confirmed_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"waits for {self.variant}"


class WebhookEndpoint(models.Model):
    """Where a vendor wants its events sent. Signed by Standard Webhooks with a secret of its own."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    vendor = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="webhook_endpoints")
    url = models.URLField(max_length=500)
    label = models.CharField(max_length=64, blank=True)
    # whsec_...; the second one signs as well while the first is being replaced.
    secret = models.CharField(max_length=100)
    previous_secret = models.CharField(max_length=100, blank=True)
    previous_secret_until = models.DateTimeField(null=True, blank=True)
    event_types = models.JSONField(default=list, blank=True, help_text="Which events it wants; empty: all")
    is_enabled = models.BooleanField(default=True)
    disabled_reason = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField()
    deleted_at = models.DateTimeField(null=True, blank=True)
    # Events up to this position have their deliveries.
    position = models.PositiveBigIntegerField(default=0)
    # One that fails is left in peace for a while, so that it does not hold up the others.
    failing_since = models.DateTimeField(null=True, blank=True)
    rests_until = models.DateTimeField(null=True, blank=True)
    # The sender that works for it now; a lease, on the machine's clock.
    busy_until = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.url} of {self.vendor}"


class WebhookDelivery(models.Model):
    """One event for one endpoint. `due_at` is its next attempt (empty: none), `log` tells of the last ones made."""

    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.PROTECT, related_name="deliveries")
    # The id of the webhook is the id of the event.
    event_id = models.UUIDField()
    event = models.CharField(max_length=64)
    position = models.PositiveBigIntegerField()
    created_at = models.DateTimeField()
    attempts = models.PositiveIntegerField(default=0)
    last_attempt_at = models.DateTimeField(null=True, blank=True)
    last_status = models.PositiveIntegerField(null=True, blank=True)
    last_error = models.CharField(max_length=500, blank=True)
    delivered_at = models.DateTimeField(null=True, blank=True)
    given_up_at = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField(null=True, blank=True)
    log = models.JSONField(default=list, blank=True)

    class Meta:
        verbose_name_plural = "webhook deliveries"
        constraints = [
            models.UniqueConstraint(fields=["endpoint", "event_id"], name="storefront_delivery_once")
        ]
        indexes = [
            models.Index(fields=["event_id"], name="storefront_delivery_event"),
            models.Index(
                fields=["endpoint", "due_at"],
                name="storefront_delivery_due",
                condition=Q(due_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event} to {self.endpoint_id}"


class RefusedCheckout(models.Model):
    """A checkout that the gate refused, and why: the proof that somebody tried."""

    cart_id = models.UUIDField()
    offer = models.ForeignKey(
        ListingHost, on_delete=models.PROTECT, null=True, related_name="refused_checkouts"
    )
    reason_codes = models.JSONField(default=list)
    message = models.CharField(max_length=500)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"refused {self.offer}"


class Notice(models.Model):
    """A public notice. Drafted from the facts; a person publishes it."""

    slug = models.SlugField(max_length=100, unique=True)
    title = models.CharField(max_length=200)
    body = models.TextField()
    drafted_at = models.DateTimeField()
    published_at = models.DateTimeField(null=True, blank=True)
    published_by = models.CharField(max_length=150, blank=True)
    revocations = models.ManyToManyField(Revocation, related_name="notices", blank=True)

    def __str__(self) -> str:
        return self.title


class RemovalProof(models.Model):
    """What was taken down on a party's word: when, and on which grounds. Signed, and open to who has its link."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    revocation = models.OneToOneField(Revocation, on_delete=models.PROTECT, related_name="removal_proof")
    recipient = models.CharField(max_length=150)
    statement = models.JSONField()
    # Ed25519 over the canonical text, base64; checked with the public key of this id.
    signature = models.CharField(max_length=200)
    key_id = models.CharField(max_length=32, blank=True)
    issued_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"proof for {self.recipient}"


class SentMessage(models.Model):
    """A message to a party, with the event it tells of: one per event, recipient and kind.

    The row comes first and is the attempt; `mailed_at` is set once the mail is out. Without an address (the party
    left none) the message is kept here only.
    """

    event_id = models.UUIDField()
    kind = models.CharField(max_length=32)
    recipient = models.CharField(max_length=150)
    subject = models.CharField(max_length=200)
    body = models.TextField()
    sent_at = models.DateTimeField()
    address = models.EmailField(blank=True)
    mailed_at = models.DateTimeField(null=True, blank=True)
    # What it tells of, where that is one sweep or one withdrawal.
    sweep = models.ForeignKey(Sweep, on_delete=models.PROTECT, null=True, blank=True, related_name="messages")
    revocation = models.ForeignKey(
        Revocation, on_delete=models.PROTECT, null=True, blank=True, related_name="messages"
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["event_id", "kind", "recipient"], name="storefront_message_once")
        ]

    def __str__(self) -> str:
        return f"{self.kind} to {self.recipient}"


class CountedSweep(models.Model):
    """What the finished sweep of a withdrawal took down, added up once; and when the last vendor was told of it.

    `told_at` is empty until all are told. It is left as it is then: a webhook that is sent once more, or a delivery
    that is no longer kept, makes no withdrawal slower or faster.
    """

    sweep = models.OneToOneField(Sweep, on_delete=models.PROTECT, related_name="counted_pages")
    pages = models.PositiveIntegerField()
    vendors = models.PositiveIntegerField()
    first_page_at = models.DateTimeField(null=True, blank=True)
    last_page_at = models.DateTimeField(null=True, blank=True)
    # The newest event when it was counted: those of the sweep are not beyond it.
    position = models.PositiveBigIntegerField()
    told_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["id"],
                name="storefront_counted_untold",
                condition=Q(told_at__isnull=True, pages__gt=0),
            )
        ]

    def __str__(self) -> str:
        return f"{self.pages} pages of {self.sweep}"


class ProofPart(models.Model):
    """A part of the list of a proof that is being written. When the proof stands, its parts are deleted."""

    revocation = models.ForeignKey(Revocation, on_delete=models.PROTECT, related_name="proof_parts")
    number = models.PositiveIntegerField()
    # Its delistings, as in the statement: "5-9,12".
    records = models.TextField()
    last_record = models.PositiveBigIntegerField()
    # The lines of the list, compressed.
    lines = models.BinaryField()
    # What the statement says of them: how many, when, for which reasons, on which hosts.
    counts = models.JSONField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["revocation", "number"], name="storefront_proofpart_once")
        ]

    def __str__(self) -> str:
        return f"part {self.number} of the proof of {self.revocation_id}"


class RateCount(models.Model):
    """How often one client asked for one thing in the window that runs for it now.

    Short-lived: whoever counts clears what has run out.
    """

    # HMAC of what is counted and of who asks: no address, no IMEI, no key can be read from it.
    key = models.CharField(max_length=64, primary_key=True)
    # On the machine's clock.
    began_at = models.DateTimeField()
    count = models.PositiveIntegerField()

    class Meta:
        indexes = [models.Index(fields=["began_at"], name="storefront_ratecount_began")]

    def __str__(self) -> str:
        return f"{self.count} since {self.began_at}"


class TestStore(models.Model):
    """The store of an organization's test mode: a database of its own, with a clock of its own.

    The row stands in the shop's database and says where that store is; not one row of the shop is in it.
    """

    # pytest collects classes by this name.
    __test__ = False

    organization = models.OneToOneField(Organization, on_delete=models.PROTECT, related_name="test_store")
    # Names the file. A store that is begun anew gets another.
    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    made_at = models.DateTimeField()
    # How far its clock is ahead of the shop's. It only grows.
    ahead_s = models.FloatField(default=0)
    # Until its workers have done what falls due by this time of its own clock, it says "advancing".
    advancing_to = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    # When its workers look at it next, on the shop's clock; empty: nothing falls due there.
    due_at = models.DateTimeField(null=True, blank=True, db_index=True)
    # The worker that is at it now; a lease, on the machine's clock.
    busy_until = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"test store of {self.organization}"


class IdempotentRequest(models.Model):
    """A request that was sent with an Idempotency-Key, and the answer that it got, in the transaction of its effect."""

    # SHA-256 over who sent it, method, path and key.
    key_hash = models.CharField(max_length=64, primary_key=True)
    body_hash = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField()
    headers = models.JSONField(default=dict)
    body = models.TextField(blank=True)
    created_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["created_at"], name="storefront_idempotent_created")]

    def __str__(self) -> str:
        return f"{self.status} at {self.created_at}"


class Feed(models.Model):
    """A file of many rows that a vendor sent: accepted as a whole, worked off in chunks, answered row by row."""

    class Kind(models.TextChoices):
        LISTINGS = "listings", "listings: each row is a whole listing"
        INVENTORY = "inventory", "inventory: price and stock of listings that are there"
        PUBLISH = "publish", "publish: listings to put on sale"

    class Format(models.TextChoices):
        JSONL = "jsonl", "JSON Lines"
        CSV = "csv", "CSV"

    class State(models.TextChoices):
        QUEUED = "QUEUED", "queued"
        RUNNING = "RUNNING", "running"
        DONE = "DONE", "done"
        FAILED = "FAILED", "failed: some rows were not tried"
        CANCELLED = "CANCELLED", "cancelled"

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    vendor = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="feeds")
    kind = models.CharField(max_length=16, choices=Kind)
    format = models.CharField(max_length=8, choices=Format)
    client_label = models.CharField(max_length=255, blank=True)
    is_dry_run = models.BooleanField(default=False, help_text="Checked and answered; nothing is stored")
    state = models.CharField(max_length=16, choices=State, default=State.QUEUED)
    # Of CSV: the columns as they stood in the file's first line.
    header = models.JSONField(default=list, blank=True)
    sha256 = models.CharField(max_length=64)
    size = models.PositiveBigIntegerField(help_text="Bytes")
    rows = models.PositiveIntegerField()
    # Outcome of rows -> how many, over all chunks; set when it ends.
    counts = models.JSONField(default=dict, blank=True)
    failed_reason = models.CharField(max_length=300, blank=True)
    submitted_by = models.CharField(max_length=150)
    submitted_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["vendor", "-id"], name="storefront_feed_vendor"),
            models.Index(
                fields=["id"], name="storefront_feed_open", condition=Q(state__in=["QUEUED", "RUNNING"])
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} feed of {self.vendor}"


class FeedChunk(models.Model):
    """Rows of a feed that are worked off in one transaction, which writes their results too: all of it or nothing."""

    feed = models.ForeignKey(Feed, on_delete=models.CASCADE, related_name="chunks")
    number = models.PositiveIntegerField()
    # Number of its first row in the file, from 1; and how many it has.
    first_row = models.PositiveIntegerField()
    rows = models.PositiveIntegerField()
    content = models.TextField(help_text="The rows as they came")
    results = models.TextField(blank=True, help_text="One JSON line for each row, in the order of the file")
    counts = models.JSONField(default=dict, blank=True)
    done_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["feed", "number"], name="storefront_feedchunk_once")]
        indexes = [
            models.Index(
                fields=["feed", "number"], name="storefront_feedchunk_open", condition=Q(done_at__isnull=True)
            )
        ]

    def __str__(self) -> str:
        return f"chunk {self.number} of {self.feed}"


class AgreementSubmission(models.Model):
    """Papers of a reseller agreement that its grantee shows. It opens nothing until the desk has accepted it."""

    class Kind(models.TextChoices):
        NEW = "new", "a new agreement"
        RENEWAL = "renewal", "a later end of an agreement on record"

    class State(models.TextChoices):
        SUBMITTED = "submitted", "submitted: waits for the desk"
        ACCEPTED = "accepted", "accepted: on record"
        DECLINED = "declined", "declined"
        WITHDRAWN = "withdrawn", "withdrawn by who submitted it"

    code = models.CharField(max_length=64, unique=True)
    kind = models.CharField(max_length=16, choices=Kind, default=Kind.NEW)
    state = models.CharField(max_length=16, choices=State, default=State.SUBMITTED)
    grantor = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="submissions_granted")
    grantee = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="submissions")
    # What it became, or what it renews.
    agreement = models.ForeignKey(
        Fact, on_delete=models.PROTECT, null=True, blank=True, related_name="submissions"
    )
    # As claimed: ids of variants, or "*" alone for all.
    model_ids = models.JSONField(default=list, blank=True)
    territories = models.JSONField(default=list, blank=True)
    channels = models.JSONField(default=list, blank=True)
    conditions = models.JSONField(default=list, blank=True)
    may_sublicense = models.BooleanField(default=False)
    valid_from = models.DateTimeField()
    valid_until = models.DateTimeField()
    document = models.TextField(blank=True, help_text="What is shown: a letter, a contract, its number")
    version = models.PositiveIntegerField(default=1)
    submitted_by = models.CharField(max_length=150)
    submitted_at = models.DateTimeField()
    decided_by = models.CharField(max_length=150, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    decision_note = models.CharField(max_length=500, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["grantee", "-id"], name="storefront_submission_grantee"),
            models.Index(fields=["id"], name="storefront_submission_open", condition=Q(state="submitted")),
        ]

    def __str__(self) -> str:
        return self.code


class AgreementFile(models.Model):
    """A file shown with a submission: kept as it came, known by its hash, always handed out as a download."""

    submission = models.ForeignKey(AgreementSubmission, on_delete=models.PROTECT, related_name="files")
    name = models.CharField(max_length=150)
    content_type = models.CharField(max_length=64)
    size = models.PositiveIntegerField(help_text="Bytes")
    sha256 = models.CharField(max_length=64)
    content = models.BinaryField()
    actor = models.CharField(max_length=150)
    at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["submission", "sha256"], name="storefront_agreementfile_once")
        ]

    def __str__(self) -> str:
        return self.name


class Case(models.Model):
    """A matter between the desk and one party: a request to take goods down, or a vendor's appeal."""

    class Kind(models.TextChoices):
        TAKEDOWN = "takedown", "takedown request"
        APPEAL = "appeal", "appeal"

    class State(models.TextChoices):
        OPEN = "open", "open: the desk's turn"
        WAITING = "waiting", "waiting for the party's answer"
        CLOSED = "closed", "closed"

    class Outcome(models.TextChoices):
        UPHELD = "upheld", "upheld: what was decided stays"
        REVERSED = "reversed", "reversed"
        PARTLY = "partly", "partly reversed"
        WITHDRAWN = "withdrawn", "withdrawn by the party"

    code = models.CharField(max_length=64, unique=True)
    kind = models.CharField(max_length=16, choices=Kind)
    state = models.CharField(max_length=16, choices=State, default=State.OPEN)
    outcome = models.CharField(max_length=16, choices=Outcome, blank=True)
    subject = models.CharField(max_length=200)
    # The party: an organization or a host carrier.
    organization = models.ForeignKey(
        Organization, on_delete=models.PROTECT, null=True, blank=True, related_name="cases"
    )
    host = models.ForeignKey(
        HostCarrier, on_delete=models.PROTECT, null=True, blank=True, related_name="cases"
    )
    # What an appeal is about: an offer, as this decision left it, or a withdrawal.
    offer = models.ForeignKey(
        ListingHost, on_delete=models.PROTECT, null=True, blank=True, related_name="cases"
    )
    decision = models.ForeignKey(
        Decision, on_delete=models.PROTECT, null=True, blank=True, related_name="cases"
    )
    revocation = models.ForeignKey(
        Revocation, on_delete=models.PROTECT, null=True, blank=True, related_name="cases"
    )
    opened_by = models.CharField(max_length=150)
    opened_at = models.DateTimeField()
    # By when the desk answers.
    answer_by = models.DateTimeField()
    closed_by = models.CharField(max_length=150, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)
    resolution = models.TextField(blank=True)
    version = models.PositiveIntegerField(default=1)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(organization__isnull=False, host__isnull=True)
                | Q(organization__isnull=True, host__isnull=False),
                name="storefront_case_one_party",
            ),
            models.CheckConstraint(
                condition=(Q(state="closed") & ~Q(outcome="") & Q(closed_at__isnull=False))
                | (~Q(state="closed") & Q(outcome="", closed_at__isnull=True)),
                name="storefront_case_closed",
            ),
            # One appeal at a time about one decision.
            models.UniqueConstraint(
                fields=["organization", "offer"],
                condition=Q(kind="appeal") & ~Q(state="closed"),
                name="storefront_case_one_appeal",
            ),
        ]
        indexes = [
            models.Index(fields=["organization", "-id"], name="storefront_case_organization"),
            models.Index(fields=["host", "-id"], name="storefront_case_host"),
            models.Index(fields=["answer_by"], name="storefront_case_open", condition=~Q(state="closed")),
        ]

    def __str__(self) -> str:
        return self.code


class CaseMessage(models.Model):
    """One message of a case. What is said to the party, or by it; the desk's own notes stay with the desk."""

    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="messages")
    is_from_desk = models.BooleanField()
    is_internal = models.BooleanField(default=False)
    body = models.TextField(max_length=4000)
    actor = models.CharField(max_length=150)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"message of {self.case}"


class TakedownRequest(models.Model):
    """A manufacturer or a host carrier says that goods must come down, in its own name.

    `hold` is what stops them, at once or once the desk has agreed (settings.TAKEDOWNS).
    """

    class State(models.TextChoices):
        WAITING = "waiting", "waits for the desk"
        IN_FORCE = "in_force", "in force"
        LIFTED = "lifted", "lifted"
        DECLINED = "declined", "declined"

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    case = models.OneToOneField(Case, on_delete=models.PROTECT, related_name="takedown")
    state = models.CharField(max_length=16, choices=State)
    reason_code = models.CharField(max_length=64)
    statement = models.TextField(max_length=4000)
    representative = models.CharField(max_length=100)
    # Pairs (dimension, value) of the hold, as in HoldTarget; and the words of the request, to show them again.
    targets = models.JSONField(default=list)
    asked = models.JSONField(default=dict)
    hold = models.OneToOneField(
        Fact, on_delete=models.PROTECT, null=True, blank=True, related_name="takedown_request"
    )
    revocation = models.OneToOneField(
        Revocation, on_delete=models.PROTECT, null=True, blank=True, related_name="takedown_request"
    )
    requested_by = models.CharField(max_length=150)
    requested_at = models.DateTimeField()
    decided_by = models.CharField(max_length=150, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"takedown request of {self.case.organization or self.case.host}"


class Shipment(models.Model):
    """What one vendor sent of an order. The order has shipped when all of its vendors have sent theirs."""

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="shipments")
    vendor = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="shipments")
    carrier = models.CharField(max_length=64, blank=True, help_text="Who carries the parcel")
    tracking_number = models.CharField(max_length=100, blank=True)
    actor = models.CharField(max_length=150)
    shipped_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["order", "vendor"], name="storefront_shipment_once")]

    def __str__(self) -> str:
        return f"shipment of {self.order} by {self.vendor}"
