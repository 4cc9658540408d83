create or replace view public.drift_alerts as
select w.dataset, a.monitor_id as monitor, a.id as alert, a.measure, a.threshold,
       a.raised_at, a.raised_value, a.ended_at, a.ended_value,
       r.window_since, r.window_until, r.images, a.ended_reason
from imagehub.drift_crossings a
join imagehub.drift_monitors w on w.id = a.monitor_id
join imagehub.drift_reports r on r.id = a.raised_report;

comment on view public.drift_alerts is 'Thresholds that monitors found crossed, with the window in which they first were.';
comment on column public.drift_alerts.ended_at is 'When a window was within the threshold again; null: the alert lasts.';
comment on column public.drift_alerts.ended_reason is 'Why it ended without a value: it could not be measured any more.';
