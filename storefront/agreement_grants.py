"""What a manufacturer or a distributor grants in its own name, by its own key: its own word, so it is verified."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal

from authorization import agreements, outbox
from authorization.actors import Actor
from authorization.models import Assurance, Fact
from authorization.transactions import one_transaction
from carriers.versions import FOREVER
from catalog.models import Organization, Variant
from storefront.agreement_submissions import free_code


def grant(
    *,
    grantor: Organization,
    grantee: Organization,
    may_sublicense: bool,
    models: Sequence[Variant] | Literal["*"],
    territories: Iterable[str],
    channels: Iterable[str],
    conditions: Iterable[str],
    valid_from: datetime,
    valid_until: datetime = FOREVER,
    document: str = "",
    by: Actor,
    at: datetime,
) -> Fact:
    """Record it as verified, and tell the grantee. `by` acts for the grantor; its surface has seen to that.

    Raises InvalidFact.
    """
    with one_transaction():
        fact = agreements.record_agreement(
            code=free_code(),
            grantor=grantor,
            grantee=grantee,
            may_sublicense=may_sublicense,
            assurance=Assurance.VERIFIED,
            models=models,
            territories=territories,
            channels=channels,
            conditions=conditions,
            valid_from=valid_from,
            valid_until=valid_until,
            document=document,
            by=by,
            at=at,
        )
        outbox.announce(
            event="agreement.granted",
            payload={"vendor_id": grantee.pk, "code": fact.code, "grantor": grantor.slug},
            at=at,
        )
    return fact
