"""How dates are written where a page does not say otherwise: settings.FORMAT_MODULE_PATH."""
