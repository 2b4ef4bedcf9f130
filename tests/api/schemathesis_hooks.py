"""What no schema can know, put into the calls that schemathesis means to be good: names that exist in this world.

Loaded by the schemathesis command (tests/api/test_openapi_fuzz.py); calls that are meant to be bad stay as they are.
"""

import json
import os
from typing import Any

import schemathesis
from schemathesis import GenerationMode
from schemathesis.core import NotSet

KNOWN: dict[str, list[Any]] = json.loads(os.environ.get("CLEARLINE_KNOWN_NAMES", "{}"))


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
    if case.meta is None or case.meta.generation.mode != GenerationMode.POSITIVE:
        return
    # What is assigned is judged again, and a body that was left out, or holds a file, is then taken for a bad one.
    if (case.media_type or "").endswith("json") and not isinstance(case.body, NotSet):
        case.body = known(case.body)
    if isinstance(case.query, dict):
        # Where to read on only an answer says.
        case.query.pop("cursor", None)
        case.query.pop("after", None)
        case.query.update(known(dict(case.query)))


def known(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {member: known(inner, member) for member, inner in value.items()}
    if isinstance(value, list):
        if name in KNOWN:
            return KNOWN[name][: max(1, len(value))]
        return [known(inner, name) for inner in value]
    if name in KNOWN and isinstance(value, str):
        return KNOWN[name][len(value) % len(KNOWN[name])]
    return value
