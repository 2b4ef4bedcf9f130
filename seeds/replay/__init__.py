"""The 2016 incident on a running store: real pages, real API, real workers, a simulated clock."""
