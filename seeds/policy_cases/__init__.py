"""Policy tests as data: small worlds, acts on them, and what the engine must answer. See docs/policy-tests.md."""
