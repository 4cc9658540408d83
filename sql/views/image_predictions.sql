create or replace view public.image_predictions as
select i.dataset, i.id,
       i.prediction, p.name as predicted_class, i.confidence,
       i.known_label, k.name as known_class,
       case when i.prediction >= 0 then i.prediction = i.known_label end as correct,
       i.model_id, i.predicted_at, i.classify_error, i.labelled_by, i.labelled_at,
       i.format, i.width, i.height, i.byte_size, i.captured_at, i.latitude, i.longitude, i.camera, i.ingested_at,
       i.channels, i.colour_space, i.pixel_mean, i.pixel_stddev, i.entropy, i.sharpness, i.object_count,
       i.brightness, i.blank, i.over_exposed, i.dominant_colours,
       i.captured_offset, i.altitude, i.lens, i.aperture, i.exposure_time, i.iso, i.focal_length
from public.images i
left join imagehub.classes p on p.dataset = i.dataset and p.index = i.prediction
left join imagehub.classes k on k.dataset = i.dataset and k.index = i.known_label;

comment on view public.image_predictions is
  'One row per image, with class names beside the indexes; without the image itself, which is in images.';
comment on column public.image_predictions.prediction is 'Class index the live model says; -1: not classified yet.';
comment on column public.image_predictions.predicted_class is 'Class name the live model says; null: not classified yet.';
comment on column public.image_predictions.confidence is 'Probability of the predicted class, 0 to 1.';
comment on column public.image_predictions.known_class is 'Class name a person or the producer says; null: unknown.';
comment on column public.image_predictions.dominant_colours is 'Up to five main colours as #rrggbb, the commonest first.';
comment on column public.image_predictions.captured_offset is 'Minutes that local time was ahead of UTC; null: unknown.';
comment on column public.image_predictions.altitude is 'Metres.';
comment on column public.image_predictions.exposure_time is 'Seconds.';
comment on column public.image_predictions.focal_length is 'Millimetres.';
comment on column public.image_predictions.correct is 'Whether prediction and known label agree; null: not classified, or the label is unknown.';
