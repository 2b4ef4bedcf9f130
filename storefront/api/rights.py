"""What calls on rights share: as which party somebody calls, and what is asked of representatives."""

from typing import ClassVar

from storefront.api.keys import CarrierPrincipal, ManufacturerPrincipal, Principal
from storefront.api.problems import Problem
from storefront.api.views import KeyedView
from storefront.rights import Party

# Row ids in paths are those that a column can hold.
MAX_ID = 2**63 - 1


def party_of(principal: Principal) -> Party:
    if isinstance(principal, CarrierPrincipal):
        return Party(host=principal.host)
    return Party(organization=principal.organization)


def representative_of(principal: Principal) -> str:
    """Who was verified to speak for the caller; empty: nobody was.

    A carrier's key is made by the desk alone, and its label says whose it is. In test mode anybody may try.
    """
    key = principal.key
    if isinstance(principal, CarrierPrincipal):
        return key.label
    return principal.key.representative or (key.label if principal.key.is_test else "")


class ClaimantView(KeyedView):
    """A call for manufacturers and host carriers: for who has rights in goods that others sell."""

    open_to: ClassVar = (ManufacturerPrincipal, CarrierPrincipal)

    @property
    def party(self) -> Party:
        return party_of(self.principal)

    def check_representative(self) -> None:
        """Raises Problem unless the desk has verified who calls."""
        if not representative_of(self.principal).strip():
            raise Problem(
                "not_for_this_key",
                "This key names no verified representative; ask the shop's desk for one that does.",
            )
