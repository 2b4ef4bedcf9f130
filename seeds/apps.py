"""Seeds: reference data, builders of worlds, and the replay of the 2016 incident. It has no models."""

from django.apps import AppConfig


class SeedsConfig(AppConfig):
    name = "seeds"
    verbose_name = "Seeds"
