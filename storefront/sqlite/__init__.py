"""Django's SQLite backend, but for how it waits for its turn to write (`base.py`)."""
