from django.urls import path

from storefront.shop import imei_pages, proof_pages, views

app_name = "shop"
urlpatterns = [
    path("", views.device_list, name="list"),
    path("devices/<slug:slug>/", views.device_page, name="device"),
    path("devices/<slug:slug>/wait/", views.wait, name="wait"),
    path("devices/<slug:slug>/wait/asked/", views.wait_asked, name="wait_asked"),
    path("waitlist/<slug:token>/", views.waitlist_page, name="waitlist"),
    path("waitlist/<slug:token>/confirm/", views.waitlist_confirm, name="waitlist_confirm"),
    path("waitlist/<slug:token>/end/", views.waitlist_end, name="waitlist_end"),
    path("imei/", imei_pages.imei_page, name="imei"),
    path("cart/", views.cart_page, name="cart"),
    path("cart/add/", views.add_line, name="add"),
    path("cart/lines/<int:line_id>/remove/", views.remove_line, name="remove"),
    path("cart/lines/<int:line_id>/change/", views.change_line, name="change"),
    path("checkout/", views.checkout, name="checkout"),
    path("orders/<uuid:public_id>/", views.order_page, name="order"),
    path("notices/", views.notice_list, name="notices"),
    path("notices/<slug:slug>/", views.notice_page, name="notice"),
    path("proofs/<uuid:public_id>/", proof_pages.proof_page, name="proof"),
    path("proofs/<uuid:public_id>.json", proof_pages.proof_document, name="proof_document"),
    path(
        "proofs/<uuid:public_id>/offers.jsonl",
        proof_pages.proof_offers,
        {"form": "jsonl"},
        name="proof_offers",
    ),
    path("proofs/<uuid:public_id>/offers.csv", proof_pages.proof_offers, {"form": "csv"}, name="proof_csv"),
    path(".well-known/clearline-proof-key.json", proof_pages.proof_keys, name="proof_keys"),
    path("how-we-decide/", views.how_we_decide, name="how"),
    path("accessibility/", views.accessibility, name="accessibility"),
    path("feeds/products.xml", views.product_feed, name="feed"),
    path("sitemap.xml", views.sitemap_index, name="sitemap"),
    path("sitemap-pages.xml", views.sitemap_pages, name="sitemap_pages"),
    path("sitemap-devices-<int:number>.xml", views.sitemap_devices, name="sitemap_devices"),
    path("robots.txt", views.robots, name="robots"),
]
