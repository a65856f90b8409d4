-- What is asked of the warehouse before a query.

-- name: state
-- the databases with their current epoch, the last batch that landed in it, and whether the small tables are of it too
select c.database, c.epoch, greatest(e.base, ifNull(b.last, 0)) as batch,
       toUnixTimestamp64Micro(greatest(e.folded, ifNull(b.folded, e.folded))) as folded_us,
       toUnixTimestamp64Micro(now64(6, 'UTC')) as now_us,
       ifNull(d.last, 0) >= greatest(e.base, ifNull(b.last, 0)) as settled
  from {target}.current_epochs as c
  join (select database, epoch, max(base_batch) as base, max(folded_at) as folded
          from {target}.epochs group by database, epoch) as e
    on e.database = c.database and e.epoch = c.epoch
  left join (select database, epoch, max(batch) as last, max(folded_at) as folded
               from {target}.batches group by database, epoch) as b
    on b.database = c.database and b.epoch = c.epoch
  -- the last one that is sent
  left join (select database, max(batch) as last from {target}.action_type_distribution group by database) as d
    on d.database = c.database
 where {fleet:Bool} or c.database = {database:String}
 order by c.database

-- name: frozen
-- until when figures of organizations are of frozen days, in seconds; 0: they are not
select max(t.hour_at) + 43200 as until
  from {target}.trigger_hours as t
 where {cells} and t.frozen = 1 and t.hour_at >= {since:Int64} and t.hour_at < {until:Int64}

-- name: unknown
-- those of the organizations that neither the organizations nor any trigger know
select w.id
  from (select arrayJoin({organizations:Array(String)}) as id) as w
 where w.id not in (select r.organization_id from {target}.organizations as r where {snapshot})
   and w.id not in (select assumeNotNull(r.organization_id) from {target}.triggers as r
                     where {snapshot} and r.organization_id is not null)
