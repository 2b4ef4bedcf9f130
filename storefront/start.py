"""The last look before a process of the store goes to work.

`manage.py` runs Django's system checks by itself; web processes, workers and beat do not.
"""

from django.conf import settings
from django.core.checks import ERROR, run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseError
from django.db import connection


def refuse_bad_start() -> None:
    """Raise ImproperlyConfigured with everything that is wrong, each with its cure. Django must be set up."""
    problems = [
        f"{message.msg} {message.hint or ''}".strip()
        for message in run_checks()
        if message.is_serious(ERROR) and not message.is_silenced()
    ]
    problems += _unknown_operator()
    if problems:
        raise ImproperlyConfigured("\n".join(problems))


def _unknown_operator() -> list[str]:
    """A typo in the operator's name would deny every decision, and the workers would delist the whole shop."""
    # Imported late: settings load the storefront package before there are any models.
    from carriers.models import Hosting

    was_open = connection.connection is not None
    try:
        known = sorted(set(Hosting.objects.values_list("mvno", flat=True).distinct()))
    except DatabaseError:
        # Not there yet, or not migrated: the probes tell of the first, and a shop without tables sells nothing.
        return []
    finally:
        if not was_open:
            # Servers and workers may fork after this; a connection must not be shared by two processes.
            connection.close()
    if not known or settings.SHOP_MVNO in known:
        return []
    return [
        f"CLEARLINE_MVNO={settings.SHOP_MVNO}: no hosting of that operator is recorded, so nothing could be sold. "
        f"Take one of those that are known: {', '.join(known)}."
    ]
