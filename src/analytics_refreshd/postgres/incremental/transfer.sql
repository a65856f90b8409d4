-- What is frozen, as text that another database takes: an object a line.

-- name: header
select i.frozen_until, i.frozen_checksum::text, i.days_since::text from analytics_refresh.incremental i
where i.frozen_until > '-infinity';

-- name: rows
-- the triggers before their counts
select t.kind, t.row::text
from (
    select 1 as place, 'hour' as kind, to_jsonb(f) as row from analytics_refresh.frozen_hours f
    union all
    select 2, 'trigger', to_jsonb(f) - 'cell' from analytics_refresh.frozen_triggers f
    union all
    select 3, 'type', to_jsonb(f) from analytics_refresh.frozen_types f
    union all
    select 4, 'duration', jsonb_build_object('trigger_id', f.trigger_id, 'duration_ms', d.duration_ms, 'n', d.n)
    from analytics_refresh.frozen_durations d join analytics_refresh.frozen_triggers f on f.cell = d.cell
    union all
    select 5, 'day', to_jsonb(d) - 'series' || jsonb_build_object('trigger_id', s.trigger_id, 'organization_id', s.organization_id)
    from analytics_refresh.frozen_days d join analytics_refresh.frozen_series s on s.series = d.series
    union all
    select 6, 'retry', jsonb_build_object('trigger_id', f.trigger_id, 'retry_count', r.retry_count, 'n', r.n)
    from analytics_refresh.frozen_retries r join analytics_refresh.frozen_triggers f on f.cell = r.cell) t
order by t.place;

-- name: empty
-- holds the row that lets one fold run at a time
select from analytics_refresh.incremental for update;
delete from analytics_refresh.frozen_hours;
delete from analytics_refresh.frozen_triggers;
delete from analytics_refresh.frozen_types;
delete from analytics_refresh.frozen_durations;
delete from analytics_refresh.frozen_retries;
delete from analytics_refresh.frozen_days;
delete from analytics_refresh.frozen_series;

-- name: put_hour
insert into analytics_refresh.frozen_hours
select r.* from jsonb_populate_recordset(null::analytics_refresh.frozen_hours, {rows}::jsonb) r;

-- name: put_trigger
insert into analytics_refresh.frozen_triggers (
    trigger_id, n, succeeded, failed, retrying, timed, duration_total, tried, retry_total, first_at, last_at)
select r.trigger_id, r.n, r.succeeded, r.failed, r.retrying, r.timed, r.duration_total, r.tried, r.retry_total, r.first_at,
    r.last_at
from jsonb_populate_recordset(null::analytics_refresh.frozen_triggers, {rows}::jsonb) r;

-- name: put_type
insert into analytics_refresh.frozen_types
select r.* from jsonb_populate_recordset(null::analytics_refresh.frozen_types, {rows}::jsonb) r;

-- name: put_duration
insert into analytics_refresh.frozen_durations (cell, duration_ms, n)
select f.cell, r.duration_ms, r.n
from jsonb_to_recordset({rows}::jsonb) r (trigger_id text, duration_ms integer, n integer)
join analytics_refresh.frozen_triggers f on f.trigger_id = r.trigger_id;

-- name: put_retry
insert into analytics_refresh.frozen_retries (cell, retry_count, n)
select f.cell, r.retry_count, r.n
from jsonb_to_recordset({rows}::jsonb) r (trigger_id text, retry_count integer, n integer)
join analytics_refresh.frozen_triggers f on f.trigger_id = r.trigger_id;

-- name: put_day
with found as materialized (
    select r.* from jsonb_to_recordset({rows}::jsonb) r (
        day date, n integer, timed integer, retried integer, duration_total bigint, retry_total bigint, action_type text,
        status text, trigger_id text, organization_id text)),
added as (
    insert into analytics_refresh.frozen_series as s (trigger_id, organization_id)
    select f.trigger_id, f.organization_id from found f
    except
    select s.trigger_id, s.organization_id from analytics_refresh.frozen_series s
    returning s.series, s.trigger_id, s.organization_id)
insert into analytics_refresh.frozen_days (
    series, day, n, timed, retried, duration_total, retry_total, action_type, status)
select s.series, f.day, f.n, f.timed, f.retried, f.duration_total, f.retry_total, f.action_type, f.status
from found f
join (
    select s.series, s.trigger_id, s.organization_id from analytics_refresh.frozen_series s
    union all
    select a.series, a.trigger_id, a.organization_id from added a) s
    on coalesce(s.trigger_id, '') = coalesce(f.trigger_id, '')
    and coalesce(s.organization_id, '') = coalesce(f.organization_id, '')
    and (s.trigger_id is null) = (f.trigger_id is null) and (s.organization_id is null) = (f.organization_id is null);

-- name: finish
-- what is built next is what comes after that
update analytics_refresh.incremental set frozen_until = {frozen_until}, frozen_checksum = ({checksum}),
    days_since = {days_since};
insert into analytics_refresh.rebuild_marks (reason) values ('frozen figures were imported');
