-- What operators ask for, as the API's role writes and reads it.

-- name: ask
select analytics_api.request(%(kind)s, %(actor)s, %(reason)s, %(length)s);

-- name: state
select s.request_id, s.kind, s.state, s.actor, s.reason, s.pause_for, s.requested_at, s.expires_at, s.led, s.run_id,
    s.joined, s.ended_at, s.outcome, s.detail, s.paused_until, s.pauses_ended
from analytics_api.request_state(%(request_id)s) s;
