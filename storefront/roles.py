"""Who of the staff may do what: three groups, made and kept in step by `ensure_roles`."""

from django.contrib.auth.models import Group, Permission

DESK, AUDITOR, CATALOG = "desk", "auditor", "catalog"

_SHOP_APPS = ("carriers", "catalog", "authorization", "storefront")

# Beyond reading everything. `add_revocation` is the right to take authority away: revoke, or place a hold.
_DESK_MAY = (
    "authorization.add_revocation",
    "authorization.add_agreementversion",
    "authorization.change_agreementversion",
    "authorization.add_approvalversion",
    "authorization.change_approvalversion",
    "authorization.add_equipmentversion",
    "authorization.add_affiliationversion",
    "authorization.change_holdversion",
    "authorization.add_policyversion",
    # Decide on what waits: approve, decline or cancel. The way back from a withdrawal.
    "authorization.change_pendingchange",
    "authorization.add_reinstatement",
    # Settle work of the outbox that was given up.
    "authorization.change_outboxrow",
    "storefront.change_notice",
    "storefront.change_order",
    # To see who waits; the others see where the mails go only.
    "storefront.change_waitlistentry",
    "storefront.add_vendorkey",
    "storefront.change_vendorkey",
    "storefront.add_webhookendpoint",
    "storefront.change_webhookendpoint",
)
_CATALOG_KEEPS = (
    "catalog.{}_organization",
    "catalog.{}_device",
    "catalog.{}_variant",
    "carriers.{}_hostcarrier",
)
_PLANS = "storefront.{}_prepaidplan"
# Facts of the ground: corrected through the two pages of a withdrawal, never by a form in place.
_CATALOG_CORRECTS = ("carriers.change_network", "carriers.change_hosting")


def ensure_roles() -> None:
    """Make the groups, or bring them back to what stands here. Running it again changes nothing."""
    reads_all = _views(_SHOP_APPS)
    _ensure(DESK, reads_all | _named(_DESK_MAY))
    _ensure(AUDITOR, reads_all)
    kept = [name.format(act) for name in (*_CATALOG_KEEPS, _PLANS) for act in ("add", "change")]
    _ensure(
        CATALOG, _views(("carriers", "catalog")) | _named((*kept, *_CATALOG_CORRECTS, _PLANS.format("view")))
    )


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
