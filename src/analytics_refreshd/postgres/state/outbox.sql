-- Reads the outbox, and the rollups as they were at one of its batches: what was folded after it is taken off again.

-- name: installed
select to_regclass('analytics_refresh.outbox') is not null;

-- name: state
select o.epoch, o.epoch_id, o.epoch_reason, o.epoch_at, o.recording, o.base_batch, o.base_folded_at, s.acknowledged_batch,
    s.acknowledged_id, count(r.place)::integer as ranges, count(r.place) filter (where r.sent_at is null)::integer as ranges_left,
    clock_timestamp() as read_at
from analytics_refresh.outbox o
cross join analytics_refresh.outbox_sender s
left join analytics_refresh.outbox_ranges r on r.epoch = o.epoch
group by o.singleton, s.singleton;

-- name: waiting
select b.batch, b.batch_id, b.rows, b.folded_at from analytics_refresh.outbox_batches b order by b.batch;

-- name: claim
select pg_try_advisory_lock(2583, 8);

-- name: start
select analytics_refresh.outbox_start();

-- name: restart
select analytics_refresh.outbox_restart(%(reason)s, %(above)s);

-- name: ranges
select r.place, r.kind, r.from_hour_at, r.until_hour_at, r.from_trigger, r.until_trigger
from analytics_refresh.outbox_ranges r where r.epoch = %(epoch)s and r.sent_at is null order by r.place;

-- name: all_ranges
select r.place, r.kind, r.from_hour_at, r.until_hour_at, r.from_trigger, r.until_trigger
from analytics_refresh.outbox_ranges r where r.epoch = %(epoch)s order by r.place;

-- name: snapshot
set transaction isolation level repeatable read, read only;

-- name: rebuild_due
select exists (select from analytics_refresh.rebuild_marks)
    or (select not i.built or i.capture <> analytics_refresh.capture_now() from analytics_refresh.incremental i);

-- name: range_sent
select analytics_refresh.outbox_range_sent(%(epoch)s, %(place)s);

-- name: acknowledge
select analytics_refresh.outbox_acknowledge(%(epoch)s, %(batch)s);

-- name: epoch
select o.epoch from analytics_refresh.outbox o where o.recording;

-- name: horizon
select i.frozen_until::text from analytics_refresh.incremental i;

-- name: horizon_at
select extract(epoch from i.frozen_until)::bigint from analytics_refresh.incremental i where i.frozen_until > '-infinity';

-- name: days_since
-- nothing where no day is frozen, and -infinity has a number of its own
select case when i.days_since = '-infinity' then -9223372036854775807 else extract(epoch from i.days_since)::bigint end
from analytics_refresh.incremental i where i.days_since < i.frozen_until;

-- name: has_frozen
select to_regclass('analytics_refresh.frozen_hours') is not null;

-- name: from_trigger
m.trigger_id collate "C" >= (
    select r.from_trigger from analytics_refresh.outbox_ranges r join analytics_refresh.outbox o on o.epoch = r.epoch
    where r.place = {place})

-- name: until_trigger
m.trigger_id collate "C" < (
    select r.until_trigger from analytics_refresh.outbox_ranges r join analytics_refresh.outbox o on o.epoch = r.epoch
    where r.place = {place})

-- name: copy
copy ({query}) to stdout

-- name: rows
select {prefix}b.batch, b.batch_id, to_char(b.folded_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), {hour_at},
    m.trigger_id, m.action_type, m.status, m.duration_ms, m.retry_count, m.n
from analytics_refresh.outbox_rows m
join analytics_refresh.outbox_batches b on b.batch = m.batch
where m.batch = {batch}
-- the same order each time: what is more than a block is counted once by the place of its blocks
order by m.ctid

-- name: taken_off
-- what a row of the outbox changed, taken off again: n, timed, duration_total, retry_total, retried
-r.n, case when r.duration_ms is null then 0 else -r.n end, -r.n * coalesce(r.duration_ms, 0),
        -r.n * coalesce(r.retry_count, 0), case when r.retry_count > 0 then -r.n else 0 end

-- name: sums
sum(m.n), sum(m.timed), sum(m.duration_total), sum(m.retry_total), sum(m.retried)

-- name: hour_totals
select {prefix}{hour_at}, m.action_type, m.status, {sums}
from (
    select c.hour, c.action_type, c.status, c.n, c.timed, c.duration_total, c.retry_total, c.retried
    from analytics_refresh.hour_cells c
    union all
    select r.hour, r.action_type, r.status, {taken_off}
    from analytics_refresh.outbox_rows r where r.batch > {as_of}) m
where {range}
group by m.hour, m.action_type, m.status
having row({sums}) is distinct from row(0, 0, 0, 0, 0)

-- name: hour_durations
select {prefix}{hour_at}, m.action_type, m.status, m.duration_ms, sum(m.n)
from (
    select c.hour, c.action_type, c.status, d.duration_ms, d.n::bigint as n
    from analytics_refresh.hour_cells c
    join analytics_refresh.duration_counts d on d.cell = c.cell
    {frozen}
    union all
    select r.hour, r.action_type, r.status, r.duration_ms, -r.n
    from analytics_refresh.outbox_rows r where r.batch > {as_of} and r.duration_ms is not null) m
where {range}
group by m.hour, m.action_type, m.status, m.duration_ms having sum(m.n) <> 0

-- name: frozen_hour_durations
-- the histograms of frozen hours are kept there alone
where (c.hour < {horizon}) is not true
    union all
    select f.hour, f.action_type, f.status, d.duration_ms, d.n::bigint
    from analytics_refresh.frozen_hours f
    cross join lateral unnest(f.durations, f.counts) d (duration_ms, n)
    where f.hour < {horizon}

-- name: trigger_totals
select {prefix}m.trigger_id, sum(m.n), sum(m.succeeded), sum(m.failed), sum(m.retrying), sum(m.timed),
    sum(m.duration_total), sum(m.tried), sum(m.retry_total)
from (
    select c.trigger_id, c.n, c.succeeded, c.failed, c.retrying, c.timed, c.duration_total, c.tried, c.retry_total
    from analytics_refresh.trigger_cells c
    union all
    select r.trigger_id, -r.n, case r.status when 'success' then -r.n else 0 end,
        case r.status when 'failed' then -r.n else 0 end, case r.status when 'retrying' then -r.n else 0 end,
        case when r.duration_ms is null then 0 else -r.n end, -r.n * coalesce(r.duration_ms, 0),
        case when r.retry_count is null then 0 else -r.n end, -r.n * coalesce(r.retry_count, 0)
    from analytics_refresh.outbox_rows r where r.batch > {as_of} and r.trigger_id is not null) m
where {range}
group by m.trigger_id
having row(sum(m.n), sum(m.succeeded), sum(m.failed), sum(m.retrying), sum(m.timed), sum(m.duration_total), sum(m.tried),
    sum(m.retry_total)) is distinct from row(0, 0, 0, 0, 0, 0, 0, 0)

-- name: trigger_durations
select {prefix}m.trigger_id, m.duration_ms, sum(m.n)
from (
    select c.trigger_id, d.duration_ms, d.n::bigint as n
    from analytics_refresh.trigger_cells c
    join analytics_refresh.duration_counts d on d.cell = c.cell
    union all
    select r.trigger_id, r.duration_ms, -r.n
    from analytics_refresh.outbox_rows r
    where r.batch > {as_of} and r.trigger_id is not null and r.duration_ms is not null) m
where {range}
group by m.trigger_id, m.duration_ms having sum(m.n) <> 0

-- name: trigger_retries
select {prefix}m.trigger_id, m.retry_count, sum(m.n)
from (
    select c.trigger_id, d.retry_count, d.n::bigint as n
    from analytics_refresh.trigger_cells c
    join analytics_refresh.retry_counts d on d.cell = c.cell
    union all
    select r.trigger_id, r.retry_count, -r.n
    from analytics_refresh.outbox_rows r
    where r.batch > {as_of} and r.trigger_id is not null and r.retry_count is not null) m
where {range}
group by m.trigger_id, m.retry_count having sum(m.n) <> 0

-- name: trigger_hours
-- the rollups have no such cells: the rows have, without what is not folded yet
select {prefix}{hour_at}, m.trigger_id, m.action_type, m.status, m.frozen, m.organization_id, {sums}
from (
    select date_trunc('hour', k.executed_at, 'UTC') as hour, k.trigger_id, k.action_type, k.status, 0 as frozen,
        null::text as organization_id, count(*) as n, count(k.duration_ms) as timed,
        coalesce(sum(k.duration_ms), 0) as duration_total, coalesce(sum(k.retry_count), 0) as retry_total,
        count(*) filter (where k.retry_count > 0) as retried
    from (select {columns} from {app}.action_results a where {rows_range} and (a.executed_at < {horizon}) is not true) k
    where k.unheld < 4
    group by 1, 2, 3, 4
    union all
    select date_trunc('hour', d.executed_at, 'UTC'), d.trigger_id, d.action_type, d.status, 0, null, -d.sign,
        case when d.duration_ms is null then 0 else -d.sign end, -d.sign::bigint * coalesce(d.duration_ms, 0),
        -d.sign::bigint * coalesce(d.retry_count, 0), case when d.retry_count > 0 then -d.sign else 0 end
    from analytics_refresh.deltas d where d.unheld < 4 and (d.executed_at < {horizon}) is not true
    union all
    select r.hour, r.trigger_id, r.action_type, r.status, 0, null, {taken_off}
    from analytics_refresh.outbox_rows r where r.batch > {as_of}
    {frozen}) m
where {range}
group by m.hour, m.trigger_id, m.action_type, m.status, m.frozen, m.organization_id
having row({sums}) is distinct from row(0, 0, 0, 0, 0)

-- name: trigger_days
-- what is frozen, by the day, whatever organization it belonged to
select m.day_at, m.trigger_id, m.action_type, m.status, {sums}
from (
    select case when f.day = '-infinity' then -9223372036854775807 else extract(epoch from f.day)::bigint end as day_at,
        s.trigger_id, f.action_type, f.status, f.n, f.timed, f.duration_total, f.retry_total, f.retried
    from analytics_refresh.frozen_series s join analytics_refresh.frozen_days f on f.series = s.series
    union all
    select case when r.hour = '-infinity' then -9223372036854775807
            else extract(epoch from date_trunc('day', r.hour, 'UTC'))::bigint end,
        r.trigger_id, r.action_type, r.status, {taken_off}
    from analytics_refresh.outbox_rows r
    cross join analytics_refresh.incremental i
    where r.batch > {as_of} and r.hour >= i.days_since and r.hour < i.frozen_until) m
where {range}
group by m.day_at, m.trigger_id, m.action_type, m.status
having row({sums}) is distinct from row(0, 0, 0, 0, 0)

-- name: frozen_trigger_hours
union all
    select (f.day + time '12:00') at time zone 'UTC', s.trigger_id, f.action_type, f.status, 1, s.organization_id, f.n, f.timed,
        f.duration_total, f.retry_total, f.retried
    from analytics_refresh.frozen_series s join analytics_refresh.frozen_days f on f.series = s.series

-- name: time
-- within what the warehouse can hold
case when {time} >= timestamptz '1900-01-02 00:00:00+00' and {time} < timestamptz '2299-12-31 00:00:00+00'
        then to_char({time} at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') end

-- name: triggers
-- with those that are gone and still have figures
select {database}, coalesce(t.id::text, c.trigger_id), t.organization_id::text, t.name, t.enabled::text, {created_at}, {first_at},
    {last_at}, {batch}
from {app}.triggers t full join analytics_refresh.trigger_cells c on c.trigger_id = t.id::text

-- name: organizations
select {database}, o.id::text, o.name, o.slug, o.plan, {batch} from {app}.organizations o

-- name: recent_failures
select {database}, f.id, f.job_id, f.trigger_id, f.event_id, f.action_type, f.error_message, f.retry_count,
    coalesce({executed_at}, '2299-12-31 00:00:00'), f.duration_ms, f.response_data::text, {batch}
from {app}.recent_failures f

-- name: action_type_distribution
select {database}, d.action_type, d.total_executions, d.success_count, d.failure_count, d.percentage, d.avg_duration_ms,
    d.total_retries, {last_execution_at}, {batch}
from {app}.action_type_distribution d
