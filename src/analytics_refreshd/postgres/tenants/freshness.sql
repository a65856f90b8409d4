-- When the views were refreshed, for the role of the API.

-- name: readable
-- an older `migrate --tenants` made no such function
select exists (
    select from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'analytics_api' and p.proname = 'last_successes' and p.pronargs = 0
        and pg_catalog.has_function_privilege(p.oid, 'execute'));

-- name: last_successes
select s.view_name, s.at from analytics_api.last_successes() as s where s.view_name = any (%(views)s);
