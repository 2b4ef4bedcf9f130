"""What stands behind `./dev`: the store and its parts started on this machine, and nothing left behind."""
