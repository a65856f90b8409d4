"""The status document: what the page, `/status.json` and `status` show."""
