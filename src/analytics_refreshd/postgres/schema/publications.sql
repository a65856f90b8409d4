-- What publications send of our schema, and what a subscriber needs to go on receiving.

-- name: possible
-- a publication that could send a table of ours, one that is created later included
select exists (
    select from pg_catalog.pg_publication p where p.puballtables
    union all
    select from pg_catalog.pg_publication_namespace s
    join pg_catalog.pg_namespace n on n.oid = s.pnnspid where n.nspname = 'analytics_refresh'
    union all
    select from pg_catalog.pg_publication_rel r
    join pg_catalog.pg_class c on c.oid = r.prrelid
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace where n.nspname = 'analytics_refresh');

-- name: published
select p.pubname::text as publication, p.tablename::text as table_name, p.attnames::text[] as columns
from pg_catalog.pg_publication_tables p
where p.schemaname = 'analytics_refresh'
order by 1, 2;

-- name: future
-- publications that will send every table that is created in our schema
select p.pubname::text as publication from pg_catalog.pg_publication p where p.puballtables
union
select p.pubname::text from pg_catalog.pg_publication_namespace s
join pg_catalog.pg_publication p on p.oid = s.pnpubid
join pg_catalog.pg_namespace n on n.oid = s.pnnspid where n.nspname = 'analytics_refresh'
order by 1;

-- name: slots
-- which publication a slot asks for is known to its subscriber alone
select s.slot_name::text as name, s.active,
    case when not pg_catalog.pg_is_in_recovery()
        then pg_catalog.pg_size_pretty(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), s.restart_lsn)) end as kept
from pg_catalog.pg_replication_slots s
where s.slot_type = 'logical' and s.database = pg_catalog.current_database()
order by 1;

-- name: subscriber
-- the commands that give a subscriber empty tables like those that are published, and columns that it lacks
select t.command
from (
    select c.relname, 1 as place, pg_catalog.format(E'create table if not exists analytics_refresh.%I (\n    %s%s);', c.relname,
        pg_catalog.string_agg(
            pg_catalog.format('%I %s', a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod)), E',\n    '
            order by a.attnum),
        (select E',\n    ' || pg_catalog.pg_get_constraintdef(k.oid) from pg_catalog.pg_constraint k
            where k.conrelid = c.oid and k.contype = 'p')) as command
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where n.nspname = 'analytics_refresh' and c.relkind = 'r'
    group by c.oid, c.relname
    union all
    select c.relname, 2, pg_catalog.format(E'alter table analytics_refresh.%I\n    %s;', c.relname,
        pg_catalog.string_agg(
            pg_catalog.format('add column if not exists %I %s', a.attname,
                pg_catalog.format_type(a.atttypid, a.atttypmod)), E',\n    ' order by a.attnum))
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where n.nspname = 'analytics_refresh' and c.relkind = 'r'
    group by c.oid, c.relname) t
order by t.relname, t.place;

-- name: unidentified
-- tables of ours whose updates and deletes fail, or will, once a publication sends them: neither a key nor an identity
select c.relname::text as table_name, exists (
    select from pg_catalog.pg_publication_tables p
    join pg_catalog.pg_publication b on b.pubname = p.pubname and (b.pubupdate or b.pubdelete)
    where p.schemaname = n.nspname and p.tablename = c.relname) as published
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'analytics_refresh' and c.relkind = 'r'
    and (c.relreplident = 'n' or c.relreplident = 'd' and not exists (
        select from pg_catalog.pg_index i where i.indrelid = c.oid and i.indisprimary))
order by 1;

-- name: identify
alter table analytics_refresh.{table} replica identity full;

-- name: subscribed
-- subscriptions that write into tables of ours
select distinct s.subname::text as subscription
from pg_catalog.pg_subscription_rel r
join pg_catalog.pg_subscription s on s.oid = r.srsubid
join pg_catalog.pg_class c on c.oid = r.srrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'analytics_refresh'
order by 1;
