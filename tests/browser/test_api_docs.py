"""The page that shows every call of the API: it works under the content policy, and asks nobody but the shop."""

import json

import pytest

from tests.api.conftest import caller_of, make_world
from tests.browser.conftest import Visit

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize("visit", [True], indirect=True, ids=["with JavaScript"])
def test_a_call_is_tried_from_the_page(visit: Visit) -> None:
    """`visit` fails on any complaint of the browser, a breach of the policy and a third party included."""
    key = caller_of(make_world().vendor).secret
    page = visit.page
    visit.open("/v1/docs")
    page.click(".authorize")
    page.fill(".modal-ux input", key)
    page.click(".modal-ux button.authorize")
    page.click(".modal-ux .btn-done")
    page.click("#operations-tag-Me")
    page.click("#operations-Me-get_me .opblock-summary-control")
    page.click("#operations-Me-get_me .execute")
    answer = page.inner_text("#operations-Me-get_me .live-responses-table .microlight")
    assert json.loads(answer)["vendor"]["slug"] == "vendor-one"
