-- name: trigger-health
-- section: trigger health
-- endpoint: triggers/health-summary
-- purpose: How many triggers are in which health, by the success rate over all history?
-- organizations: yes
-- column: critical_triggers count; Triggers below 50 %
-- column: warning_triggers count; Triggers below 80 %
-- column: ok_triggers count; All others that ever ran
-- answer: object
select count(*) filter (where s.success_rate < 50) as critical_triggers,
       count(*) filter (where s.success_rate >= 50 and s.success_rate < 80) as warning_triggers,
       count(*) filter (where s.success_rate >= 80) as ok_triggers
  from {trigger_summary} as s
