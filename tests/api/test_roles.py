"""Who may call what: every route, every method, every kind of key, every scope; and nobody another's object.

The table is that of the views themselves (`open_to`, `open_to_for`, `scopes`): what is declared there is held here
against what is answered. A new route with a part in braces is refused until FOREIGN_OBJECTS (tests/api/parties.py) says
how to name an object of somebody else.
"""

from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from storefront import scopes
from storefront.api import urls
from storefront.api.keys import CarrierPrincipal, DistributorPrincipal, ManufacturerPrincipal, VendorPrincipal
from storefront.api.views import ANY_KEY, KeyedView
from storefront.models import CarrierKey, OrganizationKey
from tests.api.conftest import Caller, SmallWorld, problem
from tests.api.parties import (
    FOREIGN_OBJECTS,
    KINDS,
    NO_SUCH,
    SHARED,
    Parties,
    case,
    make_parties,
    takedown,
)

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
# Pages for people, and the description itself. They show nothing that is anybody's own.
PUBLIC = {
    "api-problems",
    "api-problem",
    "api-reasons",
    "api-reason",
    "api-docs",
    "api-description",
    "api-unknown",
    "api-root",
}
PRINCIPALS: dict[str, type] = {
    "vendor": VendorPrincipal,
    "distributor": DistributorPrincipal,
    "manufacturer": ManufacturerPrincipal,
    "carrier": CarrierPrincipal,
}


def view_of(pattern: URLPattern) -> type[KeyedView]:
    view: type[KeyedView] = pattern.callback.view_class  # type: ignore[attr-defined]
    return view


ROUTES = {str(each.name): each for each in urls.urlpatterns if str(each.name) not in PUBLIC}
VIEWS = {name: view_of(pattern) for name, pattern in ROUTES.items()}
PARTS = {name: tuple(pattern.pattern.converters) for name, pattern in ROUTES.items()}


def declared(view: type[KeyedView]) -> list[str]:
    return [
        method for method in METHODS if method not in ("HEAD", "OPTIONS") and hasattr(view, method.lower())
    ]


CELLS = [(name, method) for name, view in VIEWS.items() for method in declared(view)]


def a_path(name: str) -> str:
    """With ids that nothing has."""
    return reverse(name, kwargs={part: NO_SUCH[part] for part in PARTS[name]})


def is_open(name: str, method: str, kind: str) -> bool:
    return issubclass(PRINCIPALS[kind], VIEWS[name].kinds_for(method))


def body_for(method: str) -> dict[str, str]:
    return {"Content-Type": "application/merge-patch+json"} if method == "PATCH" else {}


def call(caller: Caller, name: str, method: str, path: str | None = None, body: Any = None) -> Any:
    """Nothing comes of it: a write is a dry run."""
    is_write = method in ("POST", "PUT", "PATCH", "DELETE") and not VIEWS[name].is_question
    query = "?validate_only=true" if is_write else ""
    return caller.call(
        method, (path or a_path(name)) + query, (body or {}) if is_write else None, **body_for(method)
    )


def give(caller: Caller, scopes_given: list[str]) -> None:
    for model in (OrganizationKey, CarrierKey):
        model.objects.filter(last_four=caller.secret[-4:]).update(scopes=scopes_given)


@pytest.fixture
def parties(world: SmallWorld, settings: Any) -> Parties:
    settings.API_READS_PER_MINUTE = settings.API_WRITES_PER_MINUTE = settings.API_FEEDS_PER_MINUTE = 100_000
    return make_parties(world)


# --- the table itself -------------------------------------------------------------------------------------------


def test_the_walk_sees_every_route() -> None:
    [mounted] = [entry for entry in get_resolver().url_patterns if str(entry.pattern) == "v1/"]
    assert isinstance(mounted, URLResolver)
    assert mounted.url_patterns == urls.urlpatterns
    assert len(ROUTES) + len(PUBLIC) == len(urls.urlpatterns)
    for name, view in VIEWS.items():
        assert issubclass(view, KeyedView), name


def test_every_method_names_its_scope_and_every_scope_can_be_had() -> None:
    used = set()
    for name, method in CELLS:
        view = VIEWS[name]
        scope = view.scopes.get(method)
        assert scope is not None, f"{name} does not say which scope {method} takes."
        kinds = [kind for kind in PRINCIPALS if is_open(name, method, kind)]
        assert kinds, f"{name} opens {method} to nobody."
        if scope != ANY_KEY:
            used.add(scope)
            for kind in kinds:
                assert scope in scopes.scopes_of(kind), f"{name}: no key of a {kind} can have {scope}."
        assert set(view.scopes) <= {each for _, each in CELLS if _ == name}, (
            f"{name} names a method it lacks."
        )
    assert used == set(scopes.SCOPES), "A scope that opens nothing."


def test_what_writes_takes_a_scope_that_says_so() -> None:
    for name, method in CELLS:
        scope, is_read = VIEWS[name].scopes[method], method == "GET" or VIEWS[name].is_question
        if scope != ANY_KEY:
            assert scope.endswith(":read" if is_read else ":write"), (name, method, scope)
        else:
            assert is_read, (name, method)


# --- what is answered -------------------------------------------------------------------------------------------


def test_strangers_are_refused_everywhere(stranger: Caller, db: None) -> None:
    for name in ROUTES:
        for method in METHODS:
            answer = stranger.call(method, a_path(name))
            assert answer.status_code == 401, (name, method)
            assert answer["WWW-Authenticate"].startswith("Bearer")
            if method != "HEAD":
                problem(answer, 401, "unauthenticated")


def test_the_public_pages_are_public(stranger: Caller, db: None) -> None:
    for name in PUBLIC - {"api-unknown", "api-root", "api-problem", "api-reason"}:
        assert stranger.get(reverse(name)).status_code == 200, name


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_key_opens_what_is_for_it(parties: Parties, kind: str) -> None:
    """With the one scope that the call takes, and no other."""
    caller = parties.callers[kind]
    for name, method in CELLS:
        scope = VIEWS[name].scopes[method]
        give(caller, [] if scope == ANY_KEY else [scope])
        answer = call(caller, name, method)
        if is_open(name, method, kind):
            assert answer.status_code not in (401, 403, 405, 500), (name, method, answer.content)
        else:
            problem(answer, 403, "not_for_this_key")


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_without_the_scope_opens_nothing(parties: Parties, kind: str) -> None:
    caller = parties.callers[kind]
    all_scopes = set(scopes.scopes_of(kind))
    for name, method in CELLS:
        scope = VIEWS[name].scopes[method]
        if scope == ANY_KEY or not is_open(name, method, kind):
            continue
        give(caller, sorted(all_scopes - {scope}))
        assert problem(call(caller, name, method), 403, "missing_scope")["scope"] == scope, (name, method)


def test_a_method_that_a_route_lacks_is_405(parties: Parties) -> None:
    for name, view in VIEWS.items():
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - set(declared(view)):
            kind = next((kind for kind in KINDS if is_open(name, method, kind)), None)
            if kind is None:
                continue
            answer = parties.callers[kind].call(method, a_path(name), {}, **body_for(method))
            problem(answer, 405, "method_not_allowed")
            assert set(answer["Allow"].split(", ")) >= set(declared(view))


# --- what is another's ------------------------------------------------------------------------------------------


def test_every_route_of_one_object_says_whose_it_is() -> None:
    with_parts = {name for name, parts in PARTS.items() if parts}
    assert with_parts == set(FOREIGN_OBJECTS) | SHARED


def test_another_partys_object_is_not_found(parties: Parties) -> None:
    """Each object is there: whoever it belongs to finds it. What is wrong with the rest is told to nobody (AIP-211)."""
    told = []
    # One that stops sales comes last.
    for name, make in sorted(FOREIGN_OBJECTS.items(), key=lambda item: item[1] in (takedown, case)):
        owner, kwargs = parties.object_of(make)
        path = reverse(name, kwargs=kwargs)
        for method in declared(VIEWS[name]):
            if (name, method) in CREATES:
                continue
            if is_open(name, method, kind_of_owner(parties, owner)):
                answer = call(owner, name, method, path)
                assert answer.status_code not in (401, 403, 404, 405, 500), (name, method, answer.content)
            for kind in [kind for kind in KINDS if is_open(name, method, kind)]:
                for body in ({}, {"no_such_member": 1}):
                    answer = call(parties.callers[kind], name, method, path, body)
                    if answer.status_code != 404:
                        told.append((name, method, kind, answer.status_code))
    assert not told, told


# The name that is written is free for everybody: each has names of its own.
CREATES = {("api-listing", "PUT")}


def kind_of_owner(parties: Parties, owner: Caller) -> str:
    return next(kind for kind, each in parties.owners.items() if each is owner)
