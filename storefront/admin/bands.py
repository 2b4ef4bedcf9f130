"""Bands in MHz, and which band a channel number that a phone reports lies in."""

from typing import Any

from django.http import HttpRequest, HttpResponse

from carriers.bands import BandEdges, ChannelMatch, band, bands_of, bands_of_channel
from carriers.compatibility import Rat
from carriers.models import Network
from storefront.admin.desk import desk_page, require, site

PERMISSION = "carriers.view_network"
# Generations whose channels are numbered, and what the number is called.
CHANNELS = {Rat.LTE: "EARFCN", Rat.NR: "NR-ARFCN"}
# The largest number there is: 22 bits of an NR-ARFCN (3GPP TS 38.104, table 5.4.2.1-1).
MOST = 3_279_165


def bands_page(request: HttpRequest) -> HttpResponse:
    """`?rat=LTE&channel=5110`."""
    require(request, PERMISSION)
    text = request.GET.get("channel", "").strip()
    rat = Rat.NR if request.GET.get("rat") == Rat.NR else Rat.LTE
    complaint, found = "", None
    if text:
        is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(MOST))
        if is_number and int(text) <= MOST:
            found = [_match(rat, each) for each in bands_of_channel(rat, int(text))]
        else:
            complaint = f"Write the {CHANNELS[rat]} as a number from 0 to {MOST}, e.g. 5110."
    return desk_page(
        site.get_model_admin(Network),
        request,
        "desk/bands.html",
        title="Bands",
        tables=[(each, [_edges(edges) for edges in bands_of(each)]) for each in Rat],
        kinds=[(each.value, f"{each}: {name}") for each, name in CHANNELS.items()],
        rat=rat,
        number_name=CHANNELS[rat],
        channel=text[:12],
        complaint=complaint,
        found=found,
        most=MOST,
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
