-- Whose schema analytics_refresh the program's own statements use: another's tables may be views, and run their code as us.

-- name: trusted
-- of the schema n: the owner of the tables, the one whose function dates the views, this role, or who may do anything. A
-- role that migrated without being the tables' owner owns that function; who else could own it is called by us anyway.
n.nspowner in (
    select c.relowner from pg_catalog.pg_class c join pg_catalog.pg_namespace a on a.oid = c.relnamespace
    where a.nspname = %(app_schema)s and c.relname = 'action_results'
    union all
    select p.proowner from pg_catalog.pg_proc p join pg_catalog.pg_namespace a on a.oid = p.pronamespace
    where a.nspname = %(app_schema)s and p.proname = 'get_analytics_refresh_status' and p.pronargs = 0
    union all
    select r.oid from pg_catalog.pg_roles r where r.rolsuper or r.rolname = current_user)

-- name: untrusted
select exists (select from pg_catalog.pg_namespace n where n.nspname = 'analytics_refresh' and not ({trusted}));

-- name: served
-- for which application schema our schema serves: its own record where that may be read and is trusted, and the schemas whose
-- functions write into it, by the catalogue alone
select
    {trusted} and pg_catalog.has_schema_privilege(n.oid, 'usage') and exists (
        select from pg_catalog.pg_class c
        where c.relnamespace = n.oid and c.relname = 'installation' and c.relkind = 'r'
            and pg_catalog.has_table_privilege(c.oid, 'select')) as recorded,
    array(
        select distinct a.nspname::text
        from pg_catalog.pg_proc p join pg_catalog.pg_namespace a on a.oid = p.pronamespace
        where p.proname = 'refresh_action_analytics_view' and p.pronargs = 1 and a.oid <> n.oid
            and pg_catalog.strpos(p.prosrc, 'analytics_refresh.last_refresh') > 0
        order by 1) as recording
from pg_catalog.pg_namespace n
where n.nspname = 'analytics_refresh';

-- name: recorded_schema
select i.app_schema from analytics_refresh.installation i;
