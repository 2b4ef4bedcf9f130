"""Technical acceptances: where each stands with its host carrier, and the moves that its parties make.

The one screen of the desk that is open to people of a host carrier (storefront.carrier_gate): they see what was asked
of their own host, and of the shop nothing at all.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin import SimpleListFilter
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from unfold.decorators import display

from authorization import clock
from authorization.acceptances import process
from authorization.acceptances.moves import BY_CODE, MoveRefused
from authorization.facts import InvalidFact
from authorization.models import (
    Acceptance,
    AcceptanceFile,
    AcceptanceMove,
    AcceptanceResult,
    ApprovalVersion,
    Party,
)
from catalog.models import Variant
from storefront.acceptance_access import OF_HOST, Standing, standing_of_staff
from storefront.acceptance_files import download
from storefront.acceptance_results import by_phase, last_results
from storefront.acceptance_words import (
    Software,
    details_of,
    reason_told,
    software_approved,
    software_asked_for,
)
from storefront.admin.acceptance_forms import (
    DOOR_FORMS,
    Acting,
    FileForm,
    MoveForm,
    PasteForm,
    RequestForm,
    ResultLines,
    results_of,
)
from storefront.admin.desk import (
    ReadOnlyAdmin,
    act_page,
    change_url,
    desk_page,
    number_in,
    say_end,
)
from storefront.admin.front_door import withdraw
from storefront.carrier_gate import member_on
from storefront.requests import actor_of

State = Acceptance.State

# The usual way to a decision, and the way of what stands aside of it.
_WAY = (State.REQUESTED, State.INTAKE_REVIEW, State.LAB_ENTRY, State.IN_TEST, State.APPROVED)
_WAY_ON: dict[str, tuple[str, ...]] = {
    **{state: _WAY[place + 1 :] for place, state in enumerate(_WAY)},
    State.ISSUES_OPEN: (State.IN_TEST, State.APPROVED),
    State.WAIVER_PENDING: (State.CONDITIONAL,),
    State.MR_REVIEW: (State.APPROVED,),
}
# Who is to act next, by state: what lists say and are filtered by.
_NEXT: dict[str, str] = {
    State.REQUESTED: "host's certification desk",
    State.INTAKE_REVIEW: "host's certification desk",
    State.LAB_ENTRY: "host's lab",
    State.IN_TEST: "host's lab, then its approver",
    State.ISSUES_OPEN: "sponsor: a new build",
    State.WAIVER_PENDING: "host's approver",
    State.MR_REVIEW: "host's lab, then its approver",
    State.SUSPENDED: "host's approver",
}
NOBODY = "nobody"
WAITS_FOR = (*dict.fromkeys(_NEXT.values()), NOBODY)
# Moves that stop the sale, or the request, for a while or for good.
_ENDS = ("suspend", "revoke", "reject", "withdraw")
_COLOURS = {
    State.REQUESTED.label: "info",
    State.INTAKE_REVIEW.label: "info",
    State.LAB_ENTRY.label: "info",
    State.IN_TEST.label: "info",
    State.MR_REVIEW.label: "info",
    State.ISSUES_OPEN.label: "warning",
    State.WAIVER_PENDING.label: "warning",
    State.SUSPENDED.label: "warning",
    State.APPROVED.label: "success",
    State.CONDITIONAL.label: "success",
    State.REJECTED.label: "danger",
    State.REVOKED.label: "danger",
    State.EXPIRED.label: "danger",
    State.WITHDRAWN.label: "default",
}
# Of the chain of states; those that were passed and are to come look alike but for their words.
PASSED, PRESENT, AHEAD = "passed", "now", "ahead"


def standing_on(request: HttpRequest) -> Standing | None:
    """As whom this person works on acceptances; None: not at all."""
    return standing_of_staff(request.user, member_on(request), actor_of(request))


class WaitsForFilter(SimpleListFilter):
    title = "who is to act next"
    parameter_name = "next"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(said, said) for said in WAITS_FOR]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() is None:
            return queryset
        if self.value() == NOBODY:
            return queryset.exclude(state__in=list(_NEXT))
        return queryset.filter(state__in=[state for state, said in _NEXT.items() if said == self.value()])


class VariantFilter(SimpleListFilter):
    """The variants of the list's own rows."""

    title = "variant"
    parameter_name = "variant"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        named = model_admin.get_queryset(request).order_by().values("variant")
        variants = Variant.objects.select_related("device").filter(pk__in=named)
        return [(str(row.pk), str(row)) for row in variants.order_by("device__brand", "model_number")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset if self.value() is None else queryset.filter(variant=number_in(self.value()))


@dataclass(frozen=True)
class Happening:
    """One line of the history."""

    at: datetime
    title: str
    who: str
    states: str
    said: tuple[tuple[str, str], ...]
    revision: int | None


@admin.register(Acceptance)
class AcceptanceAdmin(ReadOnlyAdmin):
    shows = (AcceptanceMove, AcceptanceResult, AcceptanceFile)
    list_select_related = ("host", "variant__device", "sponsor")
    search_fields = (
        "code",
        "variant__model_number",
        "variant__device__marketing_name",
        "sponsor__name",
        "approval__code",
    )
    search_help_text = "Code, model number, phone, sponsor or approval"
    ordering = ("-id",)
    list_display_links: ClassVar = ("code",)

    # --- who may see what: the host's people by their host, the shop's by their permissions ---

    def has_module_permission(self, request: HttpRequest) -> bool:
        return standing_on(request) is not None

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        standing = standing_on(request)
        if standing is None:
            return False
        return obj is None or standing.host is None or obj.host_id == standing.host.pk

    def has_add_permission(self, request: HttpRequest) -> bool:
        standing = standing_on(request)
        may_ask = bool(request.user.has_perm("authorization.add_acceptance"))
        return may_ask and standing is not None and standing.is_of_shop

    def get_queryset(self, request: HttpRequest) -> QuerySet[Acceptance]:
        standing = standing_on(request)
        return Acceptance.objects.none() if standing is None else standing.acceptances()

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        host = () if self._is_of_host(request) else ("host",)
        return (
            "code",
            *host,
            "variant",
            "sponsor_name",
            "show_state",
            "in_state_for",
            "acts_next",
            "software",
        )

    def get_list_filter(self, request: HttpRequest) -> tuple[Any, ...]:
        # Choices of related rows are those of the list's own rows: nobody learns of others by a filter.
        related = admin.RelatedOnlyFieldListFilter
        host = () if self._is_of_host(request) else (("host", related),)
        return ("state", WaitsForFilter, *host, VariantFilter, ("sponsor", related))

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """By an address alone somebody of a host carrier asks no more than the list's filters do."""
        if request is not None and self._is_of_host(request):
            if lookup in (WaitsForFilter.parameter_name, VariantFilter.parameter_name):
                return True
            parts = lookup.split("__")
            return parts[0] in ("state", "sponsor") and parts[1:] in (
                ["exact"],
                ["id", "exact"],
                ["isnull"],
            )
        return super().lookup_allowed(lookup, value, request)

    def _is_of_host(self, request: HttpRequest) -> bool:
        standing = standing_on(request)
        return standing is not None and standing.host is not None

    # --- the list ---

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changelist = super().get_changelist_instance(request)
        rows, at = list(changelist.result_list), clock.now()
        states, approved = process.effective_states(rows, at=at), software_approved(rows)
        for row in rows:
            row.counts_as, row.seen_at, row.approved = states[row.pk], at, approved.get(row.pk)
        changelist.result_list = rows
        return changelist

    @display(description="sponsor", ordering="sponsor__name")
    def sponsor_name(self, row: Acceptance) -> str:
        return _say_sponsor(row)

    @display(description="state", ordering="state", label=_COLOURS)
    def show_state(self, row: Any) -> str:
        return str(State(row.counts_as).label)

    @display(description="for", ordering="state_changed_at")
    def in_state_for(self, row: Any) -> str:
        return _say_age(row.seen_at - row.state_changed_at)

    @display(description="acts next")
    def acts_next(self, row: Any) -> str:
        return _NEXT.get(row.counts_as, NOBODY)

    @display(description="software")
    def software(self, row: Any) -> str:
        asked, approved = software_asked_for(row), row.approved
        return str(asked) if approved in (None, asked) else f"{asked}; approved: {approved}"

    # --- the pages ---

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        own = [
            path("<int:row_id>/move/<slug:move>/", view(self.move), name="acceptance_move"),
            path("<int:row_id>/withdraw/<slug:move>/", view(self.withdraw), name="acceptance_withdraw"),
            path("<int:row_id>/results/", view(self.results), name="acceptance_results"),
            path("<int:row_id>/files/add/", view(self.add_file), name="acceptance_add_file"),
            path("<int:row_id>/files/<slug:sha256>/", view(self.file), name="acceptance_file"),
        ]
        return [*own, *super().get_urls()]

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        return act_page(
            self,
            request,
            RequestForm,
            title="Ask a host carrier for technical acceptance",
            permission="authorization.add_acceptance",
            intro=(
                "The shop itself asks; a vendor asks with its own key. What the shop asked for only the host carrier "
                "can approve, not the desk on its word."
            ),
            refusals=(InvalidFact, MoveRefused),
        )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        row, standing = self._row(request, number_in(object_id))
        at = clock.now()
        state = process.effective_state(row, at=at)
        lacks = process.missing(row, at=at) if state in _WAY_ON and state != State.APPROVED else ()
        moves = list(row.moves.order_by("number"))
        return desk_page(
            self,
            request,
            "desk/acceptance.html",
            title=row.code,
            original=row,
            row=row,
            state=State(state).label,
            is_of_host=standing.host is not None,
            chain=_chain(moves, state),
            acts_next=_NEXT.get(state, NOBODY),
            facts=list(
                _facts(
                    row,
                    software_approved([row]).get(row.pk),
                    may_see_approval=request.user.has_perm("authorization.view_approvalversion"),
                )
            ),
            missing=lacks,
            buttons=self._buttons(row, standing, state, lacks=bool(lacks)),
            waits_to_come=_revocation_to_come(row, state, at),
            phases=by_phase(last_results(row)),
            result_count=row.results.count(),
            results_url=self._url("acceptance_results", row)
            if self._may_record(row, standing, state)
            else "",
            files=[
                (
                    file,
                    standing.says_actor(file) or _say_party(file.party),
                    self._url("acceptance_file", row, file.sha256),
                )
                for file in row.files.defer("content").order_by("id")
            ],
            file_url=self._url("acceptance_add_file", row)
            if standing.parties_to(row) and state not in Acceptance.FINAL
            else "",
            history=[_happening(move, standing) for move in reversed(moves)],
            children=[(child, change_url(child)) for child in row.maintenance_releases.order_by("id")],
            parent_url=change_url(row.parent) if row.parent is not None else "",
        )

    def move(self, request: HttpRequest, row_id: int, move: str) -> HttpResponse:
        row, standing = self._row(request, row_id)
        opened = self._opened(request, row, standing, move)
        if isinstance(opened, HttpResponse):
            return opened
        if opened.opened.move.at_door:
            return HttpResponseRedirect(self._url("acceptance_withdraw", row, move))
        return act_page(
            self,
            request,
            MoveForm,
            title=f"{opened.opened.move.title}: {row.code}",
            permission=None,
            subject=opened,
            original=row,
            intro=_intro(opened),
            done_url=change_url(row),
            refusals=(InvalidFact, MoveRefused),
        )

    def withdraw(self, request: HttpRequest, row_id: int, move: str) -> HttpResponse:
        """Suspend, limit or revoke: the two pages of the front door."""
        row, standing = self._row(request, row_id)
        if move not in DOOR_FORMS:
            raise Http404
        opened = self._opened(request, row, standing, move)
        if isinstance(opened, HttpResponse):
            return opened
        return withdraw(
            self,
            request,
            DOOR_FORMS[move],
            title=f"{opened.opened.move.title} {row.code}",
            about=f"{row.variant} on {row.host}. {_intro(opened)}",
            initial={"requested_by": row.host.name},
            subject=opened,
            back_url=change_url(row),
            permission=None,
            is_discreet=standing.host is not None,
        )

    def results(self, request: HttpRequest, row_id: int) -> HttpResponse:
        """Several results at once: typed in lines, or pasted."""
        row, standing = self._row(request, row_id)
        doer = standing.doer_among(row, (Party.HOST_LAB, Party.SHOP))
        if doer is None:
            raise PermissionDenied
        lines = ResultLines(request.POST or None, prefix="line")
        paste = PasteForm(request.POST or None, initial={"build_no": row.build_no})
        if request.method == "POST" and all([lines.is_valid(), paste.is_valid()]):
            try:
                kept = process.record_results(
                    acceptance=row,
                    results=results_of(lines, paste),
                    build_no=paste.cleaned_data["build_no"],
                    by=doer,
                    at=clock.now(),
                )
            except (InvalidFact, MoveRefused) as error:
                paste.add_error(None, error.message)
                row.refresh_from_db()
                paste.look_again(row.build_no)
            else:
                said = "1 result is" if len(kept) == 1 else f"{len(kept)} results are"
                messages.success(request, f"{said} recorded on build {row.build_no}.")
                return HttpResponseRedirect(change_url(row))
        return desk_page(
            self,
            request,
            "desk/acceptance_results.html",
            title=f"Results of {row.code}",
            original=row,
            row=row,
            lines=lines,
            form=paste,
            cancel_url=change_url(row),
        )

    def add_file(self, request: HttpRequest, row_id: int) -> HttpResponse:
        row, standing = self._row(request, row_id)
        doer = standing.doer_among(row, (*OF_HOST, Party.SPONSOR, Party.SHOP))
        if doer is None:
            raise PermissionDenied
        return act_page(
            self,
            request,
            FileForm,
            title=f"Add a file to {row.code}",
            permission=None,
            subject=(row, standing, doer),
            original=row,
            intro=(
                "It is kept as it comes and known by its hash. It is handed out as a download, never shown here. The "
                "sponsor, the host carrier and the shop may fetch it."
            ),
            done_url=change_url(row),
            refusals=(InvalidFact, MoveRefused),
        )

    def file(self, request: HttpRequest, row_id: int, sha256: str) -> HttpResponse:
        row, _ = self._row(request, row_id)
        return download(get_object_or_404(AcceptanceFile, acceptance=row, sha256=sha256))

    # --- what the pages share ---

    def _row(self, request: HttpRequest, row_id: int) -> tuple[Acceptance, Standing]:
        """Raises Http404 for a row of another host, PermissionDenied for who sees no acceptance at all."""
        standing = standing_on(request)
        if standing is None:
            raise PermissionDenied
        rows = standing.acceptances().select_related(
            "host", "variant__device", "sponsor", "parent", "approval", "hold"
        )
        return get_object_or_404(rows, pk=row_id), standing

    def _opened(
        self, request: HttpRequest, row: Acceptance, standing: Standing, move: str
    ) -> Acting | HttpResponse:
        """Who makes the move; back to the acceptance, with the reason, where it is not open to them now."""
        if not standing.parties_to(row):
            raise PermissionDenied
        try:
            return Acting(row, standing, standing.find_open(row, move, at=clock.now()))
        except MoveRefused as error:
            messages.error(request, error.message)
            return HttpResponseRedirect(change_url(row))

    def _buttons(
        self, row: Acceptance, standing: Standing, state: str, *, lacks: bool
    ) -> list[dict[str, Any]]:
        buttons = [
            {
                "title": each.move.title,
                "url": self._url(
                    "acceptance_withdraw" if each.move.at_door else "acceptance_move", row, each.move.code
                ),
                "is_danger": each.move.code in _ENDS,
                "is_next": each.move.gives and not lacks,
            }
            for each in standing.moves(row, state=state)
        ]
        # What goes on comes before what ends.
        return sorted(buttons, key=lambda button: bool(button["is_danger"]))

    def _may_record(self, row: Acceptance, standing: Standing, state: str) -> bool:
        is_lab = standing.doer_among(row, (Party.HOST_LAB, Party.SHOP)) is not None
        return is_lab and state in process.TESTED_IN

    def _url(self, name: str, row: Acceptance, *rest: str) -> str:
        return reverse(f"admin:{name}", args=[row.pk, *rest])


# --- how things are said ----------------------------------------------------------------------------------------


def _chain(moves: Iterable[AcceptanceMove], state: str) -> list[tuple[str, str]]:
    """The states it has been in, the present one, and the usual way from there: (words, passed | now | ahead)."""
    passed: list[str] = []
    for move in moves:
        if not passed or passed[-1] != move.to_state:
            passed.append(move.to_state)
    if not passed or passed[-1] != state:
        # An instant has come that no worker has written down yet.
        passed.append(state)
    chain = [(State(each).label, PASSED) for each in passed[:-1]]
    chain.append((State(passed[-1]).label, PRESENT))
    return chain + [(State(each).label, AHEAD) for each in _WAY_ON.get(state, ())]


def _facts(
    row: Acceptance, approved: Software | None, *, may_see_approval: bool
) -> Iterable[tuple[str, str, str]]:
    """Label, words, and an address where there is more."""
    yield "Host carrier", row.host.name, ""
    yield "Variant", f"{row.variant}", ""
    yield "Sponsor", _say_sponsor(row), ""
    yield "Request", row.get_request_type_display(), ""
    if row.hardware_revision:
        yield "Hardware revision", row.hardware_revision, ""
    yield "Software asked for", str(software_asked_for(row)), ""
    if approved is not None:
        yield "Software approved", str(approved), ""
    yield "TACs", ", ".join(row.tacs) or "none named", ""
    yield "FCC ID", row.fcc_id or row.variant.fcc_id or "not given", ""
    yield "PTCRB or GCF number", row.certificate or "not given", ""
    if row.build_no:
        yield "Build in the lab", f"number {row.build_no}, software {row.software_in_test}", ""
    if row.lab_slot_from and row.lab_slot_until:
        yield (
            "Lab slot (UTC)",
            f"{row.lab_slot_from:%Y-%m-%d %H:%M} to {row.lab_slot_until:%Y-%m-%d %H:%M}",
            "",
        )
    if row.deviation:
        yield "Deviation", row.deviation, ""
    if row.approval is not None:
        yield "Approval", row.approval.code, _approval_url(row) if may_see_approval else ""
        yield "Approved until (UTC)", say_end(row.valid_until) if row.valid_until else "no end", ""
    if row.limits:
        yield "Limits", row.limits, ""
    if row.waived_until:
        yield "Waived until (UTC)", f"{row.waived_until:%Y-%m-%d %H:%M}", ""
    if row.phase_out_until:
        yield "Existing lines work until (UTC)", f"{row.phase_out_until:%Y-%m-%d %H:%M}", ""


def _approval_url(row: Acceptance) -> str:
    version = ApprovalVersion.objects.current().filter(head_id=row.approval_id).first()
    return change_url(version) if version is not None else ""


def _revocation_to_come(row: Acceptance, state: str, at: datetime) -> str:
    if state not in Acceptance.IN_FORCE:
        return ""
    version = ApprovalVersion.objects.current().filter(head_id=row.approval_id, revoked_at__gt=at).first()
    if version is None or version.revoked_at is None:
        return ""
    return f"Revoked from {version.revoked_at:%Y-%m-%d %H:%M:%S} UTC on. Until then it stands."


def _say_age(age: timedelta) -> str:
    """In the largest whole unit; in one line of a narrow column."""
    seconds = age.total_seconds()
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:,.0f}\N{NO-BREAK SPACE}{unit}"
    return "just\N{NO-BREAK SPACE}now"


def _say_party(party: str) -> str:
    return "sponsor" if party == Party.SPONSOR else Party(party).label


def _say_sponsor(row: Acceptance) -> str:
    return row.sponsor.name if row.sponsor is not None else "the shop"


def _intro(acting: Acting) -> str:
    move, party = acting.opened.move, acting.opened.party
    words = f"You act as the {_say_party(party)}."
    if move.guard and not move.at_door:
        words += f" It asks for: {move.guard}."
    if move.gives:
        words += " From then on the phone may be listed on this host where all else allows it."
    return words


_SAID = {
    "document": "Document",
    "software": "Software",
    "hardware_revision": "Hardware revision",
    "build_no": "Build",
    "deviation": "Deviation",
    "limits": "Limits",
    "waived_until": "Waived until (UTC)",
    "valid_until": "Valid until (UTC)",
    "phase_out_until": "Existing lines work until (UTC)",
    "software_from": "Software from",
    "software_until": "Software until",
    "fcc_id": "FCC ID",
    "certificate": "PTCRB or GCF number",
    "tacs": "TACs",
    "failed": "Failed cases",
    "child": "Maintenance release",
}


def _say_detail(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _happening(move: AcceptanceMove, standing: Standing) -> Happening:
    reason = reason_told(move)
    said = [("Reason", reason)] if reason else []
    told = details_of(move)
    said += [(label, _say_detail(told[name])) for name, label in _SAID.items() if name in told]
    if move.effective_at != move.at:
        said.append(("Counts from (UTC)", f"{move.effective_at:%Y-%m-%d %H:%M:%S}"))
    before = State(move.from_state).label if move.from_state else "new"
    after = State(move.to_state).label
    actor = standing.says_actor(move)
    return Happening(
        at=move.at,
        title=BY_CODE[move.move].title,
        who=f"{_say_party(move.party)}{f' ({actor})' if actor else ''}",
        states=after if move.from_state == move.to_state else f"{before} → {after}",
        said=tuple(said),
        revision=move.revision if standing.is_of_shop else None,
    )
