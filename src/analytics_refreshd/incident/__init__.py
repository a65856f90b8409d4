"""Review incidents from the daemon's JSON log lines."""
