"""The shape that every fact shares: a head, and versions of it in two times.

It stands on the lowest floor because bands, networks and hostings are facts too. The revision numbers are plain
integers here: the table of revisions belongs to `authorization`, two floors up, and so do the functions that
write versions. See docs/facts-and-fence.md.
"""

from datetime import UTC, date, datetime, time
from typing import Any

from django.db import models
from django.db.models import F, Q

# Valid time always has an end, so that no comparison meets a NULL. The year leaves room for any time zone.
FOREVER = datetime(9999, 1, 1, tzinfo=UTC)


def end_of(day: date) -> datetime:
    """The last instant of the day: for whoever asks about a day, what began on it counts."""
    return datetime.combine(day, time.max, UTC)


class FactVersionQuerySet(models.QuerySet[Any]):
    def known_at(self, revision: int) -> "FactVersionQuerySet":
        """The one version of each record that was known at this revision."""
        return self.filter(Q(rev_to__isnull=True) | Q(rev_to__gt=revision), rev_from__lte=revision)

    def current(self) -> "FactVersionQuerySet":
        return self.filter(rev_to__isnull=True)


class FactVersion(models.Model):
    """The whole record as known from revision `rev_from` until `rev_to` (exclusive; NULL while current).

    Valid time is half-open, `[valid_from, valid_until)`, UTC. `rev_to` is the only column ever updated.
    Subclasses declare `head`.
    """

    version_no = models.PositiveIntegerField()
    valid_from = models.DateTimeField()
    valid_until = models.DateTimeField(default=FOREVER)
    rev_from = models.PositiveBigIntegerField()
    rev_to = models.PositiveBigIntegerField(null=True, blank=True)

    objects = FactVersionQuerySet.as_manager()

    class Meta:
        abstract = True
        constraints = [
            models.UniqueConstraint(fields=["head", "version_no"], name="%(app_label)s_%(class)s_version_no"),
            models.UniqueConstraint(
                fields=["head"], condition=Q(rev_to__isnull=True), name="%(app_label)s_%(class)s_one_current"
            ),
            models.CheckConstraint(
                condition=Q(valid_from__lt=F("valid_until")), name="%(app_label)s_%(class)s_valid_order"
            ),
            models.CheckConstraint(
                condition=Q(rev_to__isnull=True) | Q(rev_from__lt=F("rev_to")),
                name="%(app_label)s_%(class)s_rev_order",
            ),
        ]
