"""The plain pages of the API for people: what a problem or a reason means. Public, and without a script."""

from django.http import HttpResponse
from django.templatetags.static import static
from django.utils.html import format_html, format_html_join


def page(title: str, body: str) -> HttpResponse:
    return HttpResponse(
        format_html(
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{}</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta name="color-scheme" content="light dark">{}</head>'
            '<body><main class="container"><h1>{}</h1>{}<p><a href="/v1/problems">All problems</a> '
            '<a href="/v1/reasons">All reasons</a> <a href="/v1/docs">All calls</a></p></main></body></html>',
            title,
            _style_sheets(),
            title,
            body,
        )
    )


def with_code(text: str) -> str:
    """What stands between backticks, which clients see in `detail` too, as code."""
    parts = (("code" if place % 2 else "span", part) for place, part in enumerate(text.split("`")))
    return format_html_join("", "<{0}>{1}</{0}>", parts)


def _style_sheets() -> str:
    return format_html_join(
        "",
        '<link rel="stylesheet" href="{}">',
        ((static(name),) for name in ("shop/pico-2.1.1.min.css", "shop/shop.css")),
    )
