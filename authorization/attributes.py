"""Attributes of a variant, which holds and regulators' lists may name: chipset_vendor=Qualcomm, module=FGH75D."""

from collections.abc import Iterable
from datetime import datetime

from authorization import groundwork
from authorization.actors import Actor
from authorization.facts import InvalidFact
from catalog.models import Variant, VariantBand, VariantVersion

_FIELDS = ("gsm_confidence", "umts_confidence", "lte_confidence", "ims_source", "ims_confidence")
_BAND = tuple(
    field.name for field in VariantBand._meta.concrete_fields if field.name not in ("id", "version")
)


def attributes_of(variant: Variant) -> list[tuple[str, str]]:
    """(name, value) as known now, in order."""
    current = VariantVersion.objects.current().filter(head=variant).first()
    if current is None:
        return []
    return list(current.attributes.order_by("name", "value").values_list("name", "value"))


def record_attributes(
    *, variant: Variant, attributes: Iterable[tuple[str, str]], by: Actor, at: datetime, reason: str
) -> bool:
    """All attributes of the variant from now on known; what is left out it has no longer. Its radio stays as it is.

    Returns whether anything differs from what was known. Raises InvalidFact.
    """
    recorder = prepare_attributes(variant=variant, attributes=attributes, by=by, at=at, reason=reason)
    recorder.finish()
    return recorder.written > 0


def prepare_attributes(
    *, variant: Variant, attributes: Iterable[tuple[str, str]], by: Actor, at: datetime, reason: str
) -> groundwork.Recorder:
    """The recording, not made yet: for `revocations.CorrectGroundwork`. Raises InvalidFact.

    It is made only upon the version that was read: of an import that came between, the bands would be undone.
    """
    current = VariantVersion.objects.current().filter(head=variant).first()
    if current is None:
        raise InvalidFact(
            "attributes",
            f"Nothing is recorded of the radio of {variant} yet, to which its attributes belong; import that.",
        )
    recorder = groundwork.Recorder(by=by, at=at, reason=reason)
    recorder.variant_radio(
        variant=variant,
        fields={name: getattr(current, name) for name in _FIELDS},
        bands=list(current.bands.values(*_BAND)),
        ims=dict(current.ims.values_list("host__code", "status")),
        attributes=attributes,
        valid_from=current.valid_from,
        valid_until=current.valid_until,
        only_upon_seen="attributes",
    )
    return recorder
