"""Between the two ways to say what was known: the number of a revision, and an instant."""

from datetime import UTC, datetime

from authorization.decisions import InvalidQuestion
from authorization.models import Revision
from carriers.versions import FOREVER


def revision_at(instant: datetime) -> int:
    """What was known at this instant: the last revision recorded at or before it; 0 before the first."""
    known = Revision.objects.filter(recorded_at__lte=instant).order_by("-n").values_list("n", flat=True)
    return known.first() or 0


def recorded_at(revision: int) -> datetime | None:
    """When this revision was recorded; None for one that there is not, 0 among them."""
    return Revision.objects.filter(n=revision).values_list("recorded_at", flat=True).first()


def read_known_at(text: str, *, at: datetime, field: str = "known_at") -> int:
    """A revision from what a person wrote: its number, or an instant up to now (`at`). Raises InvalidQuestion."""
    text = text.strip()
    if text.isascii() and text.isdecimal() and len(text) < 16:
        return int(text)
    instant = read_instant(text, field=field, otherwise="the number of a revision, or an instant")
    refuse_future(instant, at=at, field=field)
    return revision_at(instant)


def refuse_future(instant: datetime, *, at: datetime, field: str) -> None:
    """What will be known then nobody knows yet: the answer would change with the next change of authority."""
    if instant > at:
        raise InvalidQuestion(
            field,
            f"{instant:%Y-%m-%d %H:%M:%S} UTC is to come: what will be known then is open. Take an instant up to now, "
            f"{at:%Y-%m-%d %H:%M:%S} UTC, or leave it out.",
        )


def read_instant(text: str, *, field: str, otherwise: str = "an instant") -> datetime:
    """An instant with its time zone, in UTC. Raises InvalidQuestion."""
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
    try:
        instant = instant.astimezone(UTC)
    except OverflowError as error:
        raise InvalidQuestion(field, f"{text!r} is out of reach; write e.g. 2016-02-01T12:00:00Z.") from error
    refuse_endless(instant, field=field)
    return instant


def refuse_endless(instant: datetime, *, field: str) -> None:
    """From FOREVER on nothing is said: as an end it means that there is none."""
    if instant >= FOREVER:
        raise InvalidQuestion(
            field, f"Nothing is recorded for {instant:%Y-%m-%d}; take an instant before {FOREVER:%Y-%m-%d}."
        )
