"""Settings of the store. All of them come from environment variables: docs/configuration.md lists them.

A bad value stops the start with the name of the variable and the cure (storefront/environment.py).
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import structlog

from storefront import environment as env

BASE_DIR = Path(__file__).resolve().parent.parent
IS_TEST = "pytest" in sys.modules

SECRET_KEY = env.secret_key("SECRET_KEY", key_file=env.text("SECRET_KEY_FILE"))
SECRET_KEY_FALLBACKS = env.old_keys("SECRET_KEY_FALLBACKS")
DEBUG = env.flag("DEBUG", default=False)
ALLOWED_HOSTS = env.allowed_hosts("ALLOWED_HOSTS", default="127.0.0.1,localhost")
CSRF_TRUSTED_ORIGINS = env.origins("CSRF_TRUSTED_ORIGINS")
DATA_DIR = env.folder("CLEARLINE_DATA_DIR", default=BASE_DIR / "var")

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_structlog",
    "csp",
    # Static files only: the page that shows the description of the API.
    "drf_spectacular_sidecar",
    "carriers",
    "catalog",
    "authorization",
    "storefront",
    "seeds",
]

MIDDLEWARE = [
    "django_structlog.middlewares.RequestMiddleware",
    "storefront.requests.RequestIdMiddleware",
    # Outside of all that may refuse a request before a view sees it.
    "storefront.api.problems.ProblemMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "storefront.requests.AdminContentPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "storefront.carrier_gate.CarrierGateMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "storefront.urls"
WSGI_APPLICATION = "storefront.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [
            BASE_DIR / "storefront" / "shop" / "templates",
            BASE_DIR / "storefront" / "admin" / "templates",
        ],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "storefront.shop.context.shop",
            ],
        },
    }
]

DATABASES = {
    "default": env.database(
        "DATABASE_URL",
        # Quoted: a + in the path of a folder would be read as a space.
        default=f"sqlite:///{quote(str(DATA_DIR / 'clearline.sqlite3'))}",
        made_by_dev=BASE_DIR / "var",
        is_test=IS_TEST,
    )
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
FORMAT_MODULE_PATH = ["storefront.formats"]

STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "storefront" / "shop" / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": (
            "django.contrib.staticfiles.storage.StaticFilesStorage"
            if IS_TEST or DEBUG
            else "whitenoise.storage.CompressedManifestStaticFilesStorage"
        )
    },
}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
CSRF_FAILURE_VIEW = "storefront.shop.views.form_expired"

# --- Security ---------------------------------------------------------------------------------------------------
# Behind TLS (the default outside ./dev) cookies travel on HTTPS only.
IS_HTTPS = env.flag("CLEARLINE_HTTPS", default=True)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = IS_HTTPS
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_SSL_REDIRECT = IS_HTTPS and not IS_TEST
# Probes come on plain HTTP from beside the process.
SECURE_REDIRECT_EXEMPT = [r"^livez$", r"^readyz$"]
SECURE_HSTS_SECONDS = 31_536_000 if IS_HTTPS else 0
SECURE_PROXY_SSL_HEADER = (
    ("HTTP_X_FORWARDED_PROTO", "https") if env.flag("CLEARLINE_BEHIND_PROXY", default=False) else None
)
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 1_048_576

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'self'"],
        "object-src": ["'none'"],
    }
}

# --- REST API ---------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["storefront.api.keys.KeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["storefront.api.parsing.JsonBodyParser"],
    "EXCEPTION_HANDLER": "storefront.api.problems.exception_handler",
    # `?format=` is an unknown parameter like any other.
    "URL_FORMAT_OVERRIDE": None,
    "COERCE_DECIMAL_TO_STRING": True,
    "UNAUTHENTICATED_USER": None,
}

# --- Workers ----------------------------------------------------------------------------------------------------
REDIS_URL = env.redis_address("REDIS_URL", default="redis://127.0.0.1:6379/0")
CELERY_BROKER_URL = REDIS_URL
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_TRANSPORT_OPTIONS = {
    # A dead broker must not hold up the request that has just committed: a bell is tried once, quickly.
    "socket_connect_timeout": 0.5,
    # Above the second for which a worker's blocking read waits.
    "socket_timeout": 2,
    "max_retries": 0,
}
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
# Below the lease of an outbox row: whoever works longer is ended before another takes the row up.
CELERY_TASK_TIME_LIMIT = 50
CELERY_BEAT_SCHEDULE = {
    # The expiry of the message keeps a flood of old bells from piling up while the workers are away.
    "pump the outbox": {"task": "authorization.pump_outbox", "schedule": 1.0, "options": {"expires": 5}},
    "reconcile offers": {
        "task": "authorization.reconcile_offers",
        "schedule": 60.0,
        "options": {"expires": 60},
    },
    "prune what is old": {
        "task": "authorization.prune",
        "schedule": 3600.0,
        "options": {"expires": 3600},
    },
    "seal the ledger": {
        "task": "authorization.seal_ledger",
        "schedule": 60.0,
        "options": {"expires": 60},
    },
    "void orphaned payments": {
        "task": "storefront.void_orphans",
        "schedule": 60.0,
        "options": {"expires": 60},
    },
    "tell the waiting": {
        "task": "storefront.tell_waiting",
        "schedule": 60.0,
        "options": {"expires": 60},
    },
    "forget the waiting": {
        "task": "storefront.erase_waitlist",
        "schedule": 3600.0,
        "options": {"expires": 3600},
    },
    "forget old answers": {
        "task": "storefront.forget_old_answers",
        "schedule": 3600.0,
        "options": {"expires": 3600},
    },
    "send webhooks": {"task": "storefront.send_webhooks", "schedule": 1.0, "options": {"expires": 5}},
    "work in test stores": {
        "task": "storefront.work_test_stores",
        "schedule": 1.0,
        "options": {"expires": 5},
    },
    "tidy test stores": {
        "task": "storefront.tidy_test_stores",
        "schedule": 3600.0,
        "options": {"expires": 3600},
    },
    "count finished sweeps": {
        "task": "storefront.count_finished",
        "schedule": 15.0,
        "options": {"expires": 15},
    },
    "tell of keys that expire": {
        "task": "storefront.tell_of_expiring_keys",
        "schedule": 3600.0,
        "options": {"expires": 3600},
    },
    "tend feeds": {"task": "storefront.tend_feeds", "schedule": 60.0, "options": {"expires": 60}},
    "forget old feeds": {
        "task": "storefront.forget_old_feeds",
        "schedule": 3600.0,
        "options": {"expires": 3600},
    },
    "forget old deliveries": {
        "task": "storefront.forget_old_deliveries",
        "schedule": 3600.0,
        "options": {"expires": 3600},
    },
}

# --- The store --------------------------------------------------------------------------------------------------
SHOP_NAME = env.filled_text("CLEARLINE_SHOP_NAME", default="Clearline")
# Which virtual operator's hostings the shop sells on.
SHOP_MVNO = env.filled_text("CLEARLINE_MVNO", default="US Mobile")
SHOP_TERRITORY = env.territory("CLEARLINE_TERRITORY", default="US")
# Where people reach the shop, e.g. https://shop.example; messages link to it. Empty: links name the path only.
PUBLIC_URL = env.web_address("CLEARLINE_PUBLIC_URL")
# Who shows this token may read /metrics; without one there is no such page.
METRICS_TOKEN = env.token("CLEARLINE_METRICS_TOKEN")
# An exercise's clock: a file shared by the processes of one sandbox. Empty: the live clock.
CLOCK_FILE = env.existing_file("CLEARLINE_CLOCK_FILE")
# The databases of test mode, one file for each organization that uses it. Web processes and workers share the folder.
TEST_STORES_DIR = (
    # Shared by runs, each of which makes stores of its own: the template is made once for each set of migrations.
    Path(tempfile.gettempdir()) / f"clearline-test-stores-{os.getuid()}"
    if IS_TEST
    else DATA_DIR / "test-stores"
)
# How long one statement of a fenced transaction, and a pause between two, may take (PostgreSQL).
# A test's own transaction outlives its fence, so that a slow test would be thrown out; tests of it set their own.
FENCE_TIMEOUT_MS = env.int_between(
    "CLEARLINE_FENCE_TIMEOUT_MS", default=60_000 if IS_TEST else 500, low=50, high=60_000
)
# Offers in one chunk of a sweep: one transaction, which a revocation may have to wait for.
SWEEP_CHUNK_SIZE = env.int_between("CLEARLINE_SWEEP_CHUNK_SIZE", default=1000, low=1, high=1000)
# A withdrawal that takes down more offers than this, or this share of a brand's live ones, wants a second person for
# its pages. The stop of sales never waits.
TWO_PEOPLE_ABOVE_OFFERS = env.int_between(
    "CLEARLINE_TWO_PEOPLE_ABOVE_OFFERS", default=1000, low=0, high=1_000_000_000
)
TWO_PEOPLE_ABOVE_BRAND_PERCENT = env.int_between(
    "CLEARLINE_TWO_PEOPLE_ABOVE_BRAND_PERCENT", default=50, low=1, high=101
)
# How long a worker that died keeps the outbox rows it had claimed. Longer than any reaction should take.
OUTBOX_LEASE_S = env.int_between("CLEARLINE_OUTBOX_LEASE_S", default=60, low=1, high=3600)
PAYMENT_PROVIDER_URL = env.text("PAYMENT_PROVIDER_URL", default="http://127.0.0.1:8099")
PAYMENT_PROVIDER_KEY = env.text("PAYMENT_PROVIDER_KEY")
# Whether an offer that is allowed again goes live by itself, or waits for its vendor to publish it.
RELIST_AUTOMATICALLY = env.flag("CLEARLINE_RELIST_AUTOMATICALLY", default=True)
# Whether vendors' webhooks may go to receivers on this machine, also by plain HTTP: for sandboxes and tests.
WEBHOOKS_TO_LOOPBACK = env.flag("CLEARLINE_WEBHOOKS_TO_LOOPBACK", default=False)
# How many phones' numbers one client may look up in ten minutes on the page, and one key of the API in an hour.
IMEI_CHECKS_PER_CLIENT = env.int_between(
    "CLEARLINE_IMEI_CHECKS_PER_CLIENT", default=30, low=1, high=1_000_000
)
IMEI_CHECKS_PER_KEY = env.int_between("CLEARLINE_IMEI_CHECKS_PER_KEY", default=1000, low=1, high=1_000_000)
# How many calls of the API one key may make in a minute: reads, writes, and feeds sent.
API_READS_PER_MINUTE = env.int_between("CLEARLINE_API_READS_PER_MINUTE", default=600, low=1, high=1_000_000)
API_WRITES_PER_MINUTE = env.int_between("CLEARLINE_API_WRITES_PER_MINUTE", default=300, low=1, high=1_000_000)
API_FEEDS_PER_MINUTE = env.int_between("CLEARLINE_API_FEEDS_PER_MINUTE", default=10, low=1, high=1_000_000)
# How many feeds of one vendor may be queued or running at a time, and how many of their rows are one transaction.
FEEDS_PER_VENDOR = env.int_between("CLEARLINE_FEEDS_PER_VENDOR", default=5, low=1, high=1000)
FEED_CHUNK_ROWS = env.int_between("CLEARLINE_FEED_CHUNK_ROWS", default=100, low=1, high=1000)
# Between the sale and the capture of its money, in seconds of business time.
CAPTURE_DELAY_S = env.int_between("CLEARLINE_CAPTURE_DELAY_S", default=3600, low=0, high=604_800)
# By when the desk decides on a held order, in seconds of business time, and whether one that it forgot is refunded.
HELD_ORDER_DECIDE_S = env.int_between(
    "CLEARLINE_HELD_ORDER_DECIDE_S", default=259_200, low=60, high=2_592_000
)
HELD_ORDER_REFUND_WHEN_OVERDUE = env.flag("CLEARLINE_HELD_ORDER_REFUND_WHEN_OVERDUE", default=False)
# Whether a takedown request of a manufacturer or carrier stops the sale at once, or once the desk has agreed.
TAKEDOWNS = env.one_of("CLEARLINE_TAKEDOWNS", ("at_once", "after_review"), default="at_once")
# By when the desk answers in a case, in seconds of business time.
CASE_ANSWER_S = env.int_between("CLEARLINE_CASE_ANSWER_S", default=259_200, low=60, high=2_592_000)
# For so long the waitlist keeps the address of somebody who was told, or who left, in days of business time.
WAITLIST_KEEP_DAYS = env.int_between("CLEARLINE_WAITLIST_KEEP_DAYS", default=30, low=1, high=365)

# A record that was last checked so many days before the day asked about gets a word of caution beside its verdicts.
REFERENCE_STALE_AFTER_DAYS = env.int_between(
    "CLEARLINE_REFERENCE_STALE_AFTER_DAYS", default=365, low=1, high=36_500
)

# Who reacts to which event: event name -> functions called with the payload, each as its own outbox row.
# They are checked at start (authorization.checks).
OUTBOX_HANDLERS: dict[str, list[str]] = {
    "authority.changed": ["authorization.sweeps.start_sweep"],
    "authority.boundary": ["authorization.boundaries.cross_boundary"],
    "authority.reinstated": ["storefront.recalls.take_back_recalls"],
    "sweep.planned": ["authorization.sweeps.plan_on"],
    "sweep.chunk_planned": ["authorization.sweeps.run_chunk"],
    "acceptance.to_tell": ["storefront.acceptances_told.tell_of_moves"],
    "acceptance.to_follow": ["authorization.acceptances.following.follow_on"],
    "removal.settled": ["authorization.sweeps.start_approved"],
    "reconcile.due": ["authorization.reconciler.on_due"],
    "authority.withdrawn": [
        "storefront.withdrawals.hold_unshipped_orders",
        "storefront.recalls.find_recalls",
        "storefront.approvals_told.tell_of_revoked_approval",
        "storefront.agreements_told.announce_revoked",
    ],
    "agreement.to_warn": ["storefront.agreements_told.warn_of_end"],
    "agreement.expiring": ["storefront.agreements_told.tell_of_end"],
    "agreement.decided": ["storefront.agreements_told.tell_of_decision"],
    "agreement.revoked": ["storefront.agreements_told.tell_of_revocation"],
    "feed.submitted": ["storefront.feeds.start_feed"],
    "feed.chunk_due": ["storefront.feeds.run_chunk"],
    "sweep.finished": [
        "storefront.vendors_told.tell_vendors",
        "storefront.proofs.issue_proof",
        "storefront.notices.draft_notice",
        "storefront.waitlist.tell_waiting",
    ],
    "proof.to_write": ["storefront.proofs.issue_proof"],
    "waitlist.asked": ["storefront.waitlist.send_confirmation"],
    "waitlist.returned": ["storefront.waitlist.send_return"],
    "waitlist.gone": ["storefront.waitlist.send_farewell"],
    "reconciler.found": ["storefront.vendors_told.tell_of_run"],
    "vendor.to_tell": ["storefront.vendors_told.tell_vendor"],
    "endpoint.disabled": ["storefront.vendors_told.tell_of_endpoint"],
    "api_key.expiring": ["storefront.keys_told.tell_owner"],
    "case.opened": ["storefront.cases_told.tell_party"],
    "case.answered": ["storefront.cases_told.tell_party"],
    "case.closed": ["storefront.cases_told.tell_party"],
    "case.answer_due": ["storefront.cases.alarm_overdue"],
    "takedown.lifted": ["storefront.cases_told.tell_party"],
    "order.held": ["storefront.buyers.tell_buyer"],
    "order.released": ["storefront.buyers.tell_buyer"],
    "order.refunded": ["storefront.buyers.tell_buyer"],
    "order.shipped": ["storefront.buyers.tell_buyer"],
    "order.partly_shipped": ["storefront.buyers.tell_buyer"],
    "order.partly_refunded": ["storefront.buyers.tell_buyer"],
    "order.overdue": ["storefront.buyers.tell_buyer"],
    "order.decision_due": ["storefront.held_orders.call_for_decision"],
    "recall.search_due": ["storefront.recalls.search_on"],
    "recall.found": ["storefront.recalls.tell_of_recalls"],
    "recall.taken_back": ["storefront.recalls.tell_of_mistake"],
    "payment.capture_due": ["storefront.payments.capture_payment"],
    "payment.refund_due": ["storefront.payments.refund_payment"],
    "payment.void_due": ["storefront.payments.void_payment"],
}

EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_FILE_PATH = DATA_DIR / "mail"
vars().update(env.mail("EMAIL_URL"))
DEFAULT_FROM_EMAIL = env.sender("CLEARLINE_MAIL_FROM", default="desk@clearline.example")

UNFOLD = {
    "SITE_TITLE": f"{SHOP_NAME} desk",
    "SITE_HEADER": f"{SHOP_NAME} desk",
    "SITE_SYMBOL": "verified_user",
    "SHOW_VIEW_ON_SITE": False,
    "DASHBOARD_CALLBACK": "storefront.admin.dashboard.dashboard",
    "SIDEBAR": {
        "show_search": "storefront.admin.desk.may_search",
        "navigation": "storefront.admin.desk.navigation",
    },
}

# --- Logs -------------------------------------------------------------------------------------------------------
_SHARED_PROCESSORS: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {
            "()": structlog.stdlib.ProcessorFormatter,
            "processor": structlog.processors.JSONRenderer(),
            "foreign_pre_chain": _SHARED_PROCESSORS,
        }
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"handlers": ["console"], "level": env.log_level("CLEARLINE_LOG_LEVEL", default="INFO")},
    "loggers": {
        # django-structlog logs the same answers and errors with the id of the request; these lines are written
        # after that context has been cleared, and could not be traced to one.
        "django.request": {"level": "CRITICAL"},
        "django.server": {"handlers": ["console"], "level": "WARNING", "propagate": False},
        "httpx": {"level": "WARNING"},
        "httpcore": {"level": "WARNING"},
    },
}
structlog.configure(
    processors=[*_SHARED_PROCESSORS, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
    cache_logger_on_first_use=True,
)
DJANGO_STRUCTLOG_CELERY_ENABLED = True
