-- name: failing_triggers
-- along the index on executed_at; rows dated in the future are not of these hours
select pg_catalog.left(r.trigger_id::text, 200) as trigger_id, pg_catalog.count(*) as executions,
    (100.0 * pg_catalog.count(*) filter (where r.status = 'success') / pg_catalog.count(*))::float8
        as success_rate_percent
from {app}.action_results r
where r.executed_at >= pg_catalog.statement_timestamp() - interval '24 hours'
    and r.executed_at <= pg_catalog.statement_timestamp()
    and r.trigger_id is not null
group by r.trigger_id
having pg_catalog.count(*) >= %(least)s
    and 100.0 * pg_catalog.count(*) filter (where r.status = 'success') < %(percent)s * pg_catalog.count(*)
order by executions desc, trigger_id
limit %(most)s;
