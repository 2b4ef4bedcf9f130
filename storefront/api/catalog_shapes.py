"""Hosts with their networks, variants with their radio, and verdicts."""

from typing import Any

from rest_framework import serializers

from carriers.compatibility import Admission, Confidence, Data, Group, Ims, Level, Rat, Service, Sub, Voice
from storefront.api.restriction_shapes import CautionShape
from storefront.api.shapes import Shape, day, flag, instant, many, one, open_enum, text, texts

_SOURCE = "Codes of the sources, joined by a plus."
_OF_LIMITS = "What does not work, in codes."


def _edges(words: str) -> serializers.ListField:
    return serializers.ListField(
        child=serializers.FloatField(), min_length=2, max_length=2, allow_null=True, help_text=words
    )


def _confidence(**kwargs: bool) -> Any:
    return open_enum(
        ("", *Confidence), "High, medium, low; empty: nobody claims it.", allow_blank=True, **kwargs
    )


class PlmnShape(Shape):
    """A further operator code of a host."""

    plmn = text()
    note = text(allow_blank=True)
    source = text(_SOURCE)
    confidence = _confidence()


class HostingShape(Shape):
    """A product of the shop's virtual operator on this host."""

    product_name = text()
    plmn = text(allow_blank=True)
    apn = text(allow_blank=True)
    source = text(_SOURCE)
    confidence = _confidence()
    valid_from = instant()
    valid_until = instant("Null: no end is known.", allow_null=True)
    date_confidence = _confidence()


class PlanShape(Shape):
    """A prepaid plan, and what it needs of a phone."""

    plan = text()
    name = text()
    needs_voice = flag()
    needs_data = flag()
    needs_voice_over_lte = flag()
    is_simulated = flag("Invented, for exercises.")


class NetworkBandShape(Shape):
    """A band of a host's network."""

    technology = open_enum(Rat)
    band = text()
    role = text()
    group = open_enum(("", *Group), allow_blank=True)
    is_coverage_critical = flag()
    voice = open_enum(("", *Service), allow_blank=True)
    in_service_from = text("As exactly as it is known: a year, a month or a day.", allow_null=True)
    in_service_until = day(allow_null=True)
    is_in_service = flag("On the day that was asked about.")
    downlink_mhz = _edges("Lower and upper edge.")
    uplink_mhz = _edges("Lower and upper edge.")
    source = text(_SOURCE)
    confidence = _confidence()
    note = text(allow_blank=True)


class NetworkShape(Shape):
    """The network of a host on one day."""

    era = text()
    on = day()
    admission = open_enum(("", *Admission), "Whom the host lets in; empty: not recorded.", allow_blank=True)
    voice_over_lte_rule = text(allow_blank=True)
    circuit_switched_voice = texts("Technologies that carry calls.")
    source = text(_SOURCE)
    confidence = _confidence()
    checked_at = instant(allow_null=True)
    cautions = many(CautionShape)
    bands = many(NetworkBandShape)


class HostShape(Shape):
    """A host carrier on which the shop sells service."""

    host = text("The code by which every call names it.")
    name = text()
    plmn = text(allow_blank=True)
    further_plmns = many(PlmnShape)
    hostings = many(HostingShape)
    plans = many(PlanShape)
    network = one(NetworkShape, "Null: no network is on record for that day.", allow_null=True)


class ManufacturerShape(Shape):
    """Who made it."""

    slug = text()
    name = text()


class VariantOfDeviceShape(Shape):
    """One exact model of a device."""

    variant = text("The slug by which every call names it; the model number does as well.")
    model_number = text()
    sales_version = text("For which market or network it was made.", allow_blank=True)


class DeviceShape(Shape):
    """A device by its marketing name, which says nothing of the radio: its variants do."""

    device = text("The slug.")
    name = text("Brand and marketing name.")
    brand = text()
    marketing_name = text()
    manufacturer = one(ManufacturerShape)
    variants = many(VariantOfDeviceShape)


class VariantShape(Shape):
    """One exact model: what approvals hold for."""

    variant = text("The slug by which every call names it; the model number does as well.")
    model_number = text()
    device = text("The slug of the device.")
    brand = text()
    marketing_name = text()
    sales_version = text(allow_blank=True)
    manufacturer = one(ManufacturerShape)


class BandShape(Shape):
    """A band of a phone."""

    technology = open_enum(Rat)
    band = text()
    is_disabled_by_software = flag()
    downlink_mhz = _edges("Lower and upper edge.")
    uplink_mhz = _edges("Lower and upper edge.")
    source = text(_SOURCE)
    confidence = _confidence()


class VoiceOverLteShape(Shape):
    """Whether calls go over LTE."""

    by_host = serializers.DictField(child=open_enum(Ims), help_text="By the code of the host carrier.")
    source = text(_SOURCE, allow_blank=True)
    confidence = _confidence()


class SourceShape(Shape):
    """Where a value of the record comes from."""

    value = text()
    source = text(_SOURCE)
    confidence = _confidence()


class RadioShape(Shape):
    """The radio of a variant, as on record."""

    hardware_revision = text(allow_blank=True)
    software_revision = text(allow_blank=True)
    bands = many(BandShape)
    voice_over_lte = one(VoiceOverLteShape)
    sources = many(SourceShape)


class VerdictShape(Shape):
    """How well a phone works on a host, and why."""

    verdict = open_enum(Level)
    sub = open_enum([word for word in Sub if word], "What PARTIAL means.", allow_null=True)
    voice = open_enum(Voice)
    data = open_enum(Data)
    reasons = texts("In codes.")
    certification_blockers = texts("In codes.")
    input_confidence = open_enum(Confidence, "The weakest input.", allow_null=True)
    summary = text("For people.")
    network_era = text()
    cautions = many(CautionShape)


class PlanFitShape(Shape):
    """Whether a plan does on this phone."""

    plan = text()
    name = text()
    fits = flag()
    limits = texts(_OF_LIMITS)


class CompatibilityShape(Shape):
    """The verdict on one host. With a `verdict` of null nothing is known, which is no bad verdict."""

    host = text("The code of the host carrier.")
    verdict = open_enum(Level, allow_null=True)
    sub = open_enum([word for word in Sub if word], "What PARTIAL means.", allow_null=True, required=False)
    voice = open_enum(Voice, required=False)
    data = open_enum(Data, required=False)
    reasons = texts("In codes.", required=False)
    certification_blockers = texts("In codes.", required=False)
    input_confidence = open_enum(Confidence, "The weakest input.", allow_null=True, required=False)
    summary = text("For people.", required=False)
    network_era = text(required=False)
    cautions = many(CautionShape)
    plans = many(PlanFitShape)


class WholeVariantShape(VariantShape):
    """A variant with its radio, and its verdict on each host that the shop serves."""

    codename = text(allow_blank=True)
    launched_in = text(allow_blank=True)
    fcc_id = text(allow_blank=True)
    checked_at = instant(allow_null=True)
    on = day()
    radio = one(RadioShape, "Null: it is not on record for that day.", allow_null=True)
    compatibility = many(CompatibilityShape)
