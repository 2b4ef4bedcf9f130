"""The running API, called in all ways that its description allows and forbids: every check, along the links too."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings

from catalog.models import Organization
from storefront.api.description_words import WHOSE_KEYS
from storefront.api.keys import CarrierPrincipal, ManufacturerPrincipal, VendorPrincipal
from tests.api import described
from tests.api.conftest import SmallWorld, caller_of, carrier_caller, make_world

# The same calls in every run; another figure tries others.
SEED = 1
# Whose calls are tried, in which ways, and for how many seconds.
# More finds more: CLEARLINE_FUZZ_TIMES=20 pytest tests/api/test_openapi_fuzz.py
RUNS: tuple[tuple[type, str, int], ...] = (
    (VendorPrincipal, "examples,coverage,fuzzing", 20),
    (VendorPrincipal, "stateful", 10),
    (ManufacturerPrincipal, "coverage,stateful", 8),
    (CarrierPrincipal, "coverage,stateful", 8),
)
TIMES = int(os.environ.get("CLEARLINE_FUZZ_TIMES", "1"))
HERE = Path(__file__).parent


@pytest.fixture
def patient(settings: LazySettings) -> None:
    for budget in ("API_READS_PER_MINUTE", "API_WRITES_PER_MINUTE", "API_FEEDS_PER_MINUTE"):
        setattr(settings, budget, 1_000_000)


def known_names(world: SmallWorld) -> dict[str, list[Any]]:
    variants, hosts = [world.approved.slug, world.untested.slug], [world.north.code, world.south.code]
    return {
        "variant": variants,
        "models": variants,
        "hosts": hosts,
        "host": hosts,
        "software": ["7.0.5"],
        "software_from": ["7.0"],
        "software_until": ["8.0"],
        "territories": ["US"],
        "channels": ["web"],
        "conditions": ["new"],
        "grantor": ["maker"],
        "event_types": ["listing.suspended", "listing.reinstated"],
        "url": ["https://hooks.example.com/shop"],
        "updated_since": ["2026-11-22T12:00:00Z"],
        "imei": ["490154203237518"],
    }


def document_for(kind: type) -> dict[str, Any]:
    """The description with the calls for keys of this kind, which are fewer for some."""
    whole = copy.deepcopy(described.description().document)
    words = WHOSE_KEYS[kind]
    paths = {
        path: {
            method: each
            for method, each in item.items()
            if words in each["description"].rpartition("\n\n")[2]
        }
        for path, item in whole["paths"].items()
    }
    names = {operation["operationId"] for item in paths.values() for operation in item.values()}
    for operation in (operation for item in paths.values() for operation in item.values()):
        for answer in operation["responses"].values():
            if "links" in answer:
                answer["links"] = {name: link for name, link in answer["links"].items() if name in names}
    return {**whole, "paths": {path: item for path, item in paths.items() if item}}


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(300 + 50 * TIMES)
def test_nothing_is_found(patient: None, live_server: Any, tmp_path: Path) -> None:
    """A vendor, a manufacturer and a host carrier, each by the calls that are for them."""
    world = make_world()
    secrets = {
        VendorPrincipal: caller_of(world.vendor).secret,
        ManufacturerPrincipal: caller_of(Organization.objects.get(slug="maker")).secret,
        CarrierPrincipal: carrier_caller(world.north).secret,
    }
    for kind, phases, seconds in RUNS:
        source = tmp_path / "openapi.json"
        source.write_text(json.dumps(document_for(kind)), encoding="utf-8")
        done = subprocess.run(
            [
                str(Path(sys.executable).parent / "schemathesis"),
                f"--config-file={HERE / 'schemathesis.toml'}",
                "run",
                str(source),
                f"--url={live_server.url}",
                f"--header=Authorization:Bearer {secrets[kind]}",
                f"--seed={SEED}",
                f"--phases={phases}",
                f"--max-time={seconds * TIMES}",
                "--continue-on-failure",
                # What found something is shown whole: these keys are good for this world only.
                "--output-sanitize=false",
            ],
            env=os.environ
            | {
                "SCHEMATHESIS_HOOKS": "tests.api.schemathesis_hooks",
                "PYTHONPATH": str(HERE.parents[1]),
                "CLEARLINE_KNOWN_NAMES": json.dumps(known_names(world)),
            },
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        assert done.returncode == 0, f"{WHOSE_KEYS[kind]}, {phases}:\n{done.stdout}{done.stderr}"
        assert "Test cases:" in done.stdout
