"""The payment provider of test stores: there is none. What it would say follows from the store's own rows."""

from decimal import Decimal
from typing import Any

from authorization.models import LedgerEntry
from storefront.models import PaymentIntent


def answer(method: str, path: str, request: dict[str, Any]) -> dict[str, Any]:
    """As the provider answers (docs/the-sale.md): every card is good for everything."""
    match method, path.split("/")[1:]:
        case "GET", ["authorizations"]:
            return {"authorizations": [_authorization(request["params"]["intent_id"])]}
        case "POST", ["authorizations"]:
            return _authorization(request["json"]["intent_id"])
        case "POST", ["authorizations", name, "capture"]:
            taken = {"status": "captured", "captured_amount": request["json"]["amount"]}
            return _authorization(name) | taken
        case _:
            return {}


def _authorization(intent_id: str) -> dict[str, Any]:
    """The shop writes into its ledger what was taken: of a payment that is given up nothing else says it."""
    taken = LedgerEntry.objects.filter(
        subject_kind="payment",
        subject_id=intent_id,
        act=f"payment.{PaymentIntent.State.CAPTURED}",
    ).first()
    captured = Decimal(taken.evidence["amount"]) if taken is not None else Decimal(0)
    return {
        "id": intent_id,
        "status": "captured" if captured else "authorized",
        "captured_amount": f"{captured:.2f}",
        "refunded_amount": "0.00",
    }
