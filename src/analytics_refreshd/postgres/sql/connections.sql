-- name: set_required
-- set_config and not SET, so that values are parameters; each answers with the value as the server shows it
select set_config('search_path', %(search_path)s, false) as search_path,
    set_config('TimeZone', 'UTC', false) as timezone,
    set_config('statement_timeout', %(statement_timeout)s, false) as statement_timeout,
    set_config('lock_timeout', %(lock_timeout)s, false) as lock_timeout,
    set_config('idle_in_transaction_session_timeout', %(idle_in_transaction_session_timeout)s, false)
        as idle_in_transaction_session_timeout,
    set_config('idle_session_timeout', %(idle_session_timeout)s, false) as idle_session_timeout,
    set_config('default_transaction_isolation', 'read committed', false) as default_transaction_isolation;

-- name: set_optional
select set_config(%(name)s, %(value)s, false);

-- name: read_back
-- the same, in another transaction: what a pooler gave to another session shows here. Not by pg_settings, which needs
-- temporary space
select current_setting('search_path'), current_setting('TimeZone'), current_setting('statement_timeout'),
    current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout'),
    current_setting('idle_session_timeout'), current_setting('default_transaction_isolation');

-- name: limit_transaction
select pg_catalog.set_config('statement_timeout', %(statement_timeout)s, true),
    pg_catalog.set_config('lock_timeout', %(lock_timeout)s, true);
