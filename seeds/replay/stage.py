"""Where a run plays: the store, its clock, the watchers on it, and the words that go to the timeline."""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import httpx
from django.core.management import call_command

from authorization import clock, outbox, policies
from authorization.actors import Actor
from authorization.policies import PolicyTerms
from catalog.models import ListingHost, Organization, Variant
from seeds import world2016
from seeds.replay import shoppers
from seeds.replay.findings import POLICY_2016, POLICY_GATE_SHUT, Findings
from seeds.replay.measure import Target, Watcher, wait_for
from seeds.replay.pages import offers_something
from seeds.replay.shoppers import Shopper, Wish
from seeds.replay.story import Basis, Scene
from seeds.replay.timeline import Timeline
from seeds.replay.vendor import VendorClient
from seeds.world2016 import HONEST_PHONES, OMNI_PHONES, Phone, World2016
from storefront import accounts

TERMS: dict[str, PolicyTerms] = {
    POLICY_2016: policies.POLICY_2016,
    POLICY_GATE_SHUT: policies.POLICY_GATE_SHUT,
}
DESK_LOGIN = "desk"
DESK = Actor("user", DESK_LOGIN)


@dataclass(frozen=True)
class Setup:
    policy: str
    base_url: str
    clock_file: Path


class Stage:
    world: World2016
    vendor: VendorClient
    # Of the importer's phones, of its listings in the API, of the honest vendor's phones.
    pages: Watcher
    listings: Watcher
    honest_pages: Watcher

    def __init__(self, setup: Setup, timeline: Timeline, findings: Findings) -> None:
        self.setup, self.timeline, self.findings = setup, timeline, findings

    @property
    def is_gate_shut(self) -> bool:
        return self.setup.policy == POLICY_GATE_SHUT

    # --- the eve ------------------------------------------------------------------------------------------

    def set_the_scene(self, eve: datetime) -> None:
        clock.write_clock(self.setup.clock_file, virtual=eve, rate=1.0)
        said = io.StringIO()
        call_command("load_reference", stdout=said)
        self.world = world2016.build(policy=TERMS[self.setup.policy], at=clock.now())
        self.say("shop", f"policy: {TERMS[self.setup.policy]['name']}")
        self.say("shop", said.getvalue().strip().split(". ")[0] + ".", Basis.REPORTED)
        self._hand_out_logins()
        self.say(
            self.world.honest.name,
            f"sells {len(HONEST_PHONES)} phones with verified agreements and carrier approval",
        )
        self.quiet("the workers to take in the new world")

    def _hand_out_logins(self) -> None:
        out = io.StringIO()
        call_command("bootstrap_desk", "--json", "--username", DESK_LOGIN, stdout=out)
        made = json.loads(out.getvalue())
        at = clock.now()
        vendors = (self.world.honest, self.world.omni)
        keys = {vendor.name: self._make_key(vendor, at) for vendor in vendors}
        self.vendor = VendorClient(self.setup.base_url, keys[self.world.omni.name])
        self.findings.logins = {
            "desk": f"{self.setup.base_url}/admin/   {made['username']} / {made['password']}",
            **{f"API key of {name}": key for name, key in keys.items()},
        }

    @staticmethod
    def _make_key(vendor: Organization, at: datetime) -> str:
        expires_at = at + timedelta(days=365)
        _, key = accounts.make_organization_key(
            organization=vendor, label="replay", by=DESK, at=at, expires_at=expires_at
        )
        return key

    @contextmanager
    def on_the_air(self) -> Iterator[None]:
        """Watch pages and API from outside, from the listing to the end."""
        pages = [_page(slug) for slug in self.slugs(OMNI_PHONES)]
        honest = [_page(slug) for slug in self.honest_slugs()]
        listings = [
            Target(phone.sku, f"/v1/listings/{phone.sku}", _is_live, self.vendor.headers)
            for phone in OMNI_PHONES
        ]
        with (
            self.vendor,
            Watcher(self.http(), pages) as self.pages,
            Watcher(self.http(), listings, pause_s=0.03) as self.listings,
            # Seldom: it only has to notice what falls and stays down, and every look slows the others.
            Watcher(self.http(), honest, pause_s=0.5) as self.honest_pages,
        ):
            yield

    # --- time ---------------------------------------------------------------------------------------------

    def enter(self, scene: Scene, who: str) -> datetime:
        """Go to the scene and say its words. Returns the instant."""
        self.jump(scene.at)
        at = clock.now()
        self.say(who, scene.words, scene.basis)
        return at

    def jump(self, to: datetime) -> None:
        """Let the hours between two scenes pass at once, after what is under way has ended."""
        self.quiet("what is under way")
        if clock.now() < to:
            clock.write_clock(self.setup.clock_file, virtual=to, rate=1.0)

    def quiet(self, what: str) -> None:
        with self.timeline.waiting(what):
            wait_for(
                f"{what} (work in the outbox is undone)",
                lambda: outbox.oldest_open_age_s(clock.now()) is None,
            )

    # --- people and pages ---------------------------------------------------------------------------------

    def say(self, who: str, what: str, basis: Basis = Basis.SIMULATED) -> None:
        self.timeline.add(clock.now(), who, what, basis)

    def shopper(self, name: str) -> Shopper:
        return Shopper(self.setup.base_url, f"Shopper {name}")

    def at_the_till(self, name: str, slugs: Sequence[str]) -> list[Shopper]:
        """One shopper for each of these phones, with the checkout form open."""
        crowd = [self.shopper(f"{name} {number}") for number in range(1, len(slugs) + 1)]

        def walk(shopper: Shopper, slug: str) -> Callable[[], bool]:
            return lambda: shopper.go_to_checkout(Wish(slug))

        arrived = shoppers.at_once([walk(shopper, slug) for shopper, slug in zip(crowd, slugs, strict=True)])
        if not all(arrived):
            late = arrived.count(False)
            raise shoppers.Lost(f"{late} shoppers could not reach the checkout while the phone was on sale")
        return crowd

    def http(self) -> httpx.Client:
        return httpx.Client(base_url=self.setup.base_url, timeout=30)

    def read(self, path: str) -> str:
        with self.http() as client:
            response = client.get(path)
        response.raise_for_status()
        return response.text

    # --- which phone is which -----------------------------------------------------------------------------

    def variant(self, phone: Phone) -> Variant:
        return self.world.omni_variants[OMNI_PHONES.index(phone)]

    def slug(self, phone: Phone) -> str:
        return self.variant(phone).device.slug

    def slugs(self, phones: Sequence[Phone]) -> list[str]:
        return [self.slug(phone) for phone in phones]

    def phones_of(self, maker_slug: str) -> list[Phone]:
        return [phone for phone in OMNI_PHONES if self.variant(phone).device.manufacturer.slug == maker_slug]

    def honest_slugs(self) -> list[str]:
        offers = ListingHost.objects.filter(listing__vendor=self.world.honest).order_by("id")
        return list(offers.values_list("listing__variant__device__slug", flat=True))


def _page(device_slug: str) -> Target:
    return Target(device_slug, f"/devices/{device_slug}/", lambda response: offers_something(response.text))


def _is_live(response: httpx.Response) -> bool:
    return bool(response.json()["status"] == "LIVE")
