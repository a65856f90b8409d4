-- Reads closed months of action rows for a warehouse: without messages, answers and identities of jobs and events.

-- name: months
-- A month is closed a day after its end, and wanted while it is within `keep_seconds` and anything of it is after the horizon:
-- retention deletes what is before.
select to_char(m.starts_at at time zone 'UTC', 'YYYYMM')::integer,
    extract(epoch from greatest(m.starts_at, i.frozen_until))::bigint, extract(epoch from m.ends_at)::bigint
from (
    select date_trunc('month', c.hour, 'UTC') as starts_at,
        (date_trunc('month', c.hour at time zone 'UTC') + interval '1 month') at time zone 'UTC' as ends_at
    from analytics_refresh.hour_cells c
    where c.hour >= '1970-01-01 00:00:00+00' and c.hour < '2100-01-01 00:00:00+00'
    group by 1, 2) m
cross join analytics_refresh.incremental i
where m.ends_at <= now() - interval '1 day'
    and m.ends_at > i.frozen_until
    and m.ends_at > now() - make_interval(secs => %(keep_seconds)s)
order by 1;

-- name: parts
with hours as (
    select extract(epoch from c.hour)::bigint as at, sum(c.n) as n
    from analytics_refresh.hour_cells c
    where c.hour >= to_timestamp(%(from_hour_at)s) and c.hour < to_timestamp(%(until_hour_at)s)
    group by 1),
numbered as (
    select h.at, floor((sum(h.n) over (order by h.at) - h.n) / %(portion)s) as part from hours h),
bounds as (
    select min(n.at) as at, row_number() over (order by min(n.at)) as place from numbered n group by n.part)
select b.place::integer, 'rows',
    case when b.place = 1 then %(from_hour_at)s::bigint else b.at end,
    coalesce(lead(b.at) over (order by b.at), %(until_hour_at)s::bigint)
from bounds b order by 1;

-- name: rows
select {database}, {month}, to_char(k.executed_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), k.trigger_id, k.action_type,
    k.status, k.duration_ms, k.retry_count
from (
    select {columns} from {app}.action_results a
    where a.executed_at >= to_timestamp({low}) and a.executed_at < to_timestamp({high})) k
where k.unheld < 4

-- name: hours
-- as of a batch: what was folded after it, or is not folded yet, is taken off again
select {hour_at}, m.trigger_id, m.action_type, m.status, m.duration_ms, m.retry_count, sum(m.n)
from (
    select date_trunc('hour', k.executed_at, 'UTC') as hour, k.trigger_id, k.action_type, k.status, k.duration_ms, k.retry_count,
        count(*) as n
    from (
        select {columns} from {app}.action_results a
        where a.executed_at >= to_timestamp({low}) and a.executed_at < to_timestamp({high})) k
    where k.unheld < 4
    group by 1, 2, 3, 4, 5, 6
    union all
    select date_trunc('hour', d.executed_at, 'UTC'), d.trigger_id, d.action_type, d.status, d.duration_ms, d.retry_count, -d.sign
    from analytics_refresh.deltas d
    where d.unheld < 4 and d.executed_at >= to_timestamp({low}) and d.executed_at < to_timestamp({high})
    union all
    select r.hour, r.trigger_id, r.action_type, r.status, r.duration_ms, r.retry_count, -r.n
    from analytics_refresh.outbox_rows r
    where r.batch > {as_of} and r.hour >= to_timestamp({low}) and r.hour < to_timestamp({high})) m
group by m.hour, m.trigger_id, m.action_type, m.status, m.duration_ms, m.retry_count
having sum(m.n) <> 0

-- name: moved
-- what was changed and is not folded, or was folded and is not sent
select exists (
    select from analytics_refresh.deltas d
    where d.executed_at >= to_timestamp(%(from_hour_at)s) and d.executed_at < to_timestamp(%(until_hour_at)s))
or exists (
    select from analytics_refresh.outbox_rows r
    where r.batch > %(batch)s
        and r.hour >= to_timestamp(%(from_hour_at)s) and r.hour < to_timestamp(%(until_hour_at)s));
