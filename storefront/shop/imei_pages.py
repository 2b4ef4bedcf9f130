"""The page on which shoppers ask about a phone that they own.

The number comes by POST and is answered at once, without a redirect: a redirect would carry it, or its answer, in an
address or in a session, and it is to be kept nowhere. Its field is filled in again where nothing was answered: to
correct the number, or to ask again.
"""

from typing import Any

from django import forms
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods

from authorization import clock
from authorization.decisions import DecisionUnavailable
from storefront import imei_check
from storefront.shop import limits, presenters
from storefront.shop.imei_words import Shown, shown

# The window of settings.IMEI_CHECKS_PER_CLIENT.
WITHIN_S = 600
ASK_AGAIN_S = 5


class ImeiForm(forms.Form):
    """What is wrong with a number `carriers.imei` says; the form takes any text."""

    imei = forms.CharField(
        label="IMEI of your phone",
        help_text="15 digits. Dial *#06# to see them. Spaces and dashes do no harm.",
        required=False,
        widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off", "spellcheck": "false"}),
    )


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@sensitive_post_parameters("imei")
@sensitive_variables("form", "text")
def imei_page(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        return _page(request, ImeiForm())
    form = ImeiForm(request.POST)
    wait_s = limits.seconds_to_wait(
        request, "imei check", most=settings.IMEI_CHECKS_PER_CLIENT, within_s=WITHIN_S
    )
    if wait_s:
        form.add_error(
            None, f"You have asked often in a short time. Ask again in {presenters.minutes(wait_s)}."
        )
        return _page(request, form, status=429, retry_after_s=wait_s)
    text = form.cleaned_data["imei"] if form.is_valid() else ""
    try:
        answer = imei_check.check(text, at=clock.now())
    except DecisionUnavailable:
        form.add_error(None, "We cannot look it up just now. That passes: try again in a minute.")
        return _page(request, form, status=503, retry_after_s=ASK_AGAIN_S)
    if answer.refusal is not None:
        form.add_error("imei", answer.refusal.message)
        return _page(request, form, status=400)
    return _page(request, ImeiForm(), answer=shown(answer))


def _page(
    request: HttpRequest,
    form: ImeiForm,
    *,
    answer: Shown | None = None,
    status: int = 200,
    retry_after_s: int = 0,
) -> HttpResponse:
    context: dict[str, Any] = {"form": form, "answer": answer, "noindex": request.method == "POST"}
    response = render(request, "shop/imei.html", context, status=status)
    if retry_after_s:
        response["Retry-After"] = str(retry_after_s)
    return response
