-- More of what is known of each image: pixel measures, and what EXIF says. Columns that may be null and have no default change
-- no row, however many there are; images that came before have null until their messages come again.
alter table public.images
  add column colour_space     text,
  add column brightness       real,
  add column blank            boolean,
  add column over_exposed     boolean,
  add column dominant_colours text[],
  add column captured_offset  int,
  add column altitude         real,
  add column lens             text,
  add column aperture         real,
  add column exposure_time    real,
  add column iso              int,
  add column focal_length     real;

comment on column public.images.colour_space is 'What its colours were stored as: the colour profile''s name, CMYK, sRGB or grey (neither has a profile).';
comment on column public.images.pixel_mean is 'Mean of the grey values, 0 to 255.';
comment on column public.images.pixel_stddev is 'Standard deviation of the grey values.';
comment on column public.images.entropy is 'Of the histogram of grey values, in bits: 0 to 8.';
comment on column public.images.sharpness is 'Variance of the Laplacian: low means blurred.';
comment on column public.images.object_count is 'Connected areas that stand out from the background.';
comment on column public.images.brightness is 'Mean of the grey values, 0 (black) to 1 (white).';
comment on column public.images.blank is 'Hardly any contrast: the grey values deviate by less than 1 % of their range.';
comment on column public.images.over_exposed is 'More than a quarter of the pixels are white or nearly so (250 or more of 255).';
comment on column public.images.dominant_colours is 'Up to five main colours as #rrggbb, the commonest first, each of at least 5 % of the pixels.';
comment on column public.images.captured_at is 'When the picture was taken.';
comment on column public.images.captured_offset is 'Minutes that local time was ahead of UTC then; null: unknown, and captured_at takes local time as UTC.';
comment on column public.images.latitude is 'Degrees, north positive.';
comment on column public.images.longitude is 'Degrees, east positive.';
comment on column public.images.altitude is 'Metres above the sea, below it negative.';
comment on column public.images.camera is 'Make and model.';
comment on column public.images.lens is 'Make and model.';
comment on column public.images.aperture is 'F-number.';
comment on column public.images.exposure_time is 'Seconds.';
comment on column public.images.iso is 'ISO speed.';
comment on column public.images.focal_length is 'Millimetres, of the lens itself.';
comment on column public.images.exif is 'What EXIF says, by group.';

-- SET TABLE replaces the whole list: the tables of 0001 and 0002, with the new columns.
alter publication imagehub_changes set table
  public.images (dataset, id, prediction, confidence, model_id, promotion_no, predicted_at, classify_error,
    known_label, labelled_by, labelled_at, format, width, height, channels, colour_space, byte_size, sha256, phash,
    pixel_mean, pixel_stddev, entropy, sharpness, object_count, brightness, blank, over_exposed, dominant_colours,
    captured_at, captured_offset, latitude, longitude, altitude, camera, lens, aperture, exposure_time, iso, focal_length,
    exif, source_topic, source_partition, source_offset, source_timestamp, ingested_at, revision),
  imagehub.deleted_images (dataset, id, deleted_at, restored_at, revision),
  imagehub.classes;
