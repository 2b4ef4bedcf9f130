"""Facts of authority in two times, decisions, and what is written beside every change of them."""

import uuid

from django.db import models
from django.db.models import Q

from carriers.models import HostCarrier
from carriers.versions import FactVersion
from catalog.models import ListingHost, Organization, Variant


class Revision(models.Model):
    """One change of authority. Written under the exclusive fence, so `n` is the order in which they committed.

    `snapshot` is taken after the fence was: every sale committed before this change is visible in it.
    PostgreSQL: `pg_current_snapshot()`. SQLite: the highest SaleTicket id.
    """

    n = models.PositiveBigIntegerField(primary_key=True)
    recorded_at = models.DateTimeField()
    actor = models.CharField(max_length=150)
    reason = models.CharField(max_length=500)
    snapshot = models.TextField()

    def __str__(self) -> str:
        return f"revision {self.n}"


class SaleTicket(models.Model):
    """SQLite's stand-in for a transaction id: one row per sale, numbered in commit order by the single writer."""

    id = models.BigAutoField(primary_key=True)

    def __str__(self) -> str:
        return f"ticket {self.id}"


class Fact(models.Model):
    """The head of a fact: its identity through all versions. `code` is what people call it, e.g. AG-812."""

    class Kind(models.TextChoices):
        AGREEMENT = "agreement", "reseller agreement"
        APPROVAL = "approval", "carrier approval"
        HOLD = "hold", "hold"
        POLICY = "policy", "policy"

    kind = models.CharField(max_length=16, choices=Kind)
    code = models.CharField(max_length=64, unique=True)

    def __str__(self) -> str:
        return self.code


class Assurance(models.TextChoices):
    CLAIMED = "claimed", "claimed: somebody says so"
    VERIFIED = "verified", "verified with the grantor"


class AgreementVersion(FactVersion):
    """A reseller agreement: the grantor lets the grantee sell these goods, there, so, from-until.

    Its scope stands in ScopeTerm rows. Once revoked, it is void from `revoked_at` on.
    """

    class State(models.TextChoices):
        ACTIVE = "active", "active"
        REVOKED = "revoked", "revoked"

    head = models.ForeignKey(Fact, on_delete=models.PROTECT, related_name="agreement_versions")
    grantor = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="agreements_granted")
    grantee = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="agreements_held")
    may_sublicense = models.BooleanField(default=False)
    assurance = models.CharField(max_length=16, choices=Assurance)
    state = models.CharField(max_length=16, choices=State, default=State.ACTIVE)
    revoked_at = models.DateTimeField(null=True, blank=True)
    reason_code = models.CharField(max_length=64, blank=True)
    document = models.TextField(blank=True, help_text="What was shown: a letter, a contract, its number")

    class Meta(FactVersion.Meta):
        verbose_name = "agreement"
        constraints = [
            *FactVersion.Meta.constraints,
            models.CheckConstraint(
                condition=Q(state="active", revoked_at__isnull=True)
                | Q(state="revoked", revoked_at__isnull=False),
                name="authorization_agreement_revoked_at",
            ),
            models.CheckConstraint(
                condition=~Q(grantor=models.F("grantee")), name="authorization_agreement_two_parties"
            ),
        ]
        indexes = [
            models.Index(fields=["grantee"], name="auth_agreement_grantee", condition=Q(rev_to__isnull=True)),
            models.Index(fields=["grantor"], name="auth_agreement_grantor", condition=Q(rev_to__isnull=True)),
            models.Index(
                fields=["valid_until"], name="auth_agreement_until", condition=Q(rev_to__isnull=True)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.head} v{self.version_no}"


class ScopeTerm(models.Model):
    """One value of one dimension that an agreement covers. No row means nothing; all is said as '*'."""

    class Dimension(models.TextChoices):
        MODEL = "model", "model: a variant"
        TERRITORY = "territory", "territory"
        CHANNEL = "channel", "channel"
        CONDITION = "condition", "condition"

    version = models.ForeignKey(AgreementVersion, on_delete=models.CASCADE, related_name="scope_terms")
    dimension = models.CharField(max_length=16, choices=Dimension)
    value = models.CharField(max_length=100)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["version", "dimension", "value"], name="authorization_scopeterm_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.dimension}={self.value}"


class ApprovalVersion(FactVersion):
    """A carrier approval: this exact variant may be sold for this host carrier."""

    class State(models.TextChoices):
        REQUESTED = "requested", "requested"
        IN_TEST = "in_test", "in test"
        APPROVED = "approved", "approved"
        CONDITIONAL = "conditional", "approved with limits"
        REJECTED = "rejected", "rejected"
        REVOKED = "revoked", "revoked"

    head = models.ForeignKey(Fact, on_delete=models.PROTECT, related_name="approval_versions")
    host = models.ForeignKey(HostCarrier, on_delete=models.PROTECT, related_name="approval_versions")
    variant = models.ForeignKey(Variant, on_delete=models.PROTECT, related_name="approval_versions")
    state = models.CharField(max_length=16, choices=State)
    revoked_at = models.DateTimeField(null=True, blank=True)
    limits = models.CharField(max_length=300, blank=True, help_text="What is limited, in plain words")
    reason_code = models.CharField(max_length=64, blank=True)
    document = models.TextField(blank=True, help_text="Number of the letter of technical acceptance")

    class Meta(FactVersion.Meta):
        verbose_name = "carrier approval"
        constraints = [
            *FactVersion.Meta.constraints,
            models.CheckConstraint(
                condition=(
                    Q(state="revoked", revoked_at__isnull=False)
                    | (~Q(state="revoked") & Q(revoked_at__isnull=True))
                ),
                name="authorization_approval_revoked_at",
            ),
        ]
        indexes = [
            models.Index(
                fields=["variant", "host"], name="auth_approval_variant", condition=Q(rev_to__isnull=True)
            ),
            models.Index(
                fields=["valid_until"], name="auth_approval_until", condition=Q(rev_to__isnull=True)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.head} v{self.version_no}"


class HoldVersion(FactVersion):
    """A hold: stop selling what its targets match, for this reason, until released.

    A hold matches a point when, for every dimension that it names, one of its values does. A hold without targets
    matches nothing. A target of dimension `fact` suspends that agreement or approval.
    """

    head = models.ForeignKey(Fact, on_delete=models.PROTECT, related_name="hold_versions")
    placed_by = models.CharField(
        max_length=150, help_text="Whose word it is: a manufacturer, a carrier, the shop"
    )
    reason_code = models.CharField(max_length=64)
    note = models.TextField(blank=True)
    released_at = models.DateTimeField(null=True, blank=True)

    class Meta(FactVersion.Meta):
        verbose_name = "hold"

    def __str__(self) -> str:
        return f"{self.head} v{self.version_no}"


class HoldTarget(models.Model):
    class Dimension(models.TextChoices):
        MANUFACTURER = "manufacturer", "manufacturer"
        DEVICE = "device", "device"
        VARIANT = "variant", "variant"
        VENDOR = "vendor", "vendor"
        LISTING = "listing", "listing"
        HOST = "host", "host carrier"
        TERRITORY = "territory", "territory"
        FACT = "fact", "agreement or approval"

    version = models.ForeignKey(HoldVersion, on_delete=models.CASCADE, related_name="targets")
    dimension = models.CharField(max_length=16, choices=Dimension)
    # The row's id as text, or the territory's code.
    value = models.CharField(max_length=100)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["version", "dimension", "value"], name="authorization_holdtarget_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.dimension}={self.value}"


class PolicyVersion(FactVersion):
    """Which grounds the shop enforces. Data with versions, so that two policies can be compared on one world."""

    head = models.ForeignKey(Fact, on_delete=models.PROTECT, related_name="policy_versions")
    name = models.CharField(max_length=100)
    minimum_assurance = models.CharField(max_length=16, choices=Assurance)
    is_carrier_approval_enforced = models.BooleanField(default=True)

    class Meta(FactVersion.Meta):
        verbose_name = "policy"
        verbose_name_plural = "policies"

    def __str__(self) -> str:
        return f"{self.name} v{self.version_no}"


class Decision(models.Model):
    """An answer that something rests on: a clearance, a delisting, a sale. Never changed.

    `reasons` and `evidence` are lists of plain objects (shapes: rules.Reason, rules.Evidence).
    """

    class Outcome(models.TextChoices):
        ALLOW = "allow", "allow"
        DENY = "deny", "deny"
        UNDETERMINED = "undetermined", "undetermined"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    offer = models.ForeignKey(ListingHost, on_delete=models.PROTECT, related_name="decisions")
    outcome = models.CharField(max_length=16, choices=Outcome)
    question = models.JSONField()
    reasons = models.JSONField(default=list)
    evidence = models.JSONField(default=list)
    valid_at = models.DateTimeField()
    revision = models.PositiveBigIntegerField()
    expires_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["offer", "-revision"], name="auth_decision_offer")]

    def __str__(self) -> str:
        return f"{self.outcome} at revision {self.revision}"


class DecisionEvidence(models.Model):
    """One version of one fact that an allow rests on: the index from a fact to what stands on it."""

    decision = models.ForeignKey(Decision, on_delete=models.CASCADE, related_name="evidence_rows")
    fact = models.ForeignKey(Fact, on_delete=models.PROTECT, related_name="cited_in")
    version_no = models.PositiveIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["decision", "fact"], name="authorization_evidence_once")
        ]
        indexes = [models.Index(fields=["fact", "version_no"], name="auth_evidence_fact")]

    def __str__(self) -> str:
        return f"{self.fact} v{self.version_no}"


class LedgerEntry(models.Model):
    """What was done, by whom and why; written in the transaction of the act. Never changed."""

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField()
    actor = models.CharField(max_length=150)
    act = models.CharField(max_length=64)
    subject_kind = models.CharField(max_length=32)
    subject_id = models.CharField(max_length=64)
    reason = models.CharField(max_length=500, blank=True)
    evidence = models.JSONField(default=dict)
    revision = models.PositiveBigIntegerField(null=True, blank=True)
    request_id = models.CharField(max_length=64, blank=True)

    class Meta:
        verbose_name_plural = "ledger entries"
        indexes = [models.Index(fields=["subject_kind", "subject_id", "id"], name="auth_ledger_subject")]

    def __str__(self) -> str:
        return f"{self.act} {self.subject_kind} {self.subject_id}"


class OutboxRow(models.Model):
    """Work to do, written in the transaction of the change that asks for it.

    Without a handler it is the event itself, kept for readers (`position` is their order, stamped by the pump);
    with one it is the work of one reaction. A failed attempt is closed and a new row follows it.
    `due_at` is on the business clock; `claimed_until` is a lease on the machine's clock.
    """

    id = models.BigAutoField(primary_key=True)
    event_id = models.UUIDField(default=uuid.uuid4)
    event = models.CharField(max_length=64)
    payload = models.JSONField(default=dict)
    handler = models.CharField(max_length=100, blank=True)
    due_at = models.DateTimeField()
    created_at = models.DateTimeField()
    attempt = models.PositiveIntegerField(default=1)
    claimed_until = models.DateTimeField(null=True, blank=True)
    done_at = models.DateTimeField(null=True, blank=True)
    failed_at = models.DateTimeField(null=True, blank=True)
    is_dead = models.BooleanField(
        default=False, help_text="Given up after the last attempt: somebody must look"
    )
    last_error = models.TextField(blank=True)
    position = models.PositiveBigIntegerField(null=True, blank=True, unique=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["event_id", "handler", "attempt"], name="authorization_outbox_once"
            )
        ]
        indexes = [
            models.Index(
                fields=["due_at", "id"],
                name="auth_outbox_open",
                condition=Q(done_at__isnull=True, failed_at__isnull=True) & ~Q(handler=""),
            ),
            models.Index(
                fields=["id"], name="auth_outbox_unplaced", condition=Q(handler="", position__isnull=True)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event} -> {self.handler or 'readers'}"


class Revocation(models.Model):
    """One execution of a change that takes authority away: a fact revoked, or a hold placed."""

    class Kind(models.TextChoices):
        AGREEMENT = "agreement", "agreement revoked"
        APPROVAL = "approval", "carrier approval revoked"
        HOLD = "hold", "hold placed"

    kind = models.CharField(max_length=16, choices=Kind)
    fact = models.ForeignKey(Fact, on_delete=models.PROTECT, related_name="revocations")
    revision = models.OneToOneField(Revision, on_delete=models.PROTECT, related_name="revocation")
    requested_by = models.CharField(max_length=150, help_text="The party whose word it is")
    reason_code = models.CharField(max_length=64)
    note = models.TextField(blank=True)
    actor = models.CharField(max_length=150)
    word_received_at = models.DateTimeField()
    effective_at = models.DateTimeField()
    preview_digest = models.CharField(max_length=64)
    preview_falls = models.PositiveIntegerField()
    preview_survives = models.PositiveIntegerField()

    class Meta:
        verbose_name = "withdrawal of authority"
        verbose_name_plural = "withdrawals of authority"
        constraints = [
            models.CheckConstraint(
                condition=Q(word_received_at__lte=models.F("effective_at")),
                name="authorization_revocation_word_first",
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.fact}"


class Sweep(models.Model):
    """The re-decision of every offer that one revision may touch, cut in chunks."""

    revision = models.OneToOneField(Revision, on_delete=models.PROTECT, related_name="sweep")
    revocation = models.OneToOneField(
        Revocation, on_delete=models.PROTECT, null=True, blank=True, related_name="sweep"
    )
    # What the revision changed; empty where it is more than one fact (a policy, networks, hostings).
    fact = models.ForeignKey(Fact, on_delete=models.PROTECT, null=True, blank=True, related_name="sweeps")
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"sweep of {self.revision}"


class SweepChunk(models.Model):
    """Up to settings.SWEEP_CHUNK_SIZE offers of a sweep, by id range; done in one transaction."""

    sweep = models.ForeignKey(Sweep, on_delete=models.PROTECT, related_name="chunks")
    first_offer_id = models.PositiveBigIntegerField()
    last_offer_id = models.PositiveBigIntegerField()
    done_at = models.DateTimeField(null=True, blank=True)
    decided = models.PositiveIntegerField(default=0)
    delisted = models.PositiveIntegerField(default=0)
    reinstated = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["sweep", "first_offer_id"], name="authorization_chunk_once")
        ]

    def __str__(self) -> str:
        return f"{self.first_offer_id}-{self.last_offer_id} of {self.sweep}"


class Delisting(models.Model):
    """The record that one live offer was taken down: when, on which decision, for which reasons."""

    offer = models.ForeignKey(ListingHost, on_delete=models.PROTECT, related_name="delistings")
    decision = models.OneToOneField(Decision, on_delete=models.PROTECT, related_name="delisting")
    # Empty when the reconciler found it.
    sweep = models.ForeignKey(
        Sweep, on_delete=models.PROTECT, null=True, blank=True, related_name="delistings"
    )
    reason_codes = models.JSONField()
    at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["offer", "-id"], name="auth_delisting_offer")]

    def __str__(self) -> str:
        return f"delisted {self.offer}"
