"""Bands in MHz, and which band a channel number that a phone reports lies in."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget

from carriers.bands import BandEdges, ChannelMatch, band, bands_of, bands_of_channel
from carriers.compatibility import Rat
from carriers.models import Network
from storefront.admin.desk import desk_page, require, site

PERMISSION = "carriers.view_network"
# Generations whose channels are numbered, and what the number is called.
CHANNELS = {Rat.LTE: "EARFCN", Rat.NR: "NR-ARFCN"}
# The largest number there is: 22 bits of an NR-ARFCN (3GPP TS 38.104, table 5.4.2.1-1).
MOST = 3_279_165


class ChannelForm(forms.Form):
    rat = forms.ChoiceField(
        choices=[(rat.value, f"{rat}: {name}") for rat, name in CHANNELS.items()],
        widget=UnfoldAdminSelectWidget,
        label="Kind",
    )
    channel = forms.IntegerField(
        min_value=0,
        max_value=MOST,
        widget=UnfoldAdminIntegerFieldWidget(attrs={"placeholder": "5110", "class": "max-w-xs"}),
        label="Number",
    )

    def __init__(self, data: Mapping[str, Any] | None, *, rat: Rat) -> None:
        super().__init__(data, initial={"rat": rat.value})
        complaint = f"Write the {CHANNELS[rat]} as a number from 0 to {MOST}, e.g. 5110."
        self.fields["channel"].error_messages |= dict.fromkeys(
            ("invalid", "min_value", "max_value"), complaint
        )


def bands_page(request: HttpRequest) -> HttpResponse:
    """`?rat=LTE&channel=5110`."""
    require(request, PERMISSION)
    rat = Rat.NR if request.GET.get("rat") == Rat.NR else Rat.LTE
    typed = request.GET.get("channel", "").strip()[:12]
    form = ChannelForm({"rat": rat.value, "channel": typed} if typed else None, rat=rat)
    channel, found = None, None
    if form.is_valid():
        channel = form.cleaned_data["channel"]
        found = [_match(rat, each) for each in bands_of_channel(rat, channel)]
    return desk_page(
        site.get_model_admin(Network),
        request,
        "desk/bands.html",
        title="Bands",
        tables=[(each, [_edges(edges) for edges in bands_of(each)]) for each in Rat],
        form=form,
        rat=rat,
        number_name=CHANNELS[rat],
        channel=channel,
        found=found,
    )


def _edges(edges: BandEdges) -> dict[str, Any]:
    return {
        "edges": edges,
        "uplink": _say_range(edges.ul_low, edges.ul_high),
        "downlink": _say_range(edges.dl_low, edges.dl_high),
    }


def _match(rat: Rat, found: ChannelMatch) -> dict[str, Any]:
    return {
        "match": found,
        "mhz": f"{found.mhz:,.3f}".rstrip("0").rstrip("."),
        "edges": band(rat, found.band),
    }


def _say_range(low: float | None, high: float | None) -> str:
    return "none" if low is None or high is None else f"{low:g} - {high:g}"
