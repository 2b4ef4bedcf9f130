"""What the shop itself keeps: keys of vendors, plans, carts, payments, orders, notices and proofs."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q

from authorization.models import Decision, Revocation, Sweep
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

    class Meta:
        abstract = True


class VendorKey(ApiKey):
    """Of a vendor."""

    vendor = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="api_keys")

    def __str__(self) -> str:
        return f"{self.prefix}…{self.last_four} of {self.vendor}"


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
