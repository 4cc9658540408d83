import { expect, test } from '@jest/globals';
import { digitPng } from '../support/digits.ts';
import { LINEAR_MANIFEST, linearModel } from '../support/linear-model.ts';
import { placedPicture } from '../support/placed-images.ts';
import { describeEachStore } from './support/each-store.ts';
import { storeHub, type StoreMessage } from './support/store-hub.ts';
import type { ImageRow } from './support/stored-images.ts';

/** Differ from one dataset to the other, or say when it was. */
const OWN = [
  'revision',
  'ingested_at',
  'predicted_at',
  'labelled_by',
  'labelled_at',
  'source_topic',
  'model_id',
];

const rowsOf = new Map<string, Partial<ImageRow>[]>();

describeEachStore('rows', (store) => {
  const hub = storeHub(store);

  test('of the same messages are the same, column by column', async () => {
    await using dataset = await hub.dataset({ labelFrom: 'first-character', pgmMaxSide: 255 });
    await dataset.goLive(linearModel(1), LINEAR_MANIFEST);
    const timestamp = 1_700_000_000_123;
    const digits = Array.from({ length: 60 }, (_, i): StoreMessage => ({
      key: `${i % 10}-${i}.png`,
      value: digitPng(i % 10, i),
      partition: i % 2,
      timestamp,
    }));
    await dataset.deliver([
      ...digits,
      {
        key: 'photo.jpg',
        value: await placedPicture().jpeg().toBuffer(),
        timestamp,
        headers: { camera: 'X100' },
      },
      {
        key: null,
        value: digitPng(1, 1),
        timestamp,
        headers: { 'captured-at': '2026-11-21T14:30:00+01:00' },
      },
      {
        key: '日本.png',
        value: await placedPicture().png().toBuffer(),
        timestamp,
        headers: { latitude: '91' },
      },
    ]);
    await dataset.labelByHand('3-3.png', 8);
    const images = await dataset.images();
    expect(images).toHaveLength(63);
    rowsOf.set(
      store,
      images.map((image) => ({
        ...Object.fromEntries(Object.entries(image).filter(([name]) => !OWN.includes(name))),
        id: image.id.replace(dataset.name, ''),
      })),
    );
    const [first, ...others] = rowsOf.values();
    for (const other of others) expect(other).toEqual(first);
  });
});
