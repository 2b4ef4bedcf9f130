"""The ground that decisions stand on besides authority: networks, radios of variants, hostings.

They are facts too: a change of a band or of a hosting is written under the exclusive fence and re-decides what rests
on it. One recording is one transaction and at most one revision, however many records it brings; what is the same
as before writes nothing. Rows of the catalog that an import brings along are written in the same transaction, and
those of them that decisions read (whose device a variant is, who makes it) open a revision as well.

What is asked for is compared with what is stored before the fence: nobody waits for the comparing, only for the
writing.
"""

import hashlib
import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, time
from itertools import batched
from types import EllipsisType
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import DateTimeField, Field, Model, Q

from authorization import doors, facts, fence, ledger
from authorization.actors import Actor
from authorization.facts import InvalidFact
from authorization.models import LedgerEntry, Revision
from carriers.models import (
    Checked,
    HostCarrier,
    Hosting,
    HostingVersion,
    Network,
    NetworkBand,
    NetworkVersion,
)
from carriers.versions import FOREVER, FactVersion
from catalog.models import (
    Device,
    Variant,
    VariantAttribute,
    VariantBand,
    VariantIms,
    VariantSource,
    VariantVersion,
)

# So many rows go into one statement: what is prepared between two of them must stay far below the fence's timeout.
_BATCH = 500
# A change of more variants than these is looked for among all offers.
_SCOPE = 2000


class AlreadyRecorded(InvalidFact):
    """Somebody else has brought all of it since it was compared."""


def read_ahead(variants: Iterable[Variant]) -> dict[int, VariantVersion]:
    """Variant id -> the present version with all of its rows: to compare many in a few queries."""
    ids = [variant.pk for variant in variants if not variant._state.adding]
    found: dict[int, VariantVersion] = {}
    for part in batched(ids, _BATCH):
        versions = VariantVersion.objects.current().filter(head__in=part)
        for version in versions.prefetch_related("bands", "ims__host", "attributes", "sources"):
            found[version.head_id] = version
    return found


def mark_checked(*, record: Variant | Network | Hosting, note: str, by: Actor, at: datetime) -> None:
    """Somebody compared what is recorded with its sources, and it still holds. No decision reads it.

    Raises InvalidFact where nothing is recorded of it yet.
    """
    with transaction.atomic():
        if not record.versions.filter(rev_to__isnull=True).exists():
            raise InvalidFact(
                "", f"Nothing is recorded of {record} yet that could be right; record it first."
            )
        rows = _not_checked_since(type(record), [record.pk], at)
        if not rows.select_for_update().exists():
            raise InvalidFact("", f"{record} was checked later than that already.")
        rows.update(checked_at=at)
        ledger.record(
            act="reference.checked",
            subject_kind=str(record._meta.model_name),
            subject_id=record.pk,
            by=by,
            at=at,
            reason=note,
        )


@contextmanager
def recording(*, by: Actor, at: datetime, reason: str) -> Iterator["Recorder"]:
    """One import or correction, all or nothing. What differs is written when the block ends."""
    recorder = Recorder(by=by, at=at, reason=reason)
    yield recorder
    recorder.finish()


# What is kept of the version before, where nothing is said of it: columns of the record, and rows.
type _Kept = tuple[Mapping[str, Any], Sequence[Any]]


@dataclass
class _Asked:
    """A record that differs from what is stored, and what to write for it."""

    model: type[FactVersion]
    # Not saved yet where the record is new.
    head: Any
    record: Mapping[str, Any]
    children: Sequence[Any]
    # The version that it was compared with.
    seen: int | None
    is_same: Callable[[Any], bool]
    # Of `seen`; of a version that came between it is read again at the writing.
    kept: _Kept
    keeps: Callable[[Any], _Kept]
    # Is it to be written upon that version only? The field to name where it is not.
    only_upon_seen: str = ""


class Recorder:
    """Collects without writing. The acts return whether what is asked for differs from what is stored."""

    def __init__(self, *, by: Actor, at: datetime, reason: str, checked_at: datetime | None = None) -> None:
        """`checked_at`: when all that it contains was compared with its sources, to be marked so; None: it was not."""
        self._by, self._at, self._reason, self._checked_at = by, at, reason, checked_at
        self._asked: dict[tuple[type[FactVersion], Hashable], _Asked] = {}
        self._created: dict[type[Model], list[Any]] = {}
        self._changed: dict[int, tuple[Any, set[str]]] = {}
        self._removed: dict[type[Model], list[int]] = {}
        self._checked: list[Checked] = []
        self._beside: list[Callable[[Revision | None], None]] = []
        # Those of the changed that decisions read, by what the ledger calls them.
        self._moved: dict[str, tuple[Any, set[str]]] = {}
        self._hosts: dict[str, HostCarrier] = {}
        # New versions of facts; 0 until the recording has ended.
        self.written = 0

    def network(
        self,
        *,
        host: HostCarrier,
        era: str,
        fields: Mapping[str, Any],
        bands: Sequence[Mapping[str, Any]],
        valid_from: datetime,
        valid_until: datetime = FOREVER,
        only_upon_seen: str = "",
    ) -> bool:
        """`fields`: admission, ims_policy, cs_voice, source, confidence. `bands`: rows of NetworkBand in order."""
        record = {**fields, "valid_from": valid_from, "valid_until": valid_until}
        rows = [{"position": place, **band} for place, band in enumerate(bands)]
        stored = None if host._state.adding else Network.objects.filter(host=host, era=era).first()
        return self._ask(
            NetworkVersion,
            (host.code, era),
            stored or Network(host=host, era=era),
            record,
            is_same=lambda current: (
                _same(current, record) and _same_rows(current.bands.order_by("position"), rows)
            ),
            children=lambda: [NetworkBand(**row) for row in rows],
            only_upon_seen=only_upon_seen,
        )

    def variant_radio(
        self,
        *,
        variant: Variant,
        fields: Mapping[str, Any],
        bands: Sequence[Mapping[str, Any]],
        ims: Mapping[str, str],
        attributes: Iterable[tuple[str, str]] | None = None,
        hardware_revision: str | None = None,
        software_revision: str | None = None,
        sources: Mapping[str, tuple[str, str]] | None = None,
        valid_from: datetime,
        valid_until: datetime = FOREVER,
        only_upon_seen: str = "",
        current: VariantVersion | EllipsisType | None = ...,
        is_check: bool = True,
    ) -> bool:
        """`fields`: *_confidence, ims_source. `bands`: rows of VariantBand. `ims`: host code -> status.

        `attributes`: (name, value), what holds may name. None keeps those known: an import of bands says nothing of
        them, and must not take the variant out of a hold. So do None for `hardware_revision`, `software_revision` and
        `sources`: value (VariantSource.Value) -> (source, confidence). `only_upon_seen`: the name of the input that was
        read from the present record; when that is another one at the writing, InvalidFact is raised. `current`: that
        record, where it was read ahead with its rows (None: there is none); else it is looked up. `is_check`: was all
        that is recorded of it compared with its sources, where the recording is a check at all?
        """
        revisions = {
            name: value
            for name, value in (
                ("hardware_revision", hardware_revision),
                ("software_revision", software_revision),
            )
            if value is not None
        }
        record = {**fields, **revisions, "valid_from": valid_from, "valid_until": valid_until}
        named = None if attributes is None else _attributes(attributes)
        rows = sorted(bands, key=lambda band: (band["rat"], band["band"]))
        statuses = dict(ims)
        told = None if sources is None else {value: tuple(said) for value, said in sources.items()}

        def keeps(before: VariantVersion | None) -> _Kept:
            if before is None:
                return {}, ()
            names = [name for name in ("hardware_revision", "software_revision") if name not in revisions]
            columns = {name: getattr(before, name) for name in names}
            kept: list[Any] = []
            if named is None:
                kept += [VariantAttribute(name=name, value=value) for name, value in _attributes_of(before)]
            if told is None:
                kept += [_source(value, *said) for value, said in _sources_of(before).items()]
            return columns, kept

        return self._ask(
            VariantVersion,
            variant.slug,
            variant,
            record,
            is_same=lambda version: (
                _same(version, record)
                and _same_rows(sorted(version.bands.all(), key=lambda row: (row.rat, row.band)), rows)
                and _statuses_of(version) == statuses
                and named in (None, set(_attributes_of(version)))
                and told in (None, _sources_of(version))
            ),
            children=lambda: [
                *(VariantBand(**row) for row in rows),
                *(VariantIms(host=self._host(code), status=status) for code, status in statuses.items()),
                *(VariantAttribute(name=name, value=value) for name, value in sorted(named or ())),
                *(_source(value, *said) for value, said in sorted((told or {}).items())),
            ],
            keeps=keeps,
            only_upon_seen=only_upon_seen,
            current=current,
            is_check=is_check,
        )

    def hosting(
        self,
        *,
        mvno: str,
        host: HostCarrier,
        product_name: str,
        fields: Mapping[str, Any],
        valid_from: datetime,
        valid_until: datetime = FOREVER,
        only_upon_seen: str = "",
    ) -> bool:
        """`fields`: plmn, apn, source, confidence, date_source, date_confidence, note."""
        record = {**fields, "valid_from": valid_from, "valid_until": valid_until}
        stored = None
        if not host._state.adding:
            stored = Hosting.objects.filter(mvno=mvno, host=host, product_name=product_name).first()
        return self._ask(
            HostingVersion,
            (mvno, host.code, product_name),
            stored or Hosting(mvno=mvno, host=host, product_name=product_name),
            record,
            is_same=lambda current: _same(current, record),
            children=list,
            only_upon_seen=only_upon_seen,
        )

    def create(self, row: Model) -> None:
        """A new row of a plain table. The rows that it points to are stored, or handed over before it."""
        self._created.setdefault(type(row), []).append(row)
        if isinstance(row, HostCarrier):
            self._hosts[row.code] = row

    def change(self, row: Model, names: Iterable[str], *, is_ground: bool = False) -> None:
        """A stored plain row whose named fields were set. `is_ground`: decisions read one of them."""
        changed = self._changed.setdefault(id(row), (row, set()))
        changed[1].update(names)
        if is_ground:
            self._moved[_label(row)] = changed

    def remove(self, row: Model) -> None:
        """A stored row of a plain table that nothing points to and no decision reads."""
        self._removed.setdefault(type(row), []).append(row.pk)

    def beside(self, write: Callable[[Revision | None], None]) -> None:
        """A write of a floor above, in the same transaction. Rehearsals call it too: it writes rows, nothing else."""
        self._beside.append(write)

    def finish(self) -> None:
        """Write all that differs, in one transaction; under the fence if a decision may read any of it.

        What somebody else has brought meanwhile is not written again. Raises InvalidFact as `write` does.
        """
        if self.is_empty:
            return
        with suppress(AlreadyRecorded), transaction.atomic():
            revision = None
            if self.is_ground:
                revision = fence.exclusive(by=self._by, reason=self._reason, at=self._at)
            self.write(revision)

    @property
    def is_empty(self) -> bool:
        """Is all of it stored already?"""
        return not (self._asked or self._created or self._changed or self._removed)

    @property
    def is_ground(self) -> bool:
        """Does any of it bear on decisions?"""
        return bool(self._asked or self._moved)

    @property
    def checks(self) -> int:
        """How many stored records it marks as checked."""
        return sum(not record._state.adding for record in self._checked)

    @property
    def differing(self) -> list[str]:
        """What people call the facts that would get a new version, in the order in which they were asked for."""
        return [
            f"{str(asked.model._meta.verbose_name).removesuffix(' version')} {_say_key(name)}"
            for (_, name), asked in self._asked.items()
        ]

    @property
    def boundaries(self) -> set[datetime]:
        """When what differs begins or ends by itself."""
        return {instant for asked in self._asked.values() for instant in _boundaries_of(asked)}

    @property
    def reason(self) -> str:
        return self._reason

    def write(self, revision: Revision | None) -> None:
        """The write of all that differs. Where `is_ground`, the caller holds the fence and brings the revision.

        Raises InvalidFact where a record was changed or a row came meanwhile, AlreadyRecorded where nothing is left to
        write; the caller's transaction must not be committed then.
        """
        moved_from = self._moved_from()
        self._write_rows()
        if revision is not None and not self._write_facts(revision, moved_from):
            # No revision for nothing.
            raise AlreadyRecorded("", "All of it was recorded by somebody else meanwhile; look again.")
        self._write_checked()
        for write in self._beside:
            write(revision)

    def _moved_from(self) -> dict[str, dict[str, Any]]:
        """What the rows that decisions read said until now: of a device its maker, of a variant its device."""
        said: dict[str, dict[str, Any]] = {}
        for (model, names), rows in _alike(self._moved.values()).items():
            fields: list[Any] = [model._meta.get_field(name) for name in names]
            columns = [field.attname for field in fields]
            for part in batched(rows, _BATCH):
                for stored in model._default_manager.filter(pk__in=[row.pk for row in part]):
                    said[_label(stored)] = {name: str(getattr(stored, name)) for name in columns}
        return said

    def scope(self) -> dict[str, list[int]] | None:
        """Whose offers it bears on, as `selectors.offers_in_scope` takes it; None: it may be anybody's."""
        variants: set[int] = set()
        hosts: set[int] = set()
        for asked in self._asked.values():
            if asked.model is VariantVersion:
                variants |= {asked.head.pk} if asked.head.pk else set()
            else:
                hosts |= {asked.head.host.pk} if asked.head.host.pk else set()
        devices: list[int] = []
        for row, _ in self._moved.values():
            if isinstance(row, Variant):
                variants.add(row.pk)
            elif isinstance(row, Device):
                devices.append(row.pk)
            else:
                return None
        for part in batched(devices, _BATCH):
            variants |= set(Variant.objects.filter(device__in=part).values_list("pk", flat=True))
        if len(variants) > _SCOPE:
            return None
        return {"variant_ids": sorted(variants), "host_ids": sorted(hosts)}

    def fingerprint(self) -> str:
        """SHA-256 (hex) of what is asked for: the same for the same correction, whenever it is prepared."""
        content = [
            sorted(
                [
                    asked.model.__name__,
                    str(key),
                    _plain({**asked.kept[0], **asked.record}),
                    sorted(map(_columns, [*asked.children, *asked.kept[1]])),
                ]
                for key, asked in self._asked.items()
            ),
            sorted(
                [model.__name__, sorted(json.dumps(_said_of(row), sort_keys=True) for row in rows)]
                for model, rows in self._created.items()
            ),
            sorted([model.__name__, sorted(ids)] for model, ids in self._removed.items()),
            sorted(
                [str(row._meta.label), row.pk, {name: _value_of(row, name) for name in sorted(names)}]
                for row, names in self._changed.values()
            ),
        ]
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()

    def _ask(
        self,
        model: type[FactVersion],
        name: Hashable,
        head: Any,
        record: Mapping[str, Any],
        *,
        is_same: Callable[[Any], bool],
        children: Callable[[], Sequence[Model]],
        keeps: Callable[[Any], _Kept] = lambda before: ({}, ()),
        only_upon_seen: str = "",
        current: Any = ...,
        is_check: bool = True,
    ) -> bool:
        if self._checked_at is not None and is_check:
            self._checked.append(head)
        if head._state.adding:
            current = None
        elif current is ...:
            current = _versions(model).filter(head=head, rev_to__isnull=True).first()
        if current is not None and is_same(current):
            # Whatever was asked for this record before: the last word counts.
            self._asked.pop((model, name), None)
            return False
        seen = current.pk if current is not None else None
        self._asked[model, name] = _Asked(
            model, head, record, children(), seen, is_same, keeps(current), keeps, only_upon_seen
        )
        return True

    def _host(self, code: str) -> HostCarrier:
        if code not in self._hosts:
            self._hosts[code] = HostCarrier.objects.get(code=code)
        return self._hosts[code]

    def _write_rows(self) -> None:
        for removed, ids in self._removed.items():
            for some in batched(ids, _BATCH):
                removed._default_manager.filter(pk__in=some).delete()
        for model, rows in self._created.items():
            try:
                _insert(model, rows)
            except IntegrityError:
                raise InvalidFact(
                    "",
                    f"One of the {model._meta.verbose_name_plural} to be made is in the store by now, or its name, "
                    "code or number is taken there. Nothing was written; look again.",
                ) from None
        for (model, fields), rows in _alike(self._changed.values()).items():
            for part in batched(rows, _BATCH):
                model._default_manager.bulk_update(part, fields)

    def _write_checked(self) -> None:
        if self._checked_at is None:
            return
        by_model: dict[type[Checked], list[int]] = {}
        for head in self._checked:
            by_model.setdefault(type(head), []).append(head.pk)
        for model, ids in by_model.items():
            for part in batched(ids, _BATCH):
                rows = _not_checked_since(model, part, self._checked_at)
                rows.update(checked_at=self._checked_at)

    def _write_facts(self, revision: Revision, moved_from: Mapping[str, Any]) -> bool:
        """Whether there was anything left to write."""
        boundaries: set[datetime] = set()
        by_model: dict[type[FactVersion], list[_Asked]] = {}
        for asked in self._asked.values():
            by_model.setdefault(asked.model, []).append(asked)
        for model, wanted in by_model.items():
            _save_heads([asked.head for asked in wanted if asked.head.pk is None])
            for part in batched(wanted, _BATCH):
                for asked in _write_versions(model, part, revision):
                    boundaries |= _boundaries_of(asked)
                    self.written += 1
        if not (self.written or self._created or self._changed or self._removed):
            return False
        facts.publish_change(
            act="groundwork.recorded",
            subject_kind="groundwork",
            subject_id=revision.n,
            revision=revision,
            by=self._by,
            at=self._at,
            reason=self._reason,
            evidence={"records": self.written}
            | ({"moved": list(self._moved), "moved_from": dict(moved_from)} if self._moved else {}),
            boundaries=tuple(sorted(boundaries)),
            scope=self.scope(),
        )
        return True


def restore_under_fence(
    *, corrected_at: int, revision: Revision, by: Actor, at: datetime, reason: str
) -> None:
    """What the correction of that revision changed is again as it was before. The caller holds the fence.

    Raises InvalidFact where it cannot be: a record was changed again since, what is on sale was recorded for the first
    time, or plain rows were moved.
    """
    moved = LedgerEntry.objects.filter(act="groundwork.recorded", revision=corrected_at)
    if any(entry.evidence.get("moved") for entry in moved):
        raise InvalidFact(
            "revocation",
            "It also moved a device or its maker, of which no versions are kept; record what is right instead.",
        )
    scope: dict[str, set[int]] = {"variant_ids": set(), "host_ids": set()}
    boundaries: set[datetime] = set()
    for model, children in _RESTORED.items():
        first = _versions(model).filter(rev_from=corrected_at, version_no=1)
        if model is VariantVersion:
            # A phone that came with an import and that nobody lists: nothing rests on it, and it stays recorded.
            first = first.filter(head__listings__isnull=False)
        added = first.select_related("head").first()
        if added is not None:
            raise InvalidFact(
                "revocation",
                f"{added.head} was recorded by it for the first time: nothing stood before. Correct that record "
                "instead.",
            )
        outdated = list(_versions(model).filter(rev_to=corrected_at).values_list("pk", flat=True))
        for part in batched(outdated, _BATCH):
            wanted = _as_before(model, part, children, corrected_at=corrected_at)
            _write_versions(model, wanted, revision)
            for asked in wanted:
                boundaries |= _boundaries_of(asked)
                if model is VariantVersion:
                    scope["variant_ids"].add(asked.head.pk)
                else:
                    scope["host_ids"].add(asked.head.host_id)
    if not any(scope.values()):
        raise InvalidFact(
            "revocation", "It only recorded what nothing was known of: there is nothing to go back to."
        )
    facts.publish_change(
        act="groundwork.restored",
        subject_kind="groundwork",
        subject_id=revision.n,
        revision=revision,
        by=by,
        at=at,
        reason=reason,
        evidence={"corrected_at": corrected_at},
        boundaries=tuple(sorted(boundaries)),
        scope={name: sorted(ids) for name, ids in scope.items()},
    )


def _as_before(
    model: type[FactVersion], ids: Sequence[int], children: Sequence[str], *, corrected_at: int
) -> list[_Asked]:
    """These versions, to be written once more upon those that the correction put in their place."""
    kept = ("id", "head", "version_no", "rev_from", "rev_to")
    fields = [field.name for field in model._meta.concrete_fields if field.name not in kept]
    versions = _versions(model).filter(pk__in=ids).select_related("head").prefetch_related(*children)
    by_head = {version.head_id: version for version in versions}
    present = _versions(model).filter(head__in=by_head, rev_to__isnull=True, rev_from=corrected_at)
    seen = dict(present.values_list("head", "pk"))
    wanted = []
    for head_id, before in by_head.items():
        if head_id not in seen:
            raise InvalidFact(
                "revocation", f"{before.head} was changed again since; record what is right instead."
            )
        rows = [row for name in children for row in getattr(before, name).all()]
        for row in rows:
            row.pk, row._state.adding = None, True
        record = {name: getattr(before, name) for name in fields}
        wanted.append(
            _Asked(
                model=model,
                head=before.head,
                record=record,
                children=rows,
                seen=seen[head_id],
                is_same=lambda current: False,
                kept=({}, ()),
                keeps=lambda current: ({}, ()),
            )
        )
    return wanted


_RESTORED: dict[type[FactVersion], tuple[str, ...]] = {
    VariantVersion: ("bands", "ims", "attributes", "sources"),
    NetworkVersion: ("bands",),
    HostingVersion: (),
}


def _label(row: Model) -> str:
    return f"{row._meta.verbose_name} {row.pk}"


def _alike(changed: Iterable[tuple[Any, set[str]]]) -> dict[tuple[type[Model], tuple[str, ...]], list[Any]]:
    """Changed rows by their table and which of its fields were set."""
    alike: dict[tuple[type[Model], tuple[str, ...]], list[Any]] = {}
    for row, names in changed:
        alike.setdefault((type(row), tuple(sorted(names))), []).append(row)
    return alike


def _say_key(key: Hashable) -> str:
    parts = key if isinstance(key, tuple) else (key,)
    return " ".join(str(part) for part in parts if part)


def _plain(record: Mapping[str, Any]) -> str:
    return json.dumps({name: str(value) for name, value in record.items()}, sort_keys=True)


def _said_of(row: Model) -> dict[str, Any]:
    """A row to be made, by its columns. When that is is no part of what it says."""
    fields: list[Field[Any, Any]] = [
        field
        for field in row._meta.concrete_fields
        if not field.primary_key and not isinstance(field, DateTimeField)
    ]
    return {field.name: _value_of(row, field.name) for field in fields}


def _value_of(row: Model, name: str) -> Any:
    """A column; of a row that is to be made itself, what it says."""
    field: Any = row._meta.get_field(name)
    if field.is_relation and field.is_cached(row):
        other = field.get_cached_value(row)
        if other is not None and other._state.adding:
            return _said_of(other)
    return str(getattr(row, field.attname))


def _columns(child: Any) -> str:
    names = [field.attname for field in child._meta.concrete_fields if field.name not in ("id", "version")]
    return json.dumps({name: str(getattr(child, name)) for name in names}, sort_keys=True)


def _boundaries_of(asked: _Asked) -> set[datetime]:
    return {asked.record["valid_from"], asked.record["valid_until"]} | _ends_of_service(asked.children)


def _ends_of_service(children: Iterable[Any]) -> set[datetime]:
    """When bands of a network go out of service: a radio that sufficed may not from then on."""
    ends = [child.in_service_until for child in children if isinstance(child, NetworkBand)]
    return {datetime.combine(end, time(), UTC) for end in ends if end is not None}


def _save_heads(heads: Sequence[Any]) -> None:
    """Give each new network or hosting its row: one stored since the comparison, or a new one."""
    for model in (Network, Hosting):
        new: list[Any] = [head for head in heads if isinstance(head, model)]
        if not new:
            continue
        stored = model._default_manager.filter(host__in={head.host.pk for head in new})
        known = {_identity(head): head.pk for head in stored}
        for head in new:
            head.pk = known.get(_identity(head))
            head._state.adding = head.pk is None
        _insert(model, [head for head in new if head.pk is None])


def _identity(head: Network | Hosting) -> tuple[Any, ...]:
    if isinstance(head, Network):
        return head.host.pk, head.era
    return head.mvno, head.host.pk, head.product_name


def _write_versions(
    model: type[FactVersion], wanted: Sequence[_Asked], revision: Revision
) -> Sequence[_Asked]:
    """As `facts.write_version`, for many records at once. Returns those that still differed."""
    current = {
        version.head_id: version
        for version in _versions(model).filter(
            head__in=[asked.head.pk for asked in wanted], rev_to__isnull=True
        )
    }
    for asked in wanted:
        found = current.get(asked.head.pk)
        if asked.only_upon_seen and (found.pk if found else None) != asked.seen:
            raise InvalidFact(
                asked.only_upon_seen,
                f"The record of {asked.head} was changed meanwhile; look, and try again.",
            )
    still = [asked for asked in wanted if _still_differs(asked, current.get(asked.head.pk))]
    outdated = [current[asked.head.pk] for asked in still if asked.head.pk in current]
    if outdated:
        _versions(model).filter(pk__in=[version.pk for version in outdated]).update(rev_to=revision.n)
    numbers = {version.head_id: version.version_no for version in outdated}
    kept = {asked.head.pk: _kept(asked, current.get(asked.head.pk)) for asked in still}
    versions = [
        _versions(model).model(
            head=asked.head,
            version_no=numbers.get(asked.head.pk, 0) + 1,
            rev_from=revision.n,
            **{**kept[asked.head.pk][0], **asked.record},
        )
        for asked in still
    ]
    _insert(model, versions)
    children: dict[type[Model], list[Any]] = {}
    for asked, version in zip(still, versions, strict=True):
        for child in (*asked.children, *kept[asked.head.pk][1]):
            child.version = version
            children.setdefault(type(child), []).append(child)
    for kind, rows in children.items():
        _insert(kind, rows)
    return still


def _still_differs(asked: _Asked, current: Any) -> bool:
    # The version that was compared before the fence needs no second look.
    return current is None or current.pk == asked.seen or not asked.is_same(current)


def _kept(asked: _Asked, current: Any) -> _Kept:
    if current is None or current.pk == asked.seen:
        return asked.kept
    return asked.keeps(current)


def _insert(model: type[Model], rows: Sequence[Any]) -> None:
    for part in batched(rows, _BATCH):
        model._default_manager.bulk_create(part)


def _attributes(attributes: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    named = set(attributes)
    for name, value in named:
        doors.check_attribute("attributes", name, value)
    return named


def _attributes_of(version: Any) -> list[tuple[str, str]]:
    return sorted((row.name, row.value) for row in version.attributes.all())


def _statuses_of(version: Any) -> dict[str, str]:
    # With their hosts, where nobody read them ahead.
    is_read = "ims" in getattr(version, "_prefetched_objects_cache", {})
    rows = version.ims.all() if is_read else version.ims.select_related("host")
    return {row.host.code: row.status for row in rows}


def _sources_of(version: Any) -> dict[str, tuple[str, str]]:
    return {row.value: (row.source, row.confidence) for row in version.sources.all()}


def _source(value: str, source: str, confidence: str) -> VariantSource:
    return VariantSource(value=value, source=source, confidence=confidence)


def _not_checked_since(model: type[Checked], ids: Iterable[int], at: datetime) -> Any:
    """Of these rows, those whose last check is earlier: a clock that goes behind takes no check back."""
    rows: Any = model._default_manager
    return rows.filter(Q(checked_at__isnull=True) | Q(checked_at__lt=at), pk__in=ids)


def _versions(model: type[FactVersion]) -> Any:
    # Each subclass declares its own `head`, which the abstract class does not know of.
    return model._default_manager


def _same(version: Any, record: Mapping[str, Any]) -> bool:
    return all(getattr(version, name) == value for name, value in record.items())


def _same_rows(rows: Any, wanted: Sequence[Mapping[str, Any]]) -> bool:
    found = list(rows)
    return len(found) == len(wanted) and all(
        _same(row, fields) for row, fields in zip(found, wanted, strict=True)
    )
