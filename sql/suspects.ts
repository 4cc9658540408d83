import { type Pool, transaction } from './database.ts';

/** An image whose known label is probably wrong. */
export interface Suspect {
  /** From 1, the most suspicious first. */
  rank: number;
  id: string;
  knownLabel: number;
  knownClass: string;
  /** What the scores speak for, and how much. */
  suggested: number;
  suggestedClass: string;
  confidence: number;
  /** Probability of the known class. */
  selfConfidence: number;
  /** selfConfidence − confidence. */
  margin: number;
  /** The model was trained on it; null: not known. */
  trainedOn: boolean | null;
}

/** Replaces what was found before in the dataset. Searches at the same time come one after the other. */
export async function replaceSuspects(
  pool: Pool,
  dataset: string,
  model: number,
  suspects: Suspect[],
): Promise<void> {
  await transaction(pool, async (client) => {
    await client.query("select pg_advisory_xact_lock(hashtext('imagehub.suspects'), hashtext($1))", [
      dataset,
    ]);
    await client.query('delete from imagehub.suspects where dataset = $1', [dataset]);
    await client.query(
      `insert into imagehub.suspects
         (dataset, model_id, rank, id, known_label, suggested, confidence, self_confidence, margin, trained_on)
       select $1, $2, * from unnest($3::int[], $4::text[], $5::int[], $6::int[], $7::real[], $8::real[], $9::real[], $10::bool[])`,
      [
        dataset,
        model,
        suspects.map(({ rank }) => rank),
        suspects.map(({ id }) => id),
        suspects.map(({ knownLabel }) => knownLabel),
        suspects.map(({ suggested }) => suggested),
        suspects.map(({ confidence }) => confidence),
        suspects.map(({ selfConfidence }) => selfConfidence),
        suspects.map(({ margin }) => margin),
        suspects.map(({ trainedOn }) => trainedOn),
      ],
    );
  });
}
