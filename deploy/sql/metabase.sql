-- A role for Metabase, or another tool that shows every relation that its login may read: it reads three of the views, and
-- in a schema of its own triggers, organizations and failures with redacted messages; of the action log no row, and nothing
-- else. It sees all organizations: people of one organization read the API instead. Run it after reader.sql, as the owner
-- of tables and views; it may be run again. An owner that may not create roles asks somebody with CREATEROLE first:
--
--   create role analytics_metabase login;      -- and \password analytics_metabase
--
-- Then, as the owner:
--
--   psql -d DATABASE -v schema=public -f metabase.sql
--
-- role    the role's name (default analytics_metabase); created, able to log in, without a password, if missing
-- schema  the application's schema (default public)
--
-- To take it back: drop schema analytics_metabase cascade; drop owned by analytics_metabase; drop role analytics_metabase;
\set ON_ERROR_STOP on
\if :{?role}
\else
  \set role analytics_metabase
\endif
\if :{?schema}
\else
  \set schema public
\endif

begin;
-- the application's schema may hold functions and operators that fit better than pg_catalog's, and would run as you
set local search_path = pg_catalog, pg_temp;
select not exists (select from pg_roles where rolname = :'role') as role_new,
    not exists (select from pg_roles where rolname = :'role')
        and not exists (select from pg_roles where rolname = current_user and (rolsuper or rolcreaterole)) as role_missing
\gset
\if :role_missing
  \warn There is no role :"role", and you may not create one. Ask somebody with CREATEROLE for it, then run this again:
  \warn '  create role' :"role" 'login;'
\endif
\if :role_new
create role :"role" login;
-- people write SQL there: it neither changes anything nor runs for hours
alter role :"role" set default_transaction_read_only = on;
alter role :"role" set statement_timeout = '60s';
\endif

grant connect on database :"DBNAME" to :"role";
grant usage on schema :"schema" to :"role";
grant select on
    :"schema".action_metrics_hourly, :"schema".trigger_performance_summary, :"schema".action_type_distribution
to :"role";

create schema if not exists analytics_metabase;
comment on schema analytics_metabase is 'What people see of triggers, organizations and failures in Metabase.';

create or replace view analytics_metabase.organizations as
    select o.id, o.name, o.slug, o.plan from :"schema".organizations o;
comment on view analytics_metabase.organizations is 'Organizations.';

create or replace view analytics_metabase.triggers as
    select t.id, t.organization_id, t.name, t.enabled, t.created_at from :"schema".triggers t;
comment on view analytics_metabase.triggers is 'Triggers, without the person whose they are.';

-- by the function of reader.sql: nothing may depend on a materialized view that a migration replaces
create or replace view analytics_metabase.failures as
    select f.id, f.trigger_id, f.event_id, f.action_type, f.error_message, f.retry_count, f.executed_at, f.duration_ms
    from analytics_reader.recent_failures('-infinity', 'infinity') f;
comment on view analytics_metabase.failures is 'Failures of the last day, their messages redacted, as of the last refresh.';

revoke all on all tables in schema analytics_metabase from public;
grant usage on schema analytics_metabase to :"role";
grant select on all tables in schema analytics_metabase to :"role";
-- the view calls it as who reads
grant execute on function analytics_reader.recent_failures(timestamptz, timestamptz) to :"role";
commit;
