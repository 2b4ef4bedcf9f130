"""/v1/keys: the keys of the organization that calls. What one key may do for another ends at its own scopes.

They are the shop's rows, also those of test mode: a key of test mode sees and makes such keys only.
"""

from datetime import datetime, timedelta
from typing import Any, ClassVar, cast

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from storefront import accounts
from storefront.accounts import TAKES_DOWN, InvalidKey, KeyOver, TooManyKeys
from storefront.api.fields import Distinct, Instant, Members, OneOf, Text, Whole, read_body
from storefront.api.key_shapes import KeyShape, KeyWithSecretShape
from storefront.api.keys import PARTNERS, OrganizationPrincipal
from storefront.api.pagination import PageQuery, read_latest
from storefront.api.problems import FieldError, Problem, invalid
from storefront.api.shapes import page_of
from storefront.api.times import rfc3339
from storefront.api.views import KeyedView
from storefront.models import OrganizationKey

LIVE, TEST = "live", "test"
_OVERLAP_H = 24
_LONGEST_OVERLAP_H = accounts.LONGEST_OVERLAP // timedelta(hours=1)
_BY_US = "We make it; nobody chooses it."


class NewKeyBody(Members):
    output_only: ClassVar = {"secret": _BY_US, "id": _BY_US, "prefix": _BY_US}

    label = Text(max_length=64, help_text="Where it is used.")  # type: ignore[assignment]
    mode = OneOf(choices=[LIVE, TEST], required=False, help_text="That of the key that calls, when left out.")
    scopes = serializers.ListField(
        child=Text(max_length=64),
        required=False,
        allow_empty=False,
        max_length=50,
        validators=[Distinct()],
        help_text="Those of the key that calls but keys:write and takedowns:write, when left out.",
    )
    expires_at = Instant(required=False, help_text="In a year, when left out; in five years at most.")


class RotateBody(Members):
    old_ends_in_hours = Whole(
        required=False,
        default=_OVERLAP_H,
        min_value=0,
        max_value=_LONGEST_OVERLAP_H,
        help_text="For so long the old key works beside the new one.",
    )
    expires_at = Instant(
        required=False, help_text="Of the new key; after as long a life as the old one's, when left out."
    )


class KeysQuery(PageQuery):
    mode = OneOf(choices=[LIVE, TEST], required=False)
    state = OneOf(choices=["in_force", "expired", "revoked"], required=False)


class OwnKeysView(KeyedView):
    """What the calls on keys share."""

    open_to: ClassVar = PARTNERS
    is_of_a_store: ClassVar = False

    @property
    def caller(self) -> OrganizationPrincipal:
        return cast(OrganizationPrincipal, self.principal)

    def own_keys(self) -> QuerySet[OrganizationKey]:
        own = OrganizationKey.objects.filter(organization=self.caller.organization)
        return own.filter(is_test=True) if self.caller.key.is_test else own

    def get_key(self, key_id: int) -> OrganizationKey:
        key = self.own_keys().select_related("organization").filter(pk=key_id).first()
        if key is None:
            raise Problem("not_found", "You have no key of this id.")
        return key

    def refuse_more(self, scopes: list[str]) -> None:
        """Raises Problem where a key would open what the key that calls does not."""
        more = sorted(set(scopes) - set(self.caller.key.scopes))
        if more:
            raise Problem(
                "missing_scope",
                f"The key that calls lacks {', '.join(more)}; no key gives more than it has.",
                scope=more[0],
            )

    def refuse_anothers_word(self, key: OrganizationKey) -> None:
        """Raises Problem where a key speaks for somebody whom the desk has verified, and the key that calls does not.

        Who replaces a key is told the secret of the new one, which bears the same name.
        """
        if key.representative not in ("", self.caller.key.representative):
            raise Problem(
                "not_for_this_key",
                "That key bears the name of a verified representative, and the key that calls does not: replace it"
                " with a key that does, or ask the shop's desk for a new one.",
            )


class KeysView(OwnKeysView):
    scopes: ClassVar = {"GET": "keys:read", "POST": "keys:write"}
    queries: ClassVar = {"GET": KeysQuery}
    bodies: ClassVar = {"POST": NewKeyBody}
    answers: ClassVar = {"GET": {200: page_of(KeyShape)}, "POST": {201: KeyWithSecretShape}}
    problems: ClassVar = {"POST": ("limit_reached",)}

    def get(self, request: Request) -> Response:
        """List your keys, the newest first."""
        keys = _in_state(self.own_keys(), self.query.get("state", ""), self.at)
        if "mode" in self.query:
            keys = keys.filter(is_test=self.query["mode"] == TEST)
        bound_to = ["keys", self.caller.organization.pk, self.caller.key.is_test]
        page = read_latest(keys, self.query, bound_to=bound_to)
        return Response(page.as_json([present_key(key, self.at) for key in page.rows]))

    def post(self, request: Request) -> Response:
        """Make a key. Its secret is in this answer and in no other."""
        body = read_body(request, NewKeyBody)
        mine = self.caller.key
        is_test = body.get("mode", TEST if mine.is_test else LIVE) == TEST
        if mine.is_test and not is_test:
            fault = (
                "A key of test mode makes keys of test mode; take a live key to make one, or ask the desk."
            )
            raise invalid([FieldError("/mode", "invalid_choice", fault)])
        scopes = body.get("scopes")
        if scopes is None:
            scopes = [name for name in mine.scopes if name not in ("keys:write", TAKES_DOWN)]
        _refuse_unknown(self.caller.organization.kind, scopes)
        self.refuse_more(scopes)
        try:
            key, secret = accounts.make_organization_key(
                organization=self.caller.organization,
                label=body["label"],
                by=self.caller.actor,
                at=self.at,
                expires_at=body.get("expires_at", self.at + accounts.USUAL_LIFE),
                scopes=scopes,
                is_test=is_test,
                representative=mine.representative if TAKES_DOWN in scopes else "",
            )
        except (InvalidKey, TooManyKeys) as error:
            raise _refusal(error) from error
        return _shown_once(key, secret, self.at)


class OneKeyView(OwnKeysView):
    scopes: ClassVar = {"GET": "keys:read", "DELETE": "keys:write"}
    answers: ClassVar = {"GET": {200: KeyShape}, "DELETE": {204: None}}

    def get(self, request: Request, key_id: int) -> Response:
        """Show one of your keys."""
        return Response(present_key(self.get_key(key_id), self.at))

    def delete(self, request: Request, key_id: int) -> Response:
        """Revoke a key: the next request with it is refused. The key that calls may revoke itself."""
        accounts.revoke_organization_key(key=self.get_key(key_id), by=self.caller.actor, at=self.at)
        return Response(status=204)


class RotateKeyView(OwnKeysView):
    scopes: ClassVar = {"POST": "keys:write"}
    bodies: ClassVar = {"POST": RotateBody}
    answers: ClassVar = {"POST": {201: KeyWithSecretShape}}
    problems: ClassVar = {"POST": ("key_over", "limit_reached")}

    def post(self, request: Request, key_id: int) -> Response:
        """Replace a key by a new one with the same scopes. Both work until the old one ends."""
        key = self.get_key(key_id)
        body = read_body(request, RotateBody)
        self.refuse_more(key.scopes)
        self.refuse_anothers_word(key)
        try:
            successor, secret = accounts.rotate_organization_key(
                key=key,
                overlap=timedelta(hours=body["old_ends_in_hours"]),
                by=self.caller.actor,
                at=self.at,
                expires_at=body.get("expires_at"),
            )
        except (InvalidKey, TooManyKeys, KeyOver) as error:
            raise _refusal(error) from error
        return _shown_once(successor, secret, self.at)


def present_key(key: OrganizationKey, at: datetime) -> dict[str, Any]:
    return {
        "id": key.pk,
        "label": key.label,
        "mode": TEST if key.is_test else LIVE,
        "prefix": key.prefix,
        "last_four": key.last_four,
        "scopes": key.scopes,
        "state": _state_of(key, at),
        "created_at": rfc3339(key.created_at),
        "expires_at": rfc3339(key.expires_at),
        "revoked_at": rfc3339(key.revoked_at) if key.revoked_at else None,
        "last_used_at": rfc3339(key.last_used_at) if key.last_used_at else None,
        "replaced_by": key.successor_id,
    }


def _shown_once(key: OrganizationKey, secret: str, at: datetime) -> Response:
    shown = {**present_key(key, at), "secret": secret}
    return Response(shown, status=201, headers={"Location": f"/v1/keys/{key.pk}"})


def _state_of(key: OrganizationKey, at: datetime) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "in_force" if key.expires_at > at else "expired"


def _in_state(keys: QuerySet[OrganizationKey], state: str, at: datetime) -> QuerySet[OrganizationKey]:
    match state:
        case "revoked":
            return keys.filter(revoked_at__isnull=False)
        case "expired":
            return keys.filter(revoked_at__isnull=True, expires_at__lte=at)
        case "in_force":
            return keys.filter(revoked_at__isnull=True, expires_at__gt=at)
    return keys


def _refuse_unknown(kind: str, scopes: list[str]) -> None:
    """What no key of this kind may have is a fault of the body, whatever the key that calls has."""
    try:
        accounts.check_scopes(kind, scopes)
    except InvalidKey as error:
        raise _refusal(error) from error


def _refusal(error: InvalidKey | TooManyKeys | KeyOver) -> Problem:
    match error:
        case InvalidKey():
            return invalid([FieldError(f"/{error.field}", "invalid", error.message)])
        case TooManyKeys():
            return Problem("limit_reached", str(error))
    return Problem("key_over", str(error))
