-- A transaction of the API's, which is admitted to organizations: what begins it, and what admits it.

-- name: configure
-- what it is admitted by is made for this transaction, so it tells which one it is
select pg_catalog.set_config('timezone', 'UTC', true), pg_catalog.set_config('search_path', %(search_path)s, true),
    pg_catalog.set_config('statement_timeout', %(timeout)s, true),
    pg_catalog.set_config('plan_cache_mode', %(plans)s, true),
    pg_catalog.pg_backend_pid() || ' '
        || (extract(epoch from pg_catalog.transaction_timestamp()) * 1000000)::pg_catalog.int8;

-- name: admit_and_read
-- with the views' last successes, at the moment at which all is read; one row without a view where there are none
with admitted as materialized (select pg_catalog.set_config('analytics_api.token', %(token)s, true))
select s.view_name, s.at
from admitted left join analytics_api.last_successes() as s on s.view_name = any (%(views)s);
