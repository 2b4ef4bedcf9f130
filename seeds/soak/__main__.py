"""`python -m seeds.soak ROLE`: one process of a soak, on the store that the environment describes."""

import os
import sys


def main() -> int:
    # Imported late: it is interrupted like everything else here.
    import argparse
    from pathlib import Path

    parser = argparse.ArgumentParser(prog="python -m seeds.soak", description="One process of a soak.")
    parser.add_argument("role", choices=["world", "load", "desk", "deliver-again", "ring", "settle", "check"])
    parser.add_argument("--folder", type=Path, required=True, help="where the soak keeps its papers")
    parser.add_argument("--base-url", default="", help="address of the sandbox's store")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--number", type=int, default=0, help="of the desk")
    parser.add_argument("--acts", default="", help="of the desk: only these, separated by commas")
    parser.add_argument("--count", type=int, default=0, help="of rows or bells")
    options = parser.parse_args()
    if options.role != "load":
        # Shoppers and vendors know the store's addresses only.
        import django

        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "storefront.settings")
        os.environ["CLEARLINE_LOG_LEVEL"] = "CRITICAL"
        django.setup()
    from seeds.soak import roles

    return roles.ROLES[options.role](options)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        os._exit(130)
