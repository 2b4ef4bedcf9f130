"""Taking authority away: look at what falls, say why, confirm, and see the removal proceed.

Two pages and one rule: nothing is done that was not looked at. The first page shows the impact and asks for
the word behind it; the second shows the impact again and does it. When the world moved in between, the first
page comes back with the difference, and with everything that was typed.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path
from unfold.decorators import display

from authorization import agreements, approvals, clock, equipment, sweeps
from authorization.decisions import DecisionUnavailable
from authorization.facts import InvalidFact
from authorization.models import AgreementVersion, Fact, HoldTarget, Revocation, Sweep, SweepChunk
from authorization.revocations import (
    WITHDRAWAL_REASONS,
    OfferImpact,
    Preview,
    WorldMoved,
)
from catalog.models import Listing, VariantAttribute
from storefront import withdrawals
from storefront.admin.desk import (
    UNDECIDED,
    ReadOnlyAdmin,
    ReadOnlyInline,
    change_url,
    changelist_url,
    desk_page,
    next_code,
    require,
    say_reasons,
)
from storefront.admin.withdrawal_forms import (
    HoldForm,
    NarrowAgreementForm,
    RevokeAgreementForm,
    RevokeApprovalForm,
    RevokeEquipmentForm,
    WithdrawalForm,
)
from storefront.models import Order
from storefront.proofs import proof_link
from storefront.requests import actor_of
from storefront.withdrawals import WithdrawalPreview

# Offers named on a page; the counts are always of all.
SHOWN = 200
# Offers whose ids a page carries along to say what moved; with more, it compares the numbers only.
COMPARED = 5000


# --- what a page shows --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """What moved since the last page: offers that fall now and did not, and so on."""

    lines: tuple[str, ...]


def _seen(impact: Preview) -> str:
    falls, survives = [i.offer_id for i in impact.falls], [i.offer_id for i in impact.survives]
    seen: dict[str, Any] = {"counts": [len(falls), len(survives)]}
    if len(falls) + len(survives) <= COMPARED:
        seen |= {"falls": falls, "survives": survives}
    return json.dumps(seen)


def _difference(seen: str, impact: Preview) -> Difference | None:
    """None when the page before showed the same, or there was none."""
    before, now = _read_seen(seen), _read_seen(_seen(impact))
    if before == now or not before:
        return None
    lines: list[str] = []
    for name, said, offers in (("falls", "fall", impact.falls), ("survives", "survive", impact.survives)):
        if name in before and name in now:
            old, new = set(before[name]), set(now[name])
            added = [offer for offer in offers if offer.offer_id not in old]
            lines += [f"Now also would {said}: {_say(offer)}." for offer in added[:SHOWN]]
            if gone := len(old - new):
                lines.append(f"{gone} that would {said} before would not now.")
    if not lines:
        fell, survived = len(impact.falls), len(impact.survives)
        lines.append(f"Now {fell} offers would fall and {survived} would survive; before it was otherwise.")
    return Difference(tuple(lines))


def _read_seen(seen: str) -> dict[str, list[int]]:
    """What `_seen` wrote. It has been at the browser: anything else counts as nothing seen."""
    try:
        read = json.loads(seen)
    except ValueError:
        return {}
    if not isinstance(read, dict) or not all(isinstance(ids, list) for ids in read.values()):
        return {}
    return {name: [pk for pk in ids if isinstance(pk, int)] for name, ids in read.items()}


def _say(offer: OfferImpact) -> str:
    return f"{offer.sku} of {offer.vendor_name} on {offer.host_code}"


def _preview_context(preview: WithdrawalPreview) -> dict[str, Any]:
    impact = preview.impact
    vendors = len({offer.vendor_name for offer in impact.falls})
    return {
        "preview": preview,
        "falls": [(offer, say_reasons(list(offer.reason_codes))) for offer in impact.falls[:SHOWN]],
        "survives": [(offer, ", ".join(offer.evidence_codes)) for offer in impact.survives[:SHOWN]],
        "shown": SHOWN,
        "vendors": f"of {vendors} vendor{'' if vendors == 1 else 's'}",
        "orders": [(order, change_url(order)) for order in preview.first_orders],
    } | returns_context(impact)


def returns_context(impact: Preview) -> dict[str, Any]:
    """What would come back, as desk/returns.html shows it."""
    return {
        "returns": [(offer, ", ".join(offer.evidence_codes)) for offer in impact.returns[:SHOWN]],
        "returning": len(impact.returns),
        "shown": SHOWN,
    }


# --- the pages ----------------------------------------------------------------------------------------------


class SweepChunkInline(ReadOnlyInline):
    model = SweepChunk
    fields = ("first_offer_id", "last_offer_id", "done_at", "decided", "delisted", "reinstated")
    show_change_link = False
    show_title = False


@admin.register(Sweep)
class SweepAdmin(ReadOnlyAdmin):
    list_display = ("revision", "revocation", "fact", "started_at", "finished_at")
    list_filter = (("finished_at", admin.EmptyFieldListFilter), "started_at")
    list_select_related = ("revision", "revocation__fact", "fact")
    search_fields = ("fact__code", "=revision__n")
    ordering = ("-id",)
    inlines = (SweepChunkInline,)


@admin.register(Revocation)
class RevocationAdmin(ReadOnlyAdmin):
    """Withdrawals that were made. A row's page shows how far the removal is, and where its proof is."""

    list_display = (
        "fact",
        "kind",
        "requested_by",
        "reason_code",
        "word_received_at",
        "effective_at",
        "actor",
        "preview_falls",
        "is_swept",
    )
    list_filter = ("kind", "reason_code", "effective_at")
    list_select_related = ("fact", "sweep")
    search_fields = ("fact__code", "requested_by", "note", "actor")
    ordering = ("-id",)

    @display(description="pages gone", boolean=True)
    def is_swept(self, revocation: Revocation) -> bool:
        return hasattr(revocation, "sweep") and revocation.sweep.finished_at is not None

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        own = [
            path("revoke-agreement/<int:fact_id>/", view(self.revoke_agreement), name="revoke_agreement"),
            path("narrow-agreement/<int:fact_id>/", view(self.narrow_agreement), name="narrow_agreement"),
            path("revoke-approval/<int:fact_id>/", view(self.revoke_approval), name="revoke_approval"),
            path("revoke-equipment/<int:fact_id>/", view(self.revoke_equipment), name="revoke_equipment"),
            path("place-hold/", view(self.place_hold), name="place_hold"),
        ]
        return [*own, *super().get_urls()]

    def revoke_agreement(self, request: HttpRequest, fact_id: int) -> HttpResponse:
        require(request, "authorization.add_revocation")
        fact = get_object_or_404(Fact, pk=fact_id, kind=Fact.Kind.AGREEMENT)
        version = agreements.current(fact)
        about = f"{version.grantor} lets {version.grantee} sell ({version.get_assurance_display()})."
        initial = {"requested_by": version.grantor.name, "reason_code": "MANUFACTURER_DISCLAIMS"}
        return self._withdraw(
            request,
            RevokeAgreementForm,
            title=f"Revoke agreement {fact}",
            about=about,
            initial=initial,
            fact=fact,
        )

    def narrow_agreement(self, request: HttpRequest, fact_id: int) -> HttpResponse:
        require(request, "authorization.add_revocation")
        fact = get_object_or_404(Fact, pk=fact_id, kind=Fact.Kind.AGREEMENT)
        version = agreements.current(fact)
        if version.state == AgreementVersion.State.REVOKED or version.valid_until <= clock.now():
            messages.error(request, f"{fact} is over; nothing is left of it to narrow.")
            return HttpResponseRedirect(changelist_url(self))
        about = f"{version.grantor} lets {version.grantee} sell ({version.get_assurance_display()})."
        return self._withdraw(
            request,
            NarrowAgreementForm,
            title=f"Narrow agreement {fact}",
            about=about,
            initial={"requested_by": version.grantor.name, "reason_code": "MANUFACTURER_DISCLAIMS"},
            fact=fact,
        )

    def revoke_approval(self, request: HttpRequest, fact_id: int) -> HttpResponse:
        require(request, "authorization.add_revocation")
        fact = get_object_or_404(Fact, pk=fact_id, kind=Fact.Kind.APPROVAL)
        version = approvals.current(fact)
        about = f"{version.variant} on {version.host} ({version.get_state_display()})."
        initial = {"requested_by": version.host.name, "reason_code": "CARRIER_WITHDRAWS"}
        return self._withdraw(
            request,
            RevokeApprovalForm,
            title=f"Revoke approval {fact}",
            about=about,
            initial=initial,
            fact=fact,
        )

    def revoke_equipment(self, request: HttpRequest, fact_id: int) -> HttpResponse:
        require(request, "authorization.add_revocation")
        fact = get_object_or_404(Fact, pk=fact_id, kind=Fact.Kind.EQUIPMENT)
        version = equipment.current(fact)
        about = (
            f"{version.variant} in {version.territory}, by {version.regulator} {version.identifier}".strip()
        )
        initial = {"requested_by": version.regulator, "reason_code": "REGULATOR_ORDER"}
        return self._withdraw(
            request,
            RevokeEquipmentForm,
            title=f"Revoke equipment authorization {fact}",
            about=f"{about}.",
            initial=initial,
            fact=fact,
        )

    def place_hold(self, request: HttpRequest) -> HttpResponse:
        require(request, "authorization.add_revocation")
        initial: dict[str, Any] = {
            "code": next_code("HOLD", Fact.Kind.HOLD),
            "reason_code": "SHOP_REVIEW",
            "requested_by": settings.SHOP_NAME,
            "facts": request.GET.get("facts", ""),
        }
        if (
            listing := Listing.objects.select_related("vendor")
            .filter(pk=_number(request.GET.get("listing")))
            .first()
        ):
            initial["listings"] = f"{listing.vendor.slug}/{listing.sku}"
        about = (
            "What matches every field that you fill in is not sold until the hold is released. Several "
            "values in one field are alternatives. A hold never ends by itself, and releasing it releases "
            "no other."
        )
        return self._withdraw(
            request, HoldForm, title="Place a hold", about=about, initial=initial, fact=None
        )

    def _withdraw(
        self,
        request: HttpRequest,
        form_class: type[WithdrawalForm],
        *,
        title: str,
        about: str,
        initial: dict[str, Any],
        fact: Fact | None,
    ) -> HttpResponse:
        page = _WithdrawalPage(self, request, title, about)
        try:
            return self._step(page, request, form_class, initial=initial, fact=fact)
        except DecisionUnavailable:
            messages.error(request, UNDECIDED)
            form = form_class(request.POST or None, initial=initial, fact=fact)
            for field in form.fields.values():
                # What was typed is kept, not complained about.
                field.required = False
            response = page.ask(form, None)
            response.status_code = 503
            return response

    def _step(
        self,
        page: "_WithdrawalPage",
        request: HttpRequest,
        form_class: type[WithdrawalForm],
        *,
        initial: dict[str, Any],
        fact: Fact | None,
    ) -> HttpResponse:
        at = clock.now()
        if request.method != "POST":
            initial["word_received_at"] = at.replace(microsecond=0)
            form = form_class(initial=initial, fact=fact)
            if form.asks_first:
                return page.ask(form, None)
            try:
                return page.ask(form, withdrawals.preview(form.change(), at=at))
            except InvalidFact as error:
                messages.error(request, error.message)
                return HttpResponseRedirect(changelist_url(self))
        form = form_class(request.POST, fact=fact)
        step = request.POST.get("step")
        if step == "look":
            # Only what is stopped counts yet; the rest is asked for, not complained about.
            for name in ("note", "word_received_at"):
                form.fields[name].required = False
        if not form.is_valid():
            return page.ask(form, _preview_if_possible(form, at))
        try:
            preview = withdrawals.preview(form.change(), at=at)
            if step == "look":
                return page.ask(form, preview)
            if step == "back" or (moved := _difference(form.cleaned_data["seen"], preview.impact)):
                return page.ask(form, preview, None if step == "back" else moved)
            if step != "confirm":
                return page.confirm(form, preview)
            revocation = withdrawals.confirm(
                form.change(),
                digest=request.POST.get("digest", ""),
                requested_by=form.cleaned_data["requested_by"],
                word_received_at=form.cleaned_data["word_received_at"],
                note=form.cleaned_data["note"],
                by=actor_of(request),
                at=at,
            )
        except InvalidFact as error:
            form.add_error(error.field if error.field in form.fields else None, error.message)
            return page.ask(form, None)
        except WorldMoved:
            preview = withdrawals.preview(form.change(), at=clock.now())
            moved = _difference(form.cleaned_data["seen"], preview.impact)
            return page.ask(
                form, preview, moved or Difference(("The evidence behind an offer has changed.",))
            )
        is_less = revocation.kind == Revocation.Kind.NARROWING
        what = "what it covers no longer" if is_less else "it"
        messages.success(
            request, f"Done. Since {revocation.effective_at:%H:%M:%S} UTC nothing of {what} can be sold."
        )
        return HttpResponseRedirect(change_url(revocation))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        require(request, "authorization.view_revocation")
        rows: QuerySet[Revocation] = self.get_queryset(request).select_related("fact", "revision", "sweep")
        revocation = get_object_or_404(rows, pk=_number(object_id))
        sweep = getattr(revocation, "sweep", None)
        progress = sweeps.progress(sweep) if sweep else {"chunks": 0, "chunks_done": 0, "delisted": 0}
        proof = getattr(revocation, "removal_proof", None)
        # While the sweep runs the page is asked for every few seconds: its own count does until then.
        delisted = withdrawals.delistings_of(revocation, at=clock.now()) if proof else []
        return desk_page(
            self,
            request,
            "desk/withdrawal.html",
            title=str(revocation),
            original=revocation,
            revocation=revocation,
            reason=WITHDRAWAL_REASONS.get(revocation.reason_code, revocation.reason_code),
            sweep=sweep,
            progress=progress,
            parts=f"of {progress['chunks']}",
            previewed=f"of {revocation.preview_falls} in the preview",
            delisted_count=len(delisted) if proof else progress["delisted"],
            delisted=[(row, say_reasons(row.reason_codes)) for row in delisted[:SHOWN]],
            shown=SHOWN,
            held_orders=Order.objects.filter(
                state=Order.State.HELD, held_reason__startswith=f"{revocation}."
            ).count(),
            proof=proof,
            proof_link=proof_link(proof) if proof else "",
            notices=[(notice, change_url(notice)) for notice in revocation.notices.all()],
            # Looks again by itself until the pages are gone and the proof is written.
            refreshes=proof is None and "still" not in request.GET,
        )


@dataclass(frozen=True)
class _WithdrawalPage:
    """The two pages of one withdrawal."""

    screen: RevocationAdmin
    request: HttpRequest
    title: str
    about: str

    def ask(
        self, form: WithdrawalForm, preview: WithdrawalPreview | None, moved: Difference | None = None
    ) -> HttpResponse:
        """Page one: the impact, and the word behind it."""
        return self._show("desk/withdraw_ask.html", form, preview, moved=moved)

    def confirm(self, form: WithdrawalForm, preview: WithdrawalPreview) -> HttpResponse:
        """Page two: the same impact once more, and the button that does it."""
        word = form.cleaned_data
        said = (
            ("On whose word", word["requested_by"]),
            ("Reason", dict(form.reasons)[word["reason_code"]]),
            ("Word received (UTC)", f"{word['word_received_at']:%Y-%m-%d %H:%M:%S}"),
            ("Note", word["note"]),
            *form.says(),
        )
        return self._show("desk/withdraw_confirm.html", form, preview, said=said)

    def _show(
        self, template: str, form: WithdrawalForm, preview: WithdrawalPreview | None, **context: Any
    ) -> HttpResponse:
        if preview is not None:
            context |= _preview_context(preview) | {"seen": _seen(preview.impact)}
            context["unknown_attributes"] = _unknown_attributes(form)
        back = changelist_url(self.screen)
        return desk_page(
            self.screen,
            self.request,
            template,
            title=self.title,
            about=self.about,
            form=form,
            cancel_url=back,
            **context,
        )


def _preview_if_possible(form: WithdrawalForm, at: datetime) -> WithdrawalPreview | None:
    """What falls, while the rest of the form is still wrong; None where that very part is."""
    if not form.is_imaginable():
        return None
    try:
        return withdrawals.preview(form.change(), at=at)
    except InvalidFact:
        return None


def _unknown_attributes(form: WithdrawalForm) -> list[str]:
    """Attributes that the form names and no variant has. No error: the phone may be recorded later."""
    named = getattr(form, "cleaned_data", {}).get("attributes") or []
    return [
        f"{name}={value}"
        for name, value in (
            (dimension.removeprefix(HoldTarget.ATTRIBUTE), value) for dimension, value in named
        )
        if not VariantAttribute.objects.filter(name=name, value=value, version__rev_to__isnull=True).exists()
    ]


def _number(text: str | None) -> int:
    """A row's id from an address; 0, which no row has, for anything else."""
    return int(text) if text and text.isascii() and text.isdecimal() else 0
