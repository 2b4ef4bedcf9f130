"""Corrections of what decisions stand on besides authority: a phone's radio and attributes, a network, a hosting.

Each form opens on what is recorded, and is for that version only: of a record that was changed meanwhile it says so.
A correction may take authority away, so all of them go through the front door.
"""

from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from authorization import attributes, groundwork
from authorization.actors import Actor
from authorization.facts import InvalidFact
from authorization.revocations import CorrectGroundwork
from authorization.variant_import import OF_VERSION
from carriers import bands
from carriers.cells import MONTH
from carriers.compatibility import COVERAGE, Group, Rat, Service
from carriers.models import (
    Confidence,
    HostCarrier,
    Hosting,
    HostingVersion,
    Network,
    NetworkBand,
    NetworkVersion,
)
from carriers.versions import FOREVER, FactVersion
from catalog.models import Variant, VariantIms, VariantSource, VariantVersion
from storefront.admin.desk import INSTANT_CLASSES, InstantField, say_end
from storefront.admin.withdrawal_forms import WithdrawalForm, reasons_without

NOT_OF_GROUNDWORK = {"MANUFACTURER_DISCLAIMS", "AGREEMENT_TERMINATED", "VENDOR_CONDUCT"}
_CONFIDENCES = [("", "not said"), *Confidence.choices]


class CorrectionForm(WithdrawalForm):
    """A record as it should be. It opens on what is recorded; `version` is what it was opened on."""

    reasons = reasons_without(NOT_OF_GROUNDWORK)
    noun = "correction"
    record_label = "Record the correction"
    said_of = "what has lost its ground"
    asks_first = True
    can_wait = False
    hint = "The form opens on what is recorded. Correct what is wrong; the rest stays as it is."
    term_fields: tuple[str, ...] = ()
    # What the title of its withdrawal begins with.
    of_what = ""
    is_outdated = False

    version = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(
        self, *args: Any, subject: Any, initial: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        self.current = self.version_of(subject)
        known = self.known() | {"version": str(self.current.pk if self.current else "")}
        super().__init__(*args, subject=subject, initial=known | (initial or {}), **kwargs)
        self.add_fields()
        self.order_fields(
            (*self.term_fields, *(name for name in self.fields if name not in self.term_fields))
        )

    def version_of(self, subject: Any) -> FactVersion | None:
        raise NotImplementedError

    def known(self) -> dict[str, Any]:
        """What is recorded, as the form writes it."""
        raise NotImplementedError

    def add_fields(self) -> None:
        """Fields that depend on the record."""

    def prepare(self, recorder: groundwork.Recorder) -> bool:
        """Ask the recorder for the record as it should be. Does it differ from what is stored?"""
        raise NotImplementedError

    def clean_version(self) -> str:
        now = str(self.current.pk if self.current else "")
        if self.cleaned_data["version"] != now:
            # What is typed stays; sent once more, it is meant for the present version.
            sent: Any = self.data
            typed = sent.copy()
            typed["version"] = now
            self.data = typed
            self.is_outdated = True
        return now

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if self.is_outdated:
            recorded = "; ".join(
                f"{self.fields[name].label or name}: {say_recorded(value)}"
                for name, value in self.known().items()
                if name in self.fields and say_recorded(value) != say_recorded(self[name].value())
            )
            self.add_error(
                None,
                "The record was changed since you opened this page, and nothing was done. What you typed is below; "
                f"recorded now, where it differs: {recorded or 'the same'}. Sent once more, yours takes its place.",
            )
        return cleaned

    def change(self, *, by: Actor, at: datetime) -> CorrectGroundwork:
        recorder = self.recorder(by=by, at=at)
        if recorder.is_empty:
            raise InvalidFact(
                "", f"That is what is recorded of {self.subject} already; nothing would change."
            )
        return CorrectGroundwork(self.chosen_reason(), f"{self.of_what} {self.subject}"[:200], recorder)

    def recorder(self, *, by: Actor, at: datetime) -> groundwork.Recorder:
        recorder = groundwork.Recorder(by=by, at=at, reason=self.cleaned_data.get("note") or self.of_what)
        self.prepare(recorder)
        return recorder

    def says(self) -> tuple[tuple[str, str], ...]:
        known = self.known()
        return tuple(
            (str(self.fields[name].label or name.replace("_", " ").capitalize()), said)
            for name in self.fields
            if name in known and (said := _say_change(known[name], self[name].value()))
        )


def _say_change(before: Any, after: Any) -> str:
    """Empty where nothing changes. Of several lines those that go and those that come."""
    old, new = _said_lines(before), _said_lines(after)
    if sorted(old) == sorted(new):
        return ""
    if max(len(old), len(new)) <= 1:
        return f"{say_recorded(before) or 'nothing'} → {say_recorded(after) or 'nothing'}"
    gone, come = [line for line in old if line not in new], [line for line in new if line not in old]
    said = [f"taken out: {', '.join(gone)}"] * bool(gone) + [f"added: {', '.join(come)}"] * bool(come)
    return "\n".join(said)


def _said_lines(value: Any) -> list[str]:
    if isinstance(value, datetime | date):
        return [say_recorded(value)]
    return [" ".join(line.split()) for line in str(value or "").splitlines() if line.strip()]


def say_recorded(value: Any) -> str:
    """A value of such a form, stored or typed, in one line."""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%S}"
    if isinstance(value, date):
        return value.isoformat()
    return ", ".join(line.strip() for line in str(value or "").splitlines() if line.strip())


def _lines(text: str) -> Iterator[tuple[str, list[str]]]:
    """(the line, its parts between semicolons) of those that say something."""
    for line in text.splitlines():
        if line.strip():
            yield line.strip(), [part.strip() for part in line.split(";")]


def read_attributes(text: str) -> list[tuple[str, str]]:
    named = []
    for line in text.splitlines():
        if not line.strip():
            continue
        name, equals, value = (piece.strip() for piece in line.partition("="))
        if not (name and equals and value):
            raise forms.ValidationError(f"Write {line.strip()} as name=value, e.g. chipset_vendor=Qualcomm.")
        named.append((name, value))
    return named


class AttributesForm(CorrectionForm):
    """What holds and regulators' lists may name besides the model. Its radio stays as it is."""

    of_what = "attributes of"
    term_fields = ("attributes",)
    hint = (
        "What holds and regulators' lists may name besides the model. The list is the whole: a line that you take out "
        "is no longer known, and a hold that names it no longer stops this phone. Its radio stays as it is."
    )

    attributes = forms.CharField(
        required=False,
        max_length=20_000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 8}),
        help_text="One a line, as name=value, e.g. chipset_vendor=Qualcomm; a name may have several values",
    )

    def version_of(self, subject: Variant) -> VariantVersion | None:
        self.variant = subject
        version: VariantVersion | None = VariantVersion.objects.current().filter(head=subject).first()
        return version

    def known(self) -> dict[str, Any]:
        known = attributes.attributes_of(self.variant)
        return {"attributes": "\n".join(f"{name}={value}" for name, value in known)}

    def clean_attributes(self) -> str:
        text: str = self.cleaned_data["attributes"]
        read_attributes(text)
        return text

    def recorder(self, *, by: Actor, at: datetime) -> groundwork.Recorder:
        return attributes.prepare_attributes(
            variant=self.variant,
            attributes=read_attributes(self.cleaned_data["attributes"]),
            by=by,
            at=at,
            reason=self.cleaned_data.get("note") or "attributes recorded",
        )


class RadioForm(CorrectionForm):
    """The bands of an exact variant, and on which hosts it calls over LTE. Its attributes stay as they are."""

    of_what = "radio of"
    current: VariantVersion | None
    # How sure values are that have a field of their own for it on this page.
    confidence_fields = tuple(OF_VERSION.values())
    revision_fields = ("hardware_revision", "software_revision")
    term_fields = ("bands", "ims", *confidence_fields, "ims_source", "sources", *revision_fields)

    bands = forms.CharField(
        max_length=40_000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 14}),
        help_text=(
            "One a line: RAT and band; off where software keeps it off; where it is from; how sure (H, M or L). "
            "E.g. LTE B12; off; FCC-ID filing; M"
        ),
    )
    ims = forms.CharField(
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 5}),
        label="Voice over LTE, host by host",
        help_text=f"One a line, as host=status, e.g. tmobile=yes. Status: {', '.join(VariantIms.Status.values)}",
    )
    gsm_confidence, umts_confidence, lte_confidence, ims_confidence = (
        forms.ChoiceField(
            choices=_CONFIDENCES, required=False, widget=UnfoldAdminSelectWidget, label=f"How sure: {what}"
        )
        for what in ("GSM bands", "UMTS bands", "LTE bands", "voice over LTE")
    )
    ims_source = forms.CharField(
        required=False, max_length=100, widget=UnfoldAdminTextInputWidget, label="Source of voice over LTE"
    )
    sources = forms.CharField(
        required=False,
        max_length=4_000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 9}),
        label="Sources of the other values",
        help_text=(
            "One a line: value; source; how sure (H, M or L). E.g. nr; ERA; H. How sure the bands of GSM, UMTS and LTE "
            "are stands above: write their source only. Values: "
            + ", ".join(value for value in VariantSource.Value.values if value != VariantSource.Value.IMS)
        ),
    )
    hardware_revision, software_revision = (
        forms.CharField(
            required=False,
            max_length=64,
            widget=UnfoldAdminTextInputWidget,
            label=f"{what} revision",
            help_text="Of the phone that the bands were found on; empty: not said",
        )
        for what in ("Hardware", "Software")
    )

    def version_of(self, subject: Variant) -> VariantVersion | None:
        version: VariantVersion | None = VariantVersion.objects.current().filter(head=subject).first()
        return version

    def add_fields(self) -> None:
        if self.current is None:
            self.fields["valid_from"] = InstantField(
                label="Known to be so since (UTC)", help_text="Nothing is recorded of its radio yet"
            )

    def known(self) -> dict[str, Any]:
        if self.current is None:
            return {}
        rows = self.current.bands.order_by("rat", "band")
        statuses = self.current.ims.order_by("host__code").values_list("host__code", "status")
        said = (*self.confidence_fields, "ims_source", *self.revision_fields)
        known = {name: getattr(self.current, name) for name in said}
        return known | {
            "sources": "\n".join(map(_write_source, _other_sources(self.current))),
            "bands": "\n".join(_write_band(row) for row in rows),
            "ims": "\n".join(f"{host}={status}" for host, status in statuses),
        }

    def clean_bands(self) -> str:
        text: str = self.cleaned_data["bands"]
        self.band_rows = [_read_band(line, parts) for line, parts in _lines(text)]
        seen: set[tuple[str, str]] = set()
        for row in self.band_rows:
            if (row["rat"], row["band"]) in seen:
                raise forms.ValidationError(f"{row['rat']} {row['band']} stands there twice; write it once.")
            seen.add((row["rat"], row["band"]))
        return text

    def clean_ims(self) -> str:
        text: str = self.cleaned_data["ims"]
        known = set(HostCarrier.objects.values_list("code", flat=True))
        self.statuses: dict[str, str] = {}
        for line, _ in _lines(text):
            host, _, status = (piece.strip() for piece in line.partition("="))
            if host not in known:
                raise forms.ValidationError(
                    f"{line}: there is no host {host!r}; take {', '.join(sorted(known))}."
                )
            if status not in VariantIms.Status.values:
                raise forms.ValidationError(f"{line}: take one of {', '.join(VariantIms.Status.values)}.")
            if host in self.statuses:
                raise forms.ValidationError(f"{host} stands there twice; write it once.")
            self.statuses[host] = status
        return text

    def clean_sources(self) -> str:
        text: str = self.cleaned_data["sources"]
        self.named_sources: dict[str, tuple[str, str]] = {}
        for line, parts in _lines(text):
            value, source, mark = (*parts, "", "")[:3]
            if value not in VariantSource.Value.values or value == VariantSource.Value.IMS:
                known = ", ".join(
                    each for each in VariantSource.Value.values if each != VariantSource.Value.IMS
                )
                raise forms.ValidationError(f"{line}: begin with one of {known}.")
            if len(parts) > 3 or mark not in ("", *Confidence.values) or len(source) > 100:
                raise forms.ValidationError(
                    f"{line}: after the value write the source, and H, M or L, with semicolons between."
                )
            if value in self.named_sources:
                raise forms.ValidationError(f"{value} stands there twice; write it once.")
            if value in OF_VERSION and mark:
                raise forms.ValidationError(
                    f"{line}: how sure these are stands in its own field; leave {mark} out."
                )
            self.named_sources[value] = (source, mark)
        return text

    def _told_sources(self) -> dict[str, tuple[str, str]]:
        """As recorded beside the version: the mark of a value with a field is that of the field."""
        told = {
            value: (source, self.cleaned_data[OF_VERSION[value]] if value in OF_VERSION else mark)
            for value, (source, mark) in self.named_sources.items()
        }
        ims = VariantSource.Value.IMS
        if self.current is not None and self.current.sources.filter(value=ims).exists():
            told[str(ims)] = (self.cleaned_data["ims_source"], self.cleaned_data["ims_confidence"])
        return {value: pair for value, pair in told.items() if any(pair)}

    def prepare(self, recorder: groundwork.Recorder) -> bool:
        current, cleaned = self.current, self.cleaned_data
        return recorder.variant_radio(
            variant=self.subject,
            fields={name: cleaned[name] for name in (*self.confidence_fields, "ims_source")},
            bands=self.band_rows,
            ims=self.statuses,
            sources=self._told_sources(),
            **{name: cleaned[name] for name in self.revision_fields},
            valid_from=current.valid_from if current else cleaned["valid_from"],
            valid_until=current.valid_until if current else FOREVER,
            only_upon_seen="version",
        )


def _other_sources(version: VariantVersion) -> Iterator[VariantSource]:
    """Those that have no field of their own."""
    yield from version.sources.exclude(value=VariantSource.Value.IMS).order_by("value")


def _write_source(row: VariantSource) -> str:
    parts = [row.value, row.source, "" if row.value in OF_VERSION else row.confidence]
    return "; ".join(parts if parts[2] else parts[:2])


def _read_band(line: str, parts: list[str]) -> dict[str, Any]:
    """A row of VariantBand: `RAT band; off; source; confidence`, the later parts where there are any."""
    words = parts[0].split()
    if len(words) != 2 or words[0].upper() not in list(Rat):
        raise forms.ValidationError(f"{line}: write a RAT ({', '.join(Rat)}) and a band, e.g. LTE B12.")
    rat = Rat(words[0].upper())
    # As the tables spell it: B71 of LTE, but n71 of NR.
    name = next((edges.name for edges in bands.bands_of(rat) if edges.name.lower() == words[1].lower()), None)
    if name is None:
        raise forms.ValidationError(
            f"{line}: {words[1]} is no band of {rat}; the page Bands has them all, e.g. {bands.bands_of(rat)[0].name}."
        )
    rest = parts[1:]
    is_off = bool(rest) and rest[0].lower() == "off"
    rest = rest[1:] if is_off else rest
    source, confidence = ([*rest, "", ""])[:2]
    if len(rest) > 2 or confidence not in ("", *Confidence.values) or len(source) > 100:
        raise forms.ValidationError(
            f"{line}: after the band write off (if it is), the source, and H, M or L, with semicolons between."
        )
    return {
        "rat": str(rat),
        "band": name,
        "is_sw_disabled": is_off,
        "source": source,
        "confidence": confidence,
    }


def _write_band(row: Any) -> str:
    parts = [f"{row.rat} {row.band}", "off" if row.is_sw_disabled else "", row.source, row.confidence]
    # An empty source keeps its place before a confidence.
    kept = [part for place, part in enumerate(parts) if part or (place == 2 and row.confidence)]
    return "; ".join(kept)


def _to_the_second(typed: datetime | None, stored: datetime) -> datetime:
    """What was typed; what is stored, where the page shows no more of it than that."""
    if typed is None:
        return FOREVER
    return stored if typed == stored.replace(microsecond=0) else typed


# --- networks -----------------------------------------------------------------------------------------------


class NetworkForm(CorrectionForm):
    """A host's network: whom it admits, and which of its bands are in service until when."""

    of_what = "network of"
    current: NetworkVersion
    band_columns = tuple(
        field.name
        for field in NetworkBand._meta.concrete_fields
        if field.name not in ("id", "version", "position")
    )
    record_fields = ("admission", "ims_policy", "cs_voice", "source", "confidence")

    admission = forms.ChoiceField(
        choices=[("", "not recorded"), *NetworkVersion.Admission.choices],
        required=False,
        widget=UnfoldAdminSelectWidget,
        label="Whom it admits",
    )
    cs_voice = forms.CharField(
        required=False,
        max_length=64,
        widget=UnfoldAdminTextInputWidget,
        label="Circuit-switched voice on",
        help_text=f"RATs with ; between: {', '.join(Rat)}",
    )
    valid_until = InstantField(
        required=False,
        label="The whole snapshot counts until (UTC)",
        help_text="The end itself no longer counts; empty: no end",
    )
    more_bands = forms.CharField(
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        label="Bands that came into service",
        help_text=(
            f"One a line: RAT and band; group ({', '.join(Group)}); voice ({', '.join(Service)}); since YYYY-MM; "
            "where it is from; how sure (H, M or L). E.g. LTE B71; lte_cov600; VoLTE; 2018-01; TMO18; H"
        ),
    )

    def version_of(self, subject: Network) -> NetworkVersion | None:
        version: NetworkVersion = NetworkVersion.objects.current().get(head=subject)
        self.bands = list(version.bands.order_by("position"))
        return version

    def add_fields(self) -> None:
        names = [self._until(band) for band in self.bands]
        for band, name in zip(self.bands, names, strict=True):
            self.fields[name] = forms.DateField(
                required=False,
                widget=forms.DateInput(
                    format="%Y-%m-%d",
                    attrs={"type": "date", "class": " ".join(INSTANT_CLASSES)},
                ),
                label=f"{band.rat} {band.band}: first day without service",
                help_text=", ".join(filter(None, [band.role or band.group, f"voice: {band.voice}"])),
            )
        self.term_fields = ("admission", "cs_voice", "valid_until", *names, "more_bands")

    def known(self) -> dict[str, Any]:
        version = self.current
        return {
            "admission": version.admission,
            "cs_voice": version.cs_voice,
            "valid_until": None if version.valid_until >= FOREVER else version.valid_until,
            **{self._until(band): band.in_service_until for band in self.bands},
            "more_bands": "",
        }

    @staticmethod
    def _until(band: NetworkBand) -> str:
        return f"until_{band.rat}_{band.band}"

    def clean_cs_voice(self) -> str:
        rats = [part.strip().upper() for part in self.cleaned_data["cs_voice"].split(";") if part.strip()]
        for rat in rats:
            if rat not in list(Rat):
                raise forms.ValidationError(f"{rat} is no RAT; take {', '.join(Rat)}.")
        return ";".join(rats)

    def clean_more_bands(self) -> str:
        text: str = self.cleaned_data["more_bands"]
        known = {(band.rat, band.band) for band in self.bands}
        self.new_rows: list[dict[str, Any]] = []
        for line, parts in _lines(text):
            row = _read_network_band(line, parts)
            if (row["rat"], row["band"]) in known:
                raise forms.ValidationError(f"{row['rat']} {row['band']} is a band of this network already.")
            known.add((row["rat"], row["band"]))
            self.new_rows.append(row)
        return text

    def prepare(self, recorder: groundwork.Recorder) -> bool:
        version, cleaned = self.current, self.cleaned_data
        fields = {name: getattr(version, name) for name in self.record_fields}
        rows = [
            {name: getattr(band, name) for name in self.band_columns}
            | {"in_service_until": cleaned[self._until(band)]}
            for band in self.bands
        ]
        return recorder.network(
            host=self.subject.host,
            era=self.subject.era,
            fields=fields | {"admission": cleaned["admission"], "cs_voice": cleaned["cs_voice"]},
            bands=[*rows, *self.new_rows],
            valid_from=version.valid_from,
            valid_until=_to_the_second(cleaned["valid_until"], version.valid_until),
            only_upon_seen="version",
        )


def _read_network_band(line: str, parts: list[str]) -> dict[str, Any]:
    """A new row of NetworkBand: `RAT band; group; voice; since; source; confidence`."""
    if len(parts) != 6 or not 0 < len(parts[4]) <= 100 or parts[5] not in Confidence.values:
        raise forms.ValidationError(
            f"{line}: write six parts with semicolons between, the last H, M or L, e.g. LTE B71; lte_cov600; VoLTE; "
            "2018-01; TMO18; H."
        )
    band = _read_band(line, parts[:1])
    _, group, voice, since, source, confidence = parts
    if group not in list(Group) or Group(group).rat != band["rat"]:
        fitting = [str(each) for each in Group if each.rat == band["rat"]]
        raise forms.ValidationError(f"{line}: the group of such a band is one of {', '.join(fitting)}.")
    if voice not in list(Service):
        raise forms.ValidationError(f"{line}: voice is one of {', '.join(Service)}.")
    if not MONTH.fullmatch(since):
        raise forms.ValidationError(f"{line}: write since when as YYYY-MM.")
    return {
        "rat": band["rat"],
        "band": band["band"],
        "group": group,
        "voice": voice,
        "in_service_from": since,
        "in_service_until": None,
        "role": "",
        "is_coverage_critical": group in COVERAGE,
        "source": source,
        "confidence": confidence,
        "note": "",
    }


# --- hostings -----------------------------------------------------------------------------------------------


class HostingForm(CorrectionForm):
    """An operator's contract with a host: what it is called on the network, and when it ends."""

    of_what = "hosting of"
    current: HostingVersion
    term_fields = ("valid_until", "plmn", "apn", "source", "confidence", "remark")
    hint = (
        "The form opens on what is recorded. When the contract ends, nothing can be sold with this host's service; "
        "an end to come takes effect by itself on its day."
    )

    valid_until = InstantField(
        required=False,
        label="It ends at (UTC)",
        help_text="The end itself no longer counts; empty: no end. A time that is past: it is over",
    )
    plmn = forms.CharField(
        required=False,
        max_length=12,
        widget=UnfoldAdminTextInputWidget,
        label="Operator code",
        help_text="MCC-MNC",
    )
    apn = forms.CharField(
        required=False, max_length=64, widget=UnfoldAdminTextInputWidget, label="Access point name"
    )
    source = forms.CharField(required=False, max_length=100, widget=UnfoldAdminTextInputWidget)
    confidence = forms.ChoiceField(
        choices=_CONFIDENCES, required=False, widget=UnfoldAdminSelectWidget, label="How sure"
    )
    remark = forms.CharField(
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        label="Remark",
        help_text="Kept with the hosting",
    )
    columns = ("plmn", "apn", "source", "confidence", "date_source", "date_confidence", "note")

    def version_of(self, subject: Hosting) -> HostingVersion | None:
        version: HostingVersion = HostingVersion.objects.current().get(head=subject)
        return version

    def known(self) -> dict[str, Any]:
        version = self.current
        known = {name: getattr(version, name) for name in ("plmn", "apn", "source", "confidence")}
        until = None if version.valid_until >= FOREVER else version.valid_until
        return {"valid_until": until, **known, "remark": version.note}

    def clean_valid_until(self) -> datetime | None:
        version = self.current
        value: datetime | None = self.cleaned_data["valid_until"]
        if value is not None and value <= version.valid_from:
            raise forms.ValidationError(f"It begins on {say_end(version.valid_from)}; take a later end.")
        return value

    def prepare(self, recorder: groundwork.Recorder) -> bool:
        version, cleaned = self.current, self.cleaned_data
        said = {name: cleaned[name] for name in ("plmn", "apn", "source", "confidence")}
        kept = {name: getattr(version, name) for name in self.columns}
        return recorder.hosting(
            mvno=self.subject.mvno,
            host=self.subject.host,
            product_name=self.subject.product_name,
            fields=kept | said | {"note": cleaned["remark"]},
            valid_from=version.valid_from,
            valid_until=_to_the_second(cleaned["valid_until"], version.valid_until),
            only_upon_seen="version",
        )
