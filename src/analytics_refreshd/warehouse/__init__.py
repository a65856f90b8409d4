"""The sink to a column store: ClickHouse over HTTP."""
