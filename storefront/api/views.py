"""What every call shares: count, deny, then read the query, then act. docs/api-conventions.md tells it to callers.

A write with an Idempotency-Key is made in one transaction with the row that keeps its answer; `validate_only` makes the
write itself, in one transaction that is undone.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from tempfile import SpooledTemporaryFile
from typing import IO, Any, ClassVar, cast
from wsgiref.util import FileWrapper

from django.conf import settings
from django.db.transaction import TransactionManagementError
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.parsers import BaseParser
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from authorization import clock, stores
from authorization.revocations import WorldMoved
from authorization.transactions import one_transaction
from storefront import idempotency, test_mode
from storefront.api import budgets
from storefront.api.deprecations import Deprecation
from storefront.api.fields import Members, WriteQuery, read_query
from storefront.api.keys import (
    CarrierPrincipal,
    DistributorPrincipal,
    ManufacturerPrincipal,
    Principal,
    VendorPrincipal,
)
from storefront.api.parsing import MergePatchParser
from storefront.api.problems import FieldError, Problem, invalid, request_id
from storefront.idempotency import Asked, KeptAnswer

logger = logging.getLogger(__name__)

_WHOSE: dict[type, str] = {
    VendorPrincipal: "vendors",
    DistributorPrincipal: "distributors",
    ManufacturerPrincipal: "manufacturers",
    CarrierPrincipal: "host carriers",
}

# Of a call that every key may make, whatever its scopes.
ANY_KEY = "any"
WRITES = ("POST", "PUT", "PATCH", "DELETE")
# How often a write is made anew when the world has moved between its preview and its commit.
ATTEMPTS = 5
_CHUNK = 65_536
# Of a dry run nothing is made or begun.
_STATUS_OF_DRY_RUN = {201: 200, 202: 200}


class _Undone(Exception):
    """Carries the answer of a dry run out of the transaction that it undoes."""

    def __init__(self, response: HttpResponse) -> None:
        super().__init__()
        self.response = response


class Refused(Exception):
    """An act refused, and what to answer has to be looked up: the transaction that it spoilt must end first.

    `answer` gives the answer, or raises the Problem, once all of the write is undone.
    """

    def __init__(self, answer: Callable[[], HttpResponse]) -> None:
        super().__init__()
        self.answer = answer


class KeyedView(APIView):
    """A call with a key. Who may call, and in which format, stands in settings.REST_FRAMEWORK."""

    # Whose keys open it. A route says so itself: one that forgets to opens to nobody.
    open_to: ClassVar[tuple[type, ...]] = ()
    # method -> whose keys, where one of its methods is for fewer
    open_to_for: ClassVar[Mapping[str, tuple[type, ...]]] = {}
    # method -> the scope that the key must have; a method that is not named is open to nobody
    scopes: ClassVar[Mapping[str, str]] = {}
    # method -> the query parameters it takes; a method that is not named takes none
    queries: ClassVar[Mapping[str, type[Members]]] = {}
    # method -> the body it takes; a method that is not named takes none
    bodies: ClassVar[Mapping[str, type[Members]]] = {}
    # method -> status -> the shape of the answer's body (None: it has none). What the published description says.
    answers: ClassVar[Mapping[str, Mapping[int, type[Serializer[Any]] | None]]] = {}
    # method -> status -> headers of that answer beyond those that all answers have
    answer_headers: ClassVar[Mapping[str, Mapping[int, tuple[str, ...]]]] = {}
    # method -> codes of the problems that its own code raises
    problems: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    # method -> since when it is deprecated, and until when it works
    deprecated: ClassVar[Mapping[str, Deprecation]] = {}
    # A POST that asks something and changes nothing. It is a read, and its answer is never kept: what may be listed
    # changes with the next revocation.
    is_question: ClassVar[bool] = False
    # A POST that sends a feed.
    is_feed: ClassVar[bool] = False
    needs_idempotency_key: ClassVar[bool] = False
    # Whether a key of test mode is answered from its test store; else the call is on what the shop keeps of the caller.
    is_of_a_store: ClassVar[bool] = True
    # Members of answers that are shown once: the answer is kept without them, and a dry run has none of them.
    secret_members: ClassVar[frozenset[str]] = frozenset({"secret"})
    # Bytes of a body; None: as of every call.
    max_body: ClassVar[int | None] = None

    query: dict[str, Any]

    # --- the order of things ------------------------------------------------------------------------------------

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        self.args, self.kwargs = args, kwargs
        self.request = self.initialize_request(request, *args, **kwargs)
        self.headers = self.default_response_headers
        try:
            self.initial(self.request, *args, **kwargs)
            with self.store_of_the_key():
                response = read_out(self.respond(self.request, *args, **kwargs))
        except Exception as error:
            response = self.handle_exception(error)
        self.response = self.finalize_response(self.request, cast(Response, response), *args, **kwargs)
        return self.response

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Who calls, and whether they may. All of it before anything of the store is looked at."""
        super().initial(request, *args, **kwargs)
        self.principal = cast(Principal, request.user)
        self.check_budget()
        self.check_kind()
        self.check_scope()
        self.check_not_ended()

    @contextmanager
    def store_of_the_key(self) -> Iterator[None]:
        """In here the default connection is that of the caller's test store, where the key is one of test mode."""
        if not self.is_of_a_store:
            yield
            return
        with test_mode.entered(self.principal) as self.principal:
            yield

    def respond(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        """All that reads or writes the store whose key was sent."""
        if request.method not in self.allowed_methods:
            raise MethodNotAllowed(str(request.method))
        self.at = clock.now()
        self.query = read_query(request, self.query_members(self.method))
        self.check_caller(request, *args, **kwargs)
        handler = getattr(self, str(request.method).lower())
        if self.method not in WRITES or self.is_question:
            return cast(HttpResponse, handler(request, *args, **kwargs))
        with self.idempotent(request) as asked:
            return self.write(lambda: handler(request, *args, **kwargs), asked)

    def check_caller(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """What a caller of this route must be beyond the kind and the scopes of its key. Raises Problem.

        Asked before an answer that was kept is given again: whoever lost the permission gets none.
        """

    def prepare(self, request: Request, **kwargs: Any) -> None:
        """What a write looks at first and must not do inside its transaction: previews that are rehearsed.

        Called before the transaction begins, and again when WorldMoved is raised in it.
        """

    # --- deny first ---------------------------------------------------------------------------------------------

    @property
    def method(self) -> str:
        return "GET" if self.request.method == "HEAD" else str(self.request.method)

    def check_budget(self) -> None:
        """Counts the call. Raises Problem when its budget is used up."""
        spent = budgets.spend(self.budget_of(self.method), self.principal)
        self.headers |= spent.headers
        if spent.is_exceeded:
            raise budgets.refusal(spent)

    @classmethod
    def budget_of(cls, method: str) -> str:
        if method not in WRITES or (method == "POST" and cls.is_question):
            return budgets.READ
        return budgets.FEED if method == "POST" and cls.is_feed else budgets.WRITE

    @classmethod
    def kinds_for(cls, method: str) -> tuple[type, ...]:
        return cls.open_to_for.get(method, cls.open_to)

    def check_kind(self) -> None:
        """Raises Problem unless the call is for keys of this kind."""
        kinds = self.kinds_for(self.method)
        if not isinstance(self.principal, kinds):
            whose = " and ".join(_WHOSE[kind] for kind in kinds) or "nobody"
            raise Problem("not_for_this_key", f"This call is for keys of {whose}.")

    def check_scope(self) -> None:
        """Raises Problem unless the key has the scope of this call."""
        if self.method not in self.allowed_methods or self.method == "OPTIONS":
            return
        scope = self.scopes.get(self.method)
        if scope not in (ANY_KEY, *self.principal.key.scopes):
            raise Problem("missing_scope", f"This call takes a key with the scope {scope}.", scope=scope)

    def check_not_ended(self) -> None:
        """Tells of a call's end, in its headers and in our logs. Raises Problem once it has come."""
        ending = self.deprecated.get(self.method)
        if ending is None:
            return
        self.headers |= ending.headers()
        logger.info(
            "api.deprecated_call",
            extra={"path": self.request.path, "method": self.method, "caller": str(self.principal.actor)},
        )
        # Of the machine's clock: the day was told to people outside.
        if ending.is_over(clock.machine_now()):
            raise Problem("call_ended", ending.words(), successor=ending.successor)

    @classmethod
    def query_members(cls, method: str) -> type[Members]:
        """The query parameters of a method; of every write also `validate_only`."""
        declared = cls.queries.get(method, Members)
        if method not in WRITES or cls.is_question or "validate_only" in declared._declared_fields:
            return declared
        return _with_dry_run(declared)

    def get_parsers(self) -> list[BaseParser]:
        if self.method == "PATCH":
            return [MergePatchParser()]
        return [parser() for parser in self.parser_classes]

    # --- writes -------------------------------------------------------------------------------------------------

    @property
    def is_dry_run(self) -> bool:
        return bool(self.query.get("validate_only") == "true")

    @property
    def undoes_dry_run(self) -> bool:
        """Is this a dry run that the view leaves to us? One that makes it itself names it in its queries."""
        declared = self.queries.get(self.method, Members)
        return self.is_dry_run and "validate_only" not in declared._declared_fields

    def write(self, act: Callable[[], HttpResponse], asked: Asked | None) -> HttpResponse:
        """One write, made anew where the world moved on while it was made: nothing of it was done then.

        Without a key that is so where the act that raises WorldMoved is the first of the write.
        """
        if asked is not None and (kept := self.find_kept(asked)) is not None:
            return kept
        left = ATTEMPTS
        while True:
            left -= 1
            try:
                self.prepare(self.request, **self.kwargs)
            except Problem:
                # Refused by what the same request, sent a moment earlier, has done meanwhile?
                if asked is not None and (kept := self.find_kept(asked)) is not None:
                    return kept
                raise
            try:
                return self.write_once(act, asked)
            except Refused as refused:
                response = refused.answer()
                return self.as_dry_run(response) if self.undoes_dry_run else response
            except (WorldMoved, TransactionManagementError) as error:
                # The second is raised in one transaction, where an act lost a race for a unique row and would have
                # looked again behind its savepoint.
                is_undone = asked is not None or self.undoes_dry_run or isinstance(error, WorldMoved)
                if not left or not is_undone:
                    raise
                logger.info("api.write_again", extra={"path": self.request.path, "why": repr(error)})
                self.at = clock.now()

    def write_once(self, act: Callable[[], HttpResponse], asked: Asked | None) -> HttpResponse:
        if self.undoes_dry_run:
            try:
                with one_transaction():
                    raise _Undone(act())
            except _Undone as undone:
                return self.as_dry_run(undone.response)
        if asked is None:
            return act()
        with one_transaction():
            if not idempotency.begin(asked):
                detail = "A request with this Idempotency-Key is being worked on; send it again in a moment."
                raise Problem("idempotency_in_progress", detail)
            if (kept := self.find_kept(asked)) is not None:
                return kept
            try:
                response = act()
            except Problem as problem:
                if not problem.keeps_effect:
                    raise
                response = self.handle_exception(problem)
            self.keep(asked, response)
        return response

    def as_dry_run(self, response: HttpResponse) -> HttpResponse:
        """What would have been answered, without what leads to rows that were never there."""
        data = getattr(response, "data", None)
        if isinstance(data, dict):
            data = {**without(data, self.secret_members), "validate_only": True}
        return Response(data, status=_STATUS_OF_DRY_RUN.get(response.status_code, response.status_code))

    # --- the same request again ---------------------------------------------------------------------------------

    @contextmanager
    def idempotent(self, request: Request) -> Iterator[Asked | None]:
        """This request by its key; None for one that has none, and for a dry run, which has no effect to repeat.

        Raises Problem where a key is needed or is malformed, and where the body is too large.
        """
        header = request.headers.get("Idempotency-Key") if request.method == "POST" else None
        if header is None and self.needs_idempotency_key and request.method == "POST" and not self.is_dry_run:
            raise Problem("idempotency_key_required", "Send the header Idempotency-Key with a new UUID.")
        try:
            key = idempotency.read_key(header) if header is not None else None
        except idempotency.MalformedKey as error:
            fault = FieldError("/Idempotency-Key", "invalid_form", str(error), "header")
            raise invalid([fault]) from error
        if key is None or self.is_dry_run:
            yield None
            return
        with SpooledTemporaryFile(max_size=settings.DATA_UPLOAD_MAX_MEMORY_SIZE) as spooled:
            body_hash = self.spool(request, cast(IO[bytes], spooled))
            yield idempotency.asked(
                caller=whole_name_of(self.principal),
                method="POST",
                path=request.path,
                key=key,
                body_hash=body_hash,
            )

    def spool(self, request: Request, spooled: IO[bytes]) -> str:
        """Puts the body where it can be read again; its hash, with what else says how it is read."""
        limit = self.max_body or settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        # How a body is read hangs on its type, and what is asked on the parameters: another request has other ones.
        about = [request.META.get("QUERY_STRING", ""), request.content_type or ""]
        digest, size = hashlib.sha256(repr(about).encode()), 0
        source = cast(Any, request._request)
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            if size > limit:
                raise Problem("payload_too_large", f"The body is larger than {limit} bytes.")
            digest.update(chunk)
            spooled.write(chunk)
        spooled.seek(0)
        # Where the framework's parsers read from.
        cast(Any, request)._stream = spooled if size else None
        return digest.hexdigest()

    def find_kept(self, asked: Asked) -> HttpResponse | None:
        """The answer that was given to this request. Raises Problem where its key was another request's."""
        try:
            kept = idempotency.find(asked)
        except idempotency.KeyReused as error:
            detail = "This Idempotency-Key was sent before, with another body or other parameters."
            raise Problem("idempotency_key_reused", detail) from error
        if kept is None:
            return None
        response = HttpResponse(kept.body, status=kept.status, headers=dict(kept.headers))
        if not kept.body:
            del response.headers["Content-Type"]
        response.headers["Idempotent-Replayed"] = "true"
        return response

    def keep(self, asked: Asked, response: HttpResponse) -> None:
        """Keeps the answer beside its effect, without what is shown once."""
        headers = {**response.headers, "Original-Request-Id": request_id()}
        if isinstance(response, Response):
            data, headers["Content-Type"] = response.data, "application/json"
            shown = without(data, self.secret_members)
            body = JSONRenderer().render(shown).decode() if data is not None else ""
        else:
            body = response.content.decode()
        answer = KeptAnswer(response.status_code, body, headers)
        idempotency.keep(asked, answer, at=clock.machine_now())

    # --- answers ------------------------------------------------------------------------------------------------

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """The Allow header, which every answer carries, is all there is to say."""
        return Response(status=204)

    @property
    def default_response_headers(self) -> dict[str, str]:
        # What a vendor may list changes with the next revocation: nobody keeps an answer unasked.
        return {
            **super().default_response_headers,
            "Cache-Control": "private, no-cache",
            "Vary": "Accept, Authorization",
        }


class VendorView(KeyedView):
    """A call for vendors' keys only."""

    open_to: ClassVar[tuple[type, ...]] = (VendorPrincipal,)

    @property
    def caller(self) -> VendorPrincipal:
        return cast(VendorPrincipal, self.principal)


def whole_name_of(principal: Principal) -> str:
    """Whose request it is, whichever of their keys sends it; of a host carrier also in which duties."""
    if isinstance(principal, CarrierPrincipal):
        duties = [name for name in ("is_desk", "is_lab", "is_approver") if getattr(principal.key, name)]
        return f"{principal.actor} {' '.join(duties)}"
    # Of the few calls of test mode that are not on its own store.
    return f"{principal.actor} test" if principal.key.is_test else str(principal.actor)


def read_out(response: HttpResponse) -> HttpResponse:
    """Of a test store nothing is left to be looked up when this thread is in the shop again.

    What is answered bit by bit is read to its end, and what is still a question to the database is asked.
    """
    answer: HttpResponseBase = response
    if not stores.is_test():
        return response
    if isinstance(answer, Response) and answer.data is not None:
        answer.data = json.loads(JSONRenderer().render(answer.data))
    elif isinstance(answer, StreamingHttpResponse):
        spooled = SpooledTemporaryFile(max_size=settings.DATA_UPLOAD_MAX_MEMORY_SIZE)  # noqa: SIM115  its reader closes it
        for part in answer:
            spooled.write(part)
        spooled.seek(0)
        answer.streaming_content = FileWrapper(cast(IO[bytes], spooled))
    return response


def without(data: Any, names: frozenset[str]) -> Any:
    """The same without the members of these names, at any depth."""
    if isinstance(data, Mapping):
        return {name: without(value, names) for name, value in data.items() if name not in names}
    if isinstance(data, list | tuple):
        return [without(each, names) for each in data]
    return data


@cache
def _with_dry_run(members: type[Members]) -> type[Members]:
    return WriteQuery if members is Members else type(members.__name__, (members, WriteQuery), {})
