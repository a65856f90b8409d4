-- The frozen horizon: figures of what is older stay, whatever becomes of its rows. incremental.frozen_until says where it
-- is. The rollups hold everything, frozen or not; these tables hold what is frozen once more, so that a rebuild finds it.

-- name: tables
create table if not exists analytics_refresh.frozen_hours (
    hour timestamptz,
    action_type text,
    status text,
    n bigint not null,
    timed bigint not null,
    duration_total bigint not null,
    retry_total bigint not null,
    retried bigint not null,
    min_duration_ms integer,
    max_duration_ms integer,
    p50_duration_ms numeric(12, 2),
    p95_duration_ms numeric(12, 2),
    p99_duration_ms numeric(12, 2),
    durations integer[],
    counts integer[],
    constraint frozen_hours_key primary key (hour, action_type, status));

create table if not exists analytics_refresh.frozen_triggers (
    trigger_id text constraint frozen_triggers_key primary key,
    cell bigint generated always as identity,
    n bigint not null,
    succeeded bigint not null,
    failed bigint not null,
    retrying bigint not null,
    timed bigint not null,
    duration_total bigint not null,
    tried bigint not null,
    retry_total bigint not null,
    first_at timestamptz,
    last_at timestamptz) with (fillfactor = 70);

create table if not exists analytics_refresh.frozen_types (
    action_type text constraint frozen_types_key primary key,
    n bigint not null,
    last_at timestamptz) with (fillfactor = 50);

create table if not exists analytics_refresh.frozen_durations (
    cell bigint,
    duration_ms integer,
    n integer not null,
    constraint frozen_durations_key primary key (cell, duration_ms)) with (fillfactor = 90);

create table if not exists analytics_refresh.frozen_retries (
    cell bigint,
    retry_count integer,
    n integer not null,
    constraint frozen_retries_key primary key (cell, retry_count)) with (fillfactor = 80);

-- a trigger and the organization that it belonged to when its days were frozen
create table if not exists analytics_refresh.frozen_series (
    series integer generated always as identity constraint frozen_series_key primary key,
    trigger_id text,
    organization_id text,
    constraint frozen_series_names unique nulls not distinct (organization_id, trigger_id));

create table if not exists analytics_refresh.frozen_days (
    series integer,
    day date,
    n integer not null,
    timed integer not null,
    retried integer not null,
    duration_total bigint not null,
    retry_total bigint not null,
    action_type text,
    status text,
    constraint frozen_days_key primary key (series, day, action_type, status)) with (fillfactor = 90);

-- an installation that froze before there were days has none of before
update analytics_refresh.incremental set days_since = frozen_until where days_since is null;

-- name: tables_comments
comment on table analytics_refresh.frozen_hours is
    'hour_cells before the horizon, with their statistics: the only copy once the rows are gone.';
comment on column analytics_refresh.frozen_hours.durations is 'The different durations of the cell, in order.';
comment on column analytics_refresh.frozen_hours.counts is 'How many executions took each of them.';
comment on table analytics_refresh.frozen_triggers is
    'The part of trigger_cells before the horizon: the only copy once the rows are gone.';
comment on column analytics_refresh.frozen_triggers.cell is 'Its number in frozen_durations and frozen_retries.';
comment on table analytics_refresh.frozen_types is 'The part of type_cells before the horizon.';
comment on table analytics_refresh.frozen_durations is
    'How many executions of a trigger before the horizon took so many milliseconds.';
comment on table analytics_refresh.frozen_retries is
    'How many executions of a trigger before the horizon had so many retries.';
comment on table analytics_refresh.frozen_series is
    'Whose days are frozen: a trigger, and the organization that it belonged to then. Null: none.';
comment on column analytics_refresh.frozen_series.series is 'Its number in frozen_days.';
comment on table analytics_refresh.frozen_days is
    'Rollup per trigger, organization, day (UTC), action type and status before the horizon: the only copy of it.';
comment on column analytics_refresh.frozen_days.timed is 'How many of the executions have a duration.';
comment on column analytics_refresh.frozen_days.retried is 'How many of the executions were retried.';

-- name: drop
drop function if exists analytics_refresh.freeze(integer), analytics_refresh.freeze(), analytics_refresh.apply_late(),
    analytics_refresh.organizations_of(text[]), analytics_refresh.erase_frozen(text[]);
drop table if exists analytics_refresh.frozen_hours, analytics_refresh.frozen_triggers, analytics_refresh.frozen_types,
    analytics_refresh.frozen_durations, analytics_refresh.frozen_retries, analytics_refresh.frozen_days,
    analytics_refresh.frozen_series;

-- name: installed
select to_regclass('analytics_refresh.frozen_hours') is not null;

-- name: lacks_days
select to_regclass('analytics_refresh.frozen_hours') is not null
    and to_regclass('analytics_refresh.frozen_days') is null;

-- name: frozen
-- what add_up asks of the frozen part of its cells
frozen_trigger as not materialized (
    select f.trigger_id, f.n, f.first_at, f.last_at from analytics_refresh.frozen_triggers f),
frozen_type as not materialized (select f.action_type, f.n, f.last_at from analytics_refresh.frozen_types f)

-- name: frozen_none
frozen_trigger as not materialized (
    select ''::text as trigger_id, 0::bigint as n, now() as first_at, now() as last_at where false),
frozen_type as not materialized (select ''::text as action_type, 0::bigint as n, now() as last_at where false)

-- name: target
-- the last whole hour before the oldest rows kept, and a day more: the program that deletes them may be a day early
greatest(i.frozen_until, date_trunc('hour', now() - i.retained + interval '24 hours', 'UTC'))

-- name: count_late
if result.late > 0 then
    update analytics_refresh.incremental
    set late_rows_total = late_rows_total + result.late, late_rows_at = clock_timestamp();
end if

-- name: restart_late
-- what was deleted meanwhile must be frozen before it is built over: the day in which that cannot be is half over
elsif state.frozen_until < (select {target} - interval '12 hours' from analytics_refresh.incremental i) then
        perform analytics_refresh.rebuild_start(state.build_reason);

-- name: changes_at_freeze
-- Rows that are there and rows whose deletion was not folded yet are all that there was. Every delta is taken: the
-- deleted rows stay in the rollups, anything else is folded as ever.
gone as (
    delete from analytics_refresh.deltas d
    where d.executed_at >= horizon and d.executed_at < horizon_next
    returning d.*),
net as materialized (
    select date_trunc('hour', executed_at, 'UTC') as hour, executed_at, trigger_id, action_type, status, duration_ms,
        retry_count, sum(sign)::integer as n
    from gone
    where unheld < 4 and cause <> 'd'
    group by executed_at, trigger_id, action_type, status, duration_ms, retry_count
    having sum(sign) <> 0),
late as (select 0::bigint as came, 0::bigint as went),
kept as materialized (
    select date_trunc('hour', k.executed_at, 'UTC') as hour, k.*
    from (
        select {columns}
        from {app}.action_results r
        where r.executed_at >= horizon and r.executed_at < horizon_next
        union all
        select g.executed_at, g.trigger_id, g.action_type, g.status, g.duration_ms, g.retry_count, g.unheld
        from gone g where g.cause = 'd') k),
-- those of frozen rows cannot be corrected any more
unheld as (
    select g.durations - k.durations as durations, g.retries - k.retries as retries, g.keys - k.keys as keys
    from (
        select coalesce(sum(sign) filter (where unheld & 1 > 0), 0) as durations,
            coalesce(sum(sign) filter (where unheld & 2 > 0), 0) as retries,
            coalesce(sum(sign) filter (where unheld >= 4), 0) as keys
        from gone where cause <> 'd') g,
        (select count(*) filter (where unheld & 1 > 0) as durations, count(*) filter (where unheld & 2 > 0) as retries,
            count(*) filter (where unheld >= 4) as keys
        from kept) k),
{losses},
kept_hours as materialized (
    select hour, action_type, status, duration_ms, count(*) as n, coalesce(sum(retry_count), 0) as retry_total,
        count(*) filter (where retry_count > 0) as retried
    from kept where unheld < 4
    group by hour, action_type, status, duration_ms),
frozen_hour_rows as (
    insert into analytics_refresh.frozen_hours as f (
        hour, action_type, status, n, timed, duration_total, retry_total, retried, min_duration_ms, max_duration_ms,
        p50_duration_ms, p95_duration_ms, p99_duration_ms, durations, counts)
    select h.hour, h.action_type, h.status, h.n, h.timed, h.duration_total, h.retry_total, h.retried, h.shortest, h.longest,
        p.places[1], p.places[2], p.places[3], h.durations, h.counts
    from (
        select hour, action_type, status, sum(n) as n, coalesce(sum(n) filter (where duration_ms is not null), 0) as timed,
            coalesce(sum(n * duration_ms), 0) as duration_total, sum(retry_total) as retry_total, sum(retried) as retried,
            min(duration_ms) as shortest, max(duration_ms) as longest,
            array_agg(duration_ms order by duration_ms) filter (where duration_ms is not null) as durations,
            array_agg(n::integer order by duration_ms) filter (where duration_ms is not null) as counts
        from kept_hours
        group by hour, action_type, status) h
    full join (
        select hour, action_type, status,
            percentile_cont(array[0.5, 0.95, 0.99]) within group (order by duration_ms) as places
        from kept where unheld < 4
        group by hour, action_type, status) p
        on p.hour = h.hour and p.action_type = h.action_type and p.status = h.status
    returning {hour_hash} as hash),
{freeze_kept},
advanced as (
    update analytics_refresh.incremental i
    set frozen_until = horizon_next,
        frozen_checksum = i.frozen_checksum
            + coalesce((select sum(h.hash) from frozen_hour_rows h), 0)
            + {kept_hash})

-- name: freeze_kept
-- what of the rows `kept` is frozen apart from their hours
kept_triggers as materialized (
    select trigger_id, count(*) as n, count(*) filter (where status = 'success') as succeeded,
        count(*) filter (where status = 'failed') as failed, count(*) filter (where status = 'retrying') as retrying,
        count(duration_ms) as timed, coalesce(sum(duration_ms), 0) as duration_total, count(retry_count) as tried,
        coalesce(sum(retry_count), 0) as retry_total, min(executed_at) as first_at, max(executed_at) as last_at
    from kept where unheld < 4 and trigger_id is not null
    group by trigger_id),
frozen_trigger_rows as (
    insert into analytics_refresh.frozen_triggers as f (
        trigger_id, n, succeeded, failed, retrying, timed, duration_total, tried, retry_total, first_at, last_at)
    select k.* from kept_triggers k order by k.trigger_id
    on conflict on constraint frozen_triggers_key do update set
        {add_to_frozen_trigger},
        first_at = least(f.first_at, excluded.first_at),
        last_at = greatest(f.last_at, excluded.last_at)
    returning f.cell, f.trigger_id, {trigger_hash} as hash),
frozen_type_rows as (
    insert into analytics_refresh.frozen_types as f (action_type, n, last_at)
    select action_type, count(*), max(executed_at) from kept where unheld < 4 group by action_type order by action_type
    on conflict on constraint frozen_types_key do update set
        n = f.n + excluded.n, last_at = greatest(f.last_at, excluded.last_at)
    returning f.action_type, {type_hash} as hash),
kept_durations as materialized (
    select r.cell, k.trigger_id, k.duration_ms, k.n
    from (
        select trigger_id, duration_ms, count(*)::integer as n from kept
        where unheld < 4 and trigger_id is not null and duration_ms is not null
        group by trigger_id, duration_ms) k
    full join frozen_trigger_rows r on r.trigger_id = k.trigger_id
    where coalesce(k.n, 0) > 0),
frozen_duration_rows as (
    insert into analytics_refresh.frozen_durations as f (cell, duration_ms, n)
    select cell, duration_ms, n from kept_durations order by cell, duration_ms
    on conflict on constraint frozen_durations_key do update set n = f.n + excluded.n),
kept_retries as materialized (
    select r.cell, k.trigger_id, k.retry_count, k.n
    from (
        select trigger_id, retry_count, count(*)::integer as n from kept
        where unheld < 4 and trigger_id is not null and retry_count is not null
        group by trigger_id, retry_count) k
    full join frozen_trigger_rows r on r.trigger_id = k.trigger_id
    where coalesce(k.n, 0) > 0),
frozen_retry_rows as (
    insert into analytics_refresh.frozen_retries as f (cell, retry_count, n)
    select cell, retry_count, n from kept_retries order by cell, retry_count
    on conflict on constraint frozen_retries_key do update set n = f.n + excluded.n),
kept_days as materialized (
    select d.day, d.trigger_id, o.organization_id, d.action_type, d.status, d.n, d.timed, d.retried, d.duration_total,
        d.retry_total
    from (
        select (k.hour at time zone 'UTC')::date as day, k.trigger_id, k.action_type, k.status, count(*)::integer as n,
            count(k.duration_ms)::integer as timed, (count(*) filter (where k.retry_count > 0))::integer as retried,
            coalesce(sum(k.duration_ms), 0) as duration_total, coalesce(sum(k.retry_count), 0) as retry_total
        from kept k
        where k.unheld < 4 {days_of}
        group by 1, 2, 3, 4) d
    full join (
        select t.trigger_id, min(t.organization_id) as organization_id
        from analytics_refresh.organizations_of(array(
            select distinct w.trigger_id from kept w where w.trigger_id is not null)) t
        group by t.trigger_id) o on o.trigger_id = d.trigger_id
    where coalesce(d.n, 0) > 0),
new_series as (
    insert into analytics_refresh.frozen_series as s (trigger_id, organization_id)
    select d.trigger_id, d.organization_id from kept_days d
    except
    select s.trigger_id, s.organization_id from analytics_refresh.frozen_series s
    returning s.series, s.trigger_id, s.organization_id),
frozen_day_rows as (
    insert into analytics_refresh.frozen_days as f (
        series, day, n, timed, retried, duration_total, retry_total, action_type, status)
    select s.series, d.day, d.n, d.timed, d.retried, d.duration_total, d.retry_total, d.action_type, d.status
    from kept_days d
    full join (
        select s.series, s.trigger_id, s.organization_id from analytics_refresh.frozen_series s
        union all
        select s.series, s.trigger_id, s.organization_id from new_series s) s
        on coalesce(s.trigger_id, '') = coalesce(d.trigger_id, '')
        and coalesce(s.organization_id, '') = coalesce(d.organization_id, '')
        and (s.trigger_id is null) = (d.trigger_id is null) and (s.organization_id is null) = (d.organization_id is null)
    where coalesce(d.n, 0) > 0
    order by s.series, d.day, d.action_type, d.status
    on conflict on constraint frozen_days_key do update set
        n = f.n + excluded.n, timed = f.timed + excluded.timed, retried = f.retried + excluded.retried,
        duration_total = f.duration_total + excluded.duration_total, retry_total = f.retry_total + excluded.retry_total)

-- name: late_days
-- before that no day is complete
and k.hour >= (select i.days_since from analytics_refresh.incremental i)

-- name: kept_hash
-- by how much that changes the checksum
coalesce((select sum(r.hash) from frozen_trigger_rows r), 0)
            - coalesce((
                select sum({trigger_hash}) from analytics_refresh.frozen_triggers f
                join kept_triggers k on k.trigger_id = f.trigger_id), 0)
            + coalesce((select sum(r.hash) from frozen_type_rows r), 0)
            - coalesce((
                select sum({type_hash}) from analytics_refresh.frozen_types f
                where f.action_type in (select k.action_type from kept k where k.unheld < 4)), 0)
            + coalesce((select sum(f.n * {duration_hash}) from kept_durations f), 0)
            + coalesce((select sum(f.n * {retry_hash}) from kept_retries f), 0)
            + coalesce((select sum({day_hash}) from kept_days f), 0)

-- name: changes_from_late
-- Rows inserted before the horizon. What else changes there cannot be told from what was never counted.
gone as (
    delete from analytics_refresh.deltas d
    where d.executed_at < horizon and d.sign > 0 and d.cause = 'i'
        and date_trunc('hour', d.executed_at, 'UTC') = any (hours)
    returning d.*),
net as materialized (
    select date_trunc('hour', executed_at, 'UTC') as hour, executed_at, trigger_id, action_type, status, duration_ms,
        retry_count, count(*)::integer as n
    from gone
    where unheld < 4
    group by executed_at, trigger_id, action_type, status, duration_ms, retry_count),
late as (select count(*) as came, 0::bigint as went from gone),
kept as materialized (select date_trunc('hour', g.executed_at, 'UTC') as hour, g.* from gone g),
unheld as (select 0::bigint as durations, 0::bigint as retries, 0::bigint as keys),
{losses},
{freeze_kept},
advanced as (
    update analytics_refresh.incremental i set frozen_checksum = i.frozen_checksum
            + {kept_hash})

-- name: leave_late
and (not applies or (d.executed_at < horizon and d.sign > 0 and d.cause = 'i') is not true)

-- name: apply_late
select i.late_rows = 'apply' into strict applies from analytics_refresh.incremental i;
        if applies then
            perform analytics_refresh.apply_late();
        end if

-- name: hour_hash
-- Of a row f, the same in every database: a sum of these needs no order. 60 bits of SHA-256.
('x0' || encode(substring(sha256(convert_to(concat_ws(' ', 'hour', extract(epoch from f.hour), f.action_type, f.status, f.n, f.timed,
    f.duration_total, f.retry_total, f.retried, f.min_duration_ms, f.max_duration_ms, f.p50_duration_ms, f.p95_duration_ms,
    f.p99_duration_ms, f.durations, f.counts), 'UTF8')) from 1 for 7), 'hex') || '0')::bit(64)::bigint

-- name: trigger_hash
('x0' || encode(substring(sha256(convert_to(concat_ws(' ', 'trigger', f.trigger_id, f.n, f.succeeded, f.failed, f.retrying, f.timed,
    f.duration_total, f.tried, f.retry_total, extract(epoch from f.first_at), extract(epoch from f.last_at)), 'UTF8'))
    from 1 for 7), 'hex') || '0')::bit(64)::bigint

-- name: type_hash
('x0' || encode(substring(sha256(convert_to(concat_ws(' ', 'type', f.action_type, f.n, extract(epoch from f.last_at)), 'UTF8'))
    from 1 for 7), 'hex') || '0')::bit(64)::bigint

-- name: duration_hash
('x0' || encode(substring(sha256(convert_to(concat_ws(' ', 'duration', f.trigger_id, f.duration_ms), 'UTF8'))
    from 1 for 7), 'hex') || '0')::bit(64)::bigint::numeric

-- name: retry_hash
('x0' || encode(substring(sha256(convert_to(concat_ws(' ', 'retry', f.trigger_id, f.retry_count), 'UTF8'))
    from 1 for 7), 'hex') || '0')::bit(64)::bigint::numeric

-- name: day_hash
-- Linear in its figures: what is added to a day is added to the sum. The factors are primes, so that one figure cannot
-- make up for another.
('x0' || encode(substring(sha256(convert_to(concat_ws(' ', 'day', extract(epoch from f.day), quote_nullable(f.trigger_id),
    quote_nullable(f.organization_id), quote_literal(f.action_type), quote_literal(f.status)), 'UTF8'))
    from 1 for 7), 'hex') || '0')::bit(64)::bigint::numeric
    * (f.n + 1000000007 * f.timed::numeric + 1000000009 * f.retried::numeric + 1000000021 * f.duration_total::numeric
        + 1000000033 * f.retry_total::numeric)

-- name: checksum
-- what frozen_checksum must be
select coalesce((select sum({hour_hash}) from analytics_refresh.frozen_hours f), 0)
    + coalesce((select sum({trigger_hash}) from analytics_refresh.frozen_triggers f), 0)
    + coalesce((select sum({type_hash}) from analytics_refresh.frozen_types f), 0)
    + coalesce((
        select sum(f.n * {duration_hash})
        from (
            select t.trigger_id, d.duration_ms, d.n
            from analytics_refresh.frozen_durations d left join analytics_refresh.frozen_triggers t on t.cell = d.cell) f), 0)
    + coalesce((
        select sum(f.n * {retry_hash})
        from (
            select t.trigger_id, d.retry_count, d.n
            from analytics_refresh.frozen_retries d left join analytics_refresh.frozen_triggers t on t.cell = d.cell) f), 0)
    + coalesce((
        select sum({day_hash})
        from (
            select s.trigger_id, s.organization_id, d.day, d.n, d.timed, d.retried, d.duration_total, d.retry_total,
                d.action_type, d.status
            from analytics_refresh.frozen_days d left join analytics_refresh.frozen_series s on s.series = d.series) f), 0)

-- name: functions
-- The organizations of triggers as they are now. None where the table of triggers is not one of this role's that shows it
-- every row: whoever owns what bears the name could otherwise have code of theirs run as this role.
create or replace function analytics_refresh.organizations_of(wanted text[])
returns table (trigger_id text, organization_id text)
language plpgsql stable security invoker set search_path = pg_catalog, pg_temp
as $organizations_of$
begin
    if not {organizations_known} then
        return;
    end if;
    return query
    select t.id::text, t.organization_id::text from {app}.triggers t
    where t.id = any (wanted) and t.organization_id is not null;
end
$organizations_of$;

-- Advances the horizon to where it is due. Called before anything else is folded or built over: what was deleted since the
-- last fold is in the deltas, and nowhere else. With step_rows it goes no further than so many rows take it.
drop function if exists analytics_refresh.freeze();
create or replace function analytics_refresh.freeze(step_rows integer default null) returns void
language plpgsql volatile security invoker
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO, YMD'
set jit = off set work_mem = '128MB' set max_parallel_workers_per_gather = 0
as $freeze$
declare
    horizon timestamptz;
    horizon_next timestamptz;
    due timestamptz;
    live boolean;
    result record;
begin
    select i.frozen_until, {target} into strict horizon, due from analytics_refresh.incremental i;
    if horizon < due then
        {hold_triggers};
    end if;
    while horizon < due loop
        horizon_next := due;
        -- a first freeze may be of years: in parts
        if horizon + interval '1 hour' < due then
            select date_trunc('hour', r.executed_at, 'UTC') + interval '1 hour' into horizon_next
            from {app}.action_results r
            where r.executed_at >= horizon and r.executed_at > '-infinity' and r.executed_at < due
            order by r.executed_at offset coalesce(step_rows, 2500000) limit 1;
            horizon_next := least(coalesce(horizon_next, due), due);
        end if;
        live := (select i.built and i.capture = analytics_refresh.capture_now() from analytics_refresh.incremental i);
        {add_up};
        if live then
            {settle};
            update analytics_refresh.trigger_cells t
            set first_at = least(t.first_at, f.first_at), last_at = greatest(t.last_at, f.last_at)
            from analytics_refresh.frozen_triggers f
            where f.trigger_id = t.trigger_id
                and (t.first_at is null and f.first_at is not null or f.first_at < t.first_at or f.last_at > t.last_at);
            update analytics_refresh.type_cells t set last_at = greatest(t.last_at, f.last_at)
            from analytics_refresh.frozen_types f
            where f.action_type = t.action_type and (t.last_at is null or f.last_at > t.last_at);
            if not exists (select from analytics_refresh.rebuild_marks) and exists (
                with live_hours as (
                    select c.hour, c.action_type, c.status, c.n, c.timed, c.duration_total, c.retry_total, c.retried,
                        s.min_duration_ms, s.max_duration_ms, s.p50_duration_ms, s.p95_duration_ms, s.p99_duration_ms
                    from analytics_refresh.hour_cells c
                    left join analytics_refresh.duration_stats s on s.cell = c.cell
                    where c.hour >= horizon and c.hour < horizon_next),
                frozen_hours as (
                    select f.hour, f.action_type, f.status, f.n, f.timed, f.duration_total, f.retry_total, f.retried,
                        f.min_duration_ms, f.max_duration_ms, f.p50_duration_ms, f.p95_duration_ms, f.p99_duration_ms
                    from analytics_refresh.frozen_hours f
                    where f.hour >= horizon and f.hour < horizon_next)
                (select * from live_hours except select * from frozen_hours)
                union all
                (select * from frozen_hours except select * from live_hours))
            then
                insert into analytics_refresh.rebuild_marks (reason)
                values ('an hour that was frozen differed from its rows');
            end if;
            -- nothing changes there any more
            delete from analytics_refresh.duration_counts d
            using analytics_refresh.hour_cells c
            where c.hour >= horizon and c.hour < horizon_next and d.cell = c.cell;
        else
            -- what was built, or is being built, counts rows that are frozen now
            insert into analytics_refresh.rebuild_marks (reason)
            select case when i.built then 'the tables or capture triggers of action_results changed' else i.build_reason end
            from analytics_refresh.incremental i
            where not exists (select from analytics_refresh.rebuild_marks);
        end if;
        horizon := horizon_next;
        -- a partition that is frozen as a whole may go: it is not one of those whose absence counts
        update analytics_refresh.incremental i set capture = (
            with recursive before as (
                select i.inhrelid from pg_inherits i where {bounded_before}
                union
                select i.inhrelid from before join pg_inherits i on i.inhparent = before.inhrelid)
            select coalesce(string_agg(e.entry, ' ' order by e.place), '')
            from unnest(string_to_array(i.capture, ' ')) with ordinality e (entry, place)
            where split_part(e.entry, ':', 1)::oid not in (select b.inhrelid from before b));
        exit when step_rows is not null;
    end loop;
end
$freeze$;

-- Counts rows inserted before the horizon, there where they belong: frozen hours and triggers change with the rollups.
create or replace function analytics_refresh.apply_late() returns void
language plpgsql volatile security invoker
set search_path = pg_catalog, pg_temp set jit = off set work_mem = '64MB' set max_parallel_workers_per_gather = 0
as $apply_late$
declare
    horizon timestamptz;
    hours timestamptz[];
    result record;
begin
    select i.frozen_until into strict horizon from analytics_refresh.incremental i;
    select array_agg(distinct date_trunc('hour', d.executed_at, 'UTC')) into hours
    from analytics_refresh.deltas d
    where d.executed_at < horizon and d.sign > 0 and d.cause = 'i';
    if hours is null then
        return;
    end if;
    {hold_triggers};
    -- for as long as they are changed, the histograms of these hours are as those of any other
    insert into analytics_refresh.duration_counts (cell, duration_ms, n)
    select c.cell, d.duration_ms, d.n
    from analytics_refresh.hour_cells c
    join analytics_refresh.frozen_hours f on f.hour = c.hour and f.action_type = c.action_type and f.status = c.status
    cross join lateral unnest(f.durations, f.counts) d (duration_ms, n)
    where c.hour = any (hours);
    {add_up_late};
    {settle};
    {count_late};
    with was as (
        select coalesce(sum({hour_hash}), 0) as hash from analytics_refresh.frozen_hours f where f.hour = any (hours)),
    written as (
        insert into analytics_refresh.frozen_hours as f (
            hour, action_type, status, n, timed, duration_total, retry_total, retried, min_duration_ms, max_duration_ms,
            p50_duration_ms, p95_duration_ms, p99_duration_ms, durations, counts)
        select c.hour, c.action_type, c.status, c.n, c.timed, c.duration_total, c.retry_total, c.retried,
            s.min_duration_ms, s.max_duration_ms, s.p50_duration_ms, s.p95_duration_ms, s.p99_duration_ms,
            d.durations, d.counts
        from analytics_refresh.hour_cells c
        left join analytics_refresh.duration_stats s on s.cell = c.cell
        left join lateral (
            select array_agg(k.duration_ms order by k.duration_ms) as durations,
                array_agg(k.n order by k.duration_ms) as counts
            from analytics_refresh.duration_counts k where k.cell = c.cell) d on true
        where c.hour = any (hours)
        on conflict on constraint frozen_hours_key do update set
            n = excluded.n, timed = excluded.timed, duration_total = excluded.duration_total,
            retry_total = excluded.retry_total, retried = excluded.retried,
            min_duration_ms = excluded.min_duration_ms, max_duration_ms = excluded.max_duration_ms,
            p50_duration_ms = excluded.p50_duration_ms, p95_duration_ms = excluded.p95_duration_ms,
            p99_duration_ms = excluded.p99_duration_ms, durations = excluded.durations, counts = excluded.counts
        returning {hour_hash} as hash)
    update analytics_refresh.incremental i
    set frozen_checksum = i.frozen_checksum + coalesce((select sum(w.hash) from written w), 0) - (select w.hash from was w);
    delete from analytics_refresh.duration_counts d
    using analytics_refresh.hour_cells c
    where c.hour = any (hours) and d.cell = c.cell;
end
$apply_late$;
-- Takes these triggers out of what is frozen, and out of the rollups what of them was. The hours keep their figures: they
-- name no trigger. Returns how many executions that were. Only `erase` calls it, after it deleted the rows.
create or replace function analytics_refresh.erase_frozen(erased_triggers text[]) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp set jit = off set work_mem = '64MB' set max_parallel_workers_per_gather = 0
as $erase_frozen$
declare
    horizon timestamptz;
    result record;
begin
    {refuse_unsound};
    -- what was deleted before this is folded, and what was to be frozen is; nobody folds until this commits
    perform analytics_refresh.fold();
    select i.frozen_until into strict horizon from analytics_refresh.incremental i;
    with gone as materialized (
        delete from analytics_refresh.frozen_triggers f where f.trigger_id = any (erased_triggers)
        returning f.*, {trigger_hash} as hash),
    gone_durations as materialized (
        delete from analytics_refresh.frozen_durations d using gone g where d.cell = g.cell
        returning g.trigger_id, d.duration_ms, d.n),
    gone_retries as materialized (
        delete from analytics_refresh.frozen_retries d using gone g where d.cell = g.cell
        returning g.trigger_id, d.retry_count, d.n),
    -- what belonged to an organization when it was frozen stays
    gone_series as materialized (
        delete from analytics_refresh.frozen_series s
        where s.trigger_id = any (erased_triggers) and s.organization_id is null
        returning s.series, s.trigger_id, s.organization_id),
    gone_days as materialized (
        delete from analytics_refresh.frozen_days d using gone_series s where d.series = s.series
        returning s.trigger_id, s.organization_id, d.day, d.action_type, d.status, d.n, d.timed, d.retried,
            d.duration_total, d.retry_total),
    checksum as (
        update analytics_refresh.incremental i set frozen_checksum = i.frozen_checksum
            - (select coalesce(sum(g.hash), 0) from gone g)
            - (select coalesce(sum(f.n * {duration_hash}), 0) from gone_durations f)
            - (select coalesce(sum(f.n * {retry_hash}), 0) from gone_retries f)
            - (select coalesce(sum({day_hash}), 0) from gone_days f)
        where exists (select from gone) or exists (select from gone_days)),
    -- the first and the last of the executions that are folded and not frozen: those there, without those that wait
    ends as materialized (
        select e.trigger_id, min(e.executed_at) as first_at, max(e.executed_at) as last_at
        from (
            select c.trigger_id, c.executed_at
            from (
                select r.trigger_id, r.executed_at, 1 as n
                from gone g join {app}.action_results r on r.trigger_id = g.trigger_id
                where r.executed_at >= horizon and r.action_type is not null and r.status is not null
                union all
                select d.trigger_id, d.executed_at, -d.sign
                from gone g join analytics_refresh.deltas d on d.trigger_id = g.trigger_id
                where d.executed_at >= horizon and d.unheld < 4) c
            group by c.trigger_id, c.executed_at having sum(c.n) > 0) e
        group by e.trigger_id),
    -- full joins, and each apart from the update that reads it: no nested loop, however few rows the planner expects
    gone_ends as materialized (
        select g.*, e.first_at as live_first_at, e.last_at as live_last_at
        from gone g full join ends e on e.trigger_id = g.trigger_id),
    live as (
        update analytics_refresh.trigger_cells c
        set n = c.n - g.n, succeeded = c.succeeded - g.succeeded, failed = c.failed - g.failed,
            retrying = c.retrying - g.retrying, timed = c.timed - g.timed,
            duration_total = c.duration_total - g.duration_total, tried = c.tried - g.tried,
            retry_total = c.retry_total - g.retry_total,
            first_at = g.live_first_at, last_at = g.live_last_at
        from gone_ends g where c.trigger_id = g.trigger_id
        returning c.cell, c.trigger_id, c.n, c.timed),
    less_durations as materialized (
        select l.cell, d.duration_ms, d.n from gone_durations d full join live l on l.trigger_id = d.trigger_id),
    live_durations as (
        update analytics_refresh.duration_counts c set n = c.n - d.n
        from less_durations d
        where c.cell = d.cell and c.duration_ms = d.duration_ms
        returning c.cell, c.duration_ms, c.n),
    less_retries as materialized (
        select l.cell, d.retry_count, d.n from gone_retries d full join live l on l.trigger_id = d.trigger_id),
    live_retries as (
        update analytics_refresh.retry_counts c set n = c.n - d.n
        from less_retries d
        where c.cell = d.cell and c.retry_count = d.retry_count
        returning c.cell, c.retry_count, c.n)
    select (select coalesce(sum(g.n), 0) from gone g) as executions,
        l.cells, l.left_cells, l.left_totals, d.cells as duration_cells, d.durations, r.cells as retry_cells, r.retries,
        l.broken or d.broken or r.broken as broken
    into strict result
    from (
        select array_agg(cell) as cells, array_agg(cell) filter (where n > 0) as left_cells,
            array_agg(timed) filter (where n > 0) as left_totals, coalesce(bool_or(n < 0), false) as broken
        from live) l,
        (select array_agg(cell) filter (where n = 0) as cells, array_agg(duration_ms) filter (where n = 0) as durations,
            coalesce(bool_or(n < 0), false) as broken from live_durations) d,
        (select array_agg(cell) filter (where n = 0) as cells, array_agg(retry_count) filter (where n = 0) as retries,
            coalesce(bool_or(n < 0), false) as broken from live_retries) r;
    if result.executions > 0 then
        {restart_outbox}perform analytics_refresh.drop_empty_counts(
            result.duration_cells, result.durations, result.retry_cells, result.retries);
        -- counted from the first row again
        delete from analytics_refresh.duration_stats s where s.cell = any (result.cells);
        perform analytics_refresh.recount(result.left_cells, result.left_totals, null, null);
        perform analytics_refresh.drop_empty_cells(false, true, false);
        update analytics_refresh.view_changes set version = version + 1
        where view_name = 'trigger_performance_summary';
    end if;
    if result.broken then
        insert into analytics_refresh.rebuild_marks (reason) values ('a count fell below zero');
    end if;
    return result.executions;
end
$erase_frozen$;
revoke execute on function analytics_refresh.freeze(integer), analytics_refresh.apply_late(),
    analytics_refresh.organizations_of(text[]), analytics_refresh.erase_frozen(text[]) from public;
comment on function analytics_refresh.erase_frozen(text[]) is 'Takes triggers out of what is frozen.';
comment on function analytics_refresh.apply_late() is 'Counts rows that were inserted before the horizon.';
comment on function analytics_refresh.organizations_of(text[]) is 'The organizations that triggers belong to now.';
comment on function analytics_refresh.freeze(integer) is
    'Freezes the figures of what is older than the rows to be kept: all of it, or the next part.';

-- name: organizations_known
-- whether the organizations of triggers can be read without running code of others; acts as the owner of action_results
exists (
    select from pg_class g
    where g.oid = to_regclass({triggers_table}) and g.relkind in ('r', 'p')
        and g.relowner = (select a.relowner from pg_class a where a.oid = to_regclass({app_table}))
        and not (g.relrowsecurity and g.relforcerowsecurity and not (
            select o.rolsuper or o.rolbypassrls from pg_roles o where o.oid = g.relowner))
        and 2 = (
            select count(*) from pg_attribute c
            where c.attrelid = g.oid and not c.attisdropped and c.attgenerated = ''
                and c.attname in ('id', 'organization_id') and c.atttypid in ('text'::regtype, 'varchar'::regtype)))

-- name: hold_triggers
-- from here on the name means the same table
if {organizations_known} then
        lock table only {app}.triggers in access share mode;
    end if

-- name: knows_organizations
select {organizations_known};

-- name: freeze_step
-- More than a day is frozen in steps that the caller commits, so that nothing is held for long. They come before a build.
if state.frozen_until < (select {target} - interval '24 hours' from analytics_refresh.incremental i) then
        perform analytics_refresh.freeze(least(chunk_rows, 250000));
        return 0;
    end if
-- name: restore_triggers
-- what is built is what came after the horizon: with what is frozen it is everything
insert into analytics_refresh.trigger_cells as c (
    trigger_id, n, succeeded, failed, retrying, timed, duration_total, tried, retry_total, first_at, last_at)
select f.trigger_id, f.n, f.succeeded, f.failed, f.retrying, f.timed, f.duration_total, f.tried, f.retry_total,
    f.first_at, f.last_at
from analytics_refresh.frozen_triggers f
on conflict on constraint trigger_cells_key do update set
    {add_to_trigger},
    first_at = least(c.first_at, excluded.first_at),
    last_at = greatest(c.last_at, excluded.last_at);
insert into analytics_refresh.duration_counts as c (cell, duration_ms, n)
select t.cell, d.duration_ms, d.n
from analytics_refresh.frozen_durations d
join analytics_refresh.frozen_triggers f on f.cell = d.cell
join analytics_refresh.trigger_cells t on t.trigger_id = f.trigger_id
on conflict on constraint duration_counts_key do update set n = c.n + excluded.n;
insert into analytics_refresh.retry_counts as c (cell, retry_count, n)
select t.cell, d.retry_count, d.n
from analytics_refresh.frozen_retries d
join analytics_refresh.frozen_triggers f on f.cell = d.cell
join analytics_refresh.trigger_cells t on t.trigger_id = f.trigger_id
on conflict on constraint retry_counts_key do update set n = c.n + excluded.n;
insert into analytics_refresh.type_cells as c (action_type, n, last_at)
select f.action_type, f.n, f.last_at from analytics_refresh.frozen_types f
on conflict on constraint type_cells_key do update set
    n = c.n + excluded.n, last_at = greatest(c.last_at, excluded.last_at)

-- name: restore_hours
with restored as (
    insert into analytics_refresh.hour_cells as c (
        hour, action_type, status, n, timed, duration_total, retry_total, retried)
    select f.hour, f.action_type, f.status, f.n, f.timed, f.duration_total, f.retry_total, f.retried
    from analytics_refresh.frozen_hours f
    returning c.cell, c.hour, c.action_type, c.status)
insert into analytics_refresh.duration_stats (
    cell, min_duration_ms, max_duration_ms, p50_duration_ms, p95_duration_ms, p99_duration_ms)
select r.cell, f.min_duration_ms, f.max_duration_ms, f.p50_duration_ms, f.p95_duration_ms, f.p99_duration_ms
from restored r
join analytics_refresh.frozen_hours f on f.hour = r.hour and f.action_type = r.action_type and f.status = r.status

-- name: capture_settings
set timezone = 'UTC' set datestyle = 'ISO, YMD'

-- name: unfrozen
where not (
                select {bounded_before}
                from (select coalesce((select s.frozen_until from analytics_refresh.incremental s), '-infinity') as horizon) h)

-- name: bounded_before
-- whether partition i of its parent holds only what is older than the horizon, by its bounds
case when horizon > '-infinity' then coalesce((
    select substring(pg_get_expr(c.relpartbound, c.oid) from 'TO \(''([^'']+)''\)$')::timestamptz <= horizon
    from pg_class c
    join pg_partitioned_table p on p.partrelid = i.inhparent and p.partstrat = 'r' and p.partnatts = 1
    join pg_attribute a on a.attrelid = i.inhparent and a.attnum = p.partattrs[0] and a.attname = 'executed_at'
        and a.atttypid = 'timestamptz'::regtype
    where c.oid = i.inhrelid), false) else false end

-- name: frozen_partitions
with recursive before as (
    select i.inhrelid
    from pg_inherits i
    cross join (select coalesce((select s.frozen_until from analytics_refresh.incremental s), '-infinity') as horizon) h
    where {bounded_before}
    union
    select i.inhrelid from before join pg_inherits i on i.inhparent = before.inhrelid)
select n.nspname::text, c.relname::text
from before b join pg_class c on c.oid = b.inhrelid join pg_namespace n on n.oid = c.relnamespace;

-- name: lost_partition
-- A partition that the last build counted is not there any more, and its rows were not frozen: its figures would go with
-- it. Not after a restore, where the table itself is another. A rebuild that somebody asked for says that they may.
select 'a partition of action_results is gone whose rows were not frozen yet: attach it again, or let its figures go with'
    || ' call analytics_refresh.rebuild()', true, false
from analytics_refresh.incremental i
cross join lateral (
    select array_agg(split_part(e.entry, ':', 1)::oid) as relations
    from unnest(string_to_array(i.capture, ' ')) e (entry)) was
where i.retained is not null and i.frozen_until > '-infinity' and to_regclass({app_table})::oid = any (was.relations)
    and not was.relations <@ array(select t.relation from tree t)
    and not exists (select from analytics_refresh.rebuild_marks m where m.asked)
union all

-- name: settings
select extract(epoch from i.retained)::float8, i.late_rows, i.built from analytics_refresh.incremental i for update;

-- name: set
update analytics_refresh.incremental set retained = make_interval(secs => {seconds}), late_rows = {late_rows};

-- name: what
select i.frozen_until, (select min(f.hour) from analytics_refresh.frozen_hours f where f.hour > '-infinity'),
    (select coalesce(sum(f.n), 0) from analytics_refresh.frozen_hours f),
    (select count(*) from analytics_refresh.frozen_triggers f)
from analytics_refresh.incremental i where i.frozen_until > '-infinity';

-- name: readers
-- the roles that may read the rollups may read what of them is frozen
select distinct pg_get_userbyid(a.grantee) from pg_class c, aclexplode(c.relacl) a
    where c.oid = 'analytics_refresh.hour_cells'::regclass and a.privilege_type = 'SELECT' and a.grantee <> 0

-- name: reader_grants
grant select on analytics_refresh.frozen_hours, analytics_refresh.frozen_triggers, analytics_refresh.frozen_types,
    analytics_refresh.frozen_durations, analytics_refresh.frozen_retries, analytics_refresh.frozen_series,
    analytics_refresh.frozen_days to %1$I

-- name: can_advance
select i.frozen_until > '-infinity' or i.retained is not null from analytics_refresh.incremental i;

-- name: held
-- The rows after the horizon, with the values that the views can hold; those whose deletion waits to be folded, and that
-- will be frozen before it is, are part of them.
(select h.* from (
    select {others}, {columns}
    from {app}.action_results a
    cross join (select i.frozen_until from analytics_refresh.incremental i) s
    where (a.executed_at < s.frozen_until) is not true
    union all
    select {nulls}, d.executed_at, d.trigger_id, d.action_type, d.status, d.duration_ms, d.retry_count, d.unheld
    from analytics_refresh.deltas d
    cross join (select i.frozen_until, {target} as due from analytics_refresh.incremental i) s
    where d.cause = 'd' and d.executed_at >= s.frozen_until and d.executed_at < s.due) h
where h.unheld < {least})

-- name: late_wait
-- rows that the next fold adds to what is frozen: until then nothing else knows of them
select exists (
    select from analytics_refresh.deltas d, analytics_refresh.incremental i
    where i.late_rows = 'apply' and d.executed_at < i.frozen_until and d.sign > 0 and d.cause = 'i');

-- name: with_frozen_hours
select p.* from ({plain}) p
union all
select f.hour, f.action_type, f.status, f.n, (f.duration_total::numeric / nullif(f.timed, 0))::numeric(12, 2),
    f.min_duration_ms, f.max_duration_ms, f.p50_duration_ms, f.p95_duration_ms, f.p99_duration_ms,
    case f.status when 'success' then f.n else 0 end, case f.status when 'failed' then f.n else 0 end,
    case f.status when 'retrying' then f.n else 0 end, f.retry_total, f.retried
from analytics_refresh.frozen_hours f

-- name: with_frozen_triggers
-- trigger_performance_summary of the rows after the horizon and of what is frozen, by its definition and not by the fold's
with live as materialized (
    select h.trigger_id, h.status, h.duration_ms, h.retry_count, h.executed_at from {held} h where h.trigger_id is not null),
parts as (
    select l.trigger_id, count(*) as n, count(*) filter (where l.status = 'success') as succeeded,
        count(*) filter (where l.status = 'failed') as failed, count(*) filter (where l.status = 'retrying') as retrying,
        count(l.duration_ms) as timed, coalesce(sum(l.duration_ms), 0) as duration_total, count(l.retry_count) as tried,
        coalesce(sum(l.retry_count), 0) as retry_total, max(l.retry_count) as max_retries, min(l.executed_at) as first_at,
        max(l.executed_at) as last_at
    from live l
    group by l.trigger_id
    union all
    select f.trigger_id, f.n, f.succeeded, f.failed, f.retrying, f.timed, f.duration_total, f.tried, f.retry_total,
        (select max(r.retry_count) from analytics_refresh.frozen_retries r where r.cell = f.cell), f.first_at, f.last_at
    from analytics_refresh.frozen_triggers f),
counted as (
    select c.trigger_id, c.duration_ms, sum(c.n) as n
    from (
        select l.trigger_id, l.duration_ms, count(*) as n from live l where l.duration_ms is not null
        group by l.trigger_id, l.duration_ms
        union all
        select f.trigger_id, d.duration_ms, d.n
        from analytics_refresh.frozen_durations d join analytics_refresh.frozen_triggers f on f.cell = d.cell) c
    group by c.trigger_id, c.duration_ms),
ranked as (
    select c.trigger_id, c.duration_ms, sum(c.n) over (partition by c.trigger_id order by c.duration_ms) as upto,
        (sum(c.n) over (partition by c.trigger_id) - 1)::double precision as last_rank
    from counted c),
places as (
    select p.trigger_id, min(p.shortest) as shortest, max(p.longest) as longest,
        max(p.place) filter (where p.share = 0.5) as p50, max(p.place) filter (where p.share = 0.95) as p95,
        max(p.place) filter (where p.share = 0.99) as p99
    from (
        select r.trigger_id, s.share, min(r.duration_ms) as shortest, max(r.duration_ms) as longest,
            (min(r.duration_ms) filter (where r.upto > floor(s.share * r.last_rank))
                + (s.share * r.last_rank - floor(s.share * r.last_rank))
                * (min(r.duration_ms) filter (where r.upto > ceil(s.share * r.last_rank))::double precision
                    - min(r.duration_ms) filter (where r.upto > floor(s.share * r.last_rank))))::numeric(12, 2) as place
        from ranked r
        cross join (values (0.5::double precision), (0.95), (0.99)) s (share)
        group by r.trigger_id, s.share, r.last_rank) p
    group by p.trigger_id)
select s.trigger_id, s.n::bigint as total_executions, s.succeeded::bigint as success_count, s.failed::bigint as failure_count,
    s.retrying::bigint as retrying_count, round(100.0 * s.succeeded / nullif(s.n, 0), 2) as success_rate,
    (s.duration_total / nullif(s.timed, 0))::numeric(12, 2) as avg_duration_ms, p.shortest as min_duration_ms,
    p.longest as max_duration_ms, p.p50 as p50_duration_ms, p.p95 as p95_duration_ms, p.p99 as p99_duration_ms,
    s.retry_total::bigint as total_retries, (s.retry_total / nullif(s.tried, 0))::numeric(12, 2) as avg_retries,
    s.max_retries, s.last_at as last_execution_at, s.first_at as first_execution_at,
    case when isfinite(s.last_at) and isfinite(s.first_at)
        then (extract(epoch from s.last_at - s.first_at) / 3600)::numeric end as hours_active
from (
    select trigger_id, sum(n) as n, sum(succeeded) as succeeded, sum(failed) as failed, sum(retrying) as retrying,
        sum(timed) as timed, sum(duration_total) as duration_total, sum(tried) as tried, sum(retry_total) as retry_total,
        max(max_retries) as max_retries, min(first_at) as first_at, max(last_at) as last_at
    from parts
    group by trigger_id) s
full join places p on p.trigger_id = s.trigger_id

-- name: compare_checksum
-- the sum that is kept, and what it must be
select i.frozen_checksum::text, ({checksum})::text from analytics_refresh.incremental i;
