-- Twenty bins: equal widths, as in a reliability diagram (Guo et al. 2017, On Calibration of Modern Neural Networks).
create or replace view public.confidence_histogram as
select d.name as dataset, b.bin,
       b.bin / 20.0::float8 as confidence_from, (b.bin + 1) / 20.0::float8 as confidence_to,
       coalesce(h.images, 0) as images,
       coalesce(h.evaluated, 0) as evaluated,
       coalesce(h.correct, 0) as correct,
       h.correct::float8 / nullif(h.evaluated, 0) as accuracy,
       h.mean_confidence
from imagehub.datasets d
cross join generate_series(0, 19) as b (bin)
left join (
  select dataset, least(greatest(floor(confidence * 20), 0), 19)::int as bin,
         count(*) as images,
         count(known_label) as evaluated,
         count(*) filter (where prediction = known_label) as correct,
         avg(confidence) as mean_confidence
  from public.images where prediction >= 0 and confidence is not null
  group by 1, 2
) h on h.dataset = d.name and h.bin = b.bin;

comment on view public.confidence_histogram is
  'Images by the confidence of their prediction, in twenty bins, with the accuracy in each: a calibrated model is as accurate as it is confident.';
comment on column public.confidence_histogram.bin is '0 to 19.';
comment on column public.confidence_histogram.confidence_from is 'Lower end of the bin (belongs to it).';
comment on column public.confidence_histogram.confidence_to is 'Upper end of the bin (belongs to the next one, except for 1).';
comment on column public.confidence_histogram.accuracy is 'correct / evaluated, 0 to 1; null: nothing to evaluate.';
