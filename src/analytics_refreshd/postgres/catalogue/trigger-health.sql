-- name: trigger-health
-- section: trigger health
-- endpoint: triggers/health-summary
-- purpose: How many triggers are in which health, by the success rate over all history?
-- organizations: yes
-- column: critical_triggers count; Triggers whose success rate is critical: below 50 %, or what [thresholds] says
-- column: warning_triggers count; Other triggers below 80 %, or what [thresholds] says
-- column: ok_triggers count; All others that ever ran
-- answer: object
select count(*) filter (where r.success_rate < r.critical) as critical_triggers,
       count(*) filter (where r.success_rate >= r.critical and r.success_rate < r.warning) as warning_triggers,
       count(*) filter (where r.success_rate >= r.critical and r.success_rate >= r.warning) as ok_triggers
  from (select s.success_rate,
               coalesce(o.success_critical_percent, e.success_critical_percent) as critical,
               coalesce(o.success_warning_percent, e.success_warning_percent) as warning
          from {trigger_summary} as s
          left join {triggers} as t on t.id = s.trigger_id
          left join {thresholds} as o on o.organization_id = t.organization_id
          join {thresholds} as e on e.organization_id is null and e.action_type is null) as r
