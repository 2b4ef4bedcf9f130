"""Whose key this is."""

from rest_framework import serializers

from storefront.acceptance_access import DUTIES
from storefront.api.shapes import Shape, instant, one, open_enum, text
from storefront.scopes import SCOPES


class PartyShape(Shape):
    """An organization."""

    slug = text()
    name = text()


class HostPartyShape(Shape):
    """A host carrier."""

    host = text("The code by which every call names it.")
    name = text()


class OwnKeyShape(Shape):
    """The key of this call, without its secret."""

    label = text(allow_blank=True)
    prefix = text()
    last_four = text()
    expires_at = instant()


class MeShape(Shape):
    """Whose key this is: exactly one of `vendor`, `distributor`, `manufacturer` and `host` is there."""

    vendor = one(PartyShape, required=False)
    distributor = one(PartyShape, required=False)
    manufacturer = one(PartyShape, required=False)
    host = one(HostPartyShape, required=False)
    duties = serializers.ListField(
        child=open_enum([name for name, _, _ in DUTIES]), required=False, help_text="Of a host carrier's key."
    )
    mode = open_enum(("live", "test"), "`test`: the key opens your test store, and nothing of the shop.")
    key = one(OwnKeyShape)
    scopes = serializers.ListField(child=open_enum(SCOPES), help_text="What the key opens.")
