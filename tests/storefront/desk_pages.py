"""Going through the desk's pages as a person does: typed values, hidden fields and buttons."""

import re
from datetime import timedelta

from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from authorization import clock
from storefront.roles import ensure_roles


def client_of(role=None, *, name=None):
    """A browser with somebody of this role logged in; a superuser where there is none."""
    ensure_roles()
    # Nobody types a password here, and hashing one is slow.
    user = User.objects.create(username=name or role or "boss", is_staff=True, is_superuser=role is None)
    if role:
        user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


def list_url(model):
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def act_url(row, act):
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_{act}", args=[row.pk])


def page(response):
    assert response.status_code == 200
    return re.sub(r"\s+", " ", response.content.decode())


def hidden(response, name):
    found = re.search(rf'name="{name}" value="([^"]*)"', response.content.decode())
    assert found, f"no hidden {name}"
    return found.group(1).replace("&quot;", '"')


def text(instant):
    return f"{instant:%Y-%m-%dT%H:%M:%S}"


def word(**changes):
    """The word behind a withdrawal, and what is typed beside it."""
    return {
        "requested_by": "Xiaomi",
        "reason_code": "SHOP_REVIEW",
        "word_received_at": text(clock.now() - timedelta(minutes=5)),
        "note": "By e-mail from their press office.",
    } | changes


def review(client, url, typed):
    """The second page, and what its button would send."""
    second = client.post(url, typed | {"step": "review"})
    sends = {name: hidden(second, name) for name in ("seen", "digest", "token")}
    return second, typed | sends | {"step": "confirm"}


def go_through(client, url, typed):
    """Both pages; the answer to the last button."""
    _, sends = review(client, url, typed)
    return client.post(url, sends)


def version_on(client, url):
    """The version of a record that a form of corrections was opened on."""
    return client.get(url).context["form"].initial["version"]
