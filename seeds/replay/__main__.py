"""`python -m seeds.replay`: one run on the store that the environment describes. `./dev demo` calls it."""

import os
import sys
from contextlib import suppress

INTERRUPTED = 130


def main() -> int:
    # Imported late: all of it can be interrupted, and importing takes its time as well.
    import argparse
    import json
    from dataclasses import asdict
    from pathlib import Path

    import django

    from seeds.replay.findings import POLICIES
    from seeds.replay.story import STORIES
    from seeds.replay.timeline import Timeline, make_console

    parser = argparse.ArgumentParser(
        prog="python -m seeds.replay", description="One run of the replay on a sandbox."
    )
    parser.add_argument("--policy", choices=POLICIES, required=True)
    parser.add_argument("--dates", choices=sorted(STORIES), default="press")
    parser.add_argument("--base-url", required=True, help="address of the sandbox's store")
    parser.add_argument("--clock-file", type=Path, required=True, help="the sandbox's clock: it will be set")
    parser.add_argument("--result", type=Path, required=True, help="where the findings go, as JSON")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "storefront.settings")
    # The run has a timeline of its own; the store's log is for the store's processes.
    os.environ["CLEARLINE_LOG_LEVEL"] = "ERROR"
    django.setup()
    from django.conf import settings

    from seeds.replay.play import play
    from seeds.replay.stage import Setup

    if Path(settings.CLOCK_FILE or "/") != options.clock_file:
        parser.error("CLEARLINE_CLOCK_FILE must name the --clock-file: the replay never runs on a live shop.")
    setup = Setup(policy=options.policy, base_url=options.base_url, clock_file=options.clock_file)
    findings = play(setup, STORIES[options.dates], Timeline(make_console()))
    options.result.write_text(json.dumps(asdict(findings)), encoding="utf-8")
    return 0


def leave_interrupted() -> None:
    """At once and without a word: shoppers who are still paying are not waited for."""
    with suppress(OSError):
        sys.stdout.flush()
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        leave_interrupted()
