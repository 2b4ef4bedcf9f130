"""A feed as the API shows it, and the outcome of one of its rows."""

from storefront import feeds
from storefront.api.shapes import LinkShape, Shape, flag, instant, many, number, one, open_enum, text, texts
from storefront.feed_rows import OUTCOMES
from storefront.models import Feed


class FeedCountsShape(Shape):
    """How many rows came to what. Once the feed has ended the others add up to `rows`."""

    rows = number("Of the file.")
    created = number()
    updated = number()
    unchanged = number("They were so already: nothing was stored, no event.")
    blocked = number("Stored, and refused to be sold.")
    data_error = number("Not stored: the row is at fault.")
    system_error = number("Not stored: we are. Send these rows again.")
    cancelled = number("Not tried, because the feed was cancelled.")


class FeedShape(Shape):
    """A file of many rows, and how far it is."""

    id = text()
    kind = open_enum(Feed.Kind.values, "What a row is.")
    format = open_enum(Feed.Format.values, "Of the file, and of the results.")
    client_label = text("As you sent it.")
    state = open_enum(Feed.State.values, "How far the work is. DONE says nothing of the rows.")
    outcome = open_enum(
        (feeds.ALL_OK, feeds.PARTIAL, feeds.NONE_OK),
        "Of the rows; null until the feed has ended.",
        allow_null=True,
    )
    validate_only = flag("Checked and answered; nothing is stored.", required=False)
    sha256 = text("Of the file, in hexadecimal digits.")
    submitted_at = instant()
    started_at = instant(allow_null=True)
    finished_at = instant(allow_null=True)
    failed_reason = text("Of a feed that FAILED, or that the shop cancelled; else empty.")
    counts = one(FeedCountsShape)
    rows_done = number("Rows that have their outcome.")
    results_href = text(
        "Where the results are; null before the end, and when they are kept no more.", allow_null=True
    )


class FeedIssueShape(Shape):
    """What stands in the way of a row."""

    code = text("DATA_INVALID, INTERNAL_RETRY, or the code of a reason.")
    severity = open_enum(("ERROR", "WARNING", "INFO"))
    message = text()
    curable = flag(required=False)
    pointer = text("Where in the row, as a JSON pointer.", required=False)
    check = text(required=False)
    cure = text("The smallest thing that would help; empty where it is not known.", required=False)
    cure_by = text("Who can do it.", required=False)
    document = text("Of your own papers.", required=False)
    hosts = texts("The host carriers that refuse for it.", required=False)
    links = many(LinkShape, required=False)


class FeedRowShape(Shape):
    """The outcome of one row."""

    row = number("From 1, without the header and blank lines.")
    sku = text("As it was sent.", allow_null=True)
    outcome = open_enum(OUTCOMES)
    listing_status = text("Of the listing, where there is one.", required=False)
    retryable = flag("The same row, sent again, may do.")
    issues = many(FeedIssueShape)
