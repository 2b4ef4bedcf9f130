"""The pages that the `type` of a problem names. Public: whoever meets a problem may read what it means."""

from django.http import HttpRequest, HttpResponse
from django.templatetags.static import static
from django.utils.html import format_html, format_html_join
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from authorization.rules import REASON_CODES
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
    return _page("Problems of the API", format_html("<ul>{}</ul>{}", rows, _reason_table()))


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
        _with_code(problem_type.meaning),
        _with_code(problem_type.cure),
    )
    if code == "listing_not_authorized":
        body = format_html("{}{}", body, _reason_table())
    return _page(problem_type.title, body)


def _with_code(text: str) -> str:
    """What stands between backticks, which clients see in `detail` too, as code."""
    parts = (("code" if place % 2 else "span", part) for place, part in enumerate(text.split("`")))
    return format_html_join("", "<{0}>{1}</{0}>", parts)


def _reason_table() -> str:
    rows = format_html_join(
        "",
        '<tr id="{}"><th scope="row"><code>{}</code></th><td>{}</td><td>{}</td><td>{}</td></tr>',
        ((r.code, r.code, r.title, "yes" if r.curable else "no", r.cure_by) for r in REASON_CODES.values()),
    )
    return format_html(
        '<h2>Reasons</h2><table><thead><tr><th scope="col">Code</th><th scope="col">Meaning</th>'
        '<th scope="col">Curable</th><th scope="col">By whom</th></tr></thead><tbody>{}</tbody></table>',
        rows,
    )


def _style_sheets() -> str:
    return format_html_join(
        "",
        '<link rel="stylesheet" href="{}">',
        ((static(name),) for name in ("shop/pico-2.1.1.min.css", "shop/shop.css")),
    )


def _page(title: str, body: str) -> HttpResponse:
    return HttpResponse(
        format_html(
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{}</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta name="color-scheme" content="light dark">{}</head>'
            '<body><main class="container"><h1>{}</h1>{}<p><a href="/v1/problems">All problems</a></p></main>'
            "</body></html>",
            title,
            _style_sheets(),
            title,
            body,
        )
    )
