"""ISO dates with seconds. All times are UTC, and at the desk seconds matter."""

DATE_FORMAT = "Y-m-d"
DATETIME_FORMAT = "Y-m-d H:i:s"
TIME_FORMAT = "H:i:s"
