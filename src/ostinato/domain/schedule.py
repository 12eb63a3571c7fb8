"""When to fire: heartbeats and schedules with intervals, instants, cron expressions, active hours and zones.

Pure: computed from the last nominal time, never from now, so that a late node does not drift. Knows nothing of stores
or agents. Cron semantics and both daylight-saving changes are cronsim's, the only one of three libraries that got them
right.
"""
