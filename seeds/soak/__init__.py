"""Chaos as a command: the real store under load, random withdrawals and faults; then every promise is checked."""
