create or replace view public.run_images as
select r.dataset, r.id as run, t.id, t.label, c.name as class,
       coalesce(get_bit(r.held_out, t.place) = 1, false) as held_out,
       t.image_sha256
from imagehub.runs r
join imagehub.training_set_images t on t.training_set_id = r.training_set_id
left join imagehub.classes c on c.dataset = r.dataset and c.index = t.label;

comment on view public.run_images is
  'Which images each training read, with the labels they had then: add where run = ….';
comment on column public.run_images.label is 'Class index that the image was trained on with; it may have been relabelled since.';
comment on column public.run_images.held_out is 'Kept out of training, to validate the model.';
comment on column public.run_images.image_sha256 is 'Of the bytes that were trained on.';
