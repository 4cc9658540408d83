create or replace view public.class_counts as
select c.dataset, c.index as class_index, c.name as class,
       coalesce(n.predicted, 0)::bigint as predicted,
       coalesce(n.correct, 0)::bigint as correct,
       coalesce(n.known, 0)::bigint as known
from imagehub.classes c
left join (
  select m.dataset, v.class_index, sum(v.predicted) as predicted, sum(v.correct) as correct, sum(v.known) as known
  from (
    select dataset, known_label, prediction, count(*) as images
    from public.images group by dataset, known_label, prediction
  ) m
  cross join lateral (values
    (m.prediction, m.images, case when m.prediction = m.known_label then m.images end, 0),
    (m.known_label, 0, 0, m.images)
  ) v (class_index, predicted, correct, known)
  group by m.dataset, v.class_index
) n on n.dataset = c.dataset and n.class_index = c.index;

comment on view public.class_counts is 'Images per class: predicted, correctly predicted, and known to be of the class.';
comment on column public.class_counts.predicted is 'Images that the live model says are of this class.';
comment on column public.class_counts.correct is 'Those of them whose known label is this class.';
comment on column public.class_counts.known is 'Images whose known label is this class, classified or not.';
