"""Answers that are kept for requests with an Idempotency-Key: to see whether a request was repeated or is a new one.

Who sent it and with which key is a hash; the answer itself is not shown, it is its caller's own.
"""

import json

from django.contrib import admin
from unfold.decorators import display

from storefront import idempotency
from storefront.admin.desk import RecordAdmin
from storefront.models import IdempotentRequest


@admin.register(IdempotentRequest)
class IdempotentRequestAdmin(RecordAdmin):
    list_display = ("created_at", "show_status", "show_request_id", "show_location", "show_kept_until")
    fields = (*list_display, "key_hash", "body_hash")
    list_filter = ("created_at", "status")
    search_fields = ("=headers__Original-Request-Id", "=key_hash")
    search_help_text = "The Request-Id of the answer that was given first"
    ordering = ("-created_at",)

    @display(description="answered with", ordering="status")
    def show_status(self, row: IdempotentRequest) -> str:
        is_problem = row.headers.get("Content-Type", "").startswith("application/problem")
        return f"{row.status} {json.loads(row.body)['code']}" if is_problem else str(row.status)

    @display(description="request id")
    def show_request_id(self, row: IdempotentRequest) -> str:
        return str(row.headers.get("Original-Request-Id", ""))

    @display(description="made")
    def show_location(self, row: IdempotentRequest) -> str:
        return str(row.headers.get("Location", ""))

    @display(description="kept until")
    def show_kept_until(self, row: IdempotentRequest) -> str:
        return f"{row.created_at + idempotency.KEPT:%Y-%m-%d %H:%M:%S}"
