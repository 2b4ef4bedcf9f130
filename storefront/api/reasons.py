"""Reasons of a refusal as a vendor may read them."""

from collections.abc import Iterable, Mapping
from email.utils import parseaddr
from typing import Any

from django.conf import settings

from authorization.models import AgreementVersion
from catalog.models import Organization
from catalog.selectors import Judged
from storefront.api.verdicts import present_cautions

RADIO_INCOMPATIBLE = "RADIO_INCOMPATIBLE"


def own_documents(vendor: Organization, codes: Iterable[str]) -> frozenset[str]:
    """Of these codes, those of agreements that this vendor holds: the only documents ever named to it."""
    wanted = {code for code in codes if code}
    if not wanted:
        return frozenset()
    held = AgreementVersion.objects.filter(grantee=vendor, head__code__in=wanted)
    return frozenset(held.values_list("head__code", flat=True))


def present_reasons(
    reasons: Iterable[Mapping[str, Any]], own: frozenset[str], *, radio: Judged | None = None
) -> list[dict[str, Any]]:
    """Each once: of records that are not named to the vendor, several may read alike.

    `radio`: the verdict that a refusal for the radio used; how sure it is stands beside that reason.
    """
    shown = [present_reason(reason, own) for reason in reasons]
    if radio is not None:
        for each in shown:
            if each["code"] == RADIO_INCOMPATIBLE:
                each["cautions"] = present_cautions(radio.cautions)
    return list(
        {(each["code"], each["message"], each["cure"], each.get("document")): each for each in shown}.values()
    )


def present_reason(reason: Mapping[str, Any], own: frozenset[str]) -> dict[str, Any]:
    """`reason` as authorization.rules.Reason.as_json writes it, from an answer or from a kept decision.

    Its `detail`, which names the papers of others, is for the desk only.
    """
    links = [
        {
            "rel": "describedby",
            "method": "GET",
            "title": "What this reason means",
            "href": f"/v1/problems/listing_not_authorized#{reason['code']}",
        }
    ]
    if reason["curable"]:
        links.append(
            {
                "rel": "cure",
                "title": "Send the document to the shop's desk",
                "href": f"mailto:{parseaddr(settings.DEFAULT_FROM_EMAIL)[1]}",
            }
        )
    shown = {
        "code": reason["code"],
        "check": reason["check"],
        "message": reason["message"],
        "curable": reason["curable"],
        "cure_by": reason["cure_by"],
        # Decisions from before cures were said do not have one.
        "cure": reason.get("cure", ""),
        "links": links,
    }
    if reason["document"] in own:
        shown["document"] = reason["document"]
    return shown
