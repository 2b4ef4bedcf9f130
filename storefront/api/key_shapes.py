"""Shapes of keys, and of whose they are."""

from rest_framework import serializers

from storefront.api.shapes import Shape, instant, number, open_enum, text
from storefront.scopes import SCOPES


class KeyShape(Shape):
    """A key of the API, without its secret."""

    id = number()
    label = text("Where it is used.")
    mode = open_enum(("live", "test"), "`test`: it opens your test store, and nothing of the shop.")
    prefix = text("Its first characters, to recognise it by.")
    last_four = text()
    scopes = serializers.ListField(child=open_enum(SCOPES), help_text="What it opens.")
    state = open_enum(("in_force", "expired", "revoked"))
    created_at = instant()
    expires_at = instant()
    revoked_at = instant(allow_null=True)
    last_used_at = instant("To the minute.", allow_null=True)
    replaced_by = number("The id of the key that takes its place.", allow_null=True)


class KeyWithSecretShape(KeyShape):
    """A key, this once with its secret."""

    secret = text(
        "Shown once. Absent where the request is sent again, and where it is only checked.", required=False
    )
