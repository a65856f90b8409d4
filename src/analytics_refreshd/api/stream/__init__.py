"""The stream: server-sent events of live figures, refreshes and alerts."""
