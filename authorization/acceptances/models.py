"""Technical acceptance: how a host carrier comes to approve one exact build of one variant.

An acceptance is a process and grants nothing: what may be sold stands in the carrier approval that its decisive moves
write. What happened to it is kept in rows that are written once.
"""

from django.db import models
from django.db.models import Q

from carriers.models import HostCarrier
from catalog.models import Organization, Variant


class Acceptance(models.Model):
    """One build of a variant on its way through one host's tests. A maintenance release is a child of its own.

    The key of the field: host, model number, hardware revision, software range, TACs.
    """

    class State(models.TextChoices):
        REQUESTED = "REQUESTED", "requested"
        INTAKE_REVIEW = "INTAKE_REVIEW", "papers under review"
        REJECTED = "REJECTED", "rejected"
        LAB_ENTRY = "LAB_ENTRY", "lab entry: samples and software frozen"
        IN_TEST = "IN_TEST", "in test"
        ISSUES_OPEN = "ISSUES_OPEN", "issues open"
        WAIVER_PENDING = "WAIVER_PENDING", "waiver pending"
        CONDITIONAL = "CONDITIONAL", "approved with limits"
        APPROVED = "APPROVED", "approved"
        MR_REVIEW = "MR_REVIEW", "maintenance release under review"
        SUSPENDED = "SUSPENDED", "suspended"
        REVOKED = "REVOKED", "revoked"
        EXPIRED = "EXPIRED", "expired"
        WITHDRAWN = "WITHDRAWN", "withdrawn by its sponsor"

    class RequestType(models.TextChoices):
        INITIAL = "initial", "initial: first of its line"
        VARIANT = "variant", "variant: similar to an approved parent"
        ECO = "eco", "engineering change: new hardware or software of an approved model"
        MR = "mr", "maintenance release: new software on an approved model"

    FINAL = (State.REJECTED, State.REVOKED, State.EXPIRED, State.WITHDRAWN)
    IN_FORCE = (State.APPROVED, State.CONDITIONAL)

    code = models.CharField(max_length=64, unique=True, help_text="What people call it, e.g. TA-2016-0007")
    host = models.ForeignKey(HostCarrier, on_delete=models.PROTECT, related_name="acceptances")
    variant = models.ForeignKey(Variant, on_delete=models.PROTECT, related_name="acceptances")
    parent = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="maintenance_releases"
    )
    request_type = models.CharField(max_length=16, choices=RequestType, default=RequestType.INITIAL)
    # Who asked. Empty: the shop itself.
    sponsor = models.ForeignKey(
        Organization, on_delete=models.PROTECT, null=True, blank=True, related_name="acceptances"
    )
    hardware_revision = models.CharField(max_length=64, blank=True)
    # As the sponsor wrote them, and in a form that sorts (authorization.software.sort_key): half-open, empty is
    # unbounded.
    software_from = models.CharField(max_length=64, blank=True)
    software_until = models.CharField(max_length=64, blank=True)
    software_from_key = models.CharField(max_length=400, blank=True)
    software_until_key = models.CharField(max_length=400, blank=True)
    tacs = models.JSONField(default=list, blank=True, help_text="The type allocation codes, 8 digits each")
    fcc_id = models.CharField(max_length=32, blank=True)
    certificate = models.CharField(max_length=64, blank=True, help_text="PTCRB or GCF request number")

    state = models.CharField(max_length=16, choices=State, default=State.REQUESTED)
    state_changed_at = models.DateTimeField()
    # Compare and swap: who acts says which version they saw.
    version = models.PositiveIntegerField(default=1)
    # The build in the lab: its number counts from 1 with each one frozen, and its software.
    build_no = models.PositiveIntegerField(default=0)
    software_in_test = models.CharField(max_length=64, blank=True)
    lab_slot_from = models.DateTimeField(null=True, blank=True)
    lab_slot_until = models.DateTimeField(null=True, blank=True)
    deviation = models.TextField(blank=True, help_text="The known deviation that a waiver is asked for")
    limits = models.CharField(max_length=300, blank=True)
    waived_until = models.DateTimeField(null=True, blank=True)
    valid_until = models.DateTimeField(
        null=True, blank=True, help_text="When the approval ends; empty: never"
    )
    # Existing lines keep working until then; nothing is sold after the revocation.
    phase_out_until = models.DateTimeField(null=True, blank=True)
    # The approval that it led to, and the hold that suspends it.
    approval = models.OneToOneField(
        "authorization.Fact", on_delete=models.PROTECT, null=True, blank=True, related_name="acceptance"
    )
    hold = models.ForeignKey(
        "authorization.Fact", on_delete=models.PROTECT, null=True, blank=True, related_name="suspends"
    )
    created_at = models.DateTimeField()

    class Meta:
        app_label = "authorization"
        verbose_name = "technical acceptance"
        constraints = [
            models.UniqueConstraint(
                fields=["host", "variant", "hardware_revision", "software_from_key", "software_until_key"],
                condition=~Q(state__in=["REJECTED", "REVOKED", "EXPIRED", "WITHDRAWN"]),
                name="authorization_acceptance_one_open",
            ),
            # What is approved names its approval; what is under way has none yet.
            models.CheckConstraint(
                condition=Q(approval__isnull=False) | ~Q(state__in=["APPROVED", "CONDITIONAL", "SUSPENDED"]),
                name="authorization_acceptance_approval",
            ),
            models.CheckConstraint(
                condition=Q(state="SUSPENDED", hold__isnull=False)
                | (~Q(state="SUSPENDED") & Q(hold__isnull=True)),
                name="authorization_acceptance_hold",
            ),
            models.CheckConstraint(
                condition=Q(parent__isnull=True) | Q(request_type__in=["mr", "eco"]),
                name="authorization_acceptance_child",
            ),
            models.CheckConstraint(
                condition=Q(software_until_key="") | Q(software_from_key__lt=models.F("software_until_key")),
                name="authorization_acceptance_software_order",
            ),
            models.CheckConstraint(
                condition=Q(lab_slot_until__isnull=True) | Q(lab_slot_from__lt=models.F("lab_slot_until")),
                name="authorization_acceptance_slot_order",
            ),
        ]
        indexes = [
            models.Index(fields=["host", "state"], name="auth_acceptance_host"),
            models.Index(fields=["sponsor", "state"], name="auth_acceptance_sponsor"),
            models.Index(fields=["variant"], name="auth_acceptance_variant"),
        ]

    def __str__(self) -> str:
        return self.code


class Party(models.TextChoices):
    """In whose name somebody acts on an acceptance."""

    SPONSOR = "sponsor", "sponsor: the vendor, the maker or the shop that asked"
    HOST_DESK = "host_desk", "certification desk of the host"
    HOST_LAB = "host_lab", "lab of the host"
    HOST_APPROVER = "host_approver", "approver of the host"
    SHOP = "shop", "compliance desk of the shop, on the word of the host"
    CLOCK = "clock", "the clock"


class AcceptanceMove(models.Model):
    """One move of an acceptance: who, in whose name, why, on what. Written once."""

    acceptance = models.ForeignKey(Acceptance, on_delete=models.PROTECT, related_name="moves")
    number = models.PositiveIntegerField()
    move = models.CharField(max_length=32)
    from_state = models.CharField(max_length=16, blank=True)
    to_state = models.CharField(max_length=16, choices=Acceptance.State)
    party = models.CharField(max_length=16, choices=Party)
    actor = models.CharField(max_length=150)
    reason = models.CharField(max_length=500, blank=True)
    at = models.DateTimeField()
    effective_at = models.DateTimeField()
    # Of a decisive move: the revision that its approval, hold or revocation was written with.
    revision = models.PositiveBigIntegerField(null=True, blank=True)
    detail = models.JSONField(default=dict, blank=True)

    class Meta:
        app_label = "authorization"
        constraints = [
            models.UniqueConstraint(fields=["acceptance", "number"], name="authorization_acceptancemove_once")
        ]

    def __str__(self) -> str:
        return f"{self.move} of {self.acceptance}"


class AcceptanceResult(models.Model):
    """The outcome of one test case on one build. A case that is run again is a new row; the last one counts."""

    class Phase(models.TextChoices):
        CONFORMANCE = "conformance", "conformance delta"
        INTEROPERABILITY = "interoperability", "interoperability"
        FIELD = "field", "field"
        VOLTE = "volte", "voice over LTE"
        E911 = "e911", "emergency calls with location"

    class Outcome(models.TextChoices):
        PASSED = "passed", "passed"
        FAILED = "failed", "failed"
        NOT_APPLICABLE = "not_applicable", "not applicable to this build"

    acceptance = models.ForeignKey(Acceptance, on_delete=models.PROTECT, related_name="results")
    build_no = models.PositiveIntegerField()
    phase = models.CharField(max_length=16, choices=Phase)
    case = models.CharField(max_length=64, help_text="The lab's own number or name of the case")
    outcome = models.CharField(max_length=16, choices=Outcome)
    note = models.CharField(max_length=500, blank=True)
    actor = models.CharField(max_length=150)
    at = models.DateTimeField()

    class Meta:
        app_label = "authorization"
        indexes = [models.Index(fields=["acceptance", "build_no", "id"], name="auth_acceptanceresult")]

    def __str__(self) -> str:
        return f"{self.phase} {self.case}: {self.outcome}"


class AcceptanceFile(models.Model):
    """A file shown as evidence: kept as it came, known by its hash, always handed out as a download."""

    class Kind(models.TextChoices):
        CERTIFICATE = "certificate", "certificate of a regulator or of the industry"
        DECLARATION = "declaration", "declaration of bands, software or TACs"
        TEST_REPORT = "test_report", "test report"
        WAIVER = "waiver", "request for a waiver"
        LETTER = "letter", "letter of technical acceptance"
        OTHER = "other", "other"

    acceptance = models.ForeignKey(Acceptance, on_delete=models.PROTECT, related_name="files")
    kind = models.CharField(max_length=16, choices=Kind)
    name = models.CharField(max_length=150)
    content_type = models.CharField(max_length=64)
    size = models.PositiveIntegerField(help_text="Bytes")
    sha256 = models.CharField(max_length=64)
    content = models.BinaryField()
    party = models.CharField(max_length=16, choices=Party)
    actor = models.CharField(max_length=150)
    at = models.DateTimeField()

    class Meta:
        app_label = "authorization"
        constraints = [
            models.UniqueConstraint(fields=["acceptance", "sha256"], name="authorization_acceptancefile_once")
        ]

    def __str__(self) -> str:
        return self.name
