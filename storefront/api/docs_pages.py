"""The description as a file, and as a page on which calls can be tried. Public; all that the page loads is ours."""

from functools import cache
from hashlib import sha256
from pathlib import Path

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.templatetags.static import static
from django.utils.cache import get_conditional_response
from django.utils.html import format_html
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

DESCRIPTION_FILE = Path("docs") / "openapi.json"
_SWAGGER = "drf_spectacular_sidecar/swagger-ui-dist"


@cache
def _description() -> tuple[bytes, str]:
    """The file, and its tag. It changes with a release only."""
    content = (settings.BASE_DIR / DESCRIPTION_FILE).read_bytes()
    return content, f'"{sha256(content).hexdigest()[:32]}"'


@csrf_exempt
@require_safe
def description(request: HttpRequest) -> HttpResponse:
    content, etag = _description()
    headers = {"ETag": etag, "Cache-Control": "public, max-age=300"}
    response = HttpResponse(content, content_type="application/json", headers=headers)
    return get_conditional_response(request, etag=etag, response=response) or response


@csrf_exempt
@require_safe
def docs_page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(
        format_html(
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>The API, call by call</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<link rel="stylesheet" href="{}"><link rel="icon" href="{}"></head>'
            '<body><main id="calls" data-description="/v1/openapi.json">'
            '<noscript>This page needs scripts; <a href="/v1/openapi.json">the description</a> does not.</noscript>'
            '</main><script src="{}"></script><script src="{}"></script></body></html>',
            static(f"{_SWAGGER}/swagger-ui.css"),
            static("shop/mark.svg"),
            static(f"{_SWAGGER}/swagger-ui-bundle.js"),
            static("api/calls.js"),
        )
    )
