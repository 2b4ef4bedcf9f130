"""`manage.py policy test PATH...`: policy tests as data. The format: docs/policy-tests.md.

Exit codes: 0 all pass, 1 some fail, 2 a file is no policy test (each with its line and the cure).
"""

import json
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from seeds.policy_cases import cases, database
from seeds.policy_cases.cases import PolicyFile, Result
from seeds.policy_cases.reading import Fault, Unreadable

ENDINGS = (".yaml", ".yml")


class Command(BaseCommand):
    help = (
        "Run policy tests: worlds, acts and expected decisions, written as YAML. Touches no rows of the shop."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        acts = parser.add_subparsers(dest="what", required=True, metavar="test")
        test = acts.add_parser(
            "test", help="build each file's world and ask the engine; exit 1 where it answers otherwise"
        )
        test.add_argument(
            "paths", nargs="+", type=Path, metavar="PATH", help="a file, or a folder of .yaml files"
        )
        test.add_argument("--json", action="store_true", dest="as_json", help="print the results as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        faults: list[Fault] = []
        tests = list(_read(options["paths"], faults))
        results = _run(tests, faults)
        self._tell(results, faults, as_json=options["as_json"])
        failed = sum(len(result.failures) for result in results)
        if faults:
            raise CommandError(
                f"{_count(len(faults), 'fault')}. Each line names file, line and cure.", returncode=2
            )
        if failed:
            raise CommandError(f"{_count(failed, 'answer')} other than expected.", returncode=1)

    def _tell(self, results: list[Result], faults: list[Fault], *, as_json: bool) -> None:
        if as_json:
            said = {
                "passed": not faults and not any(result.failures for result in results),
                "files": [asdict(result) for result in results],
                "faults": [asdict(fault) for fault in faults],
            }
            self.stdout.write(json.dumps(said, indent=2))
            return
        for result in results:
            for failure in result.failures:
                self.stdout.write("\n".join(failure.as_lines()))
            self.stdout.write(
                f"{'FAIL' if result.failures else 'ok  '} {result.path}: {_count(result.cases, 'case')}, "
                f"{_count(result.questions, 'question')}, {result.swept} more must be denied: {result.title}"
            )
        for fault in faults:
            self.stderr.write(str(fault))
        total = sum(result.cases for result in results)
        self.stdout.write(f"{_count(total, 'case')} in {_count(len(results), 'file')}.")


def _read(paths: list[Path], faults: list[Fault]) -> Iterator[PolicyFile]:
    for path in paths:
        files = (
            sorted(each for each in path.rglob("*") if each.suffix in ENDINGS) if path.is_dir() else [path]
        )
        if not files:
            faults.append(Fault(str(path), 0, "The folder holds no .yaml file; name one that does."))
        for file in files:
            try:
                yield cases.read_file(file)
            except Unreadable as error:
                faults.append(error.fault)


def _run(tests: list[PolicyFile], faults: list[Fault]) -> list[Result]:
    results: list[Result] = []
    for test in tests:
        try:
            results.append(cases.run(test, database.fresh))
        except Unreadable as error:
            faults.append(error.fault)
    return results


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
