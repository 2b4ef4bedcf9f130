from django.urls import path

from storefront.api import docs_pages, problem_pages, problems, reason_pages
from storefront.api.acceptances import (
    AcceptancesView,
    FilesView,
    MovesView,
    OneAcceptanceView,
    OneFileView,
    ResultsView,
)
from storefront.api.account import MeView
from storefront.api.agreements import (
    AgreementsView,
    AgreementVersionsView,
    DocumentsView,
    GiveBackView,
    NarrowView,
    OneAgreementView,
    OneDocumentView,
    OneSubmissionView,
    RenewView,
    RevokeView,
    SubmissionsView,
    VerifyView,
)
from storefront.api.cases import CasesView, MessagesView, OneCaseView, WithdrawView
from storefront.api.claims import ClaimsView, DisclaimView, OneClaimView
from storefront.api.events import EventsView
from storefront.api.exposure import ExposureView
from storefront.api.feeds import CancelFeedView, FeedResultsView, FeedsView, OneFeedView
from storefront.api.hosts import HostsView
from storefront.api.imei_checks import ImeiChecksView
from storefront.api.keys_of_caller import KeysView, OneKeyView, RotateKeyView
from storefront.api.listing_batches import ListingBatchesView
from storefront.api.listing_summary import ListingSummaryView
from storefront.api.listings import DecisionsView, ListingsView, OneListingView, PublishView
from storefront.api.orders import OneOrderView, OrdersView, ShipView
from storefront.api.restrictions import RestrictionsQueryView, RestrictionsView
from storefront.api.sweeps import OneSweepView, SweepsView
from storefront.api.takedowns import LiftView, OneTakedownView, TakedownsView
from storefront.api.test_mode import AdvanceView, BeginAnewView, TestClockView, TestStoreView
from storefront.api.test_orders import TestOrdersView
from storefront.api.variants import DevicesView, OneDeviceView, OneVariantView, VariantsView
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
_AGREEMENT = "agreements/<str:agreement_code>"
_ACCEPTANCE = "technical-acceptances/<str:acceptance_code>"

urlpatterns = [
    path("me", MeView.as_view(), name="api-me"),
    path("keys", KeysView.as_view(), name="api-keys"),
    path("keys/<int:key_id>", OneKeyView.as_view(), name="api-key"),
    path("keys/<int:key_id>/rotate", RotateKeyView.as_view(), name="api-key-rotate"),
    path("test-store", TestStoreView.as_view(), name="api-test-store"),
    path("test-store/begin-anew", BeginAnewView.as_view(), name="api-test-store-begin-anew"),
    path("test-orders", TestOrdersView.as_view(), name="api-test-orders"),
    path("test-clock", TestClockView.as_view(), name="api-test-clock"),
    path("test-clock/advance", AdvanceView.as_view(), name="api-test-clock-advance"),
    path("hosts", HostsView.as_view(), name="api-hosts"),
    path("devices", DevicesView.as_view(), name="api-devices"),
    path("devices/<str:slug>", OneDeviceView.as_view(), name="api-device"),
    path("variants", VariantsView.as_view(), name="api-variants"),
    path("variants/<str:name>", OneVariantView.as_view(), name="api-variant"),
    path("imei-checks", ImeiChecksView.as_view(), name="api-imei-checks"),
    path("listing-restrictions", RestrictionsView.as_view(), name="api-restrictions"),
    path("listing-restrictions/query", RestrictionsQueryView.as_view(), name="api-restrictions-query"),
    path("listing-batches", ListingBatchesView.as_view(), name="api-listing-batches"),
    path("listing-summary", ListingSummaryView.as_view(), name="api-listing-summary"),
    path("exposure", ExposureView.as_view(), name="api-exposure"),
    path("listings", ListingsView.as_view(), name="api-listings"),
    path("listings/<str:sku>", OneListingView.as_view(), name="api-listing"),
    path("listings/<str:sku>/publish", PublishView.as_view(), name="api-listing-publish"),
    path("listings/<str:sku>/decisions", DecisionsView.as_view(), name="api-listing-decisions"),
    path("agreements", AgreementsView.as_view(), name="api-agreements"),
    path(_AGREEMENT, OneAgreementView.as_view(), name="api-agreement"),
    path(f"{_AGREEMENT}/versions", AgreementVersionsView.as_view(), name="api-agreement-versions"),
    path(f"{_AGREEMENT}/documents", DocumentsView.as_view(), name="api-agreement-documents"),
    path(f"{_AGREEMENT}/documents/<str:sha256>", OneDocumentView.as_view(), name="api-agreement-document"),
    path(f"{_AGREEMENT}/renew", RenewView.as_view(), name="api-agreement-renew"),
    path(f"{_AGREEMENT}/verify", VerifyView.as_view(), name="api-agreement-verify"),
    path(f"{_AGREEMENT}/narrow", NarrowView.as_view(), name="api-agreement-narrow"),
    path(f"{_AGREEMENT}/revoke", RevokeView.as_view(), name="api-agreement-revoke"),
    path(f"{_AGREEMENT}/withdraw", GiveBackView.as_view(), name="api-agreement-withdraw"),
    path("agreement-submissions", SubmissionsView.as_view(), name="api-agreement-submissions"),
    path(
        "agreement-submissions/<str:submission_code>",
        OneSubmissionView.as_view(),
        name="api-agreement-submission",
    ),
    path("technical-acceptances", AcceptancesView.as_view(), name="api-acceptances"),
    path(_ACCEPTANCE, OneAcceptanceView.as_view(), name="api-acceptance"),
    path(f"{_ACCEPTANCE}/moves", MovesView.as_view(), name="api-acceptance-moves"),
    path(f"{_ACCEPTANCE}/results", ResultsView.as_view(), name="api-acceptance-results"),
    path(f"{_ACCEPTANCE}/files", FilesView.as_view(), name="api-acceptance-files"),
    path(f"{_ACCEPTANCE}/files/<str:sha256>", OneFileView.as_view(), name="api-acceptance-file"),
    path("orders", OrdersView.as_view(), name="api-orders"),
    path("orders/<uuid:order_id>", OneOrderView.as_view(), name="api-order"),
    path("orders/<uuid:order_id>/ship", ShipView.as_view(), name="api-order-ship"),
    path("feeds", FeedsView.as_view(), name="api-feeds"),
    path("feeds/<uuid:feed_id>", OneFeedView.as_view(), name="api-feed"),
    path("feeds/<uuid:feed_id>/cancel", CancelFeedView.as_view(), name="api-feed-cancel"),
    path("feeds/<uuid:feed_id>/results", FeedResultsView.as_view(), name="api-feed-results"),
    path("events", EventsView.as_view(), name="api-events"),
    path("sweeps", SweepsView.as_view(), name="api-sweeps"),
    path("sweeps/<int:sweep_id>", OneSweepView.as_view(), name="api-sweep"),
    path("claims", ClaimsView.as_view(), name="api-claims"),
    path("claims/<int:claim_id>", OneClaimView.as_view(), name="api-claim"),
    path("claims/<int:claim_id>/disclaim", DisclaimView.as_view(), name="api-claim-disclaim"),
    path("takedown-requests", TakedownsView.as_view(), name="api-takedowns"),
    path("takedown-requests/<uuid:request_id>", OneTakedownView.as_view(), name="api-takedown"),
    path("takedown-requests/<uuid:request_id>/lift", LiftView.as_view(), name="api-takedown-lift"),
    path("cases", CasesView.as_view(), name="api-cases"),
    path("cases/<str:case_code>", OneCaseView.as_view(), name="api-case"),
    path("cases/<str:case_code>/messages", MessagesView.as_view(), name="api-case-messages"),
    path("cases/<str:case_code>/withdraw", WithdrawView.as_view(), name="api-case-withdraw"),
    path("webhook-endpoints", EndpointsView.as_view(), name="api-endpoints"),
    path(_ENDPOINT, OneEndpointView.as_view(), name="api-endpoint"),
    path(f"{_ENDPOINT}/rotate-secret", RotateSecretView.as_view(), name="api-endpoint-rotate-secret"),
    path(f"{_ENDPOINT}/ping", PingView.as_view(), name="api-endpoint-ping"),
    path(f"{_ENDPOINT}/replay", ReplayPeriodView.as_view(), name="api-endpoint-replay"),
    path(f"{_ENDPOINT}/deliveries", DeliveriesView.as_view(), name="api-deliveries"),
    path(f"{_ENDPOINT}/deliveries/<uuid:event_id>/replay", ReplayView.as_view(), name="api-delivery-replay"),
    path("problems", problem_pages.problem_index, name="api-problems"),
    path("problems/<str:code>", problem_pages.problem_page, name="api-problem"),
    path("reasons", reason_pages.reason_index, name="api-reasons"),
    path("reasons/<str:code>", reason_pages.reason_page, name="api-reason"),
    path("docs", docs_pages.docs_page, name="api-docs"),
    path("openapi.json", docs_pages.description, name="api-description"),
    path("<path:rest>", problems.unknown_path, name="api-unknown"),
    path("", problems.unknown_path, name="api-root"),
]
