"""The pages that the `type` of a problem names. Public: whoever meets a problem may read what it means."""

from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from storefront.api.pages import page, with_code
from storefront.api.problem_types import PROBLEM_TYPES
from storefront.api.problems import problem_response


@csrf_exempt
@require_safe
def problem_index(request: HttpRequest) -> HttpResponse:
    rows = format_html_join(
        "",
        '<li><a href="/v1/problems/{}">{}</a>: {} {}</li>',
        ((c, c, p.status, p.title) for c, p in PROBLEM_TYPES.items()),
    )
    return page("Problems of the API", format_html("<ul>{}</ul>", rows))


@csrf_exempt
@require_safe
def problem_page(request: HttpRequest, code: str) -> HttpResponse:
    problem_type = PROBLEM_TYPES.get(code)
    if problem_type is None:
        return problem_response(
            request, "not_found", "No problem has this code; /v1/problems lists them all."
        )
    body = format_html(
        "<p><code>{}</code>, status {}</p><p>{}</p><h2>What to do</h2><p>{}</p>",
        code,
        problem_type.status,
        with_code(problem_type.meaning),
        with_code(problem_type.cure),
    )
    if code == "listing_not_authorized":
        more = '<p>Each reason has a page of its own: <a href="/v1/reasons">all reasons</a>.</p>'
        body = format_html("{}{}", body, mark_safe(more))  # noqa: S308  a text of our own
    return page(problem_type.title, body)
