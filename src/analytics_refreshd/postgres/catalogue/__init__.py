"""The queries, one file each. `relations/` holds what their `{names}` stand for; `files` reads both."""
