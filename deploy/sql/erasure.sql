-- The role that `analytics-refreshd erase` runs as: it reads and changes what the action log holds of people, empties error
-- texts of our tables, and refreshes the views. Not the daemon's role. Run it after `analytics-refreshd migrate`, and again
-- after `migrate --incremental` or `--tenants` and after a new partition, as the owner of the tables; it only adds. An
-- owner that may not create roles asks somebody with CREATEROLE first:
--
--   create role analytics_erasure login;      -- and \password analytics_erasure
--
-- Then, as the owner:
--
--   psql -d DATABASE -v schema=public -f erasure.sql
--
-- role    the role's name (default analytics_erasure); created, able to log in, without a password, if missing
-- schema  the application's schema (default public)
--
-- It sees how far standbys are behind with pg_read_all_stats only: grant pg_read_all_stats to analytics_erasure;
-- To take it back: drop owned by analytics_erasure; drop role analytics_erasure;
\set ON_ERROR_STOP on
\if :{?role}
\else
  \set role analytics_erasure
\endif
\if :{?schema}
\else
  \set schema public
\endif
begin;
-- the application's schema may hold functions and operators that fit better than pg_catalog's, and would run as you
set local search_path = pg_catalog, pg_temp;
select current_setting('server_version_num')::integer >= 170000 as maintainable \gset
select
    exists (
        select from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'analytics_refresh' and c.relname = 'incremental') as incremental,
    exists (
        select from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where n.nspname = 'analytics_refresh' and p.proname = 'erase_frozen') as frozen,
    exists (
        select from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'analytics_refresh' and c.relname = 'retention_months') as months,
    exists (
        select from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'analytics_refresh' and c.relname = 'api_questions') as questions
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

-- the log; rows of a partition are changed there
select format('grant select (ctid, executed_at, trigger_id, job_id, event_id, error_message, response_data), '
    'update (job_id, event_id, error_message, response_data), delete on %s to %I', t.relation::regclass, :'role')
from (
    select format('%I.action_results', :'schema')::regclass::oid as relation
    union
    select p.relid from pg_partition_tree(format('%I.action_results', :'schema')::regclass) p) t \gexec
\if :months
-- months that `retain` detached can come back; their rows are changed, too
grant select (relation, schema_name, table_name, state) on analytics_refresh.retention_months to :"role";
select format('grant select (ctid, executed_at, trigger_id, job_id, event_id, error_message, response_data), '
    'update (job_id, event_id, error_message, response_data), delete on %s to %I', c.oid::regclass, :'role')
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and c.relowner = (
        select o.relowner from pg_class o where o.oid = format('%I.action_results', :'schema')::regclass)
    and exists (
        select from analytics_refresh.retention_months r
        where r.state <> 'dropped'
            and (r.relation = c.oid or r.schema_name = n.nspname and r.table_name = c.relname)) \gexec
\endif
grant select (id, user_id, organization_id) on :"schema".triggers to :"role";

-- receipts are only added
grant select, insert on analytics_refresh.erasures to :"role";
-- error texts
grant select (error), update (error) on analytics_refresh.runs, analytics_refresh.view_results to :"role";
grant select (summary, description), update (summary, description) on analytics_refresh.alerts to :"role";
grant select (reason), update (reason) on analytics_refresh.retention_runs to :"role";
\if :questions
-- what people kept of the pages
grant select (organization_id, address, kept_at, kept_by), delete on analytics_refresh.api_questions to :"role";
\endif

-- refresh at the end
grant execute on function :"schema".refresh_action_analytics() to :"role";
\if :maintainable
-- from PostgreSQL 17 the functions run with the caller's rights
grant execute on function :"schema".refresh_action_analytics_view(text) to :"role";
grant maintain on
    :"schema".action_metrics_hourly, :"schema".trigger_performance_summary,
    :"schema".recent_failures, :"schema".action_type_distribution
to :"role";
grant select on
    :"schema".action_metrics_hourly, :"schema".trigger_performance_summary, :"schema".action_type_distribution
to :"role";
grant select (id) on :"schema".recent_failures to :"role";
grant select, insert, update on analytics_refresh.last_refresh to :"role";
\endif
\if :incremental
grant select on analytics_refresh.incremental, analytics_refresh.rebuild_marks to :"role";
grant execute on function analytics_refresh.rebuild_step(integer) to :"role";
\if :maintainable
grant execute on function
    analytics_refresh.fold(), analytics_refresh.view_due(text), analytics_refresh.view_refreshed(text, bigint),
    analytics_refresh.view_checked(text)
to :"role";
\endif
\endif
\if :frozen
grant select (trigger_id, n, last_at) on analytics_refresh.frozen_triggers to :"role";
grant execute on function analytics_refresh.erase_frozen(text[]) to :"role";
\endif
commit;
