-- What `{name}` in a query's FROM stands for. `NAME narrowed` is that of some organizations, or of one trigger.
-- `{target}` is the database in ClickHouse, `{cells}` which rows of cells count: those of the current epochs of the databases
-- asked; `{snapshot}` which rows of snapshots. `{type}`, `{trigger}`, `{owned}`, `{owners}`
-- and `{tenants}` are the filters, or nothing.
-- Times are microseconds of UTC since 1970 in Int64, hours seconds. Figures are decimals: a division is cut off after three
-- digits, which rounds to two as numeric does, halves away from zero.
-- A percentile of whole milliseconds has at most two digits after the point, so that it is read off a double exactly.
-- No value is named as the column that it is made of: a condition would read the value.

-- name: hourly
(select c.hour as hour_at, c.type as action_type, c.state as status, c.executions as execution_count,
        round(toDecimal128(c.total_ms, 3) / nullIf(c.measured, 0), 2) as avg_duration_ms,
        d.least as min_duration_ms, d.most as max_duration_ms,
        d.p50 as p50_duration_ms, d.p95 as p95_duration_ms, d.p99 as p99_duration_ms,
        if(c.state = 'success', c.executions, 0) as success_count,
        if(c.state = 'failed', c.executions, 0) as failure_count,
        if(c.state = 'retrying', c.executions, 0) as retrying_count,
        c.retries as total_retries, c.with_retries as actions_with_retries
   from (select t.hour_at as hour, t.action_type as type, t.status as state, sum(t.n) as executions,
                sum(t.timed) as measured, sum(t.duration_total) as total_ms, sum(t.retry_total) as retries,
                sum(t.retried) as with_retries
           from {target}.hour_totals as t
          where {cells} and t.hour_at >= {since:Int64} and t.hour_at < {until:Int64} {type}
          group by hour, type, state
         having executions <> 0) as c
   left join (select h.hour as hour, h.type as type, h.state as state, min(h.milliseconds) as least,
                     max(h.milliseconds) as most,
                     quantilesExactWeightedInterpolated(0.5, 0.95, 0.99)(h.milliseconds, toUInt64(h.executions))
                         as percentiles,
                     toDecimal128(toInt64(round(percentiles[1] * 100)), 3) / 100 as p50,
                     toDecimal128(toInt64(round(percentiles[2] * 100)), 3) / 100 as p95,
                     toDecimal128(toInt64(round(percentiles[3] * 100)), 3) / 100 as p99
                from (select t.hour_at as hour, t.action_type as type, t.status as state, t.duration_ms as milliseconds,
                             sum(t.n) as executions
                        from {target}.hour_durations as t
                       where {cells} and t.hour_at >= {since:Int64} and t.hour_at < {until:Int64} {type}
                       group by hour, type, state, milliseconds
                      having executions > 0) as h
               group by hour, type, state) as d
     on d.hour = c.hour and d.type = c.type and d.state = c.state)

-- name: hourly narrowed
-- the warehouse has no durations per trigger and hour, so that percentiles and bounds are not known here
(select c.hour as hour_at, c.type as action_type, c.state as status, c.executions as execution_count,
        round(toDecimal128(c.total_ms, 3) / nullIf(c.measured, 0), 2) as avg_duration_ms,
        if(c.state = 'success', c.executions, 0) as success_count,
        if(c.state = 'failed', c.executions, 0) as failure_count,
        if(c.state = 'retrying', c.executions, 0) as retrying_count,
        c.retries as total_retries, c.with_retries as actions_with_retries
   from (select u.hour_at as hour, u.action_type as type, u.status as state, sum(u.executions) as executions,
                sum(u.measured) as measured, sum(u.total_duration_ms) as total_ms, sum(u.total_retries) as retries,
                sum(u.actions_with_retries) as with_retries
           from {trigger_hours} as u
          group by hour, type, state
         having executions <> 0) as c)

-- name: durations
-- the histogram of each type in the window
(select t.action_type as type, t.duration_ms as milliseconds, sum(t.n) as executions
   from {target}.hour_durations as t
  where {cells} and t.hour_at >= {since:Int64} and t.hour_at < {until:Int64} {type}
  group by type, milliseconds
 having executions > 0)

-- name: trigger_hours
-- with the organization of the trigger; that of frozen days is the one of then
(select t.database as database, t.hour_at as hour_at, t.trigger_id as trigger_id, t.action_type as action_type,
        t.status as status, if(t.frozen = 1, t.organization_id, s.organization) as organization_id,
        t.n as executions, t.timed as measured, t.duration_total as total_duration_ms, t.retry_total as total_retries,
        t.retried as actions_with_retries
   from {target}.trigger_hours as t
   left join (select r.database as owner, r.trigger_id as trigger, r.organization_id as organization
                from {target}.triggers as r
               where {snapshot}) as s
     on s.owner = t.database and s.trigger = t.trigger_id
  where {cells} and t.hour_at >= {since:Int64} and t.hour_at < {until:Int64} {type} {trigger} {tenants})

-- name: usage
(select u.database as database, u.trigger_id as trigger_id, u.organization_id as organization_id,
        sum(u.executions) as executions,
        sumIf(u.executions, u.status = 'success') as successes,
        sumIf(u.executions, u.status = 'failed') as failures,
        sumIf(u.executions, u.status = 'retrying') as retrying,
        sum(u.total_retries) as total_retries, sum(u.total_duration_ms) as total_duration_ms,
        sum(u.measured) as measured
   from {trigger_hours} as u
  group by database, trigger_id, organization_id
 having executions <> 0)

-- name: monthly
(select u.database as database, toYear(toDateTime64(u.hour_at, 0, {timezone:String})) * 12
            + toMonth(toDateTime64(u.hour_at, 0, {timezone:String})) - 1 as month,
        u.trigger_id as trigger_id, u.organization_id as organization_id, u.action_type as action_type,
        sum(u.executions) as executions, sum(u.total_retries) as total_retries,
        sum(u.total_duration_ms) as total_duration_ms
   from {trigger_hours} as u
  group by database, month, trigger_id, organization_id, action_type
 having executions <> 0)

-- name: trigger_summary
(select c.owner as database, c.trigger as trigger_id, c.executions as total_executions, c.successes as success_count,
        c.failures as failure_count, c.waiting as retrying_count,
        round(toDecimal128(100 * c.successes, 3) / c.executions, 2) as success_rate,
        round(toDecimal128(c.total_ms, 3) / nullIf(c.measured, 0), 2) as avg_duration_ms,
        d.least as min_duration_ms, d.most as max_duration_ms,
        d.p50 as p50_duration_ms, d.p95 as p95_duration_ms, d.p99 as p99_duration_ms,
        c.retries as total_retries, round(toDecimal128(c.retries, 3) / nullIf(c.counted, 0), 2) as avg_retries,
        m.most as max_retries, e.last_at as last_execution_at, e.first_at as first_execution_at
   from (select t.database as owner, t.trigger_id as trigger, sum(t.n) as executions, sum(t.succeeded) as successes,
                sum(t.failed) as failures, sum(t.retrying) as waiting, sum(t.timed) as measured,
                sum(t.duration_total) as total_ms, sum(t.tried) as counted, sum(t.retry_total) as retries
           from {target}.trigger_totals as t
          where {cells} {trigger} {owned}
          group by owner, trigger
         having executions > 0) as c
   left join (select h.owner as owner, h.trigger as trigger, min(h.milliseconds) as least, max(h.milliseconds) as most,
                     quantilesExactWeightedInterpolated(0.5, 0.95, 0.99)(h.milliseconds, toUInt64(h.executions))
                         as percentiles,
                     toDecimal128(toInt64(round(percentiles[1] * 100)), 3) / 100 as p50,
                     toDecimal128(toInt64(round(percentiles[2] * 100)), 3) / 100 as p95,
                     toDecimal128(toInt64(round(percentiles[3] * 100)), 3) / 100 as p99
                from (select t.database as owner, t.trigger_id as trigger, t.duration_ms as milliseconds,
                             sum(t.n) as executions
                        from {target}.trigger_durations as t
                       where {cells} {trigger} {owned}
                       group by owner, trigger, milliseconds
                      having executions > 0) as h
               group by owner, trigger) as d
     on d.owner = c.owner and d.trigger = c.trigger
   left join (select h.owner as owner, h.trigger as trigger, max(h.tries) as most
                from (select t.database as owner, t.trigger_id as trigger, t.retry_count as tries, sum(t.n) as executions
                        from {target}.trigger_retries as t
                       where {cells} {trigger} {owned}
                       group by owner, trigger, tries
                      having executions > 0) as h
               group by owner, trigger) as m
     on m.owner = c.owner and m.trigger = c.trigger
   left join {every_trigger} as e on e.database = c.owner and e.id = c.trigger)

-- name: owned
-- the triggers of the organizations, as a condition
and (t.database, t.trigger_id) in (
    select r.database, r.trigger_id from {target}.triggers as r where {snapshot} and r.organization_id in {organizations:Array(String)})

-- name: every_trigger
-- also those that are gone and have figures
(select r.database as database, r.trigger_id as id, r.organization_id as organization_id, r.name as name,
        r.enabled as enabled, {present} as present, toUnixTimestamp64Micro(r.created_at) as created_at,
        toUnixTimestamp64Micro(r.first_execution_at) as first_at, toUnixTimestamp64Micro(r.last_execution_at) as last_at
   from {target}.triggers as r
  where {snapshot} {owners})

-- name: triggers
(select r.database as database, r.trigger_id as id, r.organization_id as organization_id, r.name as name,
        r.enabled as enabled, toUnixTimestamp64Micro(r.created_at) as created_at
   from {target}.triggers as r
  where {snapshot} and {present} {owners})

-- name: organizations
(select r.database as database, r.organization_id as id, r.name as name, r.plan as plan
   from {target}.organizations as r
  where {snapshot} {owners})

-- name: failures
(select t.database as database, t.id as id, t.job_id as job_id, t.trigger_id as trigger_id, t.event_id as event_id,
        t.action_type as action_type, t.error_message as error_message, t.retry_count as retry_count,
        toUnixTimestamp64Micro(t.executed_at) as executed_at, t.duration_ms as duration_ms{response_of_row}
   from {target}.recent_failures as t
  where t.database in {databases:Array(String)} and toUnixTimestamp64Micro(t.executed_at) >= {since_us:Int64}
        and toUnixTimestamp64Micro(t.executed_at) < {until_us:Int64} {type} {trigger} {owned})

-- name: distribution
(select t.action_type as type, t.total_executions as total_executions, t.success_count as success_count,
        t.failure_count as failure_count, t.percentage as percentage, t.avg_duration_ms as avg_duration_ms,
        t.total_retries as total_retries, toUnixTimestamp64Micro(t.last_execution_at) as last_execution_at
   from {target}.action_type_distribution as t
  where t.database in {databases:Array(String)} {type})

-- name: prices
(select p.1 as action_type, p.2 as per_execution, p.3 as per_retry, p.4 as per_second, 1 as one
   from (select arrayJoin(arrayZip({price_types:Array(Nullable(String))}, {prices_per_execution:Array(Decimal(38, 9))},
                                   {prices_per_retry:Array(Decimal(38, 9))}, {prices_per_second:Array(Decimal(38, 9))})) as p))

-- name: thresholds
(select h.1 as organization_id, h.2 as action_type, h.3 as success_warning_percent, h.4 as success_critical_percent,
        h.5 as latency_warning_ms, h.6 as latency_critical_ms
   from (select arrayJoin(arrayZip({threshold_organizations:Array(Nullable(String))},
                                   {threshold_types:Array(Nullable(String))},
                                   {thresholds_success_warning_percent:Array(Decimal(38, 9))},
                                   {thresholds_success_critical_percent:Array(Decimal(38, 9))},
                                   {thresholds_latency_warning_ms:Array(Decimal(38, 9))},
                                   {thresholds_latency_critical_ms:Array(Decimal(38, 9))})) as h))

-- name: hours
-- the hours of the window, for series without gaps
(select arrayJoin(range({since:Int64}, {until:Int64}, 3600)) as hour_at)

-- name: steps
-- the days or weeks of the window: their beginnings, the ends of the weeks, and the local day since 1970 that they begin with
(select s.1 as at, s.2 as ends_at, s.3 as day
   from (select arrayJoin(arrayZip({steps:Array(Int64)}, {step_ends:Array(Int64)}, {step_days:Array(Int32)})) as s))
