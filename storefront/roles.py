"""Who of the staff may do what: four groups, made and kept in step by `ensure_roles`."""

from django.contrib.auth.models import Group, Permission

DESK, AUDITOR, CATALOG = "desk", "auditor", "catalog"
# People of host carriers. The group gives no permission and says only who they are: what they see follows from the
# host that they were assigned to (storefront.acceptance_access), so that nobody gains a right by being in it.
CARRIER = "carrier"

_SHOP_APPS = ("carriers", "catalog", "authorization", "storefront")

# Beyond reading everything. `add_revocation` is the right to take authority away: revoke, or place a hold.
_DESK_MAY = (
    "authorization.add_revocation",
    "authorization.add_agreementversion",
    "authorization.change_agreementversion",
    "authorization.add_approvalversion",
    "authorization.change_approvalversion",
    # Technical acceptances: ask for one in the shop's name, and act on the word of a host.
    "authorization.add_acceptance",
    "authorization.change_acceptance",
    "authorization.add_equipmentversion",
    "authorization.add_affiliationversion",
    "authorization.change_holdversion",
    "authorization.add_policyversion",
    # Decide on what waits: approve, decline or cancel. The way back from a withdrawal.
    "authorization.change_pendingchange",
    "authorization.add_reinstatement",
    # Settle work of the outbox that was given up.
    "authorization.change_outboxrow",
    # Accept or decline what vendors submit of agreements.
    "storefront.change_agreementsubmission",
    "storefront.change_notice",
    "storefront.change_order",
    "storefront.change_case",
    # Cancel a feed.
    "storefront.change_feed",
    "storefront.change_takedownrequest",
    # To see who waits; the others see where the mails go only.
    "storefront.change_waitlistentry",
    "storefront.add_organizationkey",
    "storefront.change_organizationkey",
    # Begin an organization's test store anew.
    "storefront.change_teststore",
    "storefront.add_carrierkey",
    "storefront.change_carrierkey",
    "storefront.add_carriermember",
    "storefront.change_carriermember",
    "storefront.add_webhookendpoint",
    "storefront.change_webhookendpoint",
)
_CATALOG_KEEPS = (
    "catalog.{}_organization",
    "catalog.{}_device",
    "catalog.{}_variant",
    "carriers.{}_hostcarrier",
    "carriers.{}_referencesource",
    "storefront.{}_referenceimport",
)
_PLANS = "storefront.{}_prepaidplan"
_CATALOG_READS = (
    "storefront.view_referenceimport",
    "authorization.view_acceptance",
    "authorization.view_acceptancemove",
    "authorization.view_acceptanceresult",
    "authorization.view_acceptancefile",
)
# Facts of the ground: corrected through the two pages of a withdrawal, never by a form in place.
_CATALOG_CORRECTS = ("carriers.change_network", "carriers.change_hosting")


def ensure_roles() -> None:
    """Make the groups, or bring them back to what stands here. Running it again changes nothing."""
    reads_all = _views(_SHOP_APPS)
    _ensure(DESK, reads_all | _named(_DESK_MAY))
    _ensure(AUDITOR, reads_all)
    kept = [name.format(act) for name in (*_CATALOG_KEEPS, _PLANS) for act in ("add", "change")]
    reads = (*_CATALOG_READS, _PLANS.format("view"))
    _ensure(CATALOG, _views(("carriers", "catalog")) | _named((*kept, *_CATALOG_CORRECTS, *reads)))
    _ensure(CARRIER, set())


def _ensure(name: str, permissions: set[Permission]) -> None:
    group, _ = Group.objects.get_or_create(name=name)
    group.permissions.set(permissions)


def _views(apps: tuple[str, ...]) -> set[Permission]:
    return set(Permission.objects.filter(content_type__app_label__in=apps, codename__startswith="view_"))


def _named(names: tuple[str, ...]) -> set[Permission]:
    found = {
        f"{p.content_type.app_label}.{p.codename}": p
        for p in Permission.objects.select_related("content_type")
    }
    missing = [name for name in names if name not in found]
    if missing:
        raise LookupError(f"No such permission: {', '.join(missing)}. Run `manage.py migrate` first.")
    return {found[name] for name in names}
