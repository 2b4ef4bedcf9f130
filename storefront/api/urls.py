from django.urls import path

from storefront.api import problem_pages, problems
from storefront.api.acceptances import (
    AcceptancesView,
    FilesView,
    MovesView,
    OneAcceptanceView,
    OneFileView,
    ResultsView,
)
from storefront.api.account import MeView
from storefront.api.events import EventsView
from storefront.api.hosts import HostsView
from storefront.api.imei_checks import ImeiChecksView
from storefront.api.listings import DecisionsView, ListingsView, OneListingView, PublishView
from storefront.api.restrictions import RestrictionsQueryView, RestrictionsView
from storefront.api.sweeps import OneSweepView, SweepsView
from storefront.api.variants import OneVariantView, VariantsView
from storefront.api.webhook_endpoints import (
    DeliveriesView,
    EndpointsView,
    OneEndpointView,
    PingView,
    ReplayPeriodView,
    ReplayView,
    RotateSecretView,
)

_ENDPOINT = "webhook-endpoints/<uuid:endpoint_id>"
_ACCEPTANCE = "technical-acceptances/<str:acceptance_code>"

urlpatterns = [
    path("me", MeView.as_view(), name="api-me"),
    path("hosts", HostsView.as_view(), name="api-hosts"),
    path("variants", VariantsView.as_view(), name="api-variants"),
    path("variants/<str:name>", OneVariantView.as_view(), name="api-variant"),
    path("imei-checks", ImeiChecksView.as_view(), name="api-imei-checks"),
    path("listing-restrictions", RestrictionsView.as_view(), name="api-restrictions"),
    path("listing-restrictions/query", RestrictionsQueryView.as_view(), name="api-restrictions-query"),
    path("listings", ListingsView.as_view(), name="api-listings"),
    path("listings/<str:sku>", OneListingView.as_view(), name="api-listing"),
    path("listings/<str:sku>/publish", PublishView.as_view(), name="api-listing-publish"),
    path("listings/<str:sku>/decisions", DecisionsView.as_view(), name="api-listing-decisions"),
    path("technical-acceptances", AcceptancesView.as_view(), name="api-acceptances"),
    path(_ACCEPTANCE, OneAcceptanceView.as_view(), name="api-acceptance"),
    path(f"{_ACCEPTANCE}/moves", MovesView.as_view(), name="api-acceptance-moves"),
    path(f"{_ACCEPTANCE}/results", ResultsView.as_view(), name="api-acceptance-results"),
    path(f"{_ACCEPTANCE}/files", FilesView.as_view(), name="api-acceptance-files"),
    path(f"{_ACCEPTANCE}/files/<str:sha256>", OneFileView.as_view(), name="api-acceptance-file"),
    path("events", EventsView.as_view(), name="api-events"),
    path("sweeps", SweepsView.as_view(), name="api-sweeps"),
    path("sweeps/<int:sweep_id>", OneSweepView.as_view(), name="api-sweep"),
    path("webhook-endpoints", EndpointsView.as_view(), name="api-endpoints"),
    path(_ENDPOINT, OneEndpointView.as_view(), name="api-endpoint"),
    path(f"{_ENDPOINT}/rotate-secret", RotateSecretView.as_view(), name="api-endpoint-rotate-secret"),
    path(f"{_ENDPOINT}/ping", PingView.as_view(), name="api-endpoint-ping"),
    path(f"{_ENDPOINT}/replay", ReplayPeriodView.as_view(), name="api-endpoint-replay"),
    path(f"{_ENDPOINT}/deliveries", DeliveriesView.as_view(), name="api-deliveries"),
    path(f"{_ENDPOINT}/deliveries/<uuid:event_id>/replay", ReplayView.as_view(), name="api-delivery-replay"),
    path("problems", problem_pages.problem_index, name="api-problems"),
    path("problems/<str:code>", problem_pages.problem_page, name="api-problem"),
    path("<path:rest>", problems.unknown_path, name="api-unknown"),
    path("", problems.unknown_path, name="api-root"),
]
