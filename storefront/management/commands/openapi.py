"""`manage.py openapi`: writes the description of the API, or checks that the written one is what the code says."""

import difflib
import json
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from storefront.api.description import DescriptionFailed, describe
from storefront.api.docs_pages import DESCRIPTION_FILE

SHOWN = 40


class Command(BaseCommand):
    help = "Writes docs/openapi.json from the code; with --check only says whether it is what the code says."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--check", action="store_true", help="write nothing; fail where the file differs")

    def handle(self, *args: Any, check: bool, **options: Any) -> None:
        path = settings.BASE_DIR / DESCRIPTION_FILE
        try:
            text = written(describe())
        except DescriptionFailed as error:
            raise CommandError(f"The API cannot be described:\n{error}") from error
        if not check:
            path.write_text(text, encoding="utf-8")
            self.stdout.write(f"Wrote {DESCRIPTION_FILE}.")
            return
        committed = path.read_text(encoding="utf-8") if path.exists() else ""
        if committed != text:
            lines = difflib.unified_diff(
                committed.splitlines(), text.splitlines(), "docs/openapi.json", "the code", lineterm="", n=1
            )
            self.stderr.write("\n".join([*lines][:SHOWN]))
            raise CommandError("docs/openapi.json is not what the code says. Write it: ./dev manage openapi")
        self.stdout.write(f"{DESCRIPTION_FILE} is what the code says.")


def written(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
