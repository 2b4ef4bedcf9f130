"""The stores of test mode, as the shop keeps them: whose, how far ahead, whether something is due in them.

What is in such a store is the organization's own affair, and in another database; no screen of the desk opens it.
"""

from datetime import datetime, timedelta

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from unfold.decorators import action, display
from unfold.enums import ActionVariant

from authorization import clock
from authorization.actors import Actor
from storefront import test_mode
from storefront.admin.desk import ActForm, ReadOnlyAdmin, act_page, subject_or_404
from storefront.models import TestStore

# What was due longer ago than this waits for workers that do not come.
LATE = timedelta(minutes=2)


class BeginAnewForm(ActForm):
    submit_label = "Begin it anew"
    subject: TestStore

    def run(self, *, by: Actor, at: datetime) -> str:
        test_mode.begin_anew(store=self.subject, by=by, at=at)
        return f"The test store of {self.subject.organization} is as on the first day from the next call on."


@admin.register(TestStore)
class TestStoreAdmin(ReadOnlyAdmin):
    list_display = ("organization", "show_clock", "show_state", "made_at", "last_used_at")
    list_filter = ("organization__kind",)
    list_select_related = ("organization",)
    search_fields = ("organization__name", "=public_id")
    ordering = ("-last_used_at", "-id")
    fields = (
        "organization",
        "public_id",
        ("show_clock", "show_state"),
        "advancing_to",
        ("made_at", "last_used_at"),
        ("due_at", "busy_until"),
    )
    readonly_fields = ("show_clock", "show_state")
    actions_row = actions_detail = ("begin_anew",)

    @display(description="its clock (UTC)")
    def show_clock(self, store: TestStore) -> str:
        return f"{test_mode.clock_of(store, at=clock.now()).now:%Y-%m-%d %H:%M:%S}"

    @display(description="state", label={"ready": "success", "advancing": "info", "work waits": "warning"})
    def show_state(self, store: TestStore) -> str:
        if store.due_at is not None and store.due_at < clock.now() - LATE:
            return "work waits"
        return "ready" if store.advancing_to is None else "advancing"

    @action(description="Begin anew", icon="restart_alt", permissions=["act"], variant=ActionVariant.DANGER)
    def begin_anew(self, request: HttpRequest, object_id: str) -> HttpResponse:
        store = subject_or_404(self, request, object_id)
        return act_page(
            self,
            request,
            BeginAnewForm,
            title=f"Begin the test store of {store.organization} anew",
            permission="storefront.change_teststore",
            subject=store,
            intro="All that was tried out in it is gone, and its clock is the shop's again. Keys of test mode stay.",
        )
