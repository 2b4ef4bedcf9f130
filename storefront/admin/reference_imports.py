"""Imports of variants: upload a file, look at its faults and differences, at what falls, and apply it.

What a file holds is shown as text and never trusted: it is kept as it was uploaded, and given back for download only.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from unfold.decorators import display
from unfold.widgets import UnfoldAdminFileFieldWidget

from authorization import clock
from authorization.actors import Actor
from authorization.facts import InvalidFact
from authorization.models import Revocation
from authorization.revocations import Change
from authorization.variant_import import Prepared
from authorization.variant_sheet import REQUIRED, known_columns
from carriers.models import HostCarrier
from storefront import reference_imports
from storefront.admin.desk import (
    ActForm,
    ReadOnlyAdmin,
    change_url,
    changelist_url,
    desk_page,
    number_in,
    require,
)
from storefront.admin.front_door import MAY_WITHDRAW, withdraw
from storefront.admin.groundwork_forms import NOT_OF_GROUNDWORK
from storefront.admin.withdrawal_forms import WithdrawalForm, reasons_without
from storefront.models import ReferenceImport
from storefront.requests import actor_of

MAY_UPLOAD = "storefront.add_referenceimport"
# Faults, variants and cells named on a page; the numbers are always of all.
SHOWN = 200
# Other imports to compare with.
OTHERS = 50


class UploadForm(forms.Form):
    submit_label = "Upload: nothing is changed yet"

    file = forms.FileField(
        widget=UnfoldAdminFileFieldWidget,
        label="CSV file",
        help_text=(
            f"UTF-8, at most {reference_imports.MAX_BYTES // 1024 // 1024} MB; commas, semicolons or tabs. Format "
            "columns of codes as text in the spreadsheet."
        ),
    )

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        if file.size > reference_imports.MAX_BYTES:
            most = reference_imports.MAX_BYTES // 1024 // 1024
            raise forms.ValidationError(f"The file is larger than {most} MB. Import it in several files.")
        return file


@dataclass
class Asked:
    """An import, and how its faults and new makers are to be met. `compared`: what this request has found already."""

    row: ReferenceImport
    new_makers: bool
    skip_faulty_rows: bool
    compared: Prepared | None = None

    def prepare(self, *, by: Actor, at: datetime) -> Prepared:
        return reference_imports.prepare(
            self.row, by=by, at=at, new_makers=self.new_makers, skip_faulty_rows=self.skip_faulty_rows
        )

    @property
    def query(self) -> str:
        chosen = {"new_makers": self.new_makers, "skip_faulty_rows": self.skip_faulty_rows}
        return urlencode({name: 1 for name, is_on in chosen.items() if is_on})

    def url(self, page: str) -> str:
        return reverse(page, args=[self.row.pk]) + (f"?{self.query}" if self.query else "")


class ApplyForm(WithdrawalForm):
    """The word behind an import that changes what authority rests on. `subject`: Asked."""

    reasons = reasons_without(NOT_OF_GROUNDWORK)
    noun = "import"
    record_label = "Apply the import"
    said_of = "what has lost its ground"
    can_wait = False

    def change(self, *, by: Actor, at: datetime) -> Change:
        # Once: whoever asks again in the same request does so because the world moved.
        compared, self.subject.compared = self.subject.compared, None
        self.prepared = compared or self.subject.prepare(by=by, at=at)
        if self.prepared.recorder.is_empty:
            raise InvalidFact("", "The store says all of it already; nothing would change.")
        return reference_imports.change_of(self.subject.row, self.prepared, reason_code=self.chosen_reason())

    def was_recorded(self, revocation: Revocation) -> None:
        reference_imports.link(self.subject.row, revocation)

    def says(self) -> tuple[tuple[str, str], ...]:
        counts = self.prepared.counts()
        said = f"{counts['new']} new, {counts['changed']} changed, {counts['same']} the same"
        if counts["faulty"]:
            said += f"; {counts['faulty']} faulty rows are left out"
        makers = ", ".join(self.prepared.new_makers)
        return (("Variants", said), *((("New manufacturers", makers),) if makers else ()))


class PlainForm(ActForm):
    """Of an import that no decision reads anything of."""

    submit_label = "Apply the import"


@admin.register(ReferenceImport)
class ReferenceImportAdmin(ReadOnlyAdmin):
    list_display = (
        "name",
        "show_state",
        "say_report",
        "uploaded_at",
        "uploaded_by",
        "applied_at",
        "applied_by",
    )
    list_filter = (("applied_at", admin.EmptyFieldListFilter),)
    search_fields = ("name", "sha256", "uploaded_by", "applied_by")
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ReferenceImport]:
        # A file may have megabytes: a list does without them.
        rows: QuerySet[ReferenceImport] = super().get_queryset(request)
        return rows.defer("content")

    @display(description="state", label={"applied": "success", "not applied": "warning"})
    def show_state(self, row: ReferenceImport) -> str:
        return "applied" if row.applied_at else "not applied"

    @display(description="variants")
    def say_report(self, row: ReferenceImport) -> str:
        counts = row.report.get("counts")
        if not counts:
            return "-"
        return f"{counts['new']} new, {counts['changed']} changed, {counts['same']} the same"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm(MAY_UPLOAD))

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        own = [
            path("<int:import_id>/apply/", view(self.apply), name="apply_import"),
            path("<int:import_id>/compare/", view(self.compare), name="compare_imports"),
            path("<int:import_id>/file/", view(self.download), name="import_file"),
        ]
        return [*own, *super().get_urls()]

    # --- upload ---------------------------------------------------------------------------------------------

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        require(request, MAY_UPLOAD)
        form = UploadForm(request.POST or None, request.FILES or None)
        if request.method == "POST" and form.is_valid():
            file = form.cleaned_data["file"]
            try:
                row = reference_imports.keep(
                    name=file.name or "", raw=file.read(), by=actor_of(request), at=clock.now()
                )
            except InvalidFact as error:
                form.add_error("file", error.message)
            else:
                messages.success(request, "Uploaded. Nothing is changed yet: look at what it would change.")
                return HttpResponseRedirect(change_url(row))
        hosts = HostCarrier.objects.order_by("id").values_list("code", flat=True)
        return desk_page(
            self,
            request,
            "desk/import_upload.html",
            title="Import variants",
            form=form,
            required=REQUIRED,
            optional=[column for column in known_columns(hosts) if column not in REQUIRED],
            cancel_url=changelist_url(self),
        )

    # --- one import -----------------------------------------------------------------------------------------

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        require(request, "storefront.view_referenceimport")
        row = _import_or_404(number_in(object_id))
        asked = _asked(request, row)
        prepared = None
        if row.applied_at is None:
            prepared = asked.prepare(by=actor_of(request), at=clock.now())
        before = reference_imports.one_before(row)
        others = list(ReferenceImport.objects.exclude(pk=row.pk).order_by("-id").defer("content")[:OTHERS])
        if before is not None:
            others = [before, *(other for other in others if other != before)]
        return desk_page(
            self,
            request,
            "desk/import.html",
            title=row.name,
            original=row,
            row=row,
            size=f"{len(row.content.encode()):,} bytes",
            asked=asked,
            may_apply=self._may_apply(request),
            apply_url=asked.url("admin:apply_import"),
            file_url=reverse("admin:import_file", args=[row.pk]),
            compare_url=reverse("admin:compare_imports", args=[row.pk]),
            others=others,
            before=before,
            revocation_url=change_url(row.revocation) if row.revocation else "",
            may_see_revocation=request.user.has_perm("authorization.view_revocation"),
            has_options=asked.query or (prepared is not None and prepared.faults),
            shown=SHOWN,
            **(_found(prepared) if prepared is not None else _reported(row)),
        )

    def _may_apply(self, request: HttpRequest) -> bool:
        own = f"{self.opts.app_label}.change_{self.opts.model_name}"
        return bool(request.user.has_perm(own) or request.user.has_perm(MAY_WITHDRAW))

    def apply(self, request: HttpRequest, import_id: int) -> HttpResponse:
        own = f"{self.opts.app_label}.change_{self.opts.model_name}"
        permission = own if request.user.has_perm(own) else MAY_WITHDRAW
        require(request, permission)
        asked = _asked(request, _import_or_404(import_id))
        back = asked.url("admin:storefront_referenceimport_change")
        by, at = actor_of(request), clock.now()
        prepared = asked.prepare(by=by, at=at)
        try:
            reference_imports.refuse_unappliable(asked.row, prepared)
        except InvalidFact as error:
            messages.error(request, error.message)
            return HttpResponseRedirect(back)
        title = f"Apply {asked.row.name}"
        if prepared.recorder.is_ground:
            asked.compared = prepared
            return withdraw(
                self,
                request,
                ApplyForm,
                title=title,
                about=(
                    "What loses its ground by it can no longer be sold; what gains one returns. Both are shown first."
                ),
                initial={"requested_by": settings.SHOP_NAME, "reason_code": "DATA_CORRECTED"},
                subject=asked,
                back_url=change_url(asked.row),
                permission=permission,
            )
        return self._apply_plain(request, asked, prepared, title=title, back=back)

    def _apply_plain(
        self, request: HttpRequest, asked: Asked, prepared: Prepared, *, title: str, back: str
    ) -> HttpResponse:
        form = PlainForm(request.POST or None)
        is_empty, checks = prepared.recorder.is_empty, prepared.recorder.checks
        if is_empty:
            form.submit_label = "Checked: the store says the same"
        if request.method == "POST":
            try:
                reference_imports.apply_plain(asked.row, prepared)
            except InvalidFact as error:
                messages.error(request, error.message)
            else:
                messages.success(
                    request,
                    "Marked as checked. Nothing was changed."
                    if is_empty
                    else "Applied. Nothing of it bears on what may be sold.",
                )
            return HttpResponseRedirect(change_url(asked.row))
        counts = prepared.counts()
        intro = (
            f"All {counts['same']} variants in the file are recorded so already. Applying it changes nothing and says "
            f"that {'they' if checks == counts['same'] else f'{checks} of them'} were checked today."
            if is_empty
            else f"{counts['new']} variants are new, {counts['changed']} change. No decision reads any of "
            "it: no offer can fall by it."
        )
        return desk_page(
            self,
            request,
            "desk/act.html",
            title=title,
            form=form,
            intro=intro,
            cancel_url=back,
            original=asked.row,
        )

    # --- beside it ------------------------------------------------------------------------------------------

    def compare(self, request: HttpRequest, import_id: int) -> HttpResponse:
        """`?with=`: the other import. The one that was uploaded later is the newer one."""
        require(request, "storefront.view_referenceimport")
        row = _import_or_404(import_id)
        other = _import_or_404(number_in(request.GET.get("with")))
        older, newer = sorted((row, other), key=lambda each: each.pk)
        found = reference_imports.compare_imports(older, newer)
        return desk_page(
            self,
            request,
            "desk/import_compare.html",
            title=f"{older.name} and {newer.name}",
            original=row,
            older=older,
            newer=newer,
            older_url=change_url(older),
            newer_url=change_url(newer),
            found=found,
            left_out=[
                (name, lines[:SHOWN]) for name, lines in zip(("older", "newer"), found.left_out, strict=True)
            ],
            new=found.new[:SHOWN],
            gone=found.gone[:SHOWN],
            cells=found.cells[:SHOWN],
            shown=SHOWN,
        )

    def download(self, request: HttpRequest, import_id: int) -> HttpResponse:
        """The bytes as they were uploaded, as a file to keep: never as a page."""
        require(request, "storefront.view_referenceimport")
        row = _import_or_404(import_id)
        response = HttpResponse(row.content.encode(), content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = f'attachment; filename="import-{row.pk}.csv"'
        response["X-Content-Type-Options"] = "nosniff"
        return response


def _import_or_404(pk: int) -> ReferenceImport:
    row: ReferenceImport = get_object_or_404(
        ReferenceImport.objects.select_related("revocation__fact"), pk=pk
    )
    return row


def _asked(request: HttpRequest, row: ReferenceImport) -> Asked:
    return Asked(
        row,
        new_makers=request.GET.get("new_makers") == "1",
        skip_faulty_rows=request.GET.get("skip_faulty_rows") == "1",
    )


def _found(prepared: Prepared) -> dict[str, Any]:
    """What the page of an import that is not applied shows: faults, and what would change now."""
    differing = prepared.differing
    return {
        "counts": prepared.counts(),
        "faulty_note": "see below" if prepared.faults else "",
        "is_refused": prepared.is_refused,
        "is_readable": prepared.sheet.is_readable,
        "is_empty": prepared.recorder.is_empty,
        "checks": prepared.recorder.checks,
        "is_ground": prepared.recorder.is_ground,
        "read_over": ", ".join(prepared.sheet.read_over),
        "new_makers": ", ".join(prepared.new_makers),
        "faults": prepared.faults[:SHOWN],
        "faults_in_all": len(prepared.faults),
        "differing": differing[:SHOWN],
        "differing_in_all": len(differing),
    }


def _reported(row: ReferenceImport) -> dict[str, Any]:
    """What was said when it was applied."""
    report = row.report
    return {
        "counts": report.get("counts", {}),
        "new_makers": ", ".join(report.get("new_makers", [])),
        "skipped": ", ".join(map(str, report.get("skipped_lines", [])[:SHOWN])),
        "differences": report.get("differences", [])[:SHOWN],
        "differences_in_all": report.get("differences_in_all", 0),
        "revision": report.get("revision"),
    }
