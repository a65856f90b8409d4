-- name: begin_cycle
-- every setting is local to the transaction, which therefore also holds behind a pooler
select pg_catalog.set_config('application_name', %(application_name)s, true),
    pg_catalog.set_config('search_path', %(search_path)s, true),
    pg_catalog.set_config('TimeZone', 'UTC', true),
    pg_catalog.set_config('lock_timeout', %(lock_timeout)s, true),
    pg_catalog.set_config('statement_timeout', %(statement_timeout)s, true),
    pg_catalog.current_setting('transaction_read_only') as read_only,
    pg_catalog.pg_backend_pid() as pid,
    pg_catalog.pg_try_advisory_xact_lock(2583, 2) as unfenced,
    true as view_free,
    true as function_exists;

-- name: begin_view
select pg_catalog.set_config('application_name', %(application_name)s, true),
    pg_catalog.set_config('search_path', %(search_path)s, true),
    pg_catalog.set_config('TimeZone', 'UTC', true),
    pg_catalog.set_config('lock_timeout', %(lock_timeout)s, true),
    pg_catalog.set_config('statement_timeout', %(statement_timeout)s, true),
    pg_catalog.current_setting('transaction_read_only') as read_only,
    pg_catalog.pg_backend_pid() as pid,
    pg_catalog.pg_try_advisory_xact_lock_shared(2583, 2) as unfenced,
    pg_catalog.pg_try_advisory_xact_lock(2583, %(view_key)s) as view_free,
    exists (
        select from pg_catalog.pg_proc p
        join pg_catalog.pg_namespace n on n.oid = p.pronamespace
        where n.nspname = %(function_schema)s and p.proname = %(function_name)s
            and p.pronargs = 1 and p.proargtypes[0] = 'pg_catalog.text'::pg_catalog.regtype) as function_exists;

-- name: call_function
-- named columns, so that a function that lacks one is refused before it has refreshed anything; as text, so that no
-- value of an older install's types can fail to arrive
select f.view_name::text, f.refresh_duration_ms::text, f.rows_refreshed::text, f.success::text,
    pg_catalog.left(f.error_message::text, 4096)
from {function}() as f
limit 1000;

-- name: call_view_function
select f.view_name::text, f.refresh_duration_ms::text, f.rows_refreshed::text, f.success::text,
    pg_catalog.left(f.error_message::text, 4096)
from {function}(%(view)s::text) as f
limit 1;

-- name: refresh_view
refresh materialized view concurrently {view};

-- name: count_rows
select pg_catalog.count(*) from {view};
