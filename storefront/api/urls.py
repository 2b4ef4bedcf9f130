from django.urls import path

from storefront.api import problem_pages, problems
from storefront.api.account import MeView
from storefront.api.hosts import HostsView
from storefront.api.listings import DecisionsView, ListingsView, OneListingView, PublishView
from storefront.api.restrictions import RestrictionsQueryView, RestrictionsView
from storefront.api.variants import VariantsView

urlpatterns = [
    path("me", MeView.as_view(), name="api-me"),
    path("hosts", HostsView.as_view(), name="api-hosts"),
    path("variants", VariantsView.as_view(), name="api-variants"),
    path("listing-restrictions", RestrictionsView.as_view(), name="api-restrictions"),
    path("listing-restrictions/query", RestrictionsQueryView.as_view(), name="api-restrictions-query"),
    path("listings", ListingsView.as_view(), name="api-listings"),
    path("listings/<str:sku>", OneListingView.as_view(), name="api-listing"),
    path("listings/<str:sku>/publish", PublishView.as_view(), name="api-listing-publish"),
    path("listings/<str:sku>/decisions", DecisionsView.as_view(), name="api-listing-decisions"),
    path("problems", problem_pages.problem_index, name="api-problems"),
    path("problems/<str:code>", problem_pages.problem_page, name="api-problem"),
    path("<path:rest>", problems.unknown_path, name="api-unknown"),
    path("", problems.unknown_path, name="api-root"),
]
