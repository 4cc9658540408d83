-- Definitions as in scikit-learn's precision_recall_fscore_support, with null where it would divide by zero.
-- The table is read once: the counts by (known label, prediction) are small and give all the others.
create or replace view public.class_metrics as
select c.dataset, c.index as class_index, c.name as class,
       coalesce(n.support, 0)::bigint as support,
       coalesce(n.predicted, 0)::bigint as predicted,
       coalesce(n.correct, 0)::bigint as correct,
       (n.correct / nullif(n.predicted, 0))::float8 as precision,
       (n.correct / nullif(n.support, 0))::float8 as recall,
       (2 * n.correct / nullif(n.predicted + n.support, 0))::float8 as f1
from imagehub.classes c
left join (
  select m.dataset, v.class_index, sum(v.support) as support, sum(v.predicted) as predicted, sum(v.correct) as correct
  from (
    select dataset, known_label, prediction, count(*) as images
    from public.images where prediction >= 0 and known_label is not null
    group by dataset, known_label, prediction
  ) m
  cross join lateral (values
    (m.known_label, m.images, 0, 0),
    (m.prediction, 0, m.images, case when m.prediction = m.known_label then m.images else 0 end)
  ) v (class_index, support, predicted, correct)
  group by m.dataset, v.class_index
) n on n.dataset = c.dataset and n.class_index = c.index;

comment on view public.class_metrics is
  'Precision, recall and F1 of each class, over the images that have a prediction and a known label.';
comment on column public.class_metrics.support is 'Evaluated images whose known label is this class.';
comment on column public.class_metrics.predicted is 'Evaluated images that the live model says are of this class.';
comment on column public.class_metrics.correct is 'Evaluated images of this class that the live model recognised.';
comment on column public.class_metrics.precision is 'correct / predicted; null: never predicted.';
comment on column public.class_metrics.recall is 'correct / support; null: no image with this label.';
comment on column public.class_metrics.f1 is 'Harmonic mean of precision and recall, 2 correct / (predicted + support); null: neither predicted nor known.';
