"""Shapes of test mode."""

from storefront.api.shapes import Shape, flag, instant, many, one, open_enum, text


class TestClockShape(Shape):
    """The clock of a test store."""

    # pytest collects classes by this name.
    __test__ = False

    now = instant("What it says.")
    state = open_enum(
        ("ready", "advancing"), "`advancing`: it is on its way; `ready`: all that fell due by now is done."
    )
    advancing_to = instant(allow_null=True)


class FixtureShape(Shape):
    """A maker or a host carrier of the test store that behaves as its name says."""

    slug = text("A host's code, for `hosts` of a listing.")
    name = text()
    behaviour = text()


class FixtureVariantShape(Shape):
    """A variant that can be listed in the test store."""

    variant = text("For `variant` of a listing.")
    maker = text("The slug of its maker.")
    is_granted = flag("Whether the organization holds an agreement for it now.")


class TestStoreShape(Shape):
    """A store of your own, in which all is real but the goods."""

    __test__ = False

    made_at = instant()
    clock = one(TestClockShape)
    makers = many(FixtureShape)
    hosts = many(FixtureShape)
    variants = many(FixtureVariantShape)
