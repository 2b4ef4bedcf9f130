"""Where each surface begins."""

from django.urls import URLPattern, URLResolver, include, path

from storefront import health, metrics
from storefront.admin.ask import ask
from storefront.admin.bands import bands_page
from storefront.admin.desk import site as desk
from storefront.admin.exposure import exposure, resting
from storefront.admin.numbers import numbers_page

urlpatterns: list[URLPattern | URLResolver] = [
    path("livez", health.live, name="livez"),
    path("readyz", health.ready, name="readyz"),
    path("metrics", metrics.metrics, name="metrics"),
    path("admin/ask/", desk.admin_view(ask), name="ask_the_engine"),
    path("admin/bands/", desk.admin_view(bands_page), name="bands"),
    path("admin/exposure/", desk.admin_view(exposure), name="exposure"),
    path("admin/numbers/", desk.admin_view(numbers_page), name="numbers"),
    path("admin/resting-on/<slug:kind>/<int:fact_id>/", desk.admin_view(resting), name="resting_on"),
    path("admin/", desk.urls),
    path("v1/", include("storefront.api.urls")),
    path("", include("storefront.shop.urls")),
]

handler400 = "storefront.shop.views.bad_request"
handler403 = "storefront.shop.views.forbidden"
handler404 = "storefront.shop.views.not_found"
handler500 = "storefront.shop.views.server_error"
