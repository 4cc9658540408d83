import { type Pool, transaction } from '../../sql/database.ts';
import { digitPng } from './digits.ts';

/** Handwritten digits `from` … `from + count − 1`, the classes in turn. */
export interface DigitRows {
  from: number;
  count: number;
  /** ids are `<folder>/<number>` */
  folder: string;
  labelled?: boolean;
}

/** Puts digits into a dataset by the pipeline's door, as real PNGs, not classified. */
export async function insertDigits(
  pool: Pool,
  dataset: string,
  { from, count, folder, labelled = true }: DigitRows,
): Promise<void> {
  const numbers = Array.from({ length: count }, (_, index) => from + index);
  await transaction(pool, async (client) => {
    await client.query("set local imagehub.writer = 'ingest'");
    await client.query(
      `insert into public.${dataset} (id, image_base64, image_pgm, known_label)
       select * from (select id, png, ''::bytea, label from unnest($1::text[], $2::text[], $3::int[]) t (id, png, label)) rows`,
      [
        numbers.map((number) => `${folder}/${number}`),
        numbers.map((number) => digitPng(number % 10, Math.floor(number / 10)).toString('base64')),
        numbers.map((number) => (labelled ? number % 10 : null)),
      ],
    );
  });
}
