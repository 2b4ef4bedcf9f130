"""The ground of a policy test: organizations, hosts, devices and variants, radios and hostings."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings

from authorization import (
    groundwork,
)
from carriers.models import Confidence, HostCarrier
from carriers.versions import FOREVER
from catalog.models import Device, Organization, Variant, VariantVersion
from seeds.factories import DeviceFactory, HostCarrierFactory, OrganizationFactory, VariantFactory
from seeds.policy_cases.reading import Keys, Value
from seeds.policy_cases.steps import BY, Run, Step, World, pairs, recorded
from seeds.reference import loader
from seeds.reference.columns import HOSTS_WITH_IMS
from seeds.reference.tables import Tables, read_tables

TABLES = Path(__file__).resolve().parents[1] / "reference"


# Where a file gives none: before anything that is tested.
BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)


def read_rows(sections: Keys, start: datetime) -> Iterable[Step]:
    """Organizations, hosts, devices and variants: those of the reference tables first."""
    hosts = {code: value.keys(["reference", "name"]) for code, value in sections.named("hosts").items()}
    variants = {
        slug: value.keys(["reference", "device", "model", "bands", "ims", "attributes"])
        for slug, value in sections.named("variants").items()
    }
    real = {
        kind: {name: keys["reference"] for name, keys in named.items() if "reference" in keys}
        for kind, named in (("hosts", hosts), ("variants", variants))
    }
    if real["hosts"] or real["variants"]:
        yield Step(start, sections, lambda world, at: _load_reference(world, real, at))
    for slug, value in sections.named("organizations").items():
        yield _organization(slug, value.keys(["kind", "name", "country"], required=["kind"]), start)
    for code, keys in hosts.items():
        if "reference" not in keys:
            yield Step(start, keys, _host(code, keys))
    for slug, value in sections.named("devices").items():
        keys = value.keys(["manufacturer", "brand", "name"], required=["manufacturer"])
        yield Step(start, keys, _device(slug, keys))
    for slug, keys in variants.items():
        yield Step(start, keys, _variant(slug, keys))


@cache
def _tables() -> Tables:
    return read_tables(TABLES)


def _load_reference(world: World, real: dict[str, dict[str, Value]], at: datetime) -> None:
    tables = _tables()
    codes = {
        name: value.one_of({row["network"] for row in tables.networks})
        for name, value in real["hosts"].items()
    }
    slugs = {
        name: value.one_of({row["variant_id"] for row in tables.devices})
        for name, value in real["variants"].items()
    }
    wanted_hosts, wanted_variants = set(codes.values()), set(slugs.values())
    some = replace(
        tables,
        networks=[row for row in tables.networks if row["network"] in wanted_hosts],
        network_rules=[row for row in tables.network_rules if row["network"] in wanted_hosts],
        mvno_hosts=[],
        devices=[row for row in tables.devices if row["variant_id"] in wanted_variants],
        device_bands=[row for row in tables.device_bands if row["variant_id"] in wanted_variants],
        plmns=[],
        tacs=[],
    )
    loader.load(some, by=BY, at=at)
    for name, code in codes.items():
        world.add("host", name, HostCarrier.objects.get(code=code))
    for name, slug in slugs.items():
        variant = Variant.objects.select_related("device__manufacturer").get(slug=slug)
        world.add("variant", name, variant)
        world.add("device", variant.device.slug, variant.device)
        world.add("organization", variant.device.manufacturer.slug, variant.device.manufacturer)


def _organization(slug: str, keys: Keys, start: datetime) -> Step:
    kind = keys["kind"].one_of(Organization.Kind.values)
    fields = {"name": keys.text("name", slug.replace("-", " ").title()), "country": keys.text("country")}

    def make(world: World, at: datetime) -> None:
        known = world.rows.get("organization", {}).get(slug)
        if known is not None and known.kind != kind:
            raise keys["kind"].fault(
                f"The reference tables know {slug} as a {known.kind}; write that, or another name."
            )
        row = known or OrganizationFactory.create(slug=slug, kind=kind, created_at=at, **fields)
        world.add("organization", slug, row)

    return Step(start, keys, make)


def _host(code: str, keys: Keys) -> Run:
    name = keys.text("name", code.replace("-", " ").title())
    return lambda world, at: world.add("host", code, HostCarrierFactory.create(code=code, name=name))


def _device(slug: str, keys: Keys) -> Run:
    name, brand = keys.text("name", slug.replace("-", " ").title()), keys.text("brand")

    def make(world: World, at: datetime) -> None:
        maker: Organization = world.find("organization", keys["manufacturer"])
        device: Device = DeviceFactory.create(
            slug=slug, manufacturer=maker, brand=brand or maker.name, marketing_name=name
        )
        world.add("device", slug, device)

    return make


def _variant(slug: str, keys: Keys) -> Run:
    if "reference" not in keys and "device" not in keys:
        raise keys.value.fault(
            f"{keys.value.what} lacks the key 'device' (or 'reference'); add `device: ...`."
        )
    if "reference" in keys and (
        extra := [name for name in ("device", "model", "bands", "ims") if name in keys]
    ):
        raise keys[extra[0]].fault(
            f"The reference tables say the {extra[0]} of this variant; leave it out here."
        )
    model = keys.text("model", slug.upper())
    bands = {rat: bands.texts() for rat, bands in keys.named("bands").items()}
    ims = pairs(keys, "ims")
    attributes = pairs(keys, "attributes")

    def make(world: World, at: datetime) -> None:
        if "reference" not in keys:
            device = world.find("device", keys["device"])
            world.add("variant", slug, VariantFactory.create(slug=slug, device=device, model_number=model))
        variant = world.rows["variant"][slug]
        if "reference" not in keys and (bands or ims or attributes):
            rows = [
                {"rat": rat, "band": band, "confidence": Confidence.HIGH}
                for rat in bands
                for band in bands[rat]
            ]
            _record_radio(variant, at, rows, dict(ims), attributes)
        elif attributes:
            record_attributes(variant, at, attributes)

    return make


_KNOWN = ("gsm_confidence", "umts_confidence", "lte_confidence", "ims_source", "ims_confidence", "valid_from")


def _record_radio(
    variant: Variant,
    at: datetime,
    bands: list[dict[str, Any]],
    ims: dict[str, str],
    attributes: list[tuple[str, str]],
) -> None:
    confidences = {f"{name}_confidence": Confidence.HIGH for name in ("gsm", "umts", "lte", "ims")}
    with groundwork.recording(by=BY, at=at, reason=f"radio of {variant.slug}") as recorder:
        recorder.variant_radio(
            variant=variant,
            fields=confidences | {"ims_source": ""},
            bands=bands,
            ims={host: ims.get(host, "unknown") for host in HOSTS_WITH_IMS if host in ims},
            attributes=attributes,
            valid_from=BEGINNING,
        )


def record_attributes(variant: Variant, at: datetime, attributes: list[tuple[str, str]]) -> None:
    """Other attributes of the same radio."""
    version = VariantVersion.objects.current().filter(head=variant).first()
    if version is None:
        return _record_radio(variant, at, [], {}, attributes)
    fields = {name: getattr(version, name) for name in _KNOWN}
    names = ("rat", "band", "is_sw_disabled", "source", "confidence")
    with groundwork.recording(by=BY, at=at, reason=f"attributes of {variant.slug}") as recorder:
        recorder.variant_radio(
            variant=variant,
            bands=list(version.bands.values(*names)),
            ims=dict(version.ims.values_list("host__code", "status")),
            attributes=attributes,
            valid_from=fields.pop("valid_from"),
            valid_until=version.valid_until,
            fields=fields,
        )
    return None


def read_hosting(value: Value, start: datetime) -> Step:
    keys = value.keys(["host", "product", "valid_from", "valid_until", "recorded_at"], required=["host"])
    return Step(recorded(keys, start), keys, host_on(keys, "host", BEGINNING))


def host_on(keys: Keys, name: str, valid_from: datetime) -> Run:
    product = keys.text("product")
    starts, ends = keys.instant("valid_from", valid_from), keys.instant("valid_until", FOREVER)

    def make(world: World, at: datetime) -> None:
        host: HostCarrier = world.find("host", keys[name])
        with groundwork.recording(by=BY, at=at, reason=f"hosting on {host.code}") as recorder:
            recorder.hosting(
                # The shop's own, whoever it is: only its hostings count in a decision.
                mvno=settings.SHOP_MVNO,
                host=host,
                product_name=product,
                fields={"date_confidence": Confidence.LOW, "note": "a policy test"},
                valid_from=starts,
                valid_until=ends,
            )

    return make
