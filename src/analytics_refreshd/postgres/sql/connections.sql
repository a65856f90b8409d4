-- name: set_required
-- set_config and not SET, so that values are parameters; what a pooler swallowed shows in the read-back
select set_config('search_path', %(search_path)s, false),
    set_config('TimeZone', 'UTC', false),
    set_config('statement_timeout', %(statement_timeout)s, false),
    set_config('lock_timeout', %(lock_timeout)s, false),
    set_config('idle_in_transaction_session_timeout', %(idle_in_transaction_session_timeout)s, false),
    set_config('idle_session_timeout', %(idle_session_timeout)s, false),
    set_config('default_transaction_isolation', 'read committed', false),
    set_config('row_security', 'on', false);

-- name: set_optional
select set_config(%(name)s, %(value)s, false);

-- name: read_back
select name, setting from pg_catalog.pg_settings where name = any (%(names)s);

-- name: limit_transaction
select pg_catalog.set_config('statement_timeout', %(statement_timeout)s, true),
    pg_catalog.set_config('lock_timeout', %(lock_timeout)s, true);
