-- The daemon's role with the least that it needs. Run it after `analytics-refreshd migrate`, as the owner of tables and
-- views, and again after a change or `migrate --incremental`: it only adds. An owner that may not create roles asks
-- somebody with CREATEROLE first:
--
--   create role analytics_refreshd login;      -- and \password analytics_refreshd
--
-- Then, as the owner:
--
--   psql -d DATABASE -v role=analytics_refreshd -v schema=public -f grants.sql
--
-- `WARNING: no privileges were granted` for the database or the schema: another role owns it. What everyone may is enough
-- there, unless it was revoked: `analytics-refreshd check` tells.
--
-- role    the daemon's role (default analytics_refreshd); created, able to log in, without a password, if missing
-- schema  the application's schema (default public)
-- stats   -v stats=1 adds pg_read_all_stats: view.blocked then says what the blocker runs, not only its pid. For a
--         superuser, or who has ADMIN on pg_read_all_stats; an owner leaves it out and asks them for
--         grant pg_read_all_stats to analytics_refreshd;
-- probes  -v probes=1 adds what the catalogue's queries read, error texts and answers of recent_failures included, for
--         `query` and [queries] probes
-- verify  -v verify=1 adds what `migrate --verify` needs: to read every action, and to note the result. For the timer
--         and the CronJob of the incremental mode, which run it as this role; after `migrate --incremental`
--
-- It gets no DDL, no write to the application's tables, no superuser. From PostgreSQL 17 the functions run with the
-- caller's rights, so the role gets MAINTAIN on the four views. On 15 and 16, where only an owner can refresh, the
-- functions act as the views' owner, with a fixed search_path and a fixed list of views, and the role gets EXECUTE.
\set ON_ERROR_STOP on
\if :{?role}
\else
  \set role analytics_refreshd
\endif
\if :{?schema}
\else
  \set schema public
\endif
\if :{?stats}
\else
  \set stats 0
\endif
\if :{?probes}
\else
  \set probes 0
\endif
\if :{?verify}
\else
  \set verify 0
\endif
begin;
-- the application's schema may hold functions and operators that fit better than pg_catalog's, and would run as you
set local search_path = pg_catalog, pg_temp;
select current_setting('server_version_num')::integer >= 170000 as maintainable \gset
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

-- refresh, and see that it was done
grant execute on function
    :"schema".refresh_action_analytics(),
    :"schema".refresh_action_analytics_view(text),
    :"schema".get_analytics_refresh_status()
to :"role";
grant select on
    :"schema".action_metrics_hourly, :"schema".trigger_performance_summary, :"schema".action_type_distribution
to :"role";
-- success rate and 95th percentile of the last 24 hours
grant select (executed_at, duration_ms, status) on :"schema".action_results to :"role";
-- to count its rows; error texts and answers are for who asks for them
grant select (id) on :"schema".recent_failures to :"role";
\if :maintainable
grant maintain on
    :"schema".action_metrics_hourly, :"schema".trigger_performance_summary,
    :"schema".recent_failures, :"schema".action_type_distribution
to :"role";
\endif

-- state, history, alerts, pauses
-- what the API keeps is not the daemon's
select format('grant select on analytics_refresh.%I to %I', c.relname, :'role')
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'analytics_refresh' and c.relkind in ('r', 'p', 'v', 'm') and c.relname !~ '^api_'
order by c.relname \gexec
grant insert, update on
    analytics_refresh.last_refresh, analytics_refresh.pauses, analytics_refresh.view_results
to :"role";
grant insert, update, delete on
    analytics_refresh.runs, analytics_refresh.alerts, analytics_refresh.deliveries
to :"role";
-- what operators ask for over the API, and what was done
grant delete on analytics_refresh.operator_requests to :"role";
grant insert on analytics_refresh.operator_request_steps to :"role";
grant execute on function analytics_refresh.pause(interval, text), analytics_refresh.resume() to :"role";
\if :incremental
-- the refresh functions, and the daemon itself, call these
grant execute on function
    analytics_refresh.fold(), analytics_refresh.rebuild_step(integer), analytics_refresh.capture_now(),
    analytics_refresh.view_due(text), analytics_refresh.view_refreshed(text, bigint),
    analytics_refresh.view_checked(text)
to :"role";
select format('grant execute on function %s to %I', p.oid::regprocedure, :'role')
from pg_proc p join pg_namespace n on n.oid = p.pronamespace
where n.nspname = 'analytics_refresh' and p.proname in ('obstacles', 'note_obstacles') and p.pronargs = 0 \gexec
\endif

\if :stats
grant pg_read_all_stats to :"role";
\endif
\if :probes
grant select on :"schema".recent_failures to :"role";
grant select (id, job_id, trigger_id, event_id, action_type, status, executed_at, duration_ms, retry_count)
    on :"schema".action_results to :"role";
grant select (id, organization_id, name, enabled, created_at) on :"schema".triggers to :"role";
grant select (id, name, slug, plan) on :"schema".organizations to :"role";
\endif
\if :verify
grant select on :"schema".action_results to :"role";
grant update (verified_at, verified_ok, verified_differences) on analytics_refresh.incremental to :"role";
\endif
commit;
