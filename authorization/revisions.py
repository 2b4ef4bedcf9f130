"""Between the two ways to say what was known: the number of a revision, and an instant."""

from datetime import datetime

from authorization.decisions import InvalidQuestion
from authorization.models import Revision


def revision_at(instant: datetime) -> int:
    """What was known at this instant: the last revision recorded at or before it; 0 before the first."""
    known = Revision.objects.filter(recorded_at__lte=instant).order_by("-n").values_list("n", flat=True)
    return known.first() or 0


def recorded_at(revision: int) -> datetime | None:
    """When this revision was recorded; None for one that there is not, 0 among them."""
    return Revision.objects.filter(n=revision).values_list("recorded_at", flat=True).first()


def read_known_at(text: str, *, field: str = "known_at") -> int:
    """A revision from what a person wrote: its number, or an instant. Raises InvalidQuestion."""
    text = text.strip()
    if text.isascii() and text.isdecimal() and len(text) < 16:
        return int(text)
    return revision_at(read_instant(text, field=field, otherwise="the number of a revision, or an instant"))


def read_instant(text: str, *, field: str, otherwise: str = "an instant") -> datetime:
    """An instant with its time zone. Raises InvalidQuestion."""
    try:
        instant = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise InvalidQuestion(
            field, f"{text!r} is not {otherwise}; write e.g. 2016-02-01T12:00:00Z."
        ) from error
    if instant.tzinfo is None:
        raise InvalidQuestion(
            field, f"{text!r} has no time zone; add one, e.g. {instant.isoformat()}Z for UTC."
        )
    return instant
