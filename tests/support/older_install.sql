-- An older install, with every fault that such installs are known to have. {app} is the application's schema.
-- Its functions name the views without a schema: they work only with a search_path that holds it.
create materialized view {app}.action_metrics_hourly as
select
    date_trunc('hour', executed_at) as hour, action_type, status,
    count(*) as execution_count,
    avg(duration_ms)::numeric(10, 2) as avg_duration_ms,
    min(duration_ms) as min_duration_ms,
    max(duration_ms) as max_duration_ms,
    percentile_cont(0.50) within group (order by duration_ms)::numeric(10, 2) as p50_duration_ms,
    percentile_cont(0.95) within group (order by duration_ms)::numeric(10, 2) as p95_duration_ms,
    percentile_cont(0.99) within group (order by duration_ms)::numeric(10, 2) as p99_duration_ms,
    count(*) filter (where status = 'success') as success_count,
    count(*) filter (where status = 'failed') as failure_count,
    count(*) filter (where status = 'retrying') as retrying_count,
    sum(retry_count) as total_retries,
    count(*) filter (where retry_count > 0) as actions_with_retries
from {app}.action_results
group by date_trunc('hour', executed_at), action_type, status;
create unique index idx_action_metrics_hourly_unique on {app}.action_metrics_hourly (hour, action_type, status);
create index idx_action_metrics_hourly_hour on {app}.action_metrics_hourly (hour desc);
create index idx_action_metrics_hourly_action_type on {app}.action_metrics_hourly (action_type);
create index idx_action_metrics_hourly_status on {app}.action_metrics_hourly (status);

create materialized view {app}.trigger_performance_summary as
select
    trigger_id,
    count(*) as total_executions,
    count(*) filter (where status = 'success') as success_count,
    count(*) filter (where status = 'failed') as failure_count,
    count(*) filter (where status = 'retrying') as retrying_count,
    round(count(*) filter (where status = 'success')::numeric / nullif(count(*), 0) * 100, 2) as success_rate,
    avg(duration_ms)::numeric(10, 2) as avg_duration_ms,
    min(duration_ms) as min_duration_ms,
    max(duration_ms) as max_duration_ms,
    percentile_cont(0.50) within group (order by duration_ms)::numeric(10, 2) as p50_duration_ms,
    percentile_cont(0.95) within group (order by duration_ms)::numeric(10, 2) as p95_duration_ms,
    percentile_cont(0.99) within group (order by duration_ms)::numeric(10, 2) as p99_duration_ms,
    sum(retry_count) as total_retries,
    avg(retry_count)::numeric(10, 2) as avg_retries,
    max(retry_count) as max_retries,
    max(executed_at) as last_execution_at,
    min(executed_at) as first_execution_at,
    extract(epoch from max(executed_at) - min(executed_at)) / 3600 as hours_active
from {app}.action_results
where trigger_id is not null
group by trigger_id;
create unique index idx_trigger_performance_summary_unique on {app}.trigger_performance_summary (trigger_id);
create index idx_trigger_performance_summary_executions on {app}.trigger_performance_summary (total_executions desc);
create index idx_trigger_performance_summary_success_rate
    on {app}.trigger_performance_summary (success_rate asc nulls first);
create index idx_trigger_performance_summary_avg_duration
    on {app}.trigger_performance_summary (avg_duration_ms desc nulls last);
create index idx_trigger_performance_summary_retries on {app}.trigger_performance_summary (total_retries desc);

create materialized view {app}.recent_failures as
select id, job_id, trigger_id, event_id, action_type, error_message, retry_count, executed_at, duration_ms, response_data
from {app}.action_results
where status = 'failed' and executed_at >= now() - interval '24 hours'
order by executed_at desc;
create unique index idx_recent_failures_unique on {app}.recent_failures (id);
create index idx_recent_failures_trigger_id on {app}.recent_failures (trigger_id) where trigger_id is not null;
create index idx_recent_failures_executed_at on {app}.recent_failures (executed_at desc);
create index idx_recent_failures_action_type on {app}.recent_failures (action_type);
create index idx_recent_failures_error_message on {app}.recent_failures (error_message) where error_message is not null;

create materialized view {app}.action_type_distribution as
select
    action_type,
    count(*) as total_executions,
    count(*) filter (where status = 'success') as success_count,
    count(*) filter (where status = 'failed') as failure_count,
    round(count(*)::numeric / sum(count(*)) over () * 100, 2) as percentage,
    avg(duration_ms)::numeric(10, 2) as avg_duration_ms,
    sum(retry_count) as total_retries,
    max(executed_at) as last_execution_at
from {app}.action_results
where executed_at >= now() - interval '30 days'
group by action_type;
create unique index idx_action_type_distribution_unique on {app}.action_type_distribution (action_type);
create index idx_action_type_distribution_executions on {app}.action_type_distribution (total_executions desc);

create function {app}.refresh_action_analytics()
returns table (
    view_name text, refresh_duration_ms integer, rows_refreshed bigint, success boolean, error_message text)
language plpgsql as $$
declare
    start_time timestamptz;
    end_time timestamptz;
    view_rows bigint;
begin
    begin
        start_time := clock_timestamp();
        refresh materialized view concurrently action_metrics_hourly;
        end_time := clock_timestamp();
        select count(*) into view_rows from action_metrics_hourly;
        return query select 'action_metrics_hourly'::text,
            extract(milliseconds from end_time - start_time)::integer, view_rows, true, null::text;
    exception when others then
        return query select 'action_metrics_hourly'::text, 0, 0::bigint, false, sqlerrm::text;
    end;
    begin
        start_time := clock_timestamp();
        refresh materialized view concurrently trigger_performance_summary;
        end_time := clock_timestamp();
        select count(*) into view_rows from trigger_performance_summary;
        return query select 'trigger_performance_summary'::text,
            extract(milliseconds from end_time - start_time)::integer, view_rows, true, null::text;
    exception when others then
        return query select 'trigger_performance_summary'::text, 0, 0::bigint, false, sqlerrm::text;
    end;
    begin
        start_time := clock_timestamp();
        refresh materialized view concurrently recent_failures;
        end_time := clock_timestamp();
        select count(*) into view_rows from recent_failures;
        return query select 'recent_failures'::text,
            extract(milliseconds from end_time - start_time)::integer, view_rows, true, null::text;
    exception when others then
        return query select 'recent_failures'::text, 0, 0::bigint, false, sqlerrm::text;
    end;
    begin
        start_time := clock_timestamp();
        refresh materialized view concurrently action_type_distribution;
        end_time := clock_timestamp();
        select count(*) into view_rows from action_type_distribution;
        return query select 'action_type_distribution'::text,
            extract(milliseconds from end_time - start_time)::integer, view_rows, true, null::text;
    exception when others then
        return query select 'action_type_distribution'::text, 0, 0::bigint, false, sqlerrm::text;
    end;
end
$$;

create function {app}.get_analytics_refresh_status()
returns table (
    view_name text, row_count bigint, size_bytes bigint, last_refresh timestamptz, age_minutes integer)
language plpgsql as $$
begin
    return query
    select 'action_metrics_hourly'::text, (select count(*) from action_metrics_hourly), pg_total_relation_size('action_metrics_hourly'),
        s.last_vacuum, trunc(extract(epoch from now() - s.last_vacuum) / 60)::integer
    from pg_stat_user_tables s where s.relid = 'action_metrics_hourly'::regclass
    union all
    select 'trigger_performance_summary'::text, (select count(*) from trigger_performance_summary), pg_total_relation_size('trigger_performance_summary'),
        s.last_vacuum, trunc(extract(epoch from now() - s.last_vacuum) / 60)::integer
    from pg_stat_user_tables s where s.relid = 'trigger_performance_summary'::regclass
    union all
    select 'recent_failures'::text, (select count(*) from recent_failures), pg_total_relation_size('recent_failures'),
        s.last_vacuum, trunc(extract(epoch from now() - s.last_vacuum) / 60)::integer
    from pg_stat_user_tables s where s.relid = 'recent_failures'::regclass
    union all
    select 'action_type_distribution'::text, (select count(*) from action_type_distribution), pg_total_relation_size('action_type_distribution'),
        s.last_vacuum, trunc(extract(epoch from now() - s.last_vacuum) / 60)::integer
    from pg_stat_user_tables s where s.relid = 'action_type_distribution'::regclass;
end
$$;
