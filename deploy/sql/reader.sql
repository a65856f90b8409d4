-- A role for dashboards and analysts: it reads the views and what the catalogue's queries read, and nothing else.
-- Run after `analytics-refreshd migrate`, as the owner of the tables and views or a superuser; it only adds.
--
--   psql -d DATABASE -v schema=public -f reader.sql
--   grant analytics_reader to SOMEONE;
--
-- role    the role's name (default analytics_reader); created, unable to log in, if missing
-- schema  the application's schema (default public)
--
-- recent_failures holds error messages and responses of the last 24 hours, which may hold personal data; of
-- action_results the role reads neither.
\set ON_ERROR_STOP on
\if :{?role}
\else
  \set role analytics_reader
\endif
\if :{?schema}
\else
  \set schema public
\endif

begin;
select format('create role %I nologin', :'role')
where not exists (select from pg_roles where rolname = :'role') \gexec

grant connect on database :"DBNAME" to :"role";
grant usage on schema :"schema" to :"role";
grant select on
    :"schema".action_metrics_hourly, :"schema".trigger_performance_summary,
    :"schema".recent_failures, :"schema".action_type_distribution
to :"role";
grant execute on function :"schema".get_analytics_refresh_status() to :"role";
grant select (id, job_id, trigger_id, event_id, action_type, status, executed_at, duration_ms, retry_count)
    on :"schema".action_results to :"role";
grant select (id, organization_id, name, enabled, created_at) on :"schema".triggers to :"role";
grant select (id, name, slug, plan) on :"schema".organizations to :"role";
commit;
