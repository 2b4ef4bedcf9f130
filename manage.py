#!/usr/bin/env python
"""Django's command line for the store."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "storefront.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        # It says which variable and the cure; a traceback would only hide that.
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
