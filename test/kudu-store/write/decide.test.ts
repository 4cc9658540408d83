import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type Coordinates, isNewer, isSame } from '../../../kudu-store/write/coordinates.ts';
import { type Deletion, planRow, planTombstone, type StoredRow } from '../../../kudu-store/write/decide.ts';
import { freshDatabase, type TestDatabase } from '../../support/servers.ts';

let db: TestDatabase;
beforeAll(async () => {
  db = await freshDatabase();
});
afterAll(async () => {
  await db[Symbol.asyncDispose]();
});

/** From few values, so that they meet. */
const coordinates = fc.record({
  topic: fc.constantFrom('a', 'b'),
  partition: fc.nat(2),
  epoch: fc.nat(1),
  offset: fc.nat(3),
  micros: fc.nat(2).map((ms) => BigInt(ms) * 1000n),
});

test('which message is newer is the same here and in SQL', async () => {
  const pairs = fc.sample(fc.tuple(coordinates, fc.option(coordinates)), 2000);
  const json = ({ micros, ...rest }: Coordinates) => ({ ...rest, ts: new Date(Number(micros / 1000n)) });
  const { rows } = await db.pool.query<{ newer: boolean }>(
    `select imagehub.is_newer(m.topic, m.partition, m.epoch, m."offset", m.ts, o.topic, o.partition, o.epoch, o."offset", o.ts) as newer
     from jsonb_array_elements($1) with ordinality as p (pair, n),
       jsonb_to_record(pair->0) as m (topic text, partition int, epoch int, "offset" bigint, ts timestamptz),
       jsonb_to_record(coalesce(nullif(pair->1, 'null'), '{}')) as o (topic text, partition int, epoch int, "offset" bigint, ts timestamptz)
     order by n`,
    [JSON.stringify(pairs.map(([message, old]) => [json(message), old && json(old)]))],
  );
  expect(pairs.map(([message, old]) => isNewer(message, old))).toEqual(rows.map(({ newer }) => newer));
});

/**
 * Two partitions whose messages are about one image, taken one at a time in any order; a try may be lost after it wrote to
 * Kudu, and comes again. What the model has: `row` in Kudu, the rest in Postgres.
 */
class Image {
  row: StoredRow | null = null;
  deletion: Deletion | null = null;
  inserted = 0;
  deletions = 0;
  readonly next = [0, 0];

  readonly isTaken = ({ partition, offset }: Coordinates): boolean => offset < this.next[partition]!;

  take(at: Coordinates, isTombstone: boolean, crashes: boolean): void {
    if (isTombstone) this.#tombstone(at, crashes);
    else this.#image(at, crashes);
    if (!crashes) this.next[at.partition]!++;
  }

  #image(at: Coordinates, crashes: boolean): void {
    const plan = planRow(at, this.row, this.deletion, this.isTaken);
    if (plan) this.row = { at, inserted: plan.inserted, labelled: false };
    if (crashes || !plan) return;
    if (plan.counts === 'inserted') this.inserted++;
    if (this.deletion) this.deletion = { ...this.deletion, deleted: false };
  }

  #tombstone(at: Coordinates, crashes: boolean): void {
    if (crashes) return; // Nothing is written to Kudu before the commit.
    const plan = planTombstone(at, this.row, this.deletion, this.isTaken);
    if (!plan) return;
    this.deletion = { at, deleted: true };
    this.deletions += plan.deletions;
    if (!plan.inKudu) expect(this.row).toBeNull();
  }

  /** By whoever comes next, sooner or later. */
  carryOut(): void {
    if (this.deletion?.deleted) this.row = null;
  }

  get isThere(): boolean {
    return this.row !== null && !this.deletion?.deleted;
  }
}

test('whatever is lost between Kudu and Postgres, the newest message wins and the books add up', () => {
  const message = fc.record({
    isTombstone: fc.boolean(),
    ms: fc.nat(4),
    crashes: fc.nat(2),
    late: fc.boolean(),
  });
  const streams = fc.tuple(fc.array(message, { maxLength: 5 }), fc.array(message, { maxLength: 5 }));
  fc.assert(
    fc.property(streams, fc.array(fc.nat(1), { minLength: 40, maxLength: 40 }), (partitions, order) => {
      const image = new Image();
      const tries = partitions.map((messages) => messages.map(({ crashes }) => crashes));
      const atOf = (partition: number, offset: number): Coordinates => ({
        topic: 't',
        partition,
        epoch: 0,
        offset,
        micros: BigInt(partitions[partition]![offset]!.ms) * 1000n,
      });
      const step = (partition: number) => {
        const offset = image.next[partition]!;
        const found = partitions[partition]![offset];
        if (!found) return;
        const crashes = tries[partition]![offset]!-- > 0;
        image.take(atOf(partition, offset), found.isTombstone, crashes);
        if (found.late) image.carryOut();
      };
      for (const partition of [...order, ...Array<number>(20).fill(0), ...Array<number>(20).fill(1)])
        step(partition);
      expect(image.next).toEqual(partitions.map(({ length }) => length));
      expect(image.inserted - image.deletions).toBe(image.isThere ? 1 : 0);
      if (image.row && image.isThere) expect(image.isTaken(image.row.at)).toBe(true);
      // Within one partition the last message decides.
      const last = partitions.findIndex(
        (_, i) => partitions[1 - i]!.length === 0 && partitions[i]!.length > 0,
      );
      if (last < 0) return;
      const end = partitions[last]!.length - 1;
      expect(image.isThere).toBe(!partitions[last]![end]!.isTombstone);
      if (image.isThere) expect(isSame(image.row!.at, atOf(last, end))).toBe(true);
    }),
    { numRuns: 5000 },
  );
});
