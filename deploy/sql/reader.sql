-- A role for dashboards and analysts: it reads the views and what the catalogue's queries read, error text redacted,
-- answers (response_data) not at all, and nothing else. deploy/grafana/queries-dashboard.json needs no more. Failures it
-- reads by the function analytics_reader.recent_failures(since, until), as the dashboard does: `analytics-refreshd query`
-- reads the view itself, so failing-triggers, failures-by-type, recent-failures and top-errors fail there as this role.
-- Run it after `analytics-refreshd migrate`, as the owner of tables and views; it may be run again. An owner that may not
-- create roles asks somebody with CREATEROLE first, who also grants it to the login of dashboard or analyst:
--
--   create role analytics_reader nologin;
--   grant analytics_reader to SOMEONE;
--
-- Then, as the owner:
--
--   psql -d DATABASE -v schema=public -f reader.sql
--
-- role    the role's name (default analytics_reader); created, unable to log in, if missing
-- schema  the application's schema (default public)
--
-- To take it back, as a superuser:
--
--   drop schema analytics_reader cascade; drop owned by analytics_reader; drop role analytics_reader;
--
-- Without one, who created the role begins with `grant analytics_reader to OWNER`, the owner then does the first two, and
-- who created the role the last.
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
-- the application's schema may hold functions and operators that fit better than pg_catalog's, and would run as you
set local search_path = pg_catalog, pg_temp;
select not exists (select from pg_roles where rolname = :'role')
    and not exists (select from pg_roles where rolname = current_user and (rolsuper or rolcreaterole)) as role_missing
\gset
\if :role_missing
  \warn There is no role :"role", and you may not create one. Ask somebody with CREATEROLE for it, then run this again:
  \warn '  create role' :"role" 'nologin;'
\endif

select format('create role %I nologin', :'role')
where not exists (select from pg_roles where rolname = :'role') \gexec

grant connect on database :"DBNAME" to :"role";
grant usage on schema :"schema" to :"role";
grant select on
    :"schema".action_metrics_hourly, :"schema".trigger_performance_summary, :"schema".action_type_distribution
to :"role";
grant select (id, job_id, trigger_id, event_id, action_type, retry_count, executed_at, duration_ms)
    on :"schema".recent_failures to :"role";
grant execute on function :"schema".get_analytics_refresh_status() to :"role";
grant select (id, job_id, trigger_id, event_id, action_type, status, executed_at, duration_ms, retry_count)
    on :"schema".action_results to :"role";
grant select (id, organization_id, name, enabled, created_at) on :"schema".triggers to :"role";
grant select (id, name, slug, plan) on :"schema".organizations to :"role";
-- with a frozen horizon, days of organizations whose rows are gone
select exists (
    select from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'analytics_refresh' and c.relname = 'frozen_days') as frozen
\gset
\if :frozen
grant usage on schema analytics_refresh to :"role";
grant select on analytics_refresh.frozen_days, analytics_refresh.frozen_series to :"role";
grant select (frozen_until, days_since) on analytics_refresh.incremental to :"role";
\endif

create schema if not exists analytics_reader;
comment on schema analytics_reader is 'Failures with redacted messages, for roles that may not read them as stored.';

create or replace function analytics_reader.redacted(message text) returns text
    language sql immutable parallel safe set search_path = pg_catalog
as $redacted$
    select left(
        regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(
        regexp_replace(regexp_replace(left(message, 2000),
            '[[:cntrl:]\u200b-\u200f\u2028-\u202e\u2066-\u2069]+', ' ', 'g'),
            '([a-z][a-z0-9+.-]{1,30}://)[^\s/]*@', '\1***@', 'gi'),
            '((?:(?:passw|passphrase|passcode|secret|token|credential|signature|cookie|bearer|jwt|csrf|xsrf|session[_-]?id'
                || '|(?:api|app|access|account|auth|aws|client|crypt|cryption|encryption|license|master|private|service'
                || '|shared|signing|ssh|storage|webhook)[_-]?key|connection[_-]?string)[\w-]*'
                || '|pass|pwd|(?:\m|[_-])(?:pw|auth|authorization|creds|cred|sig|otp|totp|pin|cvv|cvc|salt|session|sid))'
                || '\\{0,3}["'']?\s*(?::=|=>|->|[:=]|%3[ad])\s*)'
                || '(?:"[^"]*"?|''[^'']*''?|(?:bearer|basic)\s+\S+|\S+)', '\1***', 'gi'),
            '\m(bearer|basic)\s+\S+', '\1 ***', 'gi'),
            '[^\s<>"(),;:=@/*]+(?:@|%40)\[?[\w.-]+', '<email>', 'g'),
            '\d{6,12}:[\w-]{20,}', '<token>', 'g'),
            '(?:\meyJ[\w-]{5,}(?:\.[\w-]*)*'
                || '|\m(?:sk|pk|rk|gh[pousr]|github_pat|glpat|xox[a-z]|AKIA|ASIA|AIza|npm|pypi|hf)[_.-]?[\w-]{12,})',
            '<token>', 'g'),
            '(?=[[:alnum:]]*[0-9])(?=[[:alnum:]]*[[:alpha:]])[[:alnum:]]{16,}', '<token>', 'g'),
            '\+?\d{7,}|\+?\d{1,6}(?:[ -]{1,2}\d{2,6}){3,}', '<number>', 'g'),
        300)
$redacted$;
comment on function analytics_reader.redacted(text) is
    'Text without e-mail addresses, credentials, tokens, long numbers and control characters; at most 300 characters.';

-- a function, not a view: nothing may depend on a materialized view that a migration replaces
select format($create$
create or replace function analytics_reader.recent_failures(since timestamptz, until timestamptz)
    returns table (id text, job_id text, trigger_id text, event_id text, action_type text, error_message text,
                   retry_count integer, executed_at timestamptz, duration_ms integer, response_data jsonb)
    language sql stable security definer set search_path = pg_catalog
as $body$
    select id, job_id, trigger_id, event_id, action_type, analytics_reader.redacted(error_message), retry_count,
           executed_at, duration_ms, null::jsonb
      from %I.recent_failures
     where executed_at >= since and executed_at < until
$body$
$create$, :'schema') \gexec
comment on function analytics_reader.recent_failures(timestamptz, timestamptz) is
    'recent_failures of a stretch of time with redacted messages and without answers.';

-- in plpgsql, which looks for the tables when it is called: there are none before anything is frozen
create or replace function analytics_reader.frozen_until() returns timestamptz
    language plpgsql stable security definer set search_path = pg_catalog
as $body$
begin
    if to_regclass('analytics_refresh.frozen_days') is null then
        return '-infinity';
    end if;
    return (select coalesce(max(i.frozen_until), '-infinity') from analytics_refresh.incremental i);
end
$body$;
comment on function analytics_reader.frozen_until() is 'Until when figures are frozen; -infinity where nothing is.';

create or replace function analytics_reader.frozen_days(since timestamp, until timestamp)
    returns table (trigger_id text, organization_id text, day date, action_type text, status text, n integer,
                   timed integer, retried integer, duration_total bigint, retry_total bigint)
    language plpgsql stable security definer set search_path = pg_catalog
as $body$
begin
    if to_regclass('analytics_refresh.frozen_days') is null then
        return;
    end if;
    return query
    select s.trigger_id, s.organization_id, d.day, d.action_type, d.status, d.n, d.timed, d.retried, d.duration_total,
           d.retry_total
      from analytics_refresh.frozen_series s
      join analytics_refresh.frozen_days d on d.series = s.series
     where d.day >= frozen_days.since and d.day < frozen_days.until;
end
$body$;
comment on function analytics_reader.frozen_days(timestamp, timestamp) is
    'Frozen days (UTC) with the organization of that time, whose rows may be gone.';

revoke all on all functions in schema analytics_reader from public;
grant usage on schema analytics_reader to :"role";
grant execute on all functions in schema analytics_reader to :"role";
commit;
