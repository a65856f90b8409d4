"""The queries that the warehouse answers, in ClickHouse's SQL."""
