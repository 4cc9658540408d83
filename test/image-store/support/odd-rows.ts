import { type Pool, transaction } from '../../../sql/database.ts';
import { digitPng } from '../../support/digits.ts';

/**
 * Rows of digits whose columns hold everything that they can: nulls, the ends of numbers and times, nested documents, ids
 * of several alphabets. Ids begin with `train/` or `test/`; classes are 0 to 9, every seventh row has no label.
 */
export async function insertOddRows(pool: Pool, dataset: string, count: number): Promise<void> {
  const numbers = Array.from({ length: count }, (_, i) => i);
  await transaction(pool, async (client) => {
    await client.query("set local imagehub.writer = 'ingest'");
    await client.query(
      `insert into public."${dataset}"
        (id, image_base64, image_pgm, prediction, confidence, scores, model_id, promotion_no, predicted_at, classify_error,
         classify_attempts, known_label, labelled_by, labelled_at, format, width, height, channels, colour_space, byte_size,
         sha256, phash, pixel_mean, entropy, object_count, blank, over_exposed, dominant_colours, captured_at,
         captured_offset, latitude, longitude, altitude, camera, exif, source_topic, source_partition, source_epoch,
         source_offset, source_timestamp, ingested_at)
       select id, png, decode(case n % 3 when 0 then '' else '50350aff00' end, 'hex'), n % 11 - 1, 1 / (n % 7 + 1.0)::real,
         case when n % 5 > 0 then array[0.1 * n, 'NaN', 1e-30, -n]::real[] end,
         case when n % 11 > 0 then 9007199254740993 end, n % 3, timestamptz '2026-01-01 12:34:56.789012Z' + n * interval '1 s',
         case when n % 11 = 0 then 'cannot: „' || n || '“' end, n % 4, case when n % 7 > 0 then n % 10 end,
         case when n % 6 = 0 then 'somebody' end,
         case n % 6 when 0 then timestamptz 'infinity' when 1 then timestamptz '-infinity' when 2 then timestamptz '0044-03-15 BC' end,
         'png', 28, 28, n % 4, 'srgb', n, case when n % 5 > 0 then sha256(decode(png, 'base64')) end,
         case n % 3 when 0 then -9223372036854775808 when 1 then 9223372036854775807 end, n / 3.0, 'infinity', n, n % 2 = 0,
         case when n % 3 > 0 then n % 3 = 1 end,
         case n % 3 when 0 then array['#ffffff', '#00ff00'] when 1 then '{}'::text[] end, null, -n, 51.5 + n * 1e-9, -0.1, null, '相机' || n % 3,
         case n % 3 when 0 then jsonb_build_object('longer', (n / 7.0)::float8, 'b', array[1, null], 'a', jsonb_build_object('ü', 'x"y\\z')) when 1 then '{"big": 1e25, "small": 1e-9}' end,
         't', n % 3, n % 2, n * 1000000007::bigint, timestamptz '2026-02-01Z' + n * interval '1 ms',
         timestamptz '2026-03-01Z' + n * interval '1 min'
       from unnest($1::int[], $2::text[], $3::text[]) t (n, id, png)`,
      [numbers, numbers.map(idOf), numbers.map((n) => digitPng(n % 10, n).toString('base64'))],
    );
  });
}

/** By their code units 🦊 comes before ﹏, by their bytes behind. */
const NAMES = ['a', 'B', 'ä', '🦊', '﹏', "it's", '\\', ' '];

const idOf = (n: number): string => `${n % 4 === 0 ? 'test' : 'train'}/${NAMES[n % NAMES.length]}${n}.png`;
