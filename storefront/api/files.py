"""Files on their way in: as a part of a form, or as the body itself. What a file is its content says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser, MultiPartParser
from rest_framework.request import Request

from authorization.acceptances.evidence import MAX_BYTES
from storefront.acceptance_files import TYPES, clean_name
from storefront.api.fields import Members
from storefront.api.parsing import is_storable
from storefront.api.problems import FieldError, Problem, field_errors, invalid

# Boundaries, names and headers of the parts of a multipart body.
_ENVELOPE_BYTES = 64 * 1024
# The largest body with a file, for `KeyedView.max_body`.
MAX_UPLOAD = MAX_BYTES + _ENVELOPE_BYTES


class FileBodyParser(BaseParser):
    """The body is the file, whatever its sender calls it: what it is its content says."""

    media_type = "*/*"
    # Senders of these mean something else than a file of evidence.
    refused = ("application/json", "application/x-www-form-urlencoded")

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        if (media_type or "").partition(";")[0].strip().lower() in self.refused:
            raise Problem(
                "unsupported_media_type",
                f"Send the file itself with its own Content-Type, or as multipart/form-data: {TYPES}.",
            )
        return stream.read(MAX_BYTES + 1)


FILE_PARSERS = (MultiPartParser, FileBodyParser)


class AsItIs(BaseContentNegotiation):
    """A file comes as what it is, whatever the caller would rather have."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


@dataclass(frozen=True)
class Upload:
    """A file, its name without a path, and what was said of it."""

    fields: Mapping[str, Any]
    name: str
    content: bytes


def read_upload(
    request: Request, query: Mapping[str, Any], members: type[Members], *, needs: tuple[str, ...] = ()
) -> Upload:
    """The one file of the request, as a multipart form (`file`, `name`, `members`) or as the body itself.

    Of a body that is the file, its name and what `members` has are in the query; `needs` names what must be.
    Raises Problem. Nothing is read of a body that announces more than is taken: a form's files would go to the disk.
    """
    is_form = request.content_type.partition(";")[0].strip().lower() == "multipart/form-data"
    _check_length(request, MAX_UPLOAD if is_form else MAX_BYTES)
    try:
        data: Any = request.data
    except ParseError as error:
        raise invalid(
            [FieldError("", "malformed_form", f"The form cannot be read: {error.detail}")]
        ) from error
    if is_form:
        fields, name, content = _from_form(request, members)
    else:
        # Without any body the framework parses nothing.
        content = data if isinstance(data, bytes) else b""
        _check_query(query, (*needs, "name"))
        fields, name = query, query["name"]
    if len(content) > MAX_BYTES:
        raise _too_large()
    if not content:
        raise invalid(
            [FieldError("/file" if is_form else "", "empty", "The file is empty; send its content.")]
        )
    cleaned = clean_name(name)
    if not cleaned:
        raise invalid(
            [
                FieldError(
                    "/name",
                    "required",
                    "Give the file a name, e.g. report-17.pdf.",
                    "body" if is_form else "query",
                )
            ]
        )
    return Upload(fields, cleaned[:150], content)


def _from_form(request: Request, members: type[Members]) -> tuple[Mapping[str, Any], str, bytes]:
    uploads = [file for name in request.FILES for file in request.FILES.getlist(name)]
    if len(uploads) != 1 or "file" not in request.FILES:
        raise invalid([FieldError("/file", "required", "Send exactly one file, in a part called `file`.")])
    fields = {name: value for name, value in request.POST.items() if isinstance(value, str)}
    if not all(is_storable(text) for item in fields.items() for text in item):
        raise invalid([FieldError("", "invalid_text", "A part holds a NUL character.")])
    serializer = members(data=fields)
    if not serializer.is_valid():
        raise invalid(field_errors(serializer.errors))
    given = serializer.validated_data
    return given, given.get("name") or (uploads[0].name or ""), uploads[0].read(MAX_BYTES + 1)


def _check_query(query: Mapping[str, Any], needs: tuple[str, ...]) -> None:
    missing = [
        FieldError(f"/{name}", "required", f"Say the file's {name} in the query, or send a form.", "query")
        for name in needs
        if name not in query
    ]
    if missing:
        raise invalid(missing)


def _check_length(request: Request, at_most: int) -> None:
    announced = request.META.get("CONTENT_LENGTH") or ""
    if not announced and "Transfer-Encoding" in request.headers:
        raise Problem("length_required", "Send the file with a Content-Length header.")
    if announced.isdecimal() and int(announced) > at_most:
        raise _too_large()


def _too_large() -> Problem:
    return Problem("payload_too_large", f"A file has at most {MAX_BYTES} bytes.")
