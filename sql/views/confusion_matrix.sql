create or replace view public.confusion_matrix as
select k.dataset,
       k.index as known_label, k.name as known_class,
       p.index as prediction, p.name as predicted_class,
       coalesce(m.images, 0) as images
from imagehub.classes k
join imagehub.classes p on p.dataset = k.dataset
left join (
  select dataset, known_label, prediction, count(*) as images
  from public.images where prediction >= 0 and known_label is not null
  group by dataset, known_label, prediction
) m on m.dataset = k.dataset and m.known_label = k.index and m.prediction = p.index;

comment on view public.confusion_matrix is
  'Images by known class and predicted class; every pair of classes has a row, also those with no image.';
