create or replace view public.model_accuracy as
select i.dataset, i.model_id,
       coalesce(i.model_id = d.live_model_id, false) as live,
       count(*) as images,
       count(i.known_label) as evaluated,
       count(*) filter (where i.prediction = i.known_label) as correct,
       count(*) filter (where i.prediction = i.known_label)::float8 / nullif(count(i.known_label), 0) as accuracy,
       min(i.predicted_at) as first_predicted_at,
       max(i.predicted_at) as last_predicted_at
from public.images i
join imagehub.datasets d on d.name = i.dataset
where i.prediction >= 0
group by i.dataset, i.model_id, d.live_model_id;

comment on view public.model_accuracy is
  'Accuracy of the predictions in images by the model that made them: after a promotion, images keep the earlier model''s prediction until they are reclassified.';
comment on column public.model_accuracy.live is 'Whether this is the dataset''s live model.';
comment on column public.model_accuracy.evaluated is 'Images with a known label.';
comment on column public.model_accuracy.accuracy is 'correct / evaluated, 0 to 1; null: nothing to evaluate.';
