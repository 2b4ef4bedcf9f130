"""The shopper's pages: parse, ask, present. No JavaScript; every action is a POST and ends in a redirect."""

from collections.abc import Iterable
from itertools import chain
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, QueryDict, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template import loader
from django.urls import reverse
from django.views.decorators.cache import cache_control, never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from authorization import clock
from authorization.actors import Actor
from authorization.decisions import DecisionUnavailable
from authorization.rules import REASON_CODES
from catalog.models import Device
from storefront import carts, orders, waitlist
from storefront.checks import LOOPBACK
from storefront.models import Cart, CartLine, Notice, Order, WaitlistEntry
from storefront.shop import feed, limits, pages, presenters, purchases, selectors, sitemap
from storefront.shop import structured_data as structured
from storefront.shop.cart_cookie import find_cart, find_or_open_cart, forget_cart, remember_cart
from storefront.shop.forms import AddToCartForm, ChangeLineForm, CheckoutForm, FilterForm, WaitForm

# Every page is never_cache, which adds no-store: what it said of an offer a minute ago may be wrong by now, and all of
# them show the shopper's cart at the top. Error pages too: a 404 or 410 without word on it may be kept by anybody.

SHOPPER = Actor("shopper", "anonymous")
# Of one client, in so many seconds.
MOST_WAITS, WAITS_WITHIN_S = 10, 600
NOTICES_PER_PAGE = 50


# --- phones -------------------------------------------------------------------------------------------------


@require_safe
@never_cache
def device_list(request: HttpRequest) -> HttpResponse:
    form = FilterForm(request.GET)
    filters = form.filters()
    page = pages.list_page(filters, number=request.GET.get("page"), at=clock.now())
    context = {
        "list": page,
        "form": form,
        "filters": filters,
        "chosen": _chosen(request.GET, filters),
        "query": _query_without(request.GET, "page"),
    }
    return render(request, "shop/list.html", context)


def _chosen(sent: QueryDict, filters: selectors.Filters) -> list[tuple[str, str]]:
    """Each chosen filter in words, with the address of the list without it."""
    words = {
        "q": f"\u201c{filters.words}\u201d" if filters.words else "",
        "maker": filters.maker.name if filters.maker else "",
        "host": f"for {filters.host.name}" if filters.host else "",
        "condition": presenters.CONDITION_NAMES.get(filters.condition, ""),
    }
    return [
        (text, f"{reverse('shop:list')}?{_query_without(sent, name, 'page')}")
        for name, text in words.items()
        if text
    ]


def _query_without(sent: QueryDict, *names: str) -> str:
    kept = sent.copy()
    for name in names:
        kept.pop(name, None)
    return kept.urlencode()


@require_safe
@never_cache
def device_page(request: HttpRequest, slug: str) -> HttpResponse:
    device = get_object_or_404(Device.objects.select_related("manufacturer"), slug=slug)
    page = pages.device_page(device, at=clock.now())
    context = {
        "page": page,
        "product_data": structured.product_data(page.blocks, url=request.build_absolute_uri()),
        "wait_form": _wait_form(device, page) if page.waits else None,
        "noindex": not page.is_for_sale,
    }
    return render(request, "shop/device.html", context, status=410 if page.is_gone else 200)


def _wait_form(device: Device, page: pages.DevicePage) -> WaitForm:
    return WaitForm(device=device, initial={"variant": page.waits[0].variant.slug})


# --- the waitlist -------------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def wait(request: HttpRequest, slug: str) -> HttpResponse:
    """Ask to be told. The answer is the same whoever asks, and for whatever address."""
    device = get_object_or_404(Device.objects.select_related("manufacturer"), slug=slug)
    form = WaitForm(request.POST if request.method == "POST" else None, device=device)
    if not form.is_valid():
        context = {"device": device, "wait_form": form, "noindex": True}
        return render(request, "shop/wait.html", context, status=400 if form.is_bound else 200)
    title = "You were not put on the list"
    wait_s = limits.seconds_to_wait(request, "waitlist", most=MOST_WAITS, within_s=WAITS_WITHIN_S)
    if wait_s:
        said = [f"You have asked often in a short time. Ask again in {presenters.minutes(wait_s)}."]
        response = _refused(request, title, said, status=429, back_to=device)
        response["Retry-After"] = str(wait_s)
        return response
    try:
        waitlist.ask(
            email=form.cleaned_data["email"],
            variant=form.cleaned_data["variant"],
            by=SHOPPER,
            at=clock.now(),
        )
    except waitlist.NothingToWaitFor as refusal:
        return _refused(request, title, [refusal.message], status=409, back_to=device)
    except waitlist.TooManyAsk:
        said = ["More people ask than we can write to. Try again in an hour."]
        return _refused(request, title, said, status=429, back_to=device)
    except DecisionUnavailable:
        return _refused(request, title, [carts.SHOP_REASONS["NOT_DECIDED"]], status=503, back_to=device)
    return redirect("shop:wait_asked", slug=device.slug)


@require_safe
@never_cache
def wait_asked(request: HttpRequest, slug: str) -> HttpResponse:
    device = get_object_or_404(Device, slug=slug)
    return render(request, "shop/wait_asked.html", {"device": device, "noindex": True})


@require_safe
@never_cache
def waitlist_page(request: HttpRequest, token: str) -> HttpResponse:
    """Where the mails lead. Looking changes nothing: mail programs follow links by themselves."""
    return _waitlist_page(request, _entry_of(token))


# The token of the mail is the leave to do it, and a mail program that ends an entry by itself has no cookie.
@csrf_exempt
@require_POST
@never_cache
def waitlist_confirm(request: HttpRequest, token: str) -> HttpResponse:
    entry = waitlist.confirm(token=token, by=SHOPPER, at=clock.now())
    return redirect("shop:waitlist", token=token) if entry else _waitlist_page(request, _entry_of(token))


@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def waitlist_end(request: HttpRequest, token: str) -> HttpResponse:
    if request.method == "POST":
        waitlist.end(token=token, by=SHOPPER, at=clock.now())
    return _waitlist_page(request, _entry_of(token))


def _entry_of(token: str) -> WaitlistEntry | None:
    return WaitlistEntry.objects.select_related("variant__device").filter(token=token).first()


def _waitlist_page(request: HttpRequest, entry: WaitlistEntry | None) -> HttpResponse:
    if entry is None:
        return render(request, "shop/waitlist.html", {"noindex": True}, status=404)
    is_open = waitlist.is_open(entry)
    has_run_out = is_open and waitlist.has_run_out(entry, at=clock.now())
    context = {
        "entry": entry,
        "is_open": is_open,
        "has_run_out": has_run_out,
        "waits_for": presenters.WAIT_WORDS[entry.waits_for],
        "noindex": True,
    }
    return render(request, "shop/waitlist.html", context, status=410 if has_run_out else 200)


# --- what machines read -------------------------------------------------------------------------------------


@require_safe
@never_cache
def product_feed(request: HttpRequest) -> HttpResponseBase:
    parts = feed.product_feed(sitemap.base_url(request))
    try:
        # Decided before the answer begins: a feed that cannot be is an error, not an empty shop.
        first = next(parts)
    except DecisionUnavailable:
        return HttpResponse("Cannot be decided now. Try again in a minute.\n", "text/plain", status=503)
    return StreamingHttpResponse(chain([first], parts), content_type="application/xml; charset=utf-8")


@require_safe
@never_cache
def sitemap_index(request: HttpRequest) -> HttpResponse:
    return _xml(sitemap.sitemap_index(sitemap.base_url(request)))


@require_safe
@never_cache
def sitemap_pages(request: HttpRequest) -> HttpResponse:
    return _xml(sitemap.pages(sitemap.base_url(request)))


@require_safe
@never_cache
def sitemap_devices(request: HttpRequest, number: int) -> HttpResponse:
    text = sitemap.devices(sitemap.base_url(request), number)
    if "<loc>" not in text:
        raise Http404
    return _xml(text)


def _xml(text: str) -> HttpResponse:
    return HttpResponse(text, content_type="application/xml; charset=utf-8")


@require_safe
@cache_control(public=True, max_age=3600)
def robots(request: HttpRequest) -> HttpResponse:
    return HttpResponse(sitemap.robots(sitemap.base_url(request)), content_type="text/plain; charset=utf-8")


# --- the cart -----------------------------------------------------------------------------------------------


@require_safe
@never_cache
def cart_page(request: HttpRequest) -> HttpResponse:
    cart = find_cart(request)
    view = purchases.cart(carts.view_cart(cart, at=clock.now())) if cart is not None else None
    return render(request, "shop/cart.html", {"cart": view, "noindex": True})


@require_POST
@never_cache
def add_line(request: HttpRequest) -> HttpResponse:
    at = clock.now()
    form = AddToCartForm(request.POST)
    if not form.is_valid():
        messages = [str(error) for errors in form.errors.values() for error in errors]
        return _refused(request, "This was not added to your cart", messages, status=400)
    offer = form.cleaned_data["offer"]
    cart = find_or_open_cart(request, at=at)
    try:
        carts.add_to_cart(
            cart=cart,
            offer=offer,
            plan=form.cleaned_data["plan"],
            quantity=form.cleaned_data["quantity"],
            at=at,
        )
    except carts.CartRefused as refusal:
        title = "This was not added to your cart"
        return _refused(request, title, [refusal.message], status=409, back_to=offer.listing.variant.device)
    response = redirect("shop:cart")
    remember_cart(response, cart)
    return response


@require_POST
@never_cache
def remove_line(request: HttpRequest, line_id: int) -> HttpResponse:
    # Somebody else's line, or one that is gone already, is nothing to complain about.
    line = CartLine.objects.filter(pk=line_id, cart=find_cart(request)).first()
    if line is not None:
        carts.remove_from_cart(line=line)
    return redirect("shop:cart")


@require_POST
@never_cache
def change_line(request: HttpRequest, line_id: int) -> HttpResponse:
    """Another quantity, or a new price accepted: the line takes today's prices either way."""
    line = (
        CartLine.objects.select_related("cart", "offer", "plan__hosting")
        .filter(pk=line_id, cart=find_cart(request))
        .first()
    )
    if line is None:
        return redirect("shop:cart")
    form = ChangeLineForm(request.POST)
    if not form.is_valid():
        return _refused(
            request,
            "Your cart was not changed",
            [str(error) for error in form.errors["quantity"]],
            status=400,
        )
    try:
        carts.change_line(line=line, plan=line.plan, quantity=form.cleaned_data["quantity"], at=clock.now())
    except carts.CartRefused as refusal:
        return _refused(request, "Your cart was not changed", [refusal.message], status=409)
    return redirect("shop:cart")


def _refused(
    request: HttpRequest, title: str, messages: Iterable[str], *, status: int, back_to: Device | None = None
) -> HttpResponse:
    """What was not done, why, and the way on: the phone's page, or the cart."""
    context = {"title": title, "messages": messages, "device": back_to, "noindex": True}
    return render(request, "shop/refused.html", context, status=status)


# --- checkout -----------------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def checkout(request: HttpRequest) -> HttpResponse:
    cart = find_cart(request)
    if cart is None:
        return redirect("shop:cart")
    if request.method != "POST":
        return _checkout_page(request, cart, CheckoutForm())
    form = CheckoutForm(request.POST)
    if not form.is_valid():
        return _checkout_page(request, cart, form, status=400)
    sent = form.cleaned_data
    try:
        order = orders.check_out(
            cart=cart,
            checkout_key=sent["checkout_key"],
            card=sent["card_number"],
            buyer_name=sent["buyer_name"],
            buyer_email=sent["buyer_email"],
            ship_to=sent["ship_to"],
            by=Actor("shopper", str(cart.pk)),
            at=clock.now(),
            line_ids=sent["seen_lines"],
            total=sent["seen_total"],
        )
    except orders.CheckoutRefused as refusal:
        return _checkout_page(
            request,
            cart,
            form.for_another_try(keep_key="PAYMENT_UNAVAILABLE" in refusal.reason_codes),
            refusal=refusal,
            status=409,
        )
    response = redirect("shop:order", public_id=order.public_id)
    if not cart.lines.exists():
        forget_cart(response)
    return response


def _checkout_page(
    request: HttpRequest,
    cart: Cart,
    form: CheckoutForm,
    *,
    refusal: orders.CheckoutRefused | None = None,
    status: int = 200,
) -> HttpResponse:
    view = purchases.cart(carts.view_cart(cart, at=clock.now()))
    if not view.can_check_out and refusal is None:
        return redirect("shop:cart")
    context = {
        "cart": view,
        "form": form,
        "refusal": refusal,
        "is_exercise": bool(settings.CLOCK_FILE) or request.get_host().split(":")[0] in LOOPBACK,
        "noindex": True,
    }
    return render(request, "shop/checkout.html", context, status=status)


@require_safe
@never_cache
def order_page(request: HttpRequest, public_id: UUID) -> HttpResponse:
    order = get_object_or_404(Order.objects.select_related("intent"), public_id=public_id)
    lines = order.lines.select_related(
        "listing__variant__device__manufacturer", "vendor", "plan", "offer__host"
    )
    context = {"order": purchases.order(order, lines, at=clock.now()), "noindex": True}
    return render(request, "shop/order.html", context)


# --- what the shop says -------------------------------------------------------------------------------------


@require_safe
@never_cache
def notice_list(request: HttpRequest) -> HttpResponse:
    notices = Notice.objects.filter(published_at__isnull=False).order_by("-published_at", "-pk")
    page = Paginator(notices, NOTICES_PER_PAGE).get_page(request.GET.get("page"))
    return render(request, "shop/notices.html", {"page": page})


@require_safe
@never_cache
def notice_page(request: HttpRequest, slug: str) -> HttpResponse:
    notice = get_object_or_404(Notice, slug=slug, published_at__isnull=False)
    return render(request, "shop/notice.html", {"notice": notice})


@require_safe
@never_cache
def how_we_decide(request: HttpRequest) -> HttpResponse:
    policy = selectors.policy_in_force(at=clock.now())
    context = {
        "policy": policy,
        "radio": presenters.radio_in_words(policy[0]) if policy else "",
        "reasons": REASON_CODES.values(),
    }
    return render(request, "shop/how_we_decide.html", context)


@require_safe
@never_cache
def accessibility(request: HttpRequest) -> HttpResponse:
    return render(request, "shop/accessibility.html")


# --- when something fails -----------------------------------------------------------------------------------


@never_cache
def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return render(request, "400.html", {"noindex": True}, status=400)


@never_cache
def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return render(request, "403.html", {"noindex": True}, status=403)


@never_cache
def form_expired(request: HttpRequest, reason: str = "") -> HttpResponse:
    """The form's secret does not match its cookie: an old page, or cookies that are switched off."""
    return render(request, "403_csrf.html", {"noindex": True}, status=403)


@never_cache
def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return render(request, "404.html", {"noindex": True}, status=404)


@never_cache
def server_error(request: HttpRequest) -> HttpResponse:
    """Without the context that other pages have: what failed may be what that reads."""
    context: dict[str, Any] = {"shop_name": settings.SHOP_NAME, "noindex": True}
    return HttpResponse(loader.render_to_string("500.html", context), status=500)
