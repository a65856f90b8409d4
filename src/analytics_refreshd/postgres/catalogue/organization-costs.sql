-- name: organization-costs
-- section: organizations
-- endpoint: organizations/costs
-- purpose: What do the actions of each organization, trigger or type cost, month by month, at the configured prices? An
--   attribution, never a bill: exact sums, from rows and frozen days. Without a price a cost is unknown, not 0.
-- note: costs attribute what ran at the configured prices: never a bill
-- parameter: months integer default 1 min 1 max 36; Months of the window; the last is the current one
-- parameter: by text default organization among organization, trigger, action_type; Of what the rows of a month are
-- window: months in months
-- organizations: yes
-- horizon: days
-- column: month text; The month, such as 2026-03
-- column: organization_id text; The organization; empty for actions that belong to none
-- column: organization_name text; Its name
-- column: trigger_id text; The trigger, by trigger; empty for actions without one
-- column: trigger_name text; Its name; empty where the trigger is gone
-- column: action_type text; The type, by action type
-- column: executions count; Actions of any status
-- column: total_retries count; Retries of these actions
-- column: total_duration_ms ms; Sum of the measured durations
-- column: currency text; Currency of the costs; empty without prices
-- column: cost money; What all of it costs, exactly; empty where any of it has no price
-- column: priced_cost money; What the part with a price costs; empty where nothing has one
-- column: unpriced_executions count; Actions of types without a price
-- argument: months default 1 min 1 max 36
-- argument: by default organization
-- argument: limit default 100 min 1 max 1000
-- cost: 10
-- fields: month, organization_id, organization_name, trigger_id, trigger_name, action_type,
--   executions as total_executions, total_retries, total_duration_ms, currency, cost, priced_cost, unpriced_executions
select to_char(c.month, 'YYYY-MM') as month, c.organization_id, o.name as organization_name,
       c.trigger_id, t.name as trigger_name, c.action_type, c.executions, c.total_retries, c.total_duration_ms,
       %(currency)s::text as currency,
       case when c.unpriced_executions = 0 then c.priced_cost end as cost,
       c.priced_cost, c.unpriced_executions
  from (select m.month,
               m.organization_id,
               case when %(by)s::text = 'trigger' then m.trigger_id end as trigger_id,
               case when %(by)s::text = 'action_type' then m.action_type end as action_type,
               sum(m.executions)::bigint as executions,
               sum(m.total_retries)::bigint as total_retries,
               sum(m.total_duration_ms)::bigint as total_duration_ms,
               -- a division could round; types without a price are null, which a sum leaves out
               trim_scale(sum(m.executions * coalesce(p.per_execution, e.per_execution)
                              + m.total_retries * coalesce(p.per_retry, e.per_retry)
                              + m.total_duration_ms * 0.001 * coalesce(p.per_second, e.per_second))) as priced_cost,
               coalesce(sum(m.executions) filter (where p.per_execution is null and e.per_execution is null), 0)::bigint
                   as unpriced_executions
          from {monthly} as m
          left join {prices} as p on p.action_type = m.action_type
          left join {prices} as e on e.action_type is null
         group by 1, 2, 3, 4) as c
  left join {organizations} as o on o.id = c.organization_id
  left join {triggers} as t on t.id = c.trigger_id
 order by c.month desc, c.organization_id collate "C" nulls last, c.priced_cost desc nulls last, c.executions desc,
          c.trigger_id collate "C" nulls last, c.action_type collate "C" nulls last
