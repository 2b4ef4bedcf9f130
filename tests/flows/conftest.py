"""A payment provider that really listens, for whole journeys."""

from tests.storefront.conftest import provider, provider_process

__all__ = ["provider", "provider_process"]
