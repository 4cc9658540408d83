import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type BatchResult, pack, unpack } from '../../ingest/batch-task.ts';
import { keepNewest } from '../../ingest/keep-newest.ts';
import type { SourceMessage } from '../../sql/dead-letters.ts';

const SOURCE = { topic: 'topic', partition: 3, epoch: 0 };
type Fate = 'row' | 'tombstone' | 'failed';

/** A batch in which message i, of image `id`, became what its fate says; each row holds its message's index. */
function batchOf(fates: { id: string | null; fate: Fate }[]): {
  result: BatchResult;
  messages: SourceMessage[];
} {
  const messages = fates.map(({ id }, i): SourceMessage => ({
    offset: 100 + 2 * i,
    timestamp: 0,
    key: id === null ? null : Buffer.from(id),
    value: null,
    headers: [],
  }));
  const of = (fate: Fate) => [...fates.keys()].filter((i) => fates[i]!.fate === fate);
  const rows = of('row');
  const result: BatchResult = {
    rows: { ...pack(rows.map((i) => Uint8Array.of(i))), messages: Uint32Array.from(rows), arranged: null },
    shadow: null,
    features: { ...pack(rows.map((i) => Uint8Array.of(i, i))), failed: null, missing: null },
    tombstones: of('tombstone').map((i) => ({ id: fates[i]!.id ?? '', offset: 100 + 2 * i, timestamp: 0 })),
    failures: of('failed').map((index) => ({ index, stage: 'decode', reason: 'damaged', detail: '' })),
    superseded: 0,
    ignored: [],
    classifyError: null,
    decodeSeconds: 0,
    classifySeconds: 0,
  };
  return { result, messages };
}

test('of each image the last message that did not fail counts, be it a row or a tombstone', () => {
  const id = fc.option(fc.constantFrom('a', 'b', 'c'), { freq: 8 });
  const fate = fc.constantFrom<Fate>('row', 'row', 'tombstone', 'failed');
  const message = fc
    .record({ id, fate })
    .map((one) => (one.id === null ? { ...one, fate: 'row' as const } : one));
  fc.assert(
    fc.property(fc.array(message, { maxLength: 12 }), (fates) => {
      const { result, messages } = batchOf(fates);
      const kept = keepNewest(result, SOURCE, messages);

      const good = [...fates.keys()].filter((i) => fates[i]!.fate !== 'failed');
      const isLast = (i: number) =>
        fates[i]!.id === null || !good.some((other) => other > i && fates[other]!.id === fates[i]!.id);
      const expected = good.filter(isLast);
      const rows = expected.filter((i) => fates[i]!.fate === 'row');
      expect([...kept.rows.messages]).toEqual(rows);
      expect(unpack(kept.rows).map((bytes) => [...bytes])).toEqual(rows.map((i) => [i]));
      expect(unpack(kept.features!).map((bytes) => [...bytes])).toEqual(rows.map((i) => [i, i]));
      expect(kept.tombstones.map(({ offset }) => (offset - 100) / 2)).toEqual(
        expected.filter((i) => fates[i]!.fate === 'tombstone'),
      );
      expect(kept.superseded).toBe(good.length - expected.length);
      expect(kept.failures).toEqual(result.failures);
    }),
  );
});
