"""Facts of authority in two times, decisions, and what is written beside every change of them."""

import uuid

from django.db import models
from django.db.models import Q

from authorization.acceptances.models import Acceptance as Acceptance
from authorization.acceptances.models import AcceptanceFile as AcceptanceFile
from authorization.acceptances.models import AcceptanceMove as AcceptanceMove
from authorization.acceptances.models import AcceptanceResult as AcceptanceResult
from authorization.acceptances.models import Party as Party
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
        EQUIPMENT = "equipment", "equipment authorization"
        HOLD = "hold", "hold"
        AFFILIATION = "affiliation", "affiliation"
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
            # Not only current rows: questions about the past go the same way.
            models.Index(fields=["grantee", "grantor"], name="auth_agreement_grantee"),
            models.Index(fields=["grantor"], name="auth_agreement_grantor"),
            # Those that can stand in a chain above the last link.
            models.Index(fields=["grantor"], name="auth_agreement_chain", condition=Q(may_sublicense=True)),
            models.Index(
                fields=["grantee"], name="auth_agreement_chain_up", condition=Q(may_sublicense=True)
            ),
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
    waived_until = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When the waiver of a known deviation runs out, and the approval with it",
    )
    # As the host wrote them, and in a form that sorts (authorization.software.sort_key): half-open, empty is unbounded.
    software_from = models.CharField(max_length=64, blank=True)
    software_until = models.CharField(max_length=64, blank=True)
    software_from_key = models.CharField(max_length=400, blank=True)
    software_until_key = models.CharField(max_length=400, blank=True)
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
            models.CheckConstraint(
                condition=Q(waived_until__isnull=True) | Q(state__in=["conditional", "revoked"]),
                name="authorization_approval_waived_conditional",
            ),
            models.CheckConstraint(
                condition=Q(software_until_key="") | Q(software_from_key__lt=models.F("software_until_key")),
                name="authorization_approval_software_order",
            ),
        ]
        indexes = [
            models.Index(fields=["variant", "host"], name="auth_approval_variant"),
            models.Index(
                fields=["valid_until"], name="auth_approval_until", condition=Q(rev_to__isnull=True)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.head} v{self.version_no}"


class EquipmentVersion(FactVersion):
    """An equipment authorization: a regulator lets this variant be marketed in this territory.

    `granted_at` is when the regulator granted it: a prospective list reaches later grants only.
    """

    class State(models.TextChoices):
        ACTIVE = "active", "active"
        REVOKED = "revoked", "revoked"

    head = models.ForeignKey(Fact, on_delete=models.PROTECT, related_name="equipment_versions")
    variant = models.ForeignKey(Variant, on_delete=models.PROTECT, related_name="equipment_versions")
    territory = models.CharField(max_length=2, help_text="ISO 3166-1 code")
    regulator = models.CharField(max_length=64)
    identifier = models.CharField(max_length=64, blank=True, help_text="e.g. the FCC ID")
    granted_at = models.DateTimeField()
    state = models.CharField(max_length=16, choices=State, default=State.ACTIVE)
    revoked_at = models.DateTimeField(null=True, blank=True)
    reason_code = models.CharField(max_length=64, blank=True)
    document = models.TextField(blank=True)

    class Meta(FactVersion.Meta):
        verbose_name = "equipment authorization"
        constraints = [
            *FactVersion.Meta.constraints,
            models.CheckConstraint(
                condition=Q(state="active", revoked_at__isnull=True)
                | Q(state="revoked", revoked_at__isnull=False),
                name="authorization_equipment_revoked_at",
            ),
            models.CheckConstraint(
                condition=Q(granted_at__lte=models.F("valid_from")),
                name="authorization_equipment_granted_first",
            ),
        ]
        indexes = [
            models.Index(fields=["variant", "territory"], name="auth_equipment_variant"),
            models.Index(
                fields=["valid_until"], name="auth_equipment_until", condition=Q(rev_to__isnull=True)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.head} v{self.version_no}"


class AffiliationVersion(FactVersion):
    """`child` belongs to `parent`: a sub-brand, or an affiliated company.

    The parent may grant for the devices of the child, and what stops the parent stops the child. With
    `may_grant_for_parent` the child may grant for the devices of the parent too.
    """

    head = models.ForeignKey(Fact, on_delete=models.PROTECT, related_name="affiliation_versions")
    parent = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="children_versions")
    child = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="parent_versions")
    may_grant_for_parent = models.BooleanField(default=False)
    document = models.TextField(blank=True)

    class Meta(FactVersion.Meta):
        verbose_name = "affiliation"
        constraints = [
            *FactVersion.Meta.constraints,
            models.CheckConstraint(
                condition=~Q(parent=models.F("child")), name="authorization_affiliation_two_parties"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.head} v{self.version_no}"


class HoldVersion(FactVersion):
    """A hold: stop what its targets match, for this reason, until released.

    A hold matches a point when, for every dimension that it names, one of its values does. A hold without targets
    matches nothing. A target of dimension `fact` suspends that agreement, approval or equipment authorization. A
    target with a `part` above 0 belongs to the exemption of that number, which matches in the same way.
    """

    class Reach(models.TextChoices):
        SALE = "sale", "the sale itself"
        NEW_GRANTS = "new_grants", "equipment authorizations granted from its start on (prospective list)"
        ALL_GRANTS = "all_grants", "equipment authorizations whenever granted (retroactive list)"

    head = models.ForeignKey(Fact, on_delete=models.PROTECT, related_name="hold_versions")
    reach = models.CharField(max_length=16, choices=Reach, default=Reach.SALE)
    placed_by = models.CharField(
        max_length=150, help_text="Whose word it is: a manufacturer, a carrier, the shop"
    )
    reason_code = models.CharField(max_length=64)
    note = models.TextField(blank=True)
    released_at = models.DateTimeField(null=True, blank=True)

    class Meta(FactVersion.Meta):
        verbose_name = "hold"
        constraints = [
            *FactVersion.Meta.constraints,
            models.CheckConstraint(
                condition=Q(reach__in=["sale", "new_grants", "all_grants"]), name="authorization_hold_reach"
            ),
        ]

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
        CHANNEL = "channel", "channel"
        CONDITION = "condition", "condition"
        FACT = "fact", "agreement, approval or equipment authorization"

    # An attribute of the variant is a dimension of its own, e.g. attribute:chipset_vendor.
    ATTRIBUTE = "attribute:"

    version = models.ForeignKey(HoldVersion, on_delete=models.CASCADE, related_name="targets")
    part = models.PositiveSmallIntegerField(default=0, help_text="0: what is stopped; n: the n-th exemption")
    dimension = models.CharField(max_length=64)
    # The row's id as text, the code of a territory, channel or condition, or the value of the attribute.
    value = models.CharField(max_length=100)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["version", "part", "dimension", "value"], name="authorization_holdtarget_once"
            ),
            models.CheckConstraint(condition=~Q(value=""), name="authorization_holdtarget_value"),
            models.CheckConstraint(
                condition=Q(part=0) | ~Q(dimension="fact"), name="authorization_holdtarget_exempts_no_fact"
            ),
        ]
        indexes = [models.Index(fields=["dimension", "value"], name="auth_holdtarget_value")]

    def __str__(self) -> str:
        return f"{self.dimension}={self.value}"


class HoldExemption(models.Model):
    """While it lasts, the hold does not stop what this exemption's targets (the same `part`) match."""

    version = models.ForeignKey(HoldVersion, on_delete=models.CASCADE, related_name="exemptions")
    part = models.PositiveSmallIntegerField()
    valid_from = models.DateTimeField()
    valid_until = models.DateTimeField()
    note = models.CharField(
        max_length=300, blank=True, help_text="e.g. Rs 100 per unit deposited with the court"
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["version", "part"], name="authorization_exemption_once"),
            models.CheckConstraint(
                condition=Q(valid_from__lt=models.F("valid_until")), name="authorization_exemption_order"
            ),
            models.CheckConstraint(condition=Q(part__gt=0), name="authorization_exemption_part"),
        ]

    def __str__(self) -> str:
        return f"exemption {self.part} of {self.version}"


class PolicyVersion(FactVersion):
    """Which grounds the shop enforces, at what level. Data with versions, so that two can be compared on one world.

    A policy for one territory stands before the one for all ("*").
    """

    class Radio(models.TextChoices):
        ANY = "", "any: compatibility is shown, not demanded"
        DATA_ONLY = "DATA_ONLY", "data at least"
        PARTIAL_2G = "PARTIAL_2G", "voice, on 2G at least"
        PARTIAL_3G = "PARTIAL_3G", "voice, on 3G at least"
        PARTIAL_LTE = "PARTIAL_LTE", "voice, and LTE in part"
        FULL = "FULL", "full compatibility"

    head = models.ForeignKey(Fact, on_delete=models.PROTECT, related_name="policy_versions")
    name = models.CharField(max_length=100)
    territory = models.CharField(max_length=2, default="*", help_text="ISO 3166-1 code, or * for all")
    is_agreement_enforced = models.BooleanField(default=True)
    minimum_assurance = models.CharField(max_length=16, choices=Assurance)
    is_carrier_approval_enforced = models.BooleanField(default=True)
    is_conditional_approval_enough = models.BooleanField(default=True)
    is_equipment_authorization_enforced = models.BooleanField(default=False)
    minimum_radio = models.CharField(max_length=16, choices=Radio, blank=True, default=Radio.ANY)

    class Meta(FactVersion.Meta):
        verbose_name = "policy"
        verbose_name_plural = "policies"
        constraints = [
            *FactVersion.Meta.constraints,
            models.CheckConstraint(
                condition=Q(
                    minimum_radio__in=["", "DATA_ONLY", "PARTIAL_2G", "PARTIAL_3G", "PARTIAL_LTE", "FULL"]
                ),
                name="authorization_policy_radio",
            ),
            models.CheckConstraint(
                condition=Q(minimum_assurance__in=["claimed", "verified"]),
                name="authorization_policy_assurance",
            ),
        ]

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
    """One version of one record that an allow rests on: the index from a record to what stands on it.

    `fact_id` is the head's id within its kind: a Fact for kinds of Fact.Kind, else a hosting, a network, a variant.
    """

    decision = models.ForeignKey(Decision, on_delete=models.CASCADE, related_name="evidence_rows")
    kind = models.CharField(max_length=16)
    fact_id = models.BigIntegerField()
    version_no = models.PositiveIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["decision", "kind", "fact_id"], name="authorization_evidence_once"
            )
        ]
        indexes = [models.Index(fields=["kind", "fact_id", "version_no"], name="auth_evidence_fact")]

    def __str__(self) -> str:
        return f"{self.kind} {self.fact_id} v{self.version_no}"


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
    # A dead row that somebody looked at: tried again as a new row, or dismissed with a reason in the ledger.
    settled_at = models.DateTimeField(null=True, blank=True)
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
            # One lane for each handler, so that the chunks of a sweep do not stand before the reactions.
            models.Index(
                fields=["handler", "due_at", "id"],
                name="auth_outbox_lane",
                condition=Q(done_at__isnull=True, failed_at__isnull=True) & ~Q(handler=""),
            ),
            models.Index(
                fields=["id"], name="auth_outbox_unplaced", condition=Q(handler="", position__isnull=True)
            ),
            models.Index(
                fields=["id"], name="auth_outbox_dead", condition=Q(is_dead=True, settled_at__isnull=True)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event} -> {self.handler or 'readers'}"


class Revocation(models.Model):
    """One execution of a change that takes authority away: a fact revoked, a hold placed, a policy tightened, ...

    `effective_at` may lie ahead: until then it can be cancelled (`PendingChange`), and takes nothing away.
    """

    class Kind(models.TextChoices):
        AGREEMENT = "agreement", "agreement revoked"
        APPROVAL = "approval", "carrier approval revoked"
        RESTRICTION = "restriction", "carrier approval limited"
        EQUIPMENT = "equipment", "equipment authorization revoked"
        NARROWING = "narrowing", "agreement narrowed"
        HOLD = "hold", "hold placed"
        EXEMPTION = "exemption", "exemption ended"
        AFFILIATION = "affiliation", "affiliation ended"
        POLICY = "policy", "policy set"
        GROUNDWORK = "groundwork", "bands, network or hosting corrected"

    kind = models.CharField(max_length=16, choices=Kind)
    # Empty where more than one record was corrected at once: then `scope` says whose offers it bears on.
    fact = models.ForeignKey(
        Fact, on_delete=models.PROTECT, null=True, blank=True, related_name="revocations"
    )
    subject = models.CharField(max_length=200, blank=True, help_text="What was withdrawn, as people call it")
    scope = models.JSONField(default=dict, blank=True)
    revision = models.OneToOneField(Revision, on_delete=models.PROTECT, related_name="revocation")
    requested_by = models.CharField(max_length=150, help_text="The party whose word it is")
    reason_code = models.CharField(max_length=64)
    note = models.TextField(blank=True)
    actor = models.CharField(max_length=150)
    word_received_at = models.DateTimeField()
    effective_at = models.DateTimeField()
    # Machine time from the desk's click to the commit, in seconds: written after the commit, empty if that failed.
    commit_s = models.FloatField(null=True, blank=True)
    preview_digest = models.CharField(max_length=64)
    preview_falls = models.PositiveIntegerField()
    # Beside those: what falls by itself on a day to come that it sets, e.g. an earlier end of an agreement.
    preview_falls_later = models.PositiveIntegerField(default=0, db_default=0)
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
        return f"{self.get_kind_display()}: {self.name}"

    @property
    def name(self) -> str:
        """What was withdrawn, as people call it."""
        return self.subject or str(self.fact)

    @property
    def named_fact(self) -> Fact:
        """The one record that it is about. Raises ValueError for a correction of several."""
        if self.fact is None:
            raise ValueError(f"{self.name} is no single record.")
        return self.fact


class PendingChange(models.Model):
    """What was decided and waits: a withdrawal for its day, or the removal of many pages for a second person.

    Neither delays the stop of sales: from `effective_at` on nothing can be sold, workers or not.
    """

    class Kind(models.TextChoices):
        WITHDRAWAL = "withdrawal", "takes effect later; can be cancelled until then"
        REMOVAL = "removal", "pages stay until a second person agrees; nothing is sold meanwhile"

    class State(models.TextChoices):
        OPEN = "open", "open"
        DONE = "done", "done: it took effect, or a second person agreed"
        CANCELLED = "cancelled", "cancelled before it took effect"
        DECLINED = "declined", "declined by a second person: the withdrawal was undone"

    kind = models.CharField(max_length=16, choices=Kind)
    revocation = models.ForeignKey(Revocation, on_delete=models.PROTECT, related_name="pending_changes")
    state = models.CharField(max_length=16, choices=State, default=State.OPEN)
    made_by = models.CharField(max_length=150)
    made_at = models.DateTimeField()
    due_at = models.DateTimeField(null=True, blank=True, help_text="When a later withdrawal takes effect")
    decided_by = models.CharField(max_length=150, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=500, blank=True, help_text="Why it was cancelled or declined")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["revocation", "kind"], name="authorization_pending_once"),
            # Nobody agrees with himself, superusers included.
            models.CheckConstraint(
                condition=~Q(kind="removal") | ~Q(decided_by=models.F("made_by")),
                name="authorization_pending_two_people",
            ),
            models.CheckConstraint(
                condition=Q(state="open", decided_at__isnull=True)
                | (~Q(state="open") & Q(decided_at__isnull=False)),
                name="authorization_pending_decided",
            ),
            models.CheckConstraint(
                condition=Q(kind="removal", due_at__isnull=True) | Q(kind="withdrawal", due_at__isnull=False),
                name="authorization_pending_due",
            ),
        ]
        indexes = [
            models.Index(fields=["kind", "id"], name="auth_pending_open", condition=Q(state="open")),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.state}: {self.revocation}"


class Reinstatement(models.Model):
    """The way back from one withdrawal, in whole or in part. The withdrawal stays on record; what was revoked stays
    revoked, and `fact` is the record that stands in its place (or the hold that was released).
    """

    revocation = models.ForeignKey(Revocation, on_delete=models.PROTECT, related_name="reinstatements")
    revision = models.OneToOneField(Revision, on_delete=models.PROTECT, related_name="reinstatement")
    fact = models.ForeignKey(
        Fact, on_delete=models.PROTECT, null=True, blank=True, related_name="reinstatements"
    )
    is_partial = models.BooleanField(default=False)
    is_mistake = models.BooleanField(default=False, help_text="The withdrawal should not have been made")
    reason = models.TextField()
    actor = models.CharField(max_length=150)
    at = models.DateTimeField()
    preview_returns = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"reinstated: {self.revocation}"


class Sweep(models.Model):
    """The re-decision of every offer that one revision may touch, cut in chunks."""

    revision = models.OneToOneField(Revision, on_delete=models.PROTECT, related_name="sweep")
    revocation = models.OneToOneField(
        Revocation, on_delete=models.PROTECT, null=True, blank=True, related_name="sweep"
    )
    # What the revision changed; empty where it is more than one fact (networks, hostings, radios).
    fact = models.ForeignKey(Fact, on_delete=models.PROTECT, null=True, blank=True, related_name="sweeps")
    # Where there is no fact: whose offers it bears on (selectors.Scope); empty is all of them.
    scope = models.JSONField(default=dict, blank=True)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    # Planning goes on by id, a few chunks in each transaction; `planned_at` when no offer is left to plan.
    planned_up_to = models.PositiveBigIntegerField(default=0)
    planned_at = models.DateTimeField(null=True, blank=True)
    planned_offers = models.PositiveIntegerField(default=0)

    class Meta:
        indexes = [
            models.Index(fields=["id"], name="auth_sweep_open", condition=Q(finished_at__isnull=True)),
        ]

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
        indexes = [
            models.Index(fields=["sweep"], name="auth_chunk_open", condition=Q(done_at__isnull=True)),
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


class ReconcilerRun(models.Model):
    """One round of the reconciler, and what it found that the events had missed. Both findings should be 0."""

    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    # A lease on the machine's clock, renewed while it works: rounds do not overlap.
    busy_until = models.DateTimeField(null=True, blank=True)
    revision = models.PositiveBigIntegerField()
    live = models.PositiveIntegerField(default=0, help_text="Live offers that were looked at")
    decided = models.PositiveIntegerField(default=0, help_text="Of those and of suspended ones, decided anew")
    found_live = models.PositiveIntegerField(default=0, help_text="Live without authority: taken down")
    found_suspended = models.PositiveIntegerField(
        default=0, help_text="Suspended although allowed: brought back"
    )
    renewed = models.PositiveIntegerField(default=0)
    # Where the slow round through all offers stands: each is decided in full once in a while, whatever the quick
    # look said.
    position = models.PositiveBigIntegerField(default=0)
    error = models.TextField(blank=True)

    class Meta:
        indexes = [models.Index(fields=["-started_at"], name="auth_reconciler_started")]

    def __str__(self) -> str:
        return f"reconciler at {self.started_at:%Y-%m-%d %H:%M:%S}"


class LedgerSeal(models.Model):
    """A batch of ledger entries, sealed: the root of its Merkle tree, chained to the seal before. Never changed.

    How the hashes are made: authorization/sealing.py.
    """

    number = models.PositiveBigIntegerField(primary_key=True)
    # Which columns of an entry were hashed, and how.
    format = models.PositiveSmallIntegerField()
    sealed_at = models.DateTimeField()
    entries = models.PositiveIntegerField(help_text="How many entries it seals")
    total = models.PositiveBigIntegerField(help_text="How many are sealed by it and those before")
    settled_id = models.PositiveBigIntegerField(
        help_text="No entry up to this id can still be committed: all of them are sealed"
    )
    root = models.CharField(max_length=64)
    previous = models.CharField(
        max_length=64, help_text="Chained hash of the seal before; of the first one: the name of this ledger"
    )
    chained = models.CharField(max_length=64)

    def __str__(self) -> str:
        return f"seal {self.number}"


class LedgerLeaf(models.Model):
    """One entry's place in a seal.

    No foreign key to the entry: the leaf outlives it, so that a deletion is found. As the primary key it also keeps
    two seals from taking the same entry.
    """

    entry_id = models.PositiveBigIntegerField(primary_key=True)
    seal = models.ForeignKey(LedgerSeal, on_delete=models.PROTECT, related_name="leaves", db_index=False)
    position = models.PositiveIntegerField()
    hash = models.CharField(max_length=64)

    class Meta:
        verbose_name_plural = "ledger leaves"
        constraints = [
            models.UniqueConstraint(fields=["seal", "position"], name="authorization_leaf_position")
        ]

    def __str__(self) -> str:
        return f"entry {self.entry_id} in {self.seal_id}.{self.position}"
