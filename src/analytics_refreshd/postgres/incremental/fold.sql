-- How changes reach the rollups. One statement reads the changes, takes them away and adds them up, so that what is
-- read and what is taken belong to the same snapshot in every isolation level; a row lock lets one fold run at a time.

-- name: changes_from_deltas
-- where the rollups need rebuilding, nothing is taken: fold() looks again after this statement
gone as (
    delete from analytics_refresh.deltas d
    where not exists (select from analytics_refresh.rebuild_marks)
      and (select i.built and i.capture = analytics_refresh.capture_now() from analytics_refresh.incremental i)
      {leave_late}
    returning d.*),
net as materialized (
    select date_trunc('hour', executed_at, 'UTC') as hour, executed_at, trigger_id, action_type, status, duration_ms,
        retry_count, sum(sign)::integer as n
    from gone
    where unheld < 4 and (executed_at < horizon) is not true
    group by executed_at, trigger_id, action_type, status, duration_ms, retry_count
    having sum(sign) <> 0),
-- What is older than the horizon is frozen: deleting it changes no figure, and any other change of figures is late. An
-- update of texts alone, as an erasure makes, changes none.
late as (
    select coalesce(sum(l.n) filter (where l.n > 0), 0)::bigint as came,
        coalesce(-sum(l.n) filter (where l.n < 0), 0)::bigint as went
    from (
        select sum(sign) as n from gone where executed_at < horizon and cause <> 'd'
        group by executed_at, trigger_id, action_type, status, duration_ms, retry_count) l),
unheld as (
    select sum(sign) filter (where unheld & 1 > 0) as durations, sum(sign) filter (where unheld & 2 > 0) as retries,
        sum(sign) filter (where unheld >= 4) as keys
    from gone where (executed_at < horizon) is not true),
{losses},
edge as (
    insert into analytics_refresh.window_edge
    select e.action_type, count(*), count(*) filter (where e.status = 'success'),
        count(*) filter (where e.status = 'failed'), count(e.duration_ms), coalesce(sum(e.duration_ms), 0),
        coalesce(sum(e.retry_count), 0)
    from (
        select {columns}
        from {app}.action_results r
        where r.executed_at >= window_from and r.executed_at < whole_hours_from) e
    where e.unheld < 4
    group by e.action_type)

-- name: losses
-- where a first or last execution may have gone, the next one is looked up in action_results; n: of all that changed
trigger_losses as (
    select trigger_id, min(executed_at) filter (where n < 0) as first_lost,
        max(executed_at) filter (where n < 0) as last_lost, sum(n) as n
    from (
        select trigger_id, executed_at, sum(n) as n from net where trigger_id is not null
        group by trigger_id, executed_at) changed
    group by trigger_id
    having max(executed_at) filter (where n < 0) is not null),
type_losses as (
    select action_type, max(executed_at) filter (where n < 0) as last_lost, sum(n)::bigint as n
    from (select action_type, executed_at, sum(n) as n from net group by action_type, executed_at) changed
    group by action_type
    having max(executed_at) filter (where n < 0) is not null)

-- name: changes_from_rows
-- deltas of rows that are read here are part of what is read
gone as (
    delete from analytics_refresh.deltas d
    where ({range}) and not exists (select from analytics_refresh.rebuild_marks)
    returning d.*),
found as materialized (
    select {columns}
    from {app}.action_results d
    where {range}),
net as (
    select date_trunc('hour', executed_at, 'UTC') as hour, executed_at, trigger_id, action_type, status, duration_ms,
        retry_count, 1 as n
    from found
    where unheld < 4),
unheld as (
    select count(*) filter (where unheld & 1 > 0) as durations, count(*) filter (where unheld & 2 > 0) as retries,
        count(*) filter (where unheld >= 4) as keys
    from found),
late as (select 0::bigint as came, 0::bigint as went),
trigger_losses as (select ''::text as trigger_id, now() as first_lost, now() as last_lost, 0::numeric as n where false),
type_losses as (select ''::text as action_type, now() as last_lost, 0::bigint as n where false)

-- name: add_unheld
unheld_durations = unheld_durations + result.unheld_durations, unheld_retries = unheld_retries + result.unheld_retries,
            unheld_keys = unheld_keys + result.unheld_keys

-- name: add_up
-- How many rows the parts of this have, the planner does not know, and a plan may be older than a backlog of changes. So
-- they are joined to each other by full joins: those are hashed or merged whatever it believes, and never nested loops.
-- What of them is not wanted is left out by an expression that does not tell it so.
with {changes},
{frozen},
{outbox}by_hour as materialized (
    select hour, action_type, status, duration_ms, sum(n) as n, coalesce(sum(n * retry_count::bigint), 0) as retry_total,
        coalesce(sum(n) filter (where retry_count > 0), 0) as retried
    from net
    group by hour, action_type, status, duration_ms),
by_trigger as materialized (
    select trigger_id, duration_ms, sum(n) as n,
        coalesce(sum(n) filter (where status = 'success'), 0) as succeeded,
        coalesce(sum(n) filter (where status = 'failed'), 0) as failed,
        coalesce(sum(n) filter (where status = 'retrying'), 0) as retrying,
        coalesce(sum(n) filter (where retry_count is not null), 0) as tried,
        coalesce(sum(n * retry_count::bigint), 0) as retry_total,
        min(executed_at) filter (where n > 0) as first_at, max(executed_at) filter (where n > 0) as last_at
    from net
    where trigger_id is not null
    group by trigger_id, duration_ms),
everything as (
    select sum(t.n) - coalesce((select sum(f.n) from frozen_type f), 0) as n from analytics_refresh.type_cells t),
-- one that lost all its rows would be looked for in vain, through the whole table; what is frozen is no row any more
trigger_needs as materialized (
    select c.trigger_id, c.n - coalesce(f.n, 0) as n, c.n - coalesce(f.n, 0) + t.n as n_left, c.first_at, c.last_at,
        f.first_at as frozen_first_at, f.last_at as frozen_last_at
    from trigger_losses t
    join analytics_refresh.trigger_cells c on c.trigger_id = t.trigger_id
    left join frozen_trigger f on f.trigger_id = t.trigger_id
    where (t.first_lost <= c.first_at or t.last_lost >= c.last_at) and c.n + t.n > 0),
-- after a retention delete the index still leads through all that was deleted: walk past it once, not per trigger
living as materialized (
    select
        (select r.executed_at from {app}.action_results r
            where r.executed_at >= (select greatest(min(n.first_at), horizon) from trigger_needs n having count(*) > 0)
            order by r.executed_at limit 1) as first_at,
        (select r.executed_at from {app}.action_results r
            where r.executed_at <= (select max(n.last_at) from trigger_needs n) and r.executed_at >= horizon
            order by r.executed_at desc limit 1) as last_at),
-- Few rows, those that went included: by trigger_id. Many that stayed: along executed_at, where one of them soon comes.
-- Either way about the square root of the table; the expressions keep the planner from choosing the other way. Materialized, because what it fears these
-- look-ups to cost would hide the cost of everything they are joined to.
trigger_ends as materialized (
    select c.trigger_id,
        least(c.frozen_first_at, case
            when c.n_left <= 0 then null
            when c.n * c.n_left < e.n
            then (select min(f.executed_at) from (
                select r.executed_at from {app}.action_results r
                where r.trigger_id = c.trigger_id and r.executed_at >= horizon offset 0) f)
            else (select r.executed_at from {app}.action_results r
                where r.executed_at >= greatest(c.first_at, l.first_at) and r.trigger_id || '' = c.trigger_id
                order by r.executed_at limit 1)
        end) as first_at,
        greatest(c.frozen_last_at, case
            when c.n_left <= 0 then null
            when c.n * c.n_left < e.n
            then (select max(f.executed_at) from (
                select r.executed_at from {app}.action_results r
                where r.trigger_id = c.trigger_id and r.executed_at >= horizon offset 0) f)
            else (select r.executed_at from {app}.action_results r
                where r.executed_at <= least(c.last_at, l.last_at) and r.executed_at >= horizon
                    and r.trigger_id || '' = c.trigger_id
                order by r.executed_at desc limit 1)
        end) as last_at
    from trigger_needs c
    cross join living l
    cross join everything e),
type_ends as materialized (
    select c.action_type,
        greatest(f.last_at, case
            when k.n + t.n <= 0 then null
            when k.n * (k.n + t.n) < e.n
            then (select max(l.executed_at) from (
                select r.executed_at from {app}.action_results r
                where r.action_type = c.action_type and r.executed_at >= horizon offset 0) l)
            else (select r.executed_at from {app}.action_results r
                where r.executed_at <= c.last_at and r.executed_at >= horizon and r.action_type || '' = c.action_type
                order by r.executed_at desc limit 1)
        end) as last_at
    from type_losses t
    join analytics_refresh.type_cells c on c.action_type = t.action_type
    left join frozen_type f on f.action_type = t.action_type
    cross join lateral (select c.n - coalesce(f.n, 0) as n) k
    cross join everything e
    where t.last_lost >= c.last_at and c.n + t.n > 0),
hours as (
    insert into analytics_refresh.hour_cells as c (
        hour, action_type, status, n, timed, duration_total, retry_total, retried)
    select hour, action_type, status, sum(n), coalesce(sum(n) filter (where duration_ms is not null), 0),
        coalesce(sum(n * duration_ms), 0), sum(retry_total), sum(retried)
    from by_hour
    group by hour, action_type, status
    order by hour, action_type, status
    on conflict on constraint hour_cells_key do update set
        n = c.n + excluded.n,
        timed = c.timed + excluded.timed,
        duration_total = c.duration_total + excluded.duration_total,
        retry_total = c.retry_total + excluded.retry_total,
        retried = c.retried + excluded.retried
    returning c.cell, c.hour, c.action_type, c.status, c.n, c.timed),
triggers as (
    insert into analytics_refresh.trigger_cells as c (
        cell, trigger_id, n, succeeded, failed, retrying, timed, duration_total, tried, retry_total, first_at, last_at)
    -- only new triggers take a number: there are two thousand million
    select coalesce(p.cell, nextval('analytics_refresh.cells')), s.trigger_id, s.n, s.succeeded, s.failed,
        s.retrying, s.timed, s.duration_total, s.tried, s.retry_total,
        least(s.first_at, case when e.trigger_id is null then p.first_at else e.first_at end),
        greatest(s.last_at, case when e.trigger_id is null then p.last_at else e.last_at end)
    from (
        select trigger_id, sum(n) as n, sum(succeeded) as succeeded, sum(failed) as failed, sum(retrying) as retrying,
            coalesce(sum(n) filter (where duration_ms is not null), 0) as timed,
            coalesce(sum(n * duration_ms), 0) as duration_total, sum(tried) as tried,
            sum(retry_total) as retry_total, min(first_at) as first_at, max(last_at) as last_at
        from by_trigger
        group by trigger_id) s
    full join trigger_ends e on e.trigger_id = s.trigger_id
    left join analytics_refresh.trigger_cells p on p.trigger_id = s.trigger_id
    order by s.trigger_id
    on conflict on constraint trigger_cells_key do update set
        {add_to_trigger},
        first_at = excluded.first_at,
        last_at = excluded.last_at
    returning c.cell, c.trigger_id, c.n, c.timed),
types as (
    insert into analytics_refresh.type_cells as c (action_type, n, last_at)
    select s.action_type, s.n, greatest(s.last_at, case when e.action_type is null then p.last_at else e.last_at end)
    from (
        select action_type, sum(n) as n, max(executed_at) filter (where n > 0) as last_at
        from net
        group by action_type) s
    full join type_ends e on e.action_type = s.action_type
    left join analytics_refresh.type_cells p on p.action_type = s.action_type
    order by s.action_type
    on conflict on constraint type_cells_key do update set n = c.n + excluded.n, last_at = excluded.last_at
    returning c.action_type, c.n),
durations as materialized (
    select r.cell, r.timed, h.duration_ms, h.n
    from by_hour h
    full join hours r on r.action_type = h.action_type and r.status = h.status
        and coalesce(r.hour, '-infinity') = coalesce(h.hour, '-infinity') and (r.hour is null) = (h.hour is null)
    where case when h.duration_ms is null then 0 else h.n end <> 0
    union all
    select r.cell, r.timed, t.duration_ms, t.n
    from by_trigger t
    full join triggers r on r.trigger_id = t.trigger_id
    where case when t.duration_ms is null then 0 else t.n end <> 0),
duration_rows as (
    insert into analytics_refresh.duration_counts as c (cell, duration_ms, n)
    select cell, duration_ms, n from durations order by cell, duration_ms
    on conflict on constraint duration_counts_key do update set n = c.n + excluded.n
    returning c.cell, c.duration_ms, c.n),
retry_rows as (
    insert into analytics_refresh.retry_counts as c (cell, retry_count, n)
    select r.cell, t.retry_count, t.n
    from (
        select trigger_id, retry_count, sum(n) as n from net
        where trigger_id is not null and retry_count is not null
        group by trigger_id, retry_count having sum(n) <> 0) t
    full join triggers r on r.trigger_id = t.trigger_id
    where coalesce(t.n, 0) <> 0
    order by 1, 2
    on conflict on constraint retry_counts_key do update set n = c.n + excluded.n
    returning c.cell, c.retry_count, c.n)
select
    (select count(*) from gone) as taken,
    (select greatest(l.came, l.went) from late l) as late,
    coalesce(u.durations, 0) as unheld_durations, coalesce(u.retries, 0) as unheld_retries,
    coalesce(u.keys, 0) as unheld_keys,
    (select count(*) from net) as changed,
    exists (select from gone where status = 'failed') as failures,
    t.cells as timed_cells, t.totals as timed_totals, t.durations as timed_durations, t.counts as timed_counts,
    d.cells as empty_duration_cells, d.durations as empty_durations,
    r.cells as empty_retry_cells, r.retries as empty_retries,
    exists (select from hours where n = 0) as empty_hours,
    exists (select from triggers where n = 0) as empty_triggers,
    exists (select from types where n = 0) as empty_types,
    exists (select from duration_rows where n < 0) or exists (select from retry_rows where n < 0)
        or exists (select from hours where n < 0) or exists (select from triggers where n < 0) as broken
into result
from unheld u,
    (select array_agg(cell) as cells, array_agg(timed) as totals, array_agg(duration_ms) as durations,
        array_agg(n) as counts from durations) t,
    (select array_agg(cell) as cells, array_agg(duration_ms) as durations from duration_rows where n = 0) d,
    (select array_agg(cell) as cells, array_agg(retry_count) as retries from retry_rows where n = 0) r

-- name: settle
-- what follows a statement that added up, before another
if result.unheld_durations <> 0 or result.unheld_retries <> 0 or result.unheld_keys <> 0 then
    update analytics_refresh.incremental set {add_unheld};
end if;
if result.changed > 0 then
    perform analytics_refresh.drop_empty_counts(
        result.empty_duration_cells, result.empty_durations, result.empty_retry_cells, result.empty_retries);
    perform analytics_refresh.recount(
        result.timed_cells, result.timed_totals, result.timed_durations, result.timed_counts);
    perform analytics_refresh.drop_empty_cells(result.empty_hours, result.empty_triggers, result.empty_types);
    update analytics_refresh.view_changes set version = version + 1
    where view_name in ('action_metrics_hourly', 'trigger_performance_summary');
end if;
if result.failures then
    update analytics_refresh.view_changes set version = version + 1 where view_name = 'recent_failures';
end if;
if result.broken then
    insert into analytics_refresh.rebuild_marks (reason) values ('a count fell below zero');
end if

-- name: add_to_trigger
n = {row}.n + excluded.n,
        succeeded = {row}.succeeded + excluded.succeeded,
        failed = {row}.failed + excluded.failed,
        retrying = {row}.retrying + excluded.retrying,
        timed = {row}.timed + excluded.timed,
        duration_total = {row}.duration_total + excluded.duration_total,
        tried = {row}.tried + excluded.tried,
        retry_total = {row}.retry_total + excluded.retry_total

-- name: functions
-- A percentile of a cell with `total` durations, as percentile_cont has it: between the rows floor and ceil of
-- share * (total - 1), counted from 0. It stood at `stands_at`, with `stands_below` rows below that; from there it walks
-- to where it stands now, so that it costs what changed and not what exists. Nulls: it walks from the first row.
create or replace function analytics_refresh.percentile(
    cell integer, share double precision, total bigint, stands_at integer, stands_below bigint)
returns table (at integer, below bigint, duration_ms numeric(12, 2))
-- bound when it is created, and without settings of its own, so that recount() takes it in instead of calling it
language sql stable
begin atomic
    select w.at, w.below, (w.low + (k.rank - k.low_rank) * (w.high - w.low))::numeric(12, 2)
    from (
        select share * (total - 1) as rank, floor(share * (total - 1))::bigint as low_rank,
            ceil(share * (total - 1))::bigint as high_rank) k
    -- down
    left join lateral (
        select r.at, r.below
        from (
            select c.duration_ms as at,
                stands_below - sum(c.n) over (order by c.duration_ms desc rows unbounded preceding) as below
            from analytics_refresh.duration_counts c
            where stands_below > k.low_rank and c.cell = percentile.cell and c.duration_ms < stands_at) r
        where r.below <= k.low_rank
        order by r.at desc
        limit 1) d on true
    -- up: to the row behind the lower rank and the one after it, where the upper one is if not in the first
    cross join lateral (
        select min(u.at) as at, min(u.upto - u.n) as below, min(u.at)::double precision as low,
            min(u.at) filter (where u.upto > k.high_rank)::double precision as high
        from (
            select r.at, r.n, r.upto
            from (
                select c.duration_ms as at, c.n, coalesce(d.below, stands_below, 0)
                    + sum(c.n) over (order by c.duration_ms rows unbounded preceding) as upto
                from analytics_refresh.duration_counts c
                where c.cell = percentile.cell and c.duration_ms >= coalesce(d.at, stands_at, -2147483648)) r
            where r.upto > k.low_rank
            order by r.at
            limit 2) u) w;
end;

-- Invoker, as all that only fold() and rebuild_step() call: those act as the owner already.
-- One element of each array per change of a histogram: the cell, its total by now, the duration and by how much its
-- count changed. A cell without a duration is looked at too; one without statistics is counted from its first row.
create or replace function analytics_refresh.recount(
    cells integer[], totals bigint[], durations integer[], counts bigint[]) returns void
language plpgsql volatile security invoker
set search_path = pg_catalog, pg_temp set jit = off
-- nothing but probes of an index for one cell: what was not touched costs nothing
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $recount$
begin
    insert into analytics_refresh.duration_stats as s (
        cell, min_duration_ms, max_duration_ms, p50_duration_ms, p95_duration_ms, p99_duration_ms,
        p50_at, p95_at, p99_at, p50_below, p95_below, p99_below)
    select t.cell,
        case when t.first_lost
            then (select c.duration_ms from analytics_refresh.duration_counts c where c.cell = t.cell
                order by c.duration_ms limit 1)
            else least(t.min_duration_ms, t.shortest)
        end,
        case when t.last_lost
            then (select c.duration_ms from analytics_refresh.duration_counts c where c.cell = t.cell
                order by c.duration_ms desc limit 1)
            else greatest(t.max_duration_ms, t.longest)
        end,
        p50.duration_ms, p95.duration_ms, p99.duration_ms, p50.at, p95.at, p99.at, p50.below, p95.below, p99.below
    from (
        select u.cell, max(u.total) as total, k.min_duration_ms, k.max_duration_ms,
            min(u.duration_ms) filter (where u.n > 0) as shortest, max(u.duration_ms) filter (where u.n > 0) as longest,
            k.cell is null or coalesce(bool_or(u.n < 0 and u.duration_ms <= k.min_duration_ms), false) as first_lost,
            k.cell is null or coalesce(bool_or(u.n < 0 and u.duration_ms >= k.max_duration_ms), false) as last_lost,
            k.p50_at, k.p50_below + coalesce(sum(u.n) filter (where u.duration_ms < k.p50_at), 0) as p50_below,
            k.p95_at, k.p95_below + coalesce(sum(u.n) filter (where u.duration_ms < k.p95_at), 0) as p95_below,
            k.p99_at, k.p99_below + coalesce(sum(u.n) filter (where u.duration_ms < k.p99_at), 0) as p99_below
        from unnest(cells, totals, durations, counts) u (cell, total, duration_ms, n)
        left join analytics_refresh.duration_stats k on k.cell = u.cell
        group by u.cell, k.cell) t
    cross join lateral analytics_refresh.percentile(t.cell, 0.50, t.total, t.p50_at, t.p50_below::bigint) p50
    cross join lateral analytics_refresh.percentile(t.cell, 0.95, t.total, t.p95_at, t.p95_below::bigint) p95
    cross join lateral analytics_refresh.percentile(t.cell, 0.99, t.total, t.p99_at, t.p99_below::bigint) p99
    order by t.cell
    on conflict on constraint duration_stats_key do update set
        min_duration_ms = excluded.min_duration_ms,
        max_duration_ms = excluded.max_duration_ms,
        p50_duration_ms = excluded.p50_duration_ms,
        p95_duration_ms = excluded.p95_duration_ms,
        p99_duration_ms = excluded.p99_duration_ms,
        p50_at = excluded.p50_at,
        p95_at = excluded.p95_at,
        p99_at = excluded.p99_at,
        p50_below = excluded.p50_below,
        p95_below = excluded.p95_below,
        p99_below = excluded.p99_below;
end
$recount$;

-- a count that became nothing leaves before the ends of its cell are looked for
create or replace function analytics_refresh.drop_empty_counts(
    duration_cells integer[], durations integer[], retry_cells integer[], retries integer[]) returns void
language plpgsql volatile security invoker set search_path = pg_catalog, pg_temp set jit = off
as $drop_empty_counts$
begin
    if duration_cells is not null then
        delete from analytics_refresh.duration_counts c
        using unnest(duration_cells, durations) e (cell, duration_ms)
        where c.cell = e.cell and c.duration_ms = e.duration_ms;
    end if;
    if retry_cells is not null then
        delete from analytics_refresh.retry_counts c
        using unnest(retry_cells, retries) e (cell, retry_count)
        where c.cell = e.cell and c.retry_count = e.retry_count;
    end if;
end
$drop_empty_counts$;

-- a cell that became empty leaves with its last row, its statistics with it
create or replace function analytics_refresh.drop_empty_cells(hours boolean, triggers boolean, types boolean) returns void
language plpgsql volatile security invoker set search_path = pg_catalog, pg_temp set jit = off
as $drop_empty_cells$
declare
    empty_cells integer[];
    more_cells integer[];
begin
    if hours then
        with gone as (delete from analytics_refresh.hour_cells where n = 0 returning cell)
        select array_agg(cell) into empty_cells from gone;
    end if;
    if triggers then
        with gone as (delete from analytics_refresh.trigger_cells where n = 0 returning cell)
        select array_agg(cell) into more_cells from gone;
    end if;
    if types then
        delete from analytics_refresh.type_cells where n = 0;
    end if;
    if hours or triggers then
        delete from analytics_refresh.duration_stats s
        using unnest(empty_cells || more_cells) e (cell) where s.cell = e.cell;
    end if;
end
$drop_empty_cells$;

create or replace function analytics_refresh.type_window_now(whole_hours_from timestamptz)
returns setof analytics_refresh.type_window
language sql stable security invoker
set search_path = pg_catalog, pg_temp set max_parallel_workers_per_gather = 0
as $type_window$
    select s.*, t.last_at
    from (
        select w.action_type, sum(w.n)::bigint, sum(w.succeeded)::bigint, sum(w.failed)::bigint, sum(w.timed)::bigint,
            sum(w.duration_total)::bigint, sum(w.retry_total)::bigint
        from (
            select h.action_type, h.n, case h.status when 'success' then h.n else 0 end as succeeded,
                case h.status when 'failed' then h.n else 0 end as failed, h.timed, h.duration_total, h.retry_total
            from analytics_refresh.hour_cells h where h.hour >= whole_hours_from
            union all
            select e.* from analytics_refresh.window_edge e) w
        group by w.action_type) s
    left join analytics_refresh.type_cells t on t.action_type = s.action_type
$type_window$;

create or replace function analytics_refresh.rebuild_start(reason text) returns void
language plpgsql volatile security invoker set search_path = pg_catalog, pg_temp
as $rebuild_start$
begin
    {freeze};
    {restart_outbox}truncate analytics_refresh.hour_cells, analytics_refresh.trigger_cells, analytics_refresh.type_cells,
        analytics_refresh.duration_counts, analytics_refresh.retry_counts, analytics_refresh.duration_stats;
    alter sequence analytics_refresh.cells restart;
    -- a mark that is not visible yet stays, and makes the rollups be built once more
    delete from analytics_refresh.rebuild_marks;
    update analytics_refresh.incremental set built = false, build_from = '-infinity', rows_built = 0,
        build_reason = rebuild_start.reason, capture = analytics_refresh.capture_now(),
        unheld_durations = 0, unheld_retries = 0, unheld_keys = 0;
end
$rebuild_start$;

-- One step of the build; the caller commits between steps, or does not. Says what share is done, 1 at the end.
create or replace function analytics_refresh.rebuild_step(chunk_rows integer default 2500000) returns double precision
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp set jit = off set work_mem = '128MB'
as $rebuild_step$
declare
    -- not of the table's type: what bears its name by now may be a domain, whose check would run before the look at it
    state record;
    chunk_from timestamptz;
    chunk_until timestamptz;
    horizon timestamptz;
    result record;
    estimate double precision;
begin
    {refuse_unsound};
    -- from here on the name means the same table
    lock table only {app}.action_results in access share mode;
    perform analytics_refresh.require_capture(false);
    select * into strict state from analytics_refresh.incremental for update;
    {freeze_step};
    if exists (select from analytics_refresh.rebuild_marks) then
        perform analytics_refresh.rebuild_start((
            select m.reason from analytics_refresh.rebuild_marks m order by m.mark_id limit 1));
    elsif state.capture <> analytics_refresh.capture_now() then
        perform analytics_refresh.rebuild_start(case when state.capture = '' then state.build_reason
            else 'the tables or capture triggers of action_results changed' end);
    elsif state.built then
        return 1;
    {restart_late}
    end if;
    select * into strict state from analytics_refresh.incremental;
    chunk_from := state.build_from;
    horizon := state.frozen_until;

    if chunk_from = '-infinity' then
        {add_up_timeless};
        update analytics_refresh.incremental set rows_built = rows_built + result.changed,
            {add_unheld};
        -- what is older is frozen, and counted whether it is there or not
        chunk_from := horizon;
    end if;

    select date_trunc('hour', r.executed_at, 'UTC') + interval '1 hour' into chunk_until
    from {app}.action_results r
    where r.executed_at >= chunk_from and r.executed_at > '-infinity'
    order by r.executed_at offset chunk_rows limit 1;
    chunk_until := coalesce(chunk_until, 'infinity');
    if chunk_until = 'infinity' then
        {add_up_rest};
    else
        {add_up_range};
    end if;
    if chunk_until < 'infinity' then
        update analytics_refresh.incremental i
        set rows_built = i.rows_built + result.changed, build_from = chunk_until,
            {add_unheld}
        returning i.rows_built into strict state.rows_built;
        select sum(c.reltuples) into estimate
        from pg_partition_tree({app_table}::regclass) p join pg_class c on c.oid = p.relid where p.isleaf;
        return least(0.95, state.rows_built / greatest(estimate, state.rows_built, 1));
    end if;

    {restore_triggers};
    delete from analytics_refresh.duration_stats;
    analyze analytics_refresh.hour_cells, analytics_refresh.trigger_cells, analytics_refresh.duration_counts;
    perform analytics_refresh.recount(array_agg(p.cell), array_agg(p.timed), null, null)
    from (
        select a.cell, a.timed, row_number() over () / 1000 as portion
        from (
            select cell, timed from analytics_refresh.hour_cells
            union all
            select cell, timed from analytics_refresh.trigger_cells) a) p
    group by p.portion;
    {restore_hours};
    update analytics_refresh.incremental i
    set rows_built = i.rows_built + result.changed, build_from = 'infinity', built = true, built_at = clock_timestamp(),
        {add_unheld};
    update analytics_refresh.view_changes set version = version + 1;
    return 1;
end
$rebuild_step$;

create or replace function analytics_refresh.fold(out rows_folded bigint, out seconds double precision) returns record
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp set jit = off set work_mem = '64MB' set max_parallel_workers_per_gather = 0
as $fold$
declare
    started constant timestamptz := clock_timestamp();
    window_from constant timestamptz := now() - interval '720 hours';
    whole_hours_from constant timestamptz := date_trunc('hour', window_from, 'UTC') + interval '1 hour';
    horizon timestamptz;
    applies boolean := false;
    result record;
begin
    {refuse_unsound};
    lock table only {app}.action_results in access share mode;
    perform analytics_refresh.require_capture(true);
    perform from analytics_refresh.incremental for update;
    rows_folded := 0;
    loop
        if (select not i.built or i.capture <> analytics_refresh.capture_now() from analytics_refresh.incremental i)
            or exists (select from analytics_refresh.rebuild_marks)
        then
            while analytics_refresh.rebuild_step() < 1 loop
            end loop;
        end if;
        {freeze};
        select i.frozen_until into strict horizon from analytics_refresh.incremental i;
        {apply_late};
        delete from analytics_refresh.window_edge;
        {add_up_deltas};
        rows_folded := rows_folded + result.taken;
        {settle};
        {count_late};
        exit when not exists (select from analytics_refresh.rebuild_marks)
            and (select i.capture = analytics_refresh.capture_now() from analytics_refresh.incremental i);
    end loop;
    declare
        window_now analytics_refresh.type_window[];
    begin
        select array_agg(w order by w.action_type) into window_now from analytics_refresh.type_window_now(whole_hours_from) w;
        if window_now is distinct from (select array_agg(w order by w.action_type) from analytics_refresh.type_window w) then
            delete from analytics_refresh.type_window;
            insert into analytics_refresh.type_window select w.* from unnest(window_now) w;
            update analytics_refresh.view_changes set version = version + 1 where view_name = 'action_type_distribution';
        end if;
    end;
    {settle_outbox}seconds := extract(epoch from clock_timestamp() - started);
    update analytics_refresh.incremental
    set folded_at = clock_timestamp(), fold_ms = round(seconds * 1000), rows_folded = fold.rows_folded;
end
$fold$;

-- With a commit after each step, so that a time limit or a crash costs one step. Not definer, and without settings: it could
-- not commit. So the operator is named in full: the caller's search_path decides nothing.
create or replace procedure analytics_refresh.rebuild(reason text default 'on request')
language plpgsql security invoker
as $rebuild$
begin
    insert into analytics_refresh.rebuild_marks (reason, asked) values (rebuild.reason, true);
    commit;
    while analytics_refresh.rebuild_step() operator(pg_catalog.<) 1::double precision loop
        commit;
    end loop;
    commit;
end
$rebuild$;

revoke execute on function analytics_refresh.percentile(integer, double precision, bigint, integer, bigint),
    analytics_refresh.recount(integer[], bigint[], integer[], bigint[]), analytics_refresh.drop_empty_counts(
    integer[], integer[], integer[], integer[]), analytics_refresh.drop_empty_cells(boolean, boolean, boolean),
    analytics_refresh.type_window_now(timestamptz),
    analytics_refresh.rebuild_start(text), analytics_refresh.fold(), analytics_refresh.rebuild_step(integer) from public;
revoke execute on procedure analytics_refresh.rebuild(text) from public;
comment on function analytics_refresh.fold() is
    'Adds the captured changes to the rollups; rebuilds them where a rebuild mark asks for it. Harmless to call at any time.';
comment on function analytics_refresh.rebuild_step(integer) is
    'Builds the next part of the rollups where they need building, and says what share is done.';
comment on procedure analytics_refresh.rebuild(text) is 'Builds the rollups again, with a commit after each step.';
comment on function analytics_refresh.percentile(integer, double precision, bigint, integer, bigint) is
    'A percentile of a cell, found from where it stood.';
comment on function analytics_refresh.recount(integer[], bigint[], integer[], bigint[]) is
    'Moves minimum, maximum and percentiles of the cells whose histograms changed.';
comment on function analytics_refresh.drop_empty_counts(integer[], integer[], integer[], integer[]) is
    'Removes counts that fell to zero.';
comment on function analytics_refresh.drop_empty_cells(boolean, boolean, boolean) is
    'Removes cells that fell to zero, and their statistics.';
comment on function analytics_refresh.type_window_now(timestamptz) is 'action_type_distribution from the rollups.';
comment on function analytics_refresh.rebuild_start(text) is 'Empties the rollups before a build.';

-- name: drop
drop procedure if exists analytics_refresh.rebuild(text);
drop function if exists analytics_refresh.fold(), analytics_refresh.rebuild_step(integer),
    analytics_refresh.rebuild_start(text), analytics_refresh.type_window_now(timestamptz),
    analytics_refresh.drop_empty_counts(integer[], integer[], integer[], integer[]),
    analytics_refresh.drop_empty_cells(boolean, boolean, boolean),
    analytics_refresh.recount(integer[], bigint[], integer[], bigint[]),
    analytics_refresh.percentile(integer, double precision, bigint, integer, bigint);
