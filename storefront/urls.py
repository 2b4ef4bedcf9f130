"""Where each surface begins."""

from django.urls import URLPattern, URLResolver, include, path

from storefront import health
from storefront.admin.desk import site as desk

urlpatterns: list[URLPattern | URLResolver] = [
    path("livez", health.live, name="livez"),
    path("readyz", health.ready, name="readyz"),
    path("admin/", desk.urls),
    path("v1/", include("storefront.api.urls")),
    path("", include("storefront.shop.urls")),
]

handler400 = "storefront.shop.views.bad_request"
handler403 = "storefront.shop.views.forbidden"
handler404 = "storefront.shop.views.not_found"
handler500 = "storefront.shop.views.server_error"
