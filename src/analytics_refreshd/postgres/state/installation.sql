-- Whether what is installed is whole, by the catalogue alone: it asks for no right on anything.

-- name: unfinished
-- A switch that stopped half way leaves its tables, and may leave its triggers, beside plain views. Not while somebody holds the
-- lock of a migration.
select exists (
    select from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'analytics_refresh' and c.relname = 'incremental')
    and not exists (
        select from pg_catalog.pg_locks l
        where l.locktype = 'advisory' and l.classid = 2583 and l.objid = 3 and l.objsubid = 2 and l.granted
            and l.database = (
                select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()));
