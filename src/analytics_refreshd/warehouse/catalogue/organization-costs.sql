-- narrowed: yes
-- rows: database
select c.owner as database, concat(leftPad(toString(intDiv(c.months, 12)), 4, '0'), '-',
                                   leftPad(toString(c.months % 12 + 1), 2, '0')) as month,
       c.organization as organization_id, o.name as organization_name, c.trigger as trigger_id, t.name as trigger_name,
       c.type as action_type, c.executions, c.retries as total_retries, c.total_ms as total_duration_ms,
       {currency:Array(Nullable(String))}[1] as currency, if(c.unpriced = 0, c.price, null) as cost, c.price as priced_cost,
       c.unpriced as unpriced_executions
  from (select m.database as owner, m.month as months, m.organization_id as organization,
               if({by:String} = 'trigger', m.trigger_id, null) as trigger,
               if({by:String} = 'action_type', toNullable(toString(m.action_type)), null) as type,
               sum(m.executions) as executions, sum(m.total_retries) as retries, sum(m.total_duration_ms) as total_ms,
               -- types without a price are null, which a sum leaves out
               sum(toDecimal256(m.executions * coalesce(p.per_execution, e.per_execution), 12)
                   + toDecimal256(m.total_retries * coalesce(p.per_retry, e.per_retry), 12)
                   + toDecimal256(m.total_duration_ms * coalesce(p.per_second, e.per_second), 12) / 1000) as price,
               sumIf(m.executions, p.per_execution is null and e.per_execution is null) as unpriced
          from (select *, 1 as one from {monthly} as u) as m
          left join (select * from {prices} as q where q.action_type is not null) as p on p.action_type = m.action_type
          left join (select * from {prices} as q where q.action_type is null) as e on e.one = m.one
         group by owner, months, organization, trigger, type) as c
  left join {organizations} as o on o.database = c.owner and o.id = c.organization
  left join {every_trigger} as t on t.database = c.owner and t.id = c.trigger
 order by c.months desc, c.organization nulls last, c.price desc nulls last, c.executions desc, c.trigger nulls last,
          c.type nulls last, c.owner
