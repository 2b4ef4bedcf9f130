"""manage.py ledger seal|checkpoint|verify|protect: see docs/ledger.md.

Exit codes: 1 when something is wrong with the ledger, 2 when something is wrong with the input.
"""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction

from authorization import append_only, clock, sealing


class Command(BaseCommand):
    help = "Seal the ledger, keep a checkpoint of it outside, and check it against that."

    def add_arguments(self, parser: ArgumentParser) -> None:
        acts = parser.add_subparsers(dest="what", required=True, metavar="seal|checkpoint|verify|protect")
        acts.add_parser("seal", help="seal all entries that are not sealed yet")
        checkpoint = acts.add_parser("checkpoint", help="write the newest seal to a file, to be kept outside")
        checkpoint.add_argument("--out", type=Path, required=True, metavar="FILE", help="a new file")
        verify = acts.add_parser("verify", help="hash every sealed row again; exit 1 at the first bad one")
        verify.add_argument("--checkpoint", type=Path, metavar="FILE", help="hold the ledger against it")
        verify.add_argument("--json", action="store_true", dest="as_json", help="print the findings as JSON")
        acts.add_parser("protect", help="put the triggers back that refuse changes of what is written once")

    def handle(self, *args: Any, **options: Any) -> None:
        match options["what"]:
            case "seal":
                self._seal()
            case "checkpoint":
                self._checkpoint(options["out"])
            case "verify":
                self._verify(options["checkpoint"], options["as_json"])
            case "protect":
                self._protect()

    def _seal(self) -> None:
        sealed = 0
        while count := sealing.seal(at=clock.now()):
            sealed += count
        self.stdout.write(f"{sealed} entries sealed")

    def _checkpoint(self, path: Path) -> None:
        checkpoint = sealing.newest_checkpoint()
        if checkpoint is None:
            raise CommandError("Nothing is sealed yet. Run `manage.py ledger seal` first.", returncode=2)
        try:
            # Never over an older one: it may be the only witness of what was there before.
            with path.open("x", encoding="utf-8") as file:
                file.write(checkpoint.as_json())
        except FileExistsError as error:
            raise CommandError(
                f"{path} exists. Name a new file; older checkpoints stay good.", returncode=2
            ) from error
        except OSError as error:
            raise CommandError(
                f"{path} cannot be written: {error.strerror}. Name a file in a folder that this user may write to.",
                returncode=2,
            ) from error
        self.stdout.write(f"seal {checkpoint.seal}, {checkpoint.entries} entries, {checkpoint.chained}")

    def _verify(self, path: Path | None, as_json: bool) -> None:
        verdict = sealing.verify(checkpoint=_read(path) if path is not None else None)
        finding = verdict.finding
        if as_json:
            said = {
                "good": verdict.is_good,
                "entries": verdict.entries,
                "seals": verdict.seals,
                "unsealed": verdict.unsealed,
                "checkpoint_met": verdict.is_checkpoint_met if path is not None else None,
                "finding": asdict(finding) if finding is not None else None,
            }
            self.stdout.write(json.dumps(said))
        else:
            self.stdout.write(
                f"{verdict.entries} entries in {verdict.seals} seals are as they were sealed, "
                f"{verdict.unsealed} not sealed yet"
            )
            if finding is None and path is None:
                self.stdout.write(
                    "Held against no checkpoint: whoever can rewrite the seals too would not be found."
                )
        if finding is not None:
            raise CommandError(f"{finding.kind}: {finding.message}", returncode=1)

    def _protect(self) -> None:
        with transaction.atomic():
            append_only.install(connection)
        self.stdout.write("What is written once is protected.")


def _read(path: Path) -> sealing.Checkpoint:
    try:
        return sealing.read_checkpoint(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandError(
            f"{path} cannot be read: {error.strerror}. Name a file that `manage.py ledger checkpoint` wrote.",
            returncode=2,
        ) from error
    except (UnicodeDecodeError, sealing.InvalidCheckpoint) as error:
        raise CommandError(
            f"{path} is no checkpoint. {error} Name a file that `manage.py ledger checkpoint` wrote.",
            returncode=2,
        ) from error
