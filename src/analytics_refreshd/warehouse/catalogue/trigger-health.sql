-- narrowed: yes
select toInt64(countIf(r.success_rate < r.critical)) as critical_triggers,
       toInt64(countIf(r.success_rate >= r.critical and r.success_rate < r.warning)) as warning_triggers,
       toInt64(countIf(r.success_rate >= r.critical and r.success_rate >= r.warning)) as ok_triggers
  from (select s.success_rate as success_rate, coalesce(o.success_critical_percent, e.success_critical_percent) as critical,
               coalesce(o.success_warning_percent, e.success_warning_percent) as warning
          from {trigger_summary} as s
          left join {every_trigger} as t on t.database = s.database and t.id = s.trigger_id
          left join (select * from {thresholds} as h where h.organization_id is not null) as o
                 on o.organization_id = t.organization_id
         cross join (select * from {thresholds} as h where h.organization_id is null and h.action_type is null) as e) as r
