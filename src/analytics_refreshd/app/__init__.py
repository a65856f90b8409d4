"""The daemon itself: cycles, election, scheduling and shutdown, wired to the adapters in one place."""
