-- The role that `analytics-refreshd retain` runs as: it reads and deletes rows of action_results, and records its runs.
-- Not the daemon's role, which never deletes a row. Run it after `analytics-refreshd migrate`, as the owner of the table;
-- it may be run again. An owner that may not create roles asks somebody with CREATEROLE first:
--
--   create role analytics_retention login;      -- and \password analytics_retention
--
-- Then, as the owner:
--
--   psql -d DATABASE -v schema=public -f retention.sql
--
-- role    the role's name (default analytics_retention); created, able to log in, without a password, if missing
-- schema  the application's schema (default public)
-- stats   -v stats=1 adds pg_read_all_stats: without it the lag of standbys is unknown, and nothing waits for them. For a
--         superuser, or who has ADMIN on pg_read_all_stats; an owner leaves it out and asks them for
--         grant pg_read_all_stats to analytics_retention;
-- months  -v months=1 makes it a member of the owner of action_results, since only an owner may detach and drop a
--         partition: with it `retain` takes months as a whole, and can do with these tables what their owner can. For
--         a superuser, or who has ADMIN on the owner
--
-- To take it back: drop owned by analytics_retention; drop role analytics_retention;
\set ON_ERROR_STOP on
\if :{?role}
\else
  \set role analytics_retention
\endif
\if :{?schema}
\else
  \set schema public
\endif
\if :{?stats}
\else
  \set stats 0
\endif
begin;
-- the application's schema may hold functions and operators that fit better than pg_catalog's, and would run as you
set local search_path = pg_catalog, pg_temp;
\if :{?months}
\else
  \set months 0
\endif
select exists (
    select from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'analytics_refresh' and c.relname = 'incremental') as incremental
\gset

select not exists (select from pg_roles where rolname = :'role')
    and not exists (select from pg_roles where rolname = current_user and (rolsuper or rolcreaterole)) as role_missing
\gset
\if :role_missing
  \warn There is no role :"role", and you may not create one. Ask somebody with CREATEROLE for it, then run this again:
  \warn '  create role' :"role" 'login;'
\endif

select format('create role %I login', :'role')
where not exists (select from pg_roles where rolname = :'role') \gexec

grant connect on database :"DBNAME" to :"role";
grant usage on schema :"schema", analytics_refresh to :"role";
grant select (ctid, executed_at), delete on :"schema".action_results to :"role";
-- rows of a partition are deleted there
select format('grant select (ctid, executed_at), delete on %s to %I', t.relid::regclass, :'role')
from pg_partition_tree(format('%I.action_results', :'schema')::regclass) t where t.level > 0 \gexec
grant select on analytics_refresh.installation to :"role";
grant select, insert, update on analytics_refresh.retention_runs, analytics_refresh.retention_months to :"role";
\if :incremental
grant select on analytics_refresh.incremental to :"role";
\endif
\if :months
select pg_get_userbyid(c.relowner) as owner, r.rolsuper as too_much
from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_roles r on r.oid = c.relowner
where n.nspname = :'schema' and c.relname = 'action_results'
\gset
\if :too_much
  do $$ begin raise exception 'action_results belongs to a superuser, and a member of it could do everything: give it to another role first, as analytics-refreshd check says'; end $$;
\endif
grant :"owner" to :"role";
\endif
\if :stats
grant pg_read_all_stats to :"role";
\endif
commit;
