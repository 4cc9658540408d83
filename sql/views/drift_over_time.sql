create or replace view public.drift_over_time as
select r.dataset, r.monitor_id as monitor, r.id as report,
       r.window_since, r.window_until, r.by_time, r.compared_with, r.images, r.reference_images,
       m.measure, m.value, m.noise,
       (w.thresholds ->> m.measure)::float8 as threshold
from imagehub.drift_reports r
join imagehub.drift_measures m on m.report_id = r.id
left join imagehub.drift_monitors w on w.id = r.monitor_id;

comment on view public.drift_over_time is
  'One row per compared window and measure: how far the window''s images and predictions are from the reference''s.';
comment on column public.drift_over_time.monitor is 'The monitor that compared them; null: imagehub drift.';
comment on column public.drift_over_time.by_time is 'Images were chosen by when they were ingested, or captured.';
comment on column public.drift_over_time.compared_with is 'The reference, in words.';
comment on column public.drift_over_time.measure is 'What and how: prediction_psi, pixel_mean_ks, accuracy_drop, …';
comment on column public.drift_over_time.noise is 'What chance alone exceeds in one of a thousand windows when nothing has changed.';
comment on column public.drift_over_time.threshold is 'Above it, and above the noise, the monitor raises an alert; null: it does not mind.';
