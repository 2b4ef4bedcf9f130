"""What the screens of the desk have in common: who may do what, forms that call one function, the menu.

Facts, listings, orders and records are never deleted and never saved by a form: a screen reads, and its
buttons call the same named functions as API and scenarios do.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import SimpleListFilter
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.paginator import InfinitePaginator
from unfold.widgets import DATETIME_CLASSES

from authorization import clock, ledger
from authorization.actors import Actor
from authorization.decisions import DecisionUnavailable
from authorization.facts import InvalidFact
from authorization.models import Fact
from authorization.rules import ALL, REASON_CODES
from carriers.versions import FOREVER
from storefront.carrier_gate import HOME as CARRIER_HOME
from storefront.carrier_gate import member_on
from storefront.requests import actor_of

# Unfold puts its own in the place of Django's when it starts.
site = admin.site


class DeskAdmin(ModelAdmin):
    """A screen: nothing is deleted, and nothing is added or changed unless the screen says how."""

    actions: tuple[str, ...] = ()
    # Rows of other tables that stand on this screen's own pages.
    shows: tuple[type[Model], ...] = ()
    # What no address may filter by: whether rows are found would tell it letter by letter.
    secret_fields: tuple[str, ...] = ()
    list_per_page = 50
    list_filter_submit = True
    warn_unsaved_form = True

    class Media:
        css: ClassVar = {"all": ("desk/desk.css",)}

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        is_secret = bool(set(lookup.split("__")) & set(self.secret_fields))
        return not is_secret and bool(super().lookup_allowed(lookup, value, request))

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        actions: dict[str, Any] = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_actions_detail(self, request: HttpRequest, object_id: int | str) -> list[Any]:
        """The buttons of a row's page: those that its state has a use for."""
        actions: list[Any] = super().get_actions_detail(request, object_id)
        row = self.get_object(request, str(object_id))
        prefix = f"{self.opts.app_label}_{self.opts.model_name}_"
        return [
            each
            for each in actions
            if row is None or self._is_shown(request, each.action_name.removeprefix(prefix), row)
        ]

    def fits(self, action: str, row: Any) -> bool:
        """Has the row's state a use for this button?"""
        return True

    def is_for(self, request: HttpRequest, action: str, row: Any) -> bool:
        """Is this button for this person, whose permissions allow it?"""
        return True

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Each row of a list gets its own buttons (desk/row_actions.html shows them)."""
        if any("\x00" in text for name, values in request.GET.lists() for text in (name, *values)):
            # PostgreSQL keeps none, and says so only when the list is read.
            raise BadRequest("A filter holds a NUL character; take it out of the address.")
        changelist = super().get_changelist_instance(request)
        if actions := self.get_actions_row(request):
            prefix = f"{self.opts.app_label}_{self.opts.model_name}_"
            for row in changelist.result_list:
                row.row_actions = [
                    {
                        "title": each.description,
                        "icon": each.icon,
                        "url": reverse(f"{self.admin_site.name}:{each.action_name}", args=[row.pk]),
                        "is_in_menu": each.method.extra_options.get("display_in_dropdown", True),
                    }
                    for each in actions
                    if self._is_shown(request, each.action_name.removeprefix(prefix), row)
                ]
        return changelist

    def _is_shown(self, request: HttpRequest, action: str, row: Any) -> bool:
        return self.fits(action, row) and self.is_for(request, action, row)

    # What buttons ask for. Permissions that are named in full Unfold looks up in the database as soon as it
    # starts, which a database without tables cannot answer.
    def has_act_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}"))

    def has_withdraw_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm("authorization.add_revocation"))


class ReadOnlyAdmin(DeskAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class RecordAdmin(ReadOnlyAdmin):
    """A table that only grows: pages without counting its rows."""

    paginator = InfinitePaginator
    show_full_result_count = False


class ReadOnlyInline(TabularInline):
    extra = 0
    can_delete = False
    show_change_link = True
    # A page of rows: an agreement may have thousands of scope terms, a sweep hundreds of chunks.
    per_page = 50
    ordering: tuple[str, ...] = ("pk",)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class PlainFormAdmin(DeskAdmin):
    """Rows that no decision reads may be edited in place; the ledger is told in the same transaction."""

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        at = clock.now()
        if not change and hasattr(obj, "created_at"):
            obj.created_at = at
        super().save_model(request, obj, form, change)
        kind = obj._meta.model_name
        ledger.record(
            act=f"{kind}.{'edited' if change else 'added'}",
            subject_kind=kind,
            subject_id=obj.pk,
            by=actor_of(request),
            at=at,
            evidence={"fields": form.changed_data},
        )


class KnownFilter(SimpleListFilter):
    """Of a fact's versions, the one known now unless all are asked for."""

    title = "version"
    parameter_name = "known"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("all", "every version")]

    def choices(self, changelist: Any) -> Any:
        yield from (
            {**choice, "display": "the current one"} if place == 0 else choice
            for place, choice in enumerate(super().choices(changelist))
        )

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset if self.value() == "all" else queryset.filter(rev_to__isnull=True)


class FactVersionAdmin(ReadOnlyAdmin):
    """Versions of one kind of fact. They are recorded by a form that calls the kind's own function."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm(f"{self.opts.app_label}.add_{self.opts.model_name}"))

    @display(description="code", ordering="head__code")
    def code(self, version: Any) -> str:
        return str(version.head)

    @display(description="valid until", ordering="valid_until")
    def ends(self, version: Any) -> str:
        """An end, or that there is none."""
        return say_end(version.valid_until)


# Decided, and not yet in effect: until its time the record counts as before.
REVOCATION_TO_COME = "revocation to come"


def is_revocation_to_come(version: Any) -> bool:
    """Of a current version whose state says revoked already: is its instant still ahead?"""
    return version.rev_to is None and version.revoked_at is not None and version.revoked_at > clock.now()


class WithdrawableAdmin(FactVersionAdmin):
    """A fact whose authority can be taken away: for good (revoke), or until a hold on it is released (suspend)."""

    # The name of the page that previews and confirms the revocation.
    revoke_page = ""

    @action(
        description="Revoke",
        icon="block",
        permissions=["withdraw"],
        variant=ActionVariant.DANGER,
        extra_options={"display_in_dropdown": False},
    )
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        version = subject_or_404(self, request, object_id)
        if not self.fits("revoke", version):
            # The buttons of a list are the same for all of its rows.
            so_far = version.get_state_display() if version.rev_to is None else "no longer what is known"
            messages.error(request, f"{version} is {so_far}: there is nothing to revoke.")
            return HttpResponseRedirect(changelist_url(self))
        return HttpResponseRedirect(reverse(f"admin:{self.revoke_page}", args=[version.head_id]))

    @action(description="Suspend: place a hold on it", icon="front_hand", permissions=["withdraw"])
    def suspend(self, request: HttpRequest, object_id: str) -> HttpResponse:
        version = subject_or_404(self, request, object_id)
        return HttpResponseRedirect(f"{reverse('admin:place_hold')}?facts={version.head.code}")


# --- forms that call one function ---------------------------------------------------------------------------


# As Unfold writes its own inputs of dates.
INSTANT_CLASSES = (*DATETIME_CLASSES, "max-w-xs")


class InstantInput(forms.DateTimeInput):
    """The browser's own picker; no script. The desk reads and writes UTC."""

    input_type = "datetime-local"

    def __init__(self) -> None:
        super().__init__(
            format="%Y-%m-%dT%H:%M:%S",
            attrs={"step": "1", "class": " ".join(INSTANT_CLASSES)},
        )


# The choice of a term that knows no bounds.
ANY = (ALL, "all, also those to come")

# No mobile phone was on sale anywhere before: an earlier date is a slip of the hand.
EARLIEST = datetime(1980, 1, 1, tzinfo=UTC)


class InstantField(forms.DateTimeField):
    """An instant in UTC, not before there was anything to sell."""

    widget = InstantInput

    def clean(self, value: Any) -> datetime | None:
        instant: datetime | None = super().clean(value)
        if instant is not None and instant < EARLIEST:
            raise forms.ValidationError(f"{instant:%Y} is too early; take a year from {EARLIEST:%Y} on.")
        return instant


# Said where an act or its preview needs a decision that cannot be made.
UNDECIDED = "It could not be computed what this would bring. Nothing was done. Try again in a moment."


class ActForm(forms.Form):
    """Input of one act. `run` calls it and says in a sentence what was done."""

    submit_label = "Save"

    def __init__(self, *args: Any, subject: Any = None, **kwargs: Any) -> None:
        self.subject = subject
        super().__init__(*args, **kwargs)

    def run(self, *, by: Actor, at: datetime) -> str:
        raise NotImplementedError

    def refuse(self, field: str, message: str) -> None:
        """Show a refusal at its field, or above the form where the form has no such field."""
        self.add_error(field if field in self.fields else None, message)


def act_page(
    screen: ModelAdmin,
    request: HttpRequest,
    form_class: type[ActForm],
    *,
    title: str,
    permission: str | None,
    subject: Any = None,
    original: Model | None = None,
    intro: str = "",
    initial: Mapping[str, Any] | None = None,
    done_url: str = "",
    refusals: tuple[type[Exception], ...] = (InvalidFact,),
    impact: Callable[[], Mapping[str, Any]] | None = None,
    **context: Any,
) -> HttpResponse:
    """The page of one act: the form, then the act. A refused input comes back with all that was typed.

    `permission` is None where the screen has asked who may act itself. `original` is the row that the page is of, where
    the form's subject is more than that.
    `impact` says what the act would bring, for the page to show above the form. Where it refuses, so would the act.
    While the engine cannot decide, the page says that nothing was done, and answers 503.
    """
    if permission is not None:
        require(request, permission)
    is_decided = True
    if request.method == "POST":
        form = form_class(request.POST, request.FILES, subject=subject)
        if form.is_valid():
            try:
                sentence = form.run(by=actor_of(request), at=clock.now())
            except refusals as error:
                form.refuse(getattr(error, "field", ""), getattr(error, "message", str(error)))
            except DecisionUnavailable:
                is_decided = False
            else:
                messages.success(request, sentence)
                return HttpResponseRedirect(done_url or changelist_url(screen))
    else:
        form = form_class(initial=initial, subject=subject)
    back = done_url or changelist_url(screen)
    try:
        shown = impact() if impact is not None else {}
    except refusals as error:
        if request.method != "POST":
            messages.error(request, getattr(error, "message", str(error)))
            return HttpResponseRedirect(back)
        shown = {}
    except DecisionUnavailable:
        shown, is_decided = {}, False
    context |= {"form": form, "intro": intro, "cancel_url": back, "original": original or subject, **shown}
    if not is_decided:
        return undecided_page(screen, request, title=title, **context)
    return desk_page(screen, request, "desk/act.html", title=title, **context)


def undecided_page(screen: ModelAdmin, request: HttpRequest, *, title: str, **context: Any) -> HttpResponse:
    """The page of an act that nothing came of, with all that was typed. Context: as of desk/act.html."""
    page = desk_page(screen, request, "desk/act.html", title=title, **context | {"moved": UNDECIDED})
    page.status_code = 503
    return page


def desk_page(
    screen: ModelAdmin, request: HttpRequest, template: str, *, title: str, **context: Any
) -> HttpResponse:
    return TemplateResponse(
        request,
        template,
        {
            **screen.admin_site.each_context(request),
            "opts": screen.opts,
            "title": title,
            "media": screen.media,
            **context,
        },
    )


def require(request: HttpRequest, permission: str) -> None:
    if not request.user.has_perm(permission):
        raise PermissionDenied


def subject_or_404(screen: ModelAdmin, request: HttpRequest, object_id: Any) -> Any:
    """The row of an action's page, with what the screen selects along."""
    return get_object_or_404(screen.get_queryset(request), pk=object_id)


def changelist_url(screen: ModelAdmin) -> str:
    return reverse(f"admin:{screen.opts.app_label}_{screen.opts.model_name}_changelist")


def change_url(row: Model) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def number_in(text: str | None) -> int:
    """A row's id from an address; 0, which no row has, for anything else."""
    return int(text) if text and text.isascii() and text.isdecimal() else 0


def ask_url(decision_id: UUID) -> str:
    """Where the question of this decision is asked again."""
    return f"{reverse('ask_the_engine')}?decision={decision_id}"


# --- how things are said ------------------------------------------------------------------------------------


def next_code(prefix: str, kind: str) -> str:
    """A suggestion for the code of the next fact of a kind; one that is taken is refused when recorded."""
    return f"{prefix}-{Fact.objects.filter(kind=kind).count() + 1:04d}"


# What the shop itself may have against a checkout, in the desk's words: code -> words.
_SHOP_WORDS: dict[str, str] = {
    "NOT_DECIDED": "Could not be decided at that moment",
    "NOT_SOLD_HERE": "For another territory or channel than the shop's",
    "OFFER_NOT_LIVE": "The offer was not live",
    "OFFER_CHANGED": "The vendor had changed the offer",
    "PRICE_CHANGED": "The price had changed",
    "PLAN_NOT_ON_SALE": "The plan was no longer sold",
    "PLAN_DOES_NOT_FIT": "The plan did not work on the phone",
    "CURRENCIES_DIFFER": "Priced in two currencies",
    "OUT_OF_STOCK": "Not enough in stock",
    "CART_EMPTY": "The cart was empty",
    "CART_CHANGED": "The cart had changed since the checkout began",
    "BUYER_INVALID": "Name, e-mail or address could not be kept",
    "CARD_INVALID": "The card number was wrong",
    "CARD_DECLINED": "The card was declined",
    "PAYMENT_UNAVAILABLE": "The payment provider did not answer",
    "CHECKOUT_ENDED": "The checkout had ended already",
    "SHOP_BUSY": "Too many bought at that moment",
}


def say_reasons(codes: list[str]) -> str:
    return "; ".join(
        REASON_CODES[code].title if code in REASON_CODES else _SHOP_WORDS.get(code, code) for code in codes
    )


def say_list(names: Sequence[str], *, last: str = " and ", at_most: int = 20) -> str:
    """The first names, and how many more there are."""
    said = [*names[:at_most], *([f"{len(names) - at_most} more"] if len(names) > at_most else [])]
    return last.join([", ".join(said[:-1]), said[-1]] if len(said) > 1 else said)


def say_end(until: datetime) -> str:
    return "no end" if until >= FOREVER else f"{until:%Y-%m-%d %H:%M:%S}"


def say_amount(amount: Decimal, currency: str) -> str:
    return f"{amount:,.2f} {currency}"


# --- the menu -----------------------------------------------------------------------------------------------

_MENU: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "Who may sell what",
        (
            ("Agreements", "handshake", "authorization.agreementversion"),
            ("Submitted agreements", "inbox", "storefront.agreementsubmission"),
            ("Affiliations", "account_tree", "authorization.affiliationversion"),
            ("Technical acceptances", "task", "authorization.acceptance"),
            ("Carrier approvals", "cell_tower", "authorization.approvalversion"),
            ("Equipment authorizations", "verified_user", "authorization.equipmentversion"),
            ("Holds", "front_hand", "authorization.holdversion"),
            ("Withdrawals", "block", "authorization.revocation"),
            ("Waiting", "pending_actions", "authorization.pendingchange"),
            ("Takedown requests", "gpp_maybe", "storefront.takedownrequest"),
            ("Cases and appeals", "forum", "storefront.case"),
            ("Numbers", "timer", "authorization.revocation"),
            ("Policies", "policy", "authorization.policyversion"),
            ("Ask the engine", "contact_support", "authorization.decision"),
            ("Exposure", "hourglass_bottom", "authorization.decision"),
        ),
    ),
    (
        "The shop",
        (
            ("Listings", "sell", "catalog.listing"),
            ("Host offers", "storefront", "catalog.listinghost"),
            ("Feeds", "upload", "storefront.feed"),
            ("Orders", "shopping_bag", "storefront.order"),
            ("Recalls", "assignment_return", "storefront.recall"),
            ("Refused checkouts", "remove_shopping_cart", "storefront.refusedcheckout"),
            ("Plans", "sim_card", "storefront.prepaidplan"),
            ("Waitlist", "notifications", "storefront.waitlistentry"),
        ),
    ),
    (
        "What we say",
        (
            ("Notices", "campaign", "storefront.notice"),
            ("Proofs of removal", "workspace_premium", "storefront.removalproof"),
            ("Messages", "mail", "storefront.sentmessage"),
        ),
    ),
    (
        "Parties and phones",
        (
            ("Organizations", "apartment", "catalog.organization"),
            ("Organizations' keys", "key", "storefront.organizationkey"),
            ("Test stores", "science", "storefront.teststore"),
            ("Carriers' keys", "vpn_key", "storefront.carrierkey"),
            ("Carriers' people", "badge", "storefront.carriermember"),
            ("Webhook endpoints", "webhook", "storefront.webhookendpoint"),
            ("Webhook deliveries", "outgoing_mail", "storefront.webhookdelivery"),
            ("Kept answers", "replay", "storefront.idempotentrequest"),
            ("Devices", "smartphone", "catalog.device"),
            ("Variants", "memory", "catalog.variant"),
            ("Imports", "upload_file", "storefront.referenceimport"),
            ("Sources", "menu_book", "carriers.referencesource"),
            ("Host carriers", "settings_input_antenna", "carriers.hostcarrier"),
            ("Networks", "lan", "carriers.network"),
            ("Hostings", "hub", "carriers.hosting"),
            ("Bands", "graphic_eq", "carriers.network"),
        ),
    ),
    (
        "Records",
        (
            ("Ledger", "receipt_long", "authorization.ledgerentry"),
            ("Decisions", "gavel", "authorization.decision"),
            ("Facts", "fact_check", "authorization.fact"),
            ("Revisions", "history", "authorization.revision"),
            ("Sweeps", "cleaning_services", "authorization.sweep"),
            ("Reinstatements", "undo", "authorization.reinstatement"),
            ("Outbox", "outbox", "authorization.outboxrow"),
            ("Reconciler rounds", "rule", "authorization.reconcilerrun"),
        ),
    ),
)

# Pages that are no list of rows: label -> name of the address. Who may read the rows of the model may see them.
_PAGES = {
    "Ask the engine": "ask_the_engine",
    "Exposure": "exposure",
    "Numbers": "numbers",
    "Bands": "bands",
}


def may_search(request: HttpRequest) -> bool:
    """Whether the menu offers to search all screens: not to the people of a host carrier, who have one."""
    return member_on(request) is None


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """The menu, cut to what this person may read. Everything else is on the first page."""
    if (member := member_on(request)) is not None:
        own = {"title": "Technical acceptances", "icon": "task", "link": reverse(CARRIER_HOME)}
        return [{"title": member.host.name, "separator": True, "collapsible": False, "items": [own]}]
    return [
        {
            "title": title,
            "separator": True,
            "collapsible": False,
            "items": [
                {
                    "title": label,
                    "icon": icon,
                    "link": reverse(_PAGES.get(label) or f"admin:{model.replace('.', '_')}_changelist"),
                    "permission": _may_view(model),
                }
                for label, icon, model in items
            ],
        }
        for title, items in _MENU
    ]


def _may_view(model: str) -> Callable[[HttpRequest], bool]:
    app, name = model.split(".")
    return lambda request: request.user.has_perm(f"{app}.view_{name}")
