from django.urls import path

from storefront.shop import views

app_name = "shop"
urlpatterns = [
    path("", views.device_list, name="list"),
    path("devices/<slug:slug>/", views.device_page, name="device"),
    path("cart/", views.cart_page, name="cart"),
    path("cart/add/", views.add_line, name="add"),
    path("cart/lines/<int:line_id>/remove/", views.remove_line, name="remove"),
    path("cart/lines/<int:line_id>/change/", views.change_line, name="change"),
    path("checkout/", views.checkout, name="checkout"),
    path("orders/<uuid:public_id>/", views.order_page, name="order"),
    path("notices/", views.notice_list, name="notices"),
    path("notices/<slug:slug>/", views.notice_page, name="notice"),
    path("proofs/<uuid:public_id>/", views.proof_page, name="proof"),
    path("how-we-decide/", views.how_we_decide, name="how"),
    path("accessibility/", views.accessibility, name="accessibility"),
]
