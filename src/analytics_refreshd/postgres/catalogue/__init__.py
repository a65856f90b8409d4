"""The queries, one file each. `relations/` holds what their `{names}` stand for; postgres.query_files reads both."""
