"""The one front door: authority is taken away by two pages, whatever kind of record it rests on.

Nothing is done that was not looked at. The first page shows the impact and asks for the word behind it; the second
shows the impact again and does it. When the world moved in between, the first page comes back with the difference, and
with everything that was typed.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from unfold.admin import ModelAdmin

from authorization import clock
from authorization.acceptances.moves import MoveRefused
from authorization.decisions import DecisionUnavailable
from authorization.facts import InvalidFact
from authorization.models import HoldTarget, PendingChange, Revocation
from authorization.revocations import Impacts, OfferImpact, Preview, WorldMoved
from catalog.models import VariantAttribute
from storefront import withdrawals
from storefront.admin.desk import (
    UNDECIDED,
    change_url,
    changelist_url,
    desk_page,
    require,
    say_reasons,
)
from storefront.admin.withdrawal_forms import WithdrawalForm
from storefront.requests import actor_of
from storefront.withdrawals import WithdrawalPreview

# The right to take authority away.
MAY_WITHDRAW = "authorization.add_revocation"
# Offers named on a page; the counts are always of all.
SHOWN = 200
# Offers whose ids a page carries along to say what moved; with more, it compares the numbers only.
COMPARED = 5000

_PARTS = {"falls": "fall", "later": "fall later", "survives": "survive", "returns": "return"}


def withdraw(
    screen: ModelAdmin,
    request: HttpRequest,
    form_class: type[WithdrawalForm],
    *,
    title: str,
    about: str,
    initial: dict[str, Any],
    subject: Any = None,
    back_url: str = "",
    permission: str | None = MAY_WITHDRAW,
    is_discreet: bool = False,
) -> HttpResponse:
    """Both pages of one withdrawal, by what was pressed. `subject` is what it is about, as its form needs it.

    `permission` is None where the screen has asked who may act itself. `is_discreet`: of the impact nothing is shown
    but how many offers fall, for somebody who is not of the shop.
    """
    if permission is not None:
        require(request, permission)
    initial = {"word_received_at": clock.now().replace(microsecond=0), **initial}
    back_url = back_url or changelist_url(screen)
    door = _Door(screen, request, form_class, title, about, initial, subject, back_url, is_discreet)
    try:
        return door.step()
    except DecisionUnavailable:
        return door.undecided()


def returns_context(impact: Preview) -> dict[str, Any]:
    """What would come back, as desk/returns.html shows it."""
    return {
        "returns": [(offer, ", ".join(offer.evidence_codes)) for offer in impact.returns.first[:SHOWN]],
        "returning": len(impact.returns),
        "shown": SHOWN,
    }


@dataclass(frozen=True)
class Difference:
    """What moved since the last page: offers that fall now and did not, and so on."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class _Door:
    screen: ModelAdmin
    request: HttpRequest
    form_class: type[WithdrawalForm]
    title: str
    about: str
    initial: dict[str, Any]
    subject: Any
    back_url: str
    is_discreet: bool

    def step(self) -> HttpResponse:
        at = clock.now()
        if self.request.method != "POST":
            return self._open(at)
        form = self.form_class(self.request.POST, subject=self.subject)
        step = self.request.POST.get("step")
        if step == "look":
            # Only what is stopped counts yet; the rest is asked for, not complained about.
            for name in ("note", "word_received_at"):
                form.fields[name].required = False
        if not form.is_valid():
            return self._ask(form, self._preview_if_possible(form, at))
        try:
            if step == "confirm":
                return self._do(form, at)
            preview = self._preview(form, at)
            moved = None if step in ("look", "back") else self._difference(form, preview)
            if step in ("look", "back") or moved:
                return self._ask(form, preview, moved)
            return self._confirm(form, preview)
        except InvalidFact as error:
            shown = {field.name for field in form.visible_fields()}
            form.add_error(error.field if error.field in shown else None, error.message)
            return self._ask(form, None)
        except MoveRefused as error:
            form.add_error(None, error.message)
            form.look_again()
            return self._ask(form, None)
        except WorldMoved:
            preview = self._preview(form, clock.now())
            moved = self._difference(form, preview)
            return self._ask(
                form, preview, moved or Difference(("The evidence behind an offer has changed.",))
            )

    def undecided(self) -> HttpResponse:
        """What was typed is kept, not complained about."""
        messages.error(self.request, UNDECIDED)
        form = self.form_class(self.request.POST or None, initial=self.initial, subject=self.subject)
        for field in form.fields.values():
            field.required = False
        response = self._ask(form, None)
        response.status_code = 503
        return response

    def _open(self, at: datetime) -> HttpResponse:
        form = self.form_class(initial=self.initial, subject=self.subject)
        if form.asks_first:
            return self._ask(form, None)
        try:
            return self._ask(form, self._preview(form, at))
        except (InvalidFact, MoveRefused) as error:
            messages.error(self.request, error.message)
            return HttpResponseRedirect(self.back_url)

    def _do(self, form: WithdrawalForm, at: datetime) -> HttpResponse:
        word = form.cleaned_data
        by = actor_of(self.request)
        revocation = withdrawals.confirm(
            form.change(by=by, at=at),
            digest=self.request.POST.get("digest", ""),
            token=self.request.POST.get("token", ""),
            requested_by=word["requested_by"],
            # Whoever speaks for themselves has said it now.
            word_received_at=min(word["word_received_at"], at),
            note=word["note"],
            by=by,
            at=at,
            effective_at=form.takes_effect_at(),
        )
        form.was_recorded(revocation)
        messages.success(self.request, _say_done(form, revocation))
        may_see = self.request.user.has_perm("authorization.view_revocation")
        return HttpResponseRedirect(change_url(revocation) if may_see else self.back_url)

    def _preview(self, form: WithdrawalForm, at: datetime) -> WithdrawalPreview:
        change = form.change(by=actor_of(self.request), at=at)
        return withdrawals.preview(change, at=at, effective_at=form.takes_effect_at())

    def _preview_if_possible(self, form: WithdrawalForm, at: datetime) -> WithdrawalPreview | None:
        """What falls, while the rest of the form is still wrong; None where that very part is."""
        if not form.is_imaginable():
            return None
        try:
            return self._preview(form, at)
        except (InvalidFact, MoveRefused):
            return None

    def _ask(
        self, form: WithdrawalForm, preview: WithdrawalPreview | None, moved: Difference | None = None
    ) -> HttpResponse:
        """Page one: the impact, and the word behind it."""
        return self._show("desk/withdraw_ask.html", form, preview, moved=moved)

    def _confirm(self, form: WithdrawalForm, preview: WithdrawalPreview) -> HttpResponse:
        """Page two: the same impact once more, and the button that does it."""
        word = form.cleaned_data
        said = (
            ("On whose word", word["requested_by"]),
            ("Reason", dict(form.reasons)[word["reason_code"]]),
            ("Word received (UTC)", f"{word['word_received_at']:%Y-%m-%d %H:%M:%S}"),
            (str(form.fields["note"].label or "Note"), word["note"]),
            *form.says(),
        )
        return self._show("desk/withdraw_confirm.html", form, preview, said=said)

    def _difference(self, form: WithdrawalForm, preview: WithdrawalPreview) -> Difference | None:
        return _difference(form, preview.impact, is_named=not self.is_discreet)

    def _show(
        self, template: str, form: WithdrawalForm, preview: WithdrawalPreview | None, **context: Any
    ) -> HttpResponse:
        if preview is not None:
            context["seen"] = _seen(form, preview.impact, is_named=not self.is_discreet)
            if self.is_discreet:
                context |= {"preview": preview, "returning": len(preview.impact.returns)}
            else:
                context |= _preview_context(preview)
            context["unknown_attributes"] = _unknown_attributes(form)
        return desk_page(
            self.screen,
            self.request,
            template,
            title=self.title,
            about=self.about,
            form=form,
            cancel_url=self.back_url,
            is_discreet=self.is_discreet,
            may_see_orders=self.request.user.has_perm("storefront.view_order"),
            **context,
        )


def _preview_context(preview: WithdrawalPreview) -> dict[str, Any]:
    impact = preview.impact
    named = impact.falls.first
    vendors = len({offer.vendor_name for offer in named})
    of_all = "" if len(named) == len(impact.falls) else "more than "
    return {
        "preview": preview,
        "falls": _with_reasons(impact.falls),
        "later": [
            (each.at, len(each.falls), _with_reasons(each.falls)) for each in impact.later if each.falls
        ],
        "survives": [(offer, ", ".join(offer.evidence_codes)) for offer in impact.survives.first[:SHOWN]],
        "shown": SHOWN,
        "vendors": f"of {of_all}{vendors} vendor{'' if vendors == 1 else 's'}",
        "orders": [(order, change_url(order)) for order in preview.first_orders],
    } | returns_context(impact)


def _with_reasons(falls: Impacts) -> list[tuple[OfferImpact, str]]:
    return [(offer, say_reasons(list(offer.reason_codes))) for offer in falls.first[:SHOWN]]


def _say_done(form: WithdrawalForm, revocation: Revocation) -> str:
    what = form.said_of
    if form.takes_effect_at() is not None:
        return (
            f"Planned. From {revocation.effective_at:%Y-%m-%d %H:%M:%S} UTC on nothing of {what} can be sold; until "
            "then it can be cancelled."
        )
    if revocation.preview_falls:
        said = f"Done. Since {revocation.effective_at:%H:%M:%S} UTC nothing of {what} can be sold."
    else:
        said = f"Done: the {form.noun} is recorded. No offer fell with it."
    if later := revocation.preview_falls_later:
        said += f" {later:,} {'falls' if later == 1 else 'fall'} later, by a day that it sets."
    if revocation.pending_changes.filter(
        kind=PendingChange.Kind.REMOVAL, state=PendingChange.State.OPEN
    ).exists():
        said += " The removal of its pages waits for a second person."
    return said


# --- what moved ---------------------------------------------------------------------------------------------


def _seen(form: WithdrawalForm, impact: Preview, *, is_named: bool) -> str:
    counts = [sum(map(len, _parts(impact, name))) for name in _PARTS]
    seen: dict[str, Any] = {"asked": form.asked(), "counts": counts}
    if is_named and sum(counts) <= COMPARED:
        for name in _PARTS:
            seen[name] = [offer_id for part in _parts(impact, name) for offer_id in part.offer_ids]
    return json.dumps(seen)


def _parts(impact: Preview, name: str) -> list[Impacts]:
    if name == "later":
        return [each.falls for each in impact.later]
    return [getattr(impact, name)]


def _difference(form: WithdrawalForm, impact: Preview, *, is_named: bool) -> Difference | None:
    """None when the page before showed the same, showed something else that was asked for, or there was none."""
    before, now = _read_seen(form.cleaned_data["seen"]), _read_seen(_seen(form, impact, is_named=is_named))
    if before == now or not before or before.get("asked") != now["asked"]:
        return None
    lines: list[str] = []
    for name, said in _PARTS.items():
        if is_named and name in before and name in now:
            lines += _moved(said, set(before[name]), _parts(impact, name))
    if not lines:
        fell, survived = len(impact.falls), len(impact.survives)
        lines.append(f"Now {fell} offers would fall and {survived} would survive; before it was otherwise.")
    return Difference(tuple(lines))


def _moved(said: str, old: set[int], now: list[Impacts]) -> list[str]:
    new = {offer_id for part in now for offer_id in part.offer_ids}
    named = [offer for part in now for offer in part.first if offer.offer_id not in old][:SHOWN]
    lines = [f"Now also would {said}: {_say(offer)}." for offer in named]
    if more := len(new - old) - len(named):
        lines.append(f"Now also would {said}: {more} more.")
    if gone := len(old - new):
        lines.append(f"{gone} that would {said} before would not now.")
    return lines


def _read_seen(seen: str) -> dict[str, Any]:
    """What `_seen` wrote. It has been at the browser: anything else counts as nothing seen."""
    try:
        read = json.loads(seen)
    except ValueError:
        return {}
    if not isinstance(read, dict) or not isinstance(read.get("asked"), str):
        return {}
    known = [name for name in ("counts", *_PARTS) if name in read]
    if not all(isinstance(read[name], list) for name in known):
        return {}
    numbers = {name: [pk for pk in read[name] if isinstance(pk, int)] for name in known}
    return {"asked": read["asked"], **numbers}


def _say(offer: OfferImpact) -> str:
    return f"{offer.sku} of {offer.vendor_name} on {offer.host_code}"


def _unknown_attributes(form: WithdrawalForm) -> list[str]:
    """Attributes that a hold names and no variant has. No error: the phone may be recorded later."""
    named = form.named_attributes()
    return [
        f"{name}={value}"
        for name, value in (
            (dimension.removeprefix(HoldTarget.ATTRIBUTE), value) for dimension, value in named
        )
        if not VariantAttribute.objects.filter(name=name, value=value, version__rev_to__isnull=True).exists()
    ]
