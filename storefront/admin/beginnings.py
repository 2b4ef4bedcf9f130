"""Where each kind of withdrawal begins. The two pages themselves are storefront.admin.front_door."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from unfold.admin import ModelAdmin

from authorization import affiliations, agreements, approvals, clock, equipment, holds
from authorization.models import AgreementVersion, Fact
from catalog.models import Listing, Organization
from storefront.admin.desk import change_url, changelist_url, next_code, number_in, require, say_end
from storefront.admin.front_door import MAY_WITHDRAW, withdraw
from storefront.admin.targets import is_in_force, say_targets
from storefront.admin.withdrawal_forms import (
    EndAffiliationForm,
    EndExemptionForm,
    HoldForm,
    NarrowAgreementForm,
    RestrictApprovalForm,
    RevokeAgreementForm,
    RevokeApprovalForm,
    RevokeEquipmentForm,
)


class Beginnings(ModelAdmin):
    """The pages, each under its own address; a screen that shows withdrawals has them."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        own = [
            path("revoke-agreement/<int:fact_id>/", view(self.revoke_agreement), name="revoke_agreement"),
            path("narrow-agreement/<int:fact_id>/", view(self.narrow_agreement), name="narrow_agreement"),
            path("revoke-approval/<int:fact_id>/", view(self.revoke_approval), name="revoke_approval"),
            path("restrict-approval/<int:fact_id>/", view(self.restrict_approval), name="restrict_approval"),
            path("revoke-equipment/<int:fact_id>/", view(self.revoke_equipment), name="revoke_equipment"),
            path("end-affiliation/<int:fact_id>/", view(self.end_affiliation), name="end_affiliation"),
            path("end-exemption/<int:fact_id>/<int:part>/", view(self.end_exemption), name="end_exemption"),
            path("place-hold/", view(self.place_hold), name="place_hold"),
        ]
        return [*own, *super().get_urls()]

    def revoke_agreement(self, request: HttpRequest, fact_id: int) -> HttpResponse:
        fact = get_object_or_404(Fact, pk=fact_id, kind=Fact.Kind.AGREEMENT)
        version = agreements.current(fact)
        return withdraw(
            self,
            request,
            RevokeAgreementForm,
            title=f"Revoke agreement {fact}",
            about=f"{version.grantor} lets {version.grantee} sell ({version.get_assurance_display()}).",
            initial={"requested_by": version.grantor.name, "reason_code": "MANUFACTURER_DISCLAIMS"},
            subject=fact,
        )

    def narrow_agreement(self, request: HttpRequest, fact_id: int) -> HttpResponse:
        require(request, MAY_WITHDRAW)
        fact = get_object_or_404(Fact, pk=fact_id, kind=Fact.Kind.AGREEMENT)
        version = agreements.current(fact)
        if version.state == AgreementVersion.State.REVOKED or version.valid_until <= clock.now():
            messages.error(request, f"{fact} is over; nothing is left of it to narrow.")
            return HttpResponseRedirect(changelist_url(self))
        return withdraw(
            self,
            request,
            NarrowAgreementForm,
            title=f"Narrow agreement {fact}",
            about=f"{version.grantor} lets {version.grantee} sell ({version.get_assurance_display()}).",
            initial={"requested_by": version.grantor.name, "reason_code": "MANUFACTURER_DISCLAIMS"},
            subject=fact,
        )

    def revoke_approval(self, request: HttpRequest, fact_id: int) -> HttpResponse:
        fact = get_object_or_404(Fact, pk=fact_id, kind=Fact.Kind.APPROVAL)
        version = approvals.current(fact)
        return withdraw(
            self,
            request,
            RevokeApprovalForm,
            title=f"Revoke approval {fact}",
            about=f"{version.variant} on {version.host} ({version.get_state_display()}).",
            initial={"requested_by": version.host.name, "reason_code": "CARRIER_WITHDRAWS"},
            subject=fact,
        )

    def restrict_approval(self, request: HttpRequest, fact_id: int) -> HttpResponse:
        require(request, MAY_WITHDRAW)
        fact = get_object_or_404(Fact, pk=fact_id, kind=Fact.Kind.APPROVAL)
        version = approvals.current(fact)
        if version.state not in approvals.IN_FORCE:
            messages.error(request, f"{fact} is {version.get_state_display()}; nothing is in force to limit.")
            return HttpResponseRedirect(reverse("admin:authorization_approvalversion_changelist"))
        return withdraw(
            self,
            request,
            RestrictApprovalForm,
            title=f"Limit approval {fact}",
            about=f"{version.variant} on {version.host} ({version.get_state_display()}).",
            initial={"requested_by": version.host.name, "reason_code": "CARRIER_WITHDRAWS"},
            subject=fact,
        )

    def revoke_equipment(self, request: HttpRequest, fact_id: int) -> HttpResponse:
        fact = get_object_or_404(Fact, pk=fact_id, kind=Fact.Kind.EQUIPMENT)
        version = equipment.current(fact)
        about = f"{version.variant} in {version.territory}, by {version.regulator} {version.identifier}"
        return withdraw(
            self,
            request,
            RevokeEquipmentForm,
            title=f"Revoke equipment authorization {fact}",
            about=f"{about.strip()}.",
            initial={"requested_by": version.regulator, "reason_code": "REGULATOR_ORDER"},
            subject=fact,
        )

    def end_affiliation(self, request: HttpRequest, fact_id: int) -> HttpResponse:
        require(request, MAY_WITHDRAW)
        fact = get_object_or_404(Fact, pk=fact_id, kind=Fact.Kind.AFFILIATION)
        version = affiliations.current(fact)
        if version.valid_until <= clock.now():
            messages.error(
                request, f"{fact} ended on {say_end(version.valid_until)}; nothing is left to end."
            )
            return HttpResponseRedirect(reverse("admin:authorization_affiliationversion_changelist"))
        return withdraw(
            self,
            request,
            EndAffiliationForm,
            title=f"End affiliation {fact}",
            about=(
                f"{version.child} belongs to {version.parent}. Valid until (UTC): {say_end(version.valid_until)}. "
                "What has no leave but through it falls; a hold on one company then no longer stops the other."
            ),
            initial={"requested_by": version.parent.name, "reason_code": "SHOP_REVIEW"},
            subject=fact,
        )

    def end_exemption(self, request: HttpRequest, fact_id: int, part: int) -> HttpResponse:
        require(request, MAY_WITHDRAW)
        fact = get_object_or_404(Fact, pk=fact_id, kind=Fact.Kind.HOLD)
        hold = holds.current(fact)
        exemption = holds.exemptions_of(hold).get(part)
        if exemption is None:
            raise Http404
        if not is_in_force(hold) or exemption.valid_until <= clock.now():
            messages.error(request, f"Exemption {part} from hold {fact} is over; nothing is left to end.")
            return HttpResponseRedirect(change_url(hold))
        return withdraw(
            self,
            request,
            EndExemptionForm,
            title=f"End exemption {part} from hold {fact}",
            about=f"It lets through {say_targets(exemption.targets)}.",
            initial={"requested_by": hold.placed_by, "reason_code": hold.reason_code},
            subject=(fact, part),
            back_url=change_url(hold),
        )

    def place_hold(self, request: HttpRequest) -> HttpResponse:
        initial: dict[str, Any] = {
            "code": next_code("HOLD", Fact.Kind.HOLD),
            "reason_code": "SHOP_REVIEW",
            "requested_by": settings.SHOP_NAME,
            "facts": request.GET.get("facts", ""),
        }
        listings = Listing.objects.select_related("vendor")
        if (listing := listings.filter(pk=number_in(request.GET.get("listing"))).first()) is not None:
            initial["listings"] = f"{listing.vendor.slug}/{listing.sku}"
        title = "Place a hold"
        vendors = Organization.objects.filter(kind=Organization.Kind.VENDOR)
        if (vendor := vendors.filter(pk=number_in(request.GET.get("vendor"))).first()) is not None:
            initial |= {"vendors": [vendor.pk], "reason_code": "VENDOR_CONDUCT"}
            title = f"Suspend {vendor}: place a hold"
        return withdraw(
            self,
            request,
            HoldForm,
            title=title,
            about=(
                "What matches every field that you fill in is not sold until the hold is released. Several "
                "values in one field are alternatives. A hold never ends by itself, and releasing it releases "
                "no other."
            ),
            initial=initial,
        )
