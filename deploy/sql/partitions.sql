-- The role that `analytics-refreshd partitions` runs as: a member of the owner of action_results, since only an owner may
-- give a table partitions. Who has it can do with these tables what their owner can: keep its password where only
-- the timer reads it. Run it after `analytics-refreshd migrate`, as a superuser, or as the owner if that may create roles;
-- it may be run again.
--
--   psql -d DATABASE -v schema=public -f partitions.sql
--
-- role    the role's name (default analytics_partitions); created, able to log in, without a password, if missing
-- schema  the application's schema (default public)
--
-- To take it back: drop owned by analytics_partitions; drop role analytics_partitions;
\set ON_ERROR_STOP on
\if :{?role}
\else
  \set role analytics_partitions
\endif
\if :{?schema}
\else
  \set schema public
\endif
begin;
-- the application's schema may hold functions and operators that fit better than pg_catalog's, and would run as you
set local search_path = pg_catalog, pg_temp;
select pg_get_userbyid(c.relowner) as owner, r.rolsuper as too_much
from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_roles r on r.oid = c.relowner
where n.nspname = :'schema' and c.relname = 'action_results'
\gset
\if :too_much
  do $$ begin raise exception 'action_results belongs to a superuser, and a member of it could do everything: give it to another role first, as analytics-refreshd check says'; end $$;
\endif
select format('create role %I login', :'role')
where not exists (select from pg_roles where rolname = :'role') \gexec

grant connect on database :"DBNAME" to :"role";
grant :"owner" to :"role";
commit;
