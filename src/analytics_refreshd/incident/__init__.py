"""The review of a stretch of time, from the daemon's JSON log lines."""
