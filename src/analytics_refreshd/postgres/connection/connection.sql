-- name: set_required
-- set_config takes values as parameters, which SET does not, and returns each value as the server shows it. Before it
-- has run, the role's own search_path finds names; so each function has its schema
select pg_catalog.set_config('search_path', %(search_path)s, false) as search_path,
    pg_catalog.set_config('TimeZone', 'UTC', false) as timezone,
    pg_catalog.set_config('statement_timeout', %(statement_timeout)s, false) as statement_timeout,
    pg_catalog.set_config('lock_timeout', %(lock_timeout)s, false) as lock_timeout,
    pg_catalog.set_config('idle_in_transaction_session_timeout', %(idle_in_transaction_session_timeout)s, false)
        as idle_in_transaction_session_timeout,
    pg_catalog.set_config('idle_session_timeout', %(idle_session_timeout)s, false) as idle_session_timeout,
    pg_catalog.set_config('default_transaction_isolation', 'read committed', false) as default_transaction_isolation;

-- name: set_optional
select pg_catalog.set_config(%(name)s, %(value)s, false);

-- name: read_back
-- the same settings in another transaction: they differ where a pooler gave this one another session. pg_settings
-- would need temporary space
select pg_catalog.current_setting('search_path') as search_path,
    pg_catalog.current_setting('TimeZone') as timezone,
    pg_catalog.current_setting('statement_timeout') as statement_timeout,
    pg_catalog.current_setting('lock_timeout') as lock_timeout,
    pg_catalog.current_setting('idle_in_transaction_session_timeout') as idle_in_transaction_session_timeout,
    pg_catalog.current_setting('idle_session_timeout') as idle_session_timeout,
    pg_catalog.current_setting('default_transaction_isolation') as default_transaction_isolation;

-- name: limit_transaction
select pg_catalog.set_config('statement_timeout', %(statement_timeout)s, true),
    pg_catalog.set_config('lock_timeout', %(lock_timeout)s, true);
