"""What a policy test expects, asked of the engine: cases, the sweep of what is not listed, and what failed."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from django.conf import settings

from authorization import decisions
from authorization.decisions import Answer
from authorization.rules import REASON_CODES, Question
from catalog.models import Channel, Condition
from seeds.policy_cases.acts import read_acts
from seeds.policy_cases.reading import Keys, Value, read_yaml
from seeds.policy_cases.records import read_world
from seeds.policy_cases.steps import BUILT_IN, Step, World, build

AXES = ("vendor", "variant", "host", "territory", "channel", "condition", "software", "listing")
OUTCOMES = ("allow", "deny", "undetermined")
# What the evidence of a case names; what else a decision cites (policy, hosting, variant, network) is not listed.
LISTED_EVIDENCE = ("agreement", "affiliation", "approval", "equipment")

# One question as the file names it, in the order of AXES.
Combination = tuple[str, ...]


class Moment(NamedTuple):
    """When, as known when (None: all that the file records), and under which built-in policy (empty: the file's)."""

    at: datetime
    known: datetime | None
    under: str


@dataclass(frozen=True)
class Case:
    name: str
    value: Value
    moment: Moment
    combinations: tuple[Combination, ...]
    outcome: str
    reasons: tuple[str, ...] = ()
    evidence: tuple[str, ...] | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True)
class Sweep:
    """The combinations that must be denied wherever no case says otherwise."""

    value: Value
    combinations: tuple[Combination, ...]
    moments: tuple[Moment, ...]


@dataclass(frozen=True)
class PolicyFile:
    path: str
    title: str
    start: datetime
    steps: tuple[Step, ...]
    cases: tuple[Case, ...]
    sweep: Sweep | None


@dataclass(frozen=True)
class Failure:
    file: str
    line: int
    case: str
    question: str
    expected: str
    answered: str
    why: tuple[str, ...] = ()

    def as_lines(self) -> list[str]:
        return [
            f"FAIL {self.file}:{self.line}  {self.case}",
            f"     {self.question}",
            f"   - {self.expected}",
            f"   + {self.answered}",
            *[f"       {line}" for line in self.why],
        ]


@dataclass
class Result:
    """What asking one file came to."""

    path: str
    title: str
    cases: int
    questions: int = 0
    swept: int = 0
    failures: list[Failure] = field(default_factory=list)


# --- reading ----------------------------------------------------------------------------------------------------


def read_file(path: Path, name: str | None = None) -> PolicyFile:
    """Raises Unreadable."""
    named = name or str(path)
    keys = read_yaml(path, named).keys(
        ["title", "about", "recorded_at", "world", "then", "defaults", "cases", "sweep"],
        required=["title", "recorded_at", "world", "cases"],
    )
    start = keys["recorded_at"].instant()
    steps = read_world(replace(keys["world"], what="the world"), start=start)
    acts = read_acts(keys["then"], start=start) if "then" in keys else []
    defaults = _read_axes(
        keys.read("defaults", lambda value: replace(value, what="defaults").keys(AXES), Keys(keys.value, {}))
    )
    cases = [_read_case(replace(item, what="a case"), defaults) for item in keys["cases"].listed()]
    sweep = None
    if "sweep" in keys:
        sweep = _read_sweep(replace(keys["sweep"], what="the sweep"), defaults, cases)
    # Stable: of one instant, what the world records comes before the acts.
    ordered = sorted([*steps, *acts], key=lambda step: step.at)
    return PolicyFile(named, keys["title"].text(), start, tuple(ordered), tuple(cases), sweep)


def _read_case(value: Value, defaults: dict[str, list[str]]) -> Case:
    keys = value.keys(
        ["name", "at", "known", "under", *AXES, "expect", "reasons", "evidence", "expires_at"],
        required=["name", "at", "expect"],
    )
    outcome = keys["expect"].one_of(OUTCOMES)
    if outcome == "deny" and "reasons" not in keys:
        raise value.fault(
            "A case that expects deny lists its reason codes, all of them in order; add `reasons: [...]`."
        )
    for name, belongs_to in (("reasons", "deny"), ("evidence", "allow")):
        if name in keys and outcome != belongs_to:
            raise keys[name].fault(f"Only a case that expects {belongs_to} has {name}; leave it out.")
    listed = keys["reasons"].items() if "reasons" in keys else []
    reasons = tuple(item.one_of(REASON_CODES) for item in listed)
    return Case(
        name=keys["name"].text(),
        value=value,
        moment=_read_moment(keys, keys["at"].instant()),
        combinations=_combinations(value, defaults | _read_axes(keys)),
        outcome=outcome,
        reasons=reasons,
        evidence=tuple(keys["evidence"].texts()) if "evidence" in keys else None,
        expires_at=keys["expires_at"].instant() if "expires_at" in keys else None,
    )


def _read_moment(keys: Keys, at: datetime) -> Moment:
    under = keys.read("under", lambda value: value.one_of(BUILT_IN), "")
    known: datetime | None = None
    if "known" in keys and (said := keys["known"].text()) != "now":
        known = at if said == "then" else keys["known"].instant()
    return Moment(at, known, under)


def _read_axes(keys: Keys) -> dict[str, list[str]]:
    axes = {name: keys[name].texts() for name in AXES if name in keys}
    for name, choices in (("channel", Channel.values), ("condition", Condition.values)):
        for item in keys[name].items() if name in keys else ():
            item.one_of(choices)
    return axes


def _combinations(value: Value, axes: Mapping[str, Sequence[str]]) -> tuple[Combination, ...]:
    filled: dict[str, Sequence[str]] = {
        "territory": [settings.SHOP_TERRITORY],
        "channel": [Channel.WEB],
        "condition": [Condition.NEW],
        "software": [""],
        "listing": [""],
        **axes,
    }
    for name in ("vendor", "variant", "host"):
        if name not in filled:
            raise value.fault(
                f"{value.what} asks about no {name}; add `{name}: ...` here or to the defaults."
            )
    return tuple(itertools.product(*[[str(text) for text in filled[name]] for name in AXES]))


def _read_sweep(value: Value, defaults: dict[str, list[str]], cases: Sequence[Case]) -> Sweep:
    keys = value.keys([*AXES, "at", "known", "under"])
    combinations = _combinations(value, defaults | _read_axes(keys))
    if "at" in keys:
        moments = [_read_moment(keys, instant.instant()) for instant in keys["at"].items()]
    else:
        for name in ("known", "under"):
            if name in keys:
                raise keys[name].fault(
                    f"Without `at` the sweep takes the moments of the cases; leave {name} out."
                )
        moments = list(dict.fromkeys(case.moment for case in cases))
    return Sweep(value, combinations, tuple(moments))


# --- asking -----------------------------------------------------------------------------------------------------

# A store for one world: built in it, asked, and thrown away.
Store = Callable[[], AbstractContextManager[None]]


def run(test: PolicyFile, store: Store) -> Result:
    """Build the world, once for each policy that cases are asked under, and ask. Raises Unreadable."""
    result = Result(test.path, test.title, len(test.cases))
    swept = test.sweep.moments if test.sweep else ()
    for under in dict.fromkeys(
        [*[case.moment.under for case in test.cases], *[moment.under for moment in swept]]
    ):
        with store():
            world = build(test.steps, under=under, start=test.start)
            _ask_cases(test, under, world, result)
            _ask_sweep(test, under, world, result)
    return result


def _ask_cases(test: PolicyFile, under: str, world: World, result: Result) -> None:
    for case in test.cases:
        if case.moment.under == under:
            for combination, answer in _ask(world, case.value, case.moment, case.combinations):
                result.questions += 1
                if failure := _judge(test, case, combination, answer):
                    result.failures.append(failure)


def _ask_sweep(test: PolicyFile, under: str, world: World, result: Result) -> None:
    if test.sweep is None:
        return
    for moment in test.sweep.moments:
        if moment.under != under:
            continue
        listed = {each for case in test.cases if case.moment == moment for each in case.combinations}
        unlisted = [each for each in test.sweep.combinations if each not in listed]
        for combination, answer in _ask(world, test.sweep.value, moment, unlisted):
            result.swept += 1
            if answer.outcome != "deny":
                result.failures.append(
                    Failure(
                        test.path,
                        test.sweep.value.line,
                        "a combination that no case lists",
                        _say_question(combination, moment, answer),
                        "expected: deny (whatever the reasons)",
                        _say_answer(answer),
                        tuple(_why(answer)),
                    )
                )


def _ask(
    world: World, value: Value, moment: Moment, combinations: Sequence[Combination]
) -> Iterator[tuple[Combination, Answer]]:
    known_at = None if moment.known is None else world.revision_at(moment.known)
    questions = [_question(world, value, combination) for combination in combinations]
    try:
        answers = decisions.decide_many(questions, at=moment.at, known_at=known_at)
    except decisions.InvalidQuestion as error:
        raise value.fault(f"This cannot be asked ({error.field}): {error.message}") from error
    yield from zip(combinations, answers, strict=True)


def _question(world: World, value: Value, combination: Combination) -> Question:
    named = dict(zip(AXES, combination, strict=True))

    def row(axis: str, kind: str) -> Any:
        known = world.rows.get(kind, {})
        if named[axis] not in known:
            listed = ", ".join(known) or "none"
            raise value.fault(f"The world has no {axis} {named[axis]!r}; take one of: {listed}.")
        return known[named[axis]]

    question = decisions.question_for(
        vendor=row("vendor", "organization"),
        variant=row("variant", "variant"),
        host=row("host", "host"),
        territory=named["territory"],
        channel=named["channel"],
        condition=named["condition"],
        software=named["software"],
    )
    return question._replace(listing_id=row("listing", "listing").pk) if named["listing"] else question


def _judge(test: PolicyFile, case: Case, combination: Combination, answer: Answer) -> Failure | None:
    differences: list[tuple[str, str]] = []
    if answer.outcome != case.outcome or (
        case.outcome == "deny" and answer.reason_codes != list(case.reasons)
    ):
        differences.append((_say_expected(case), _say_answer(answer)))
    elif case.evidence is not None and _cited(answer) != list(case.evidence):
        differences.append(
            (f"evidence: {', '.join(case.evidence)}", f"evidence: {', '.join(_cited(answer))}")
        )
    if case.expires_at is not None and answer.expires_at != case.expires_at:
        differences.append(
            (f"expires_at: {case.expires_at.isoformat()}", f"expires_at: {answer.expires_at.isoformat()}")
        )
    if not differences:
        return None
    return Failure(
        test.path,
        case.value.line,
        case.name,
        _say_question(combination, case.moment, answer),
        "expected: " + "; ".join(expected for expected, _ in differences),
        "answered: " + "; ".join(answered for _, answered in differences),
        tuple(_why(answer)),
    )


def _cited(answer: Answer) -> list[str]:
    return [item.code for item in answer.evidence if item.kind in LISTED_EVIDENCE]


def _say_expected(case: Case) -> str:
    return f"{case.outcome} {', '.join(case.reasons)}".strip()


def _say_answer(answer: Answer) -> str:
    if answer.is_allowed:
        return f"allow on {', '.join(_cited(answer)) or 'no record'} until {answer.expires_at.isoformat()}"
    return f"{answer.outcome} {', '.join(answer.reason_codes)}"


def _why(answer: Answer) -> list[str]:
    return [f"{reason.code}: {reason.message} {reason.document}".rstrip() for reason in answer.reasons]


def _say_question(combination: Combination, moment: Moment, answer: Answer) -> str:
    named = dict(zip(AXES, combination, strict=True))
    said = ", ".join(f"{axis} {text}" for axis, text in named.items() if text)
    under = f", under the policy {moment.under!r}" if moment.under else ""
    known = "now" if moment.known is None else moment.known.isoformat()
    return f"{said}; at {moment.at.isoformat()}, known {known} (revision {answer.revision}){under}"
