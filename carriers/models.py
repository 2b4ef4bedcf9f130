"""Host carriers, their networks and bands by date, and which virtual operator runs on which host."""

from django.db import models

from carriers.versions import FactVersion


class Confidence(models.TextChoices):
    HIGH = "H", "high"
    MEDIUM = "M", "medium"
    LOW = "L", "low: unverified"


class ReferenceSource(models.Model):
    """Where values of the reference data come from. Values name it by its code; several codes are joined by `+`."""

    code = models.CharField(max_length=32, unique=True)
    kind = models.CharField(max_length=32, help_text="press, vendor, standard, dataset, unconfirmed, ...")
    source = models.TextField(help_text="What it is")
    # Sometimes several, joined by " ; ".
    url = models.TextField(blank=True)
    terms = models.TextField(blank=True, help_text="Licence, or how far it may be used")

    def __str__(self) -> str:
        return self.code


class HostCarrier(models.Model):
    """A mobile network operator on whose network the shop sells service."""

    code = models.SlugField(max_length=32, unique=True)
    name = models.CharField(max_length=100)
    plmn = models.CharField(max_length=12, blank=True, help_text="Main operator code, MCC-MNC, e.g. 310-260")
    contact_email = models.EmailField(
        blank=True, help_text="Where the shop's messages to it go; empty: kept, not mailed"
    )

    def __str__(self) -> str:
        return self.name


class HostPlmn(models.Model):
    """One of a host's operator codes beside its main one. Virtual operators may broadcast the same."""

    host = models.ForeignKey(HostCarrier, on_delete=models.PROTECT, related_name="plmns")
    plmn = models.CharField(max_length=12, help_text="MCC-MNC, e.g. 310-160")
    note = models.CharField(max_length=150, blank=True)
    source = models.CharField(max_length=100, blank=True)
    confidence = models.CharField(max_length=1, choices=Confidence, blank=True)

    class Meta:
        verbose_name = "operator code"
        constraints = [models.UniqueConstraint(fields=["host", "plmn"], name="carriers_hostplmn_once")]

    def __str__(self) -> str:
        return self.plmn


class Checked(models.Model):
    """What is recorded was compared with its sources, and found to hold, at this instant. No decision reads it."""

    checked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True


class Network(Checked):
    """One snapshot of a host's radio network (`era`). Its versions carry bands and rules."""

    host = models.ForeignKey(HostCarrier, on_delete=models.PROTECT, related_name="networks")
    era = models.CharField(max_length=16)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["host", "era"], name="carriers_network_host_era")]

    def __str__(self) -> str:
        return f"{self.host} {self.era}"


class NetworkVersion(FactVersion):
    class Admission(models.TextChoices):
        OPEN = "open", "open: compatible phones attach"
        VOICE_LIST = "voice_list", "voice for listed models only"
        LIST = "list", "no service off the list"

    head = models.ForeignKey(Network, on_delete=models.PROTECT, related_name="versions")
    # Blank where no admission rule of the network is recorded (Sprint).
    admission = models.CharField(max_length=16, choices=Admission, blank=True)
    ims_policy = models.TextField(blank=True)
    cs_voice = models.CharField(max_length=64, blank=True, help_text="RATs with circuit-switched voice, ';'")
    source = models.CharField(max_length=100, blank=True)
    confidence = models.CharField(max_length=1, choices=Confidence, blank=True)

    def __str__(self) -> str:
        return f"{self.head} v{self.version_no}"


class NetworkBand(models.Model):
    version = models.ForeignKey(NetworkVersion, on_delete=models.CASCADE, related_name="bands")
    # The order of the source table: it fixes the order of reasons in a verdict.
    position = models.PositiveIntegerField()
    rat = models.CharField(max_length=8)
    band = models.CharField(max_length=16)
    role = models.CharField(max_length=100, blank=True)
    group = models.CharField(max_length=16)
    is_coverage_critical = models.BooleanField(default=False)
    voice = models.CharField(max_length=8)
    in_service_from = models.CharField(max_length=10, blank=True, help_text="YYYY-MM")
    in_service_until = models.DateField(null=True, blank=True, help_text="First day without service")
    source = models.CharField(max_length=100, blank=True)
    confidence = models.CharField(max_length=1, choices=Confidence, blank=True)
    note = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["version", "rat", "band"], name="carriers_networkband_once")
        ]

    def __str__(self) -> str:
        return f"{self.rat} {self.band}"


class Hosting(Checked):
    """A virtual operator (MVNO) on a host carrier, by product name."""

    mvno = models.CharField(max_length=100)
    host = models.ForeignKey(HostCarrier, on_delete=models.PROTECT, related_name="hostings")
    product_name = models.CharField(max_length=100, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["mvno", "host", "product_name"], name="carriers_hosting_once")
        ]

    def __str__(self) -> str:
        return f"{self.product_name or self.mvno} on {self.host}"


class HostingVersion(FactVersion):
    head = models.ForeignKey(Hosting, on_delete=models.PROTECT, related_name="versions")
    plmn = models.CharField(max_length=12, blank=True)
    apn = models.CharField(max_length=64, blank=True)
    source = models.CharField(max_length=100, blank=True)
    confidence = models.CharField(max_length=1, choices=Confidence, blank=True)
    date_source = models.CharField(max_length=100, blank=True)
    date_confidence = models.CharField(max_length=1, choices=Confidence, blank=True)
    note = models.TextField(blank=True)

    def __str__(self) -> str:
        return f"{self.head} v{self.version_no}"
