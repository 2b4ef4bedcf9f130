"""Organizations, devices with their exact variants, and what vendors list."""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Length

from carriers.models import Checked, Confidence, HostCarrier
from carriers.versions import FactVersion

models.CharField.register_lookup(Length)


class Organization(models.Model):
    class Kind(models.TextChoices):
        MANUFACTURER = "manufacturer", "manufacturer"
        DISTRIBUTOR = "distributor", "distributor"
        VENDOR = "vendor", "vendor"

    kind = models.CharField(max_length=16, choices=Kind)
    name = models.CharField(max_length=150, unique=True)
    slug = models.SlugField(max_length=64, unique=True)
    country = models.CharField(max_length=2, blank=True, help_text="ISO 3166-1 code of its seat")
    contact_email = models.EmailField(
        blank=True, help_text="Where the shop's messages to it go; empty: kept, not mailed"
    )
    is_simulated = models.BooleanField(default=False, help_text="Invented for an exercise; pages say so")
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class Device(models.Model):
    """A marketing name. It says nothing of the radio: see Variant."""

    manufacturer = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="devices")
    brand = models.CharField(max_length=64)
    marketing_name = models.CharField(max_length=100)
    slug = models.SlugField(max_length=100, unique=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["manufacturer", "brand", "marketing_name"], name="catalog_device_once"
            )
        ]

    def __str__(self) -> str:
        # Some makers repeat the brand in the name: OnePlus 2, Redmi 2.
        if self.marketing_name.lower().startswith(self.brand.lower()):
            return self.marketing_name
        return f"{self.brand} {self.marketing_name}"


class Variant(Checked):
    """One exact radio: a manufacturer's model number. Agreements and approvals attach here."""

    device = models.ForeignKey(Device, on_delete=models.PROTECT, related_name="variants")
    slug = models.SlugField(max_length=100, unique=True, help_text="Stable id, brand-name-model")
    model_number = models.CharField(max_length=64, unique=True)
    codename = models.CharField(max_length=64, blank=True)
    sales_version = models.CharField(
        max_length=100, blank=True, help_text="For which market or network it was made"
    )
    launched_in = models.CharField(max_length=7, blank=True, help_text="YYYY-MM")
    fcc_id = models.CharField(max_length=32, blank=True, help_text="Empty means unknown, not 'no grant'")
    notes = models.TextField(blank=True)

    def __str__(self) -> str:
        return f"{self.device} ({self.model_number})"


class Tac(models.Model):
    """A type allocation code: the first eight digits of the IMEIs of one variant. It says nothing of approval.

    Invented ones begin with the test body 00, so that they hit no real phone.
    """

    code = models.CharField(max_length=8, unique=True)
    variant = models.ForeignKey(Variant, on_delete=models.PROTECT, related_name="tacs")
    is_synthetic = models.BooleanField(
        default=False, help_text="Invented for tests and exercises: begins with 00"
    )
    source = models.CharField(max_length=100, blank=True)

    class Meta:
        verbose_name = "TAC"
        constraints = [
            models.CheckConstraint(condition=Q(code__regex=r"^[0-9]{8}$"), name="catalog_tac_digits"),
            models.CheckConstraint(
                condition=Q(is_synthetic=True, code__startswith="00")
                | (Q(is_synthetic=False) & ~Q(code__startswith="00")),
                name="catalog_tac_synthetic",
            ),
        ]

    def __str__(self) -> str:
        return self.code


class VariantVersion(FactVersion):
    """The radio of a variant as known from one revision on: bands and voice over LTE per host.

    `hardware_revision` and `software_revision`: the state of the phone that it describes; empty: not said.
    """

    head = models.ForeignKey(Variant, on_delete=models.PROTECT, related_name="versions")
    hardware_revision = models.CharField(max_length=64, blank=True)
    software_revision = models.CharField(max_length=64, blank=True)
    gsm_confidence = models.CharField(max_length=1, choices=Confidence, blank=True)
    umts_confidence = models.CharField(max_length=1, choices=Confidence, blank=True)
    lte_confidence = models.CharField(max_length=1, choices=Confidence, blank=True)
    ims_source = models.CharField(max_length=100, blank=True)
    ims_confidence = models.CharField(max_length=1, choices=Confidence, blank=True)

    def __str__(self) -> str:
        return f"{self.head} v{self.version_no}"


class VariantBand(models.Model):
    version = models.ForeignKey(VariantVersion, on_delete=models.CASCADE, related_name="bands")
    rat = models.CharField(max_length=8)
    band = models.CharField(max_length=16)
    is_sw_disabled = models.BooleanField(
        default=False, help_text="The hardware has it, software keeps it off"
    )
    source = models.CharField(max_length=100, blank=True)
    confidence = models.CharField(max_length=1, choices=Confidence, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["version", "rat", "band"], name="catalog_variantband_once")
        ]

    def __str__(self) -> str:
        return f"{self.rat} {self.band}"


class VariantIms(models.Model):
    """Voice over LTE of one variant on one host: a value of the pair, not of the phone."""

    class Status(models.TextChoices):
        YES = "yes", "yes"
        NO = "no", "no"
        PENDING = "pending", "pending"
        UNKNOWN = "unknown", "unknown"

    version = models.ForeignKey(VariantVersion, on_delete=models.CASCADE, related_name="ims")
    host = models.ForeignKey(HostCarrier, on_delete=models.PROTECT)
    status = models.CharField(max_length=8, choices=Status)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["version", "host"], name="catalog_variantims_once")]

    def __str__(self) -> str:
        return f"{self.host}: {self.status}"


class VariantSource(models.Model):
    """Where one value of a variant comes from, and how sure it is. Bands say their own."""

    class Value(models.TextChoices):
        MODEL = "model", "model number and sales version"
        LAUNCH = "launch", "launch"
        GSM = "gsm", "GSM bands"
        UMTS = "umts", "UMTS bands"
        CDMA = "cdma", "CDMA bands"
        LTE = "lte", "LTE bands"
        NR = "nr", "NR bands"
        IMS = "ims", "voice over LTE"
        FCC_ID = "fcc", "FCC ID"

    version = models.ForeignKey(VariantVersion, on_delete=models.CASCADE, related_name="sources")
    value = models.CharField(max_length=8, choices=Value)
    source = models.CharField(max_length=100, blank=True)
    confidence = models.CharField(max_length=1, choices=Confidence, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["version", "value"], name="catalog_variantsource_once")
        ]

    def __str__(self) -> str:
        return f"{self.value}: {self.source}"


class VariantAttribute(models.Model):
    """What holds and regulators' lists may name besides the model: chipset_vendor=Qualcomm, module=FGH75D."""

    version = models.ForeignKey(VariantVersion, on_delete=models.CASCADE, related_name="attributes")
    name = models.SlugField(max_length=50)
    value = models.CharField(max_length=100)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["version", "name", "value"], name="catalog_variantattribute_once")
        ]

    def __str__(self) -> str:
        return f"{self.name}={self.value}"


class Condition(models.TextChoices):
    NEW = "new", "new"
    REFURBISHED = "refurbished", "refurbished"
    USED = "used", "used"


class Channel(models.TextChoices):
    WEB = "web", "web shop"
    RETAIL = "retail", "retail counter"


class Listing(models.Model):
    """What a vendor lists under its own SKU. Its state lives per host, in ListingHost."""

    vendor = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="listings")
    sku = models.CharField(max_length=64)
    variant = models.ForeignKey(Variant, on_delete=models.PROTECT, related_name="listings")
    condition = models.CharField(max_length=16, choices=Condition)
    territory = models.CharField(max_length=2, help_text="ISO 3166-1 code")
    channel = models.CharField(max_length=16, choices=Channel)
    software = models.CharField(
        max_length=64, blank=True, help_text="The software version it ships with; empty: not said"
    )
    description = models.TextField(blank=True, max_length=4000)
    price_amount = models.DecimalField(max_digits=12, decimal_places=2)
    price_currency = models.CharField(max_length=3, default="USD")
    version = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["vendor", "sku"], name="catalog_listing_vendor_sku"),
            models.CheckConstraint(condition=Q(price_amount__gt=0), name="catalog_listing_price_positive"),
            models.CheckConstraint(
                condition=Q(price_currency__length=3), name="catalog_listing_currency_code"
            ),
        ]
        indexes = [
            # Phones of about the same price.
            models.Index(fields=["price_amount"], name="catalog_listing_price"),
            # A vendor's listings, page by page.
            models.Index(fields=["vendor", "id"], name="catalog_listing_of_vendor"),
        ]

    def __str__(self) -> str:
        return f"{self.sku} of {self.vendor}"


class OfferState(models.TextChoices):
    DRAFT = "DRAFT", "draft: stored, no open blocker"
    BLOCKED = "BLOCKED", "blocked: stored, the last decision refused it"
    LIVE = "LIVE", "live: on sale"
    SUSPENDED = "SUSPENDED", "suspended: delisted, may come back"
    REMOVED = "REMOVED", "removed: ended by its vendor"


class ListingHost(models.Model):
    """A host offer: one listing on one host carrier, with its own state and clearance.

    `content_hash` is the hash of the terms that a decision reads (catalog.listings.content_hash);
    `cleared_hash` is the hash that was decided on. Editing a term makes them differ, and the database then
    refuses LIVE. `decision_id` names authorization.Decision, one floor up, hence no foreign key.
    """

    listing = models.ForeignKey(Listing, on_delete=models.PROTECT, related_name="offers")
    host = models.ForeignKey(HostCarrier, on_delete=models.PROTECT, related_name="offers")
    state = models.CharField(max_length=10, choices=OfferState, default=OfferState.DRAFT)
    version = models.PositiveIntegerField(default=1)
    content_hash = models.CharField(max_length=64)
    cleared_hash = models.CharField(max_length=64, blank=True)
    decision_id = models.UUIDField(null=True, blank=True)
    cleared_revision = models.PositiveBigIntegerField(null=True, blank=True)
    clearance_expires_at = models.DateTimeField(null=True, blank=True)
    reason_codes = models.JSONField(default=list, blank=True, help_text="Why it is blocked or suspended")
    state_changed_at = models.DateTimeField()

    class Meta:
        verbose_name = "host offer"
        constraints = [
            models.UniqueConstraint(fields=["listing", "host"], name="catalog_listinghost_once"),
            models.CheckConstraint(
                condition=~Q(state="LIVE")
                | Q(
                    decision_id__isnull=False,
                    cleared_revision__isnull=False,
                    clearance_expires_at__isnull=False,
                    cleared_hash=F("content_hash"),
                ),
                name="catalog_listinghost_live_is_cleared",
            ),
        ]
        indexes = [
            models.Index(fields=["state", "id"], name="catalog_offer_state"),
            models.Index(fields=["id"], name="catalog_offer_live", condition=Q(state="LIVE")),
            # What has just expired, and what expires next.
            models.Index(
                fields=["clearance_expires_at"], name="catalog_offer_expires", condition=Q(state="LIVE")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.listing} on {self.host}"


class Stock(models.Model):
    """Units on hand, apart from the listing so that a sale never locks what a vendor edits."""

    listing = models.OneToOneField(Listing, on_delete=models.PROTECT, related_name="stock")
    on_hand = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.on_hand} of {self.listing}"
