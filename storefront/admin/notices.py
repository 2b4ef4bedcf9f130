"""What the shop says of a withdrawal: notices to the public, proofs to the parties, messages."""

from datetime import datetime

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.html import format_html
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from authorization.actors import Actor
from storefront import notices
from storefront.admin.desk import (
    ActForm,
    ReadOnlyAdmin,
    RecordAdmin,
    act_page,
    change_url,
    require,
    subject_or_404,
)
from storefront.models import Notice, RemovalProof, SentMessage
from storefront.notices import InvalidNotice
from storefront.proofs import proof_link, verify_proof


class EditForm(ActForm):
    submit_label = "Save the draft"
    subject: Notice

    title = forms.CharField(max_length=200, widget=UnfoldAdminTextInputWidget)
    body = forms.CharField(
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 20}),
        help_text="Plain text; an empty line begins a paragraph",
    )

    # Without stripping: it is compared with the text that is stored.
    seen_body = forms.CharField(required=False, strip=False, widget=forms.HiddenInput)

    def run(self, *, by: Actor, at: datetime) -> str:
        notices.edit_notice(notice=self.subject, **self.cleaned_data, by=by, at=at)
        return "The draft is saved. It is not public yet."


class PublishForm(ActForm):
    submit_label = "Publish it in my name"
    subject: Notice

    seen_body = forms.CharField(required=False, strip=False, widget=forms.HiddenInput)

    def run(self, *, by: Actor, at: datetime) -> str:
        notices.publish_notice(notice=self.subject, **self.cleaned_data, by=by, at=at)
        return f"Published: {self.subject.title}"


@admin.register(Notice)
class NoticeAdmin(ReadOnlyAdmin):
    list_display = ("title", "show_state", "drafted_at", "published_at", "published_by", "about")
    list_filter = (("published_at", admin.EmptyFieldListFilter), "drafted_at")
    search_fields = ("title", "body", "slug", "revocations__fact__code")
    ordering = ("-id",)
    fields = ("title", "text", "slug", "about", "drafted_at", "published_at", "published_by")
    readonly_fields = ("text", "about")
    actions_row = actions_detail = ("edit", "publish")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Notice]:
        rows: QuerySet[Notice] = super().get_queryset(request).prefetch_related("revocations__fact")
        return rows

    def fits(self, action: str, row: Notice) -> bool:
        return row.published_at is None

    @display(description="state", label={"draft": "warning", "published": "success"})
    def show_state(self, notice: Notice) -> str:
        return "published" if notice.published_at else "draft"

    @display(description="body")
    def text(self, notice: Notice) -> str:
        return format_html('<div style="white-space: pre-line">{}</div>', notice.body)

    @display(description="about")
    def about(self, notice: Notice) -> str:
        return "; ".join(str(revocation) for revocation in notice.revocations.all())

    @action(description="Edit the draft", icon="edit", permissions=["act"])
    def edit(self, request: HttpRequest, object_id: str) -> HttpResponse:
        notice: Notice = subject_or_404(self, request, object_id)
        return self._act(
            request,
            notice,
            EditForm,
            title="Edit the draft",
            initial={"title": notice.title, "body": notice.body, "seen_body": notice.body},
        )

    @action(
        description="Publish",
        icon="campaign",
        permissions=["act"],
        variant=ActionVariant.PRIMARY,
        extra_options={"display_in_dropdown": False},
    )
    def publish(self, request: HttpRequest, object_id: str) -> HttpResponse:
        notice: Notice = subject_or_404(self, request, object_id)
        return self._act(
            request,
            notice,
            PublishForm,
            title=f"Publish: {notice.title}",
            intro=notice.body,
            initial={"seen_body": notice.body},
        )

    def _act(
        self,
        request: HttpRequest,
        notice: Notice,
        form_class: type[ActForm],
        *,
        title: str,
        initial: dict[str, str],
        intro: str = "",
    ) -> HttpResponse:
        """The list offers its buttons in every row: a published notice says that it is, and shows itself."""
        require(request, "storefront.change_notice")
        if notice.published_at is not None:
            messages.warning(
                request,
                f"This notice was published on {notice.published_at:%Y-%m-%d %H:%M} UTC and stays as it is. "
                "Say what is new in a new one.",
            )
            return HttpResponseRedirect(change_url(notice))
        return act_page(
            self,
            request,
            form_class,
            title=title,
            permission="storefront.change_notice",
            subject=notice,
            intro=intro,
            initial=initial,
            done_url=change_url(notice),
            refusals=(InvalidNotice,),
        )


@admin.register(RemovalProof)
class RemovalProofAdmin(RecordAdmin):
    list_display = ("revocation", "recipient", "issued_at", "public_id")
    list_filter = ("issued_at",)
    list_select_related = ("revocation__fact",)
    search_fields = ("recipient", "=public_id", "revocation__fact__code")
    ordering = ("-id",)
    fields = ("revocation", "recipient", "issued_at", "link", "is_genuine", "statement", "signature")
    readonly_fields = ("link", "is_genuine")
    actions_detail = ("open",)

    @display(description="link for the party")
    def link(self, proof: RemovalProof) -> str:
        return proof_link(proof)

    @display(description="signature fits", boolean=True)
    def is_genuine(self, proof: RemovalProof) -> bool:
        return verify_proof(proof)

    @action(description="Open its page", icon="open_in_new", permissions=["view"])
    def open(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return HttpResponseRedirect(proof_link(subject_or_404(self, request, object_id)))


@admin.register(SentMessage)
class SentMessageAdmin(RecordAdmin):
    list_display = ("sent_at", "kind", "recipient", "subject", "address", "mailed_at")
    list_filter = ("kind", "sent_at", ("mailed_at", admin.EmptyFieldListFilter))
    search_fields = ("recipient", "subject", "address", "=event_id")
    ordering = ("-id",)
