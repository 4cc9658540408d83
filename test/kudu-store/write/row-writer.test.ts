import { spawnSync } from 'node:child_process';
import { decodeEncodedRow } from '../../../kudu/encoding/decode-row-operations.ts';
import { rowSchema } from '../../../kudu-store/columns.ts';
import { changesOf, largeCell } from '../../../kudu-store/write/row-changes.ts';
import { KuduRowWriter } from '../../../kudu-store/write/row-writer.ts';
import { RowOperations } from '../../../kudu/encoding/row-operations.ts';
import { decodeRows } from '../../../kudu/encoding/decode-row-operations.ts';
import type { ImageRow } from '../../../sql/staged-rows.ts';

const SCHEMA = rowSchema('write_fence_7');
const named = (values: ReadonlyMap<number, unknown>) =>
  Object.fromEntries([...values].map(([index, value]) => [SCHEMA.columns[index]!.name, value]));

const ROW: ImageRow = {
  id: 'ü/1.png',
  bytes: Buffer.from([1, 2, 255]),
  reduced: { width: 1, height: 1 },
  byteSize: 5000,
  pgmHeader: Buffer.from('P5 1 1 255\n'),
  pgmPixels: Uint8Array.of(7),
  prediction: 3,
  confidence: 0.5,
  scores: Float32Array.of(0.1, 1, 1e-12),
  classifyError: null,
  modelId: 5,
  promotionNo: 6,
  predictedAt: 1_700_000_000_123,
  knownLabel: 4,
  format: 'png',
  width: 1,
  height: 2,
  channels: 1,
  colourSpace: 'grey',
  sha256: '\x00\x1f'.padEnd(32, '\xff'),
  phash: -(2n ** 63n),
  pixelMean: 1.5,
  pixelStddev: null,
  entropy: 0,
  sharpness: -1,
  objectCount: 2,
  brightness: 0.25,
  blank: false,
  overExposed: true,
  dominantColours: ['#00ff00', '#123456'],
  capturedAt: new Date(-1),
  capturedOffset: -60,
  latitude: 1.25,
  longitude: -2.5,
  altitude: null,
  camera: '"K"',
  lens: null,
  aperture: 2.5,
  exposureTime: 0.5,
  iso: 100,
  focalLength: 35,
  exif: { a: ['ü', null] },
  sourceTopic: 'digits',
  sourcePartition: 1,
  sourceEpoch: 2,
  sourceOffset: 2 ** 40,
  sourceTimestamp: 1_700_000_000_000,
};

function encoded(row: ImageRow) {
  const writer = new KuduRowWriter(16);
  writer.add({ ...ROW, id: 'before' });
  const start = writer.length;
  writer.add(row);
  return { bytes: writer.bytes(), start, end: writer.length };
}

test('a row has every column but the fence, in Kudu’s types: lists and documents as JSON, a hash in hexadecimal', () => {
  const { values } = decodeEncodedRow(SCHEMA, encoded(ROW));
  expect([...values.keys()]).toEqual([...SCHEMA.columns.keys()].slice(0, -1));
  expect(named(values)).toMatchObject({
    id: 'ü/1.png',
    image_base64: 'AQL/',
    image_pgm: Buffer.from('P5 1 1 255\n\x07'),
    prediction: 3,
    scores: '[0.100000001,1,9.99999996e-13]',
    model_id: 5n,
    predicted_at: 1_700_000_000_123_000n,
    classify_attempts: 0,
    known_label: 4,
    labelled_by: null,
    labelled_at: null,
    sha256: `001f${'ff'.repeat(30)}`,
    phash: -(2n ** 63n),
    pixel_stddev: null,
    over_exposed: true,
    dominant_colours: '["#00ff00","#123456"]',
    captured_at: -1000n,
    captured_offset: -60,
    longitude: -2.5,
    camera: '"K"',
    exif: '{"a":["ü",null]}',
    source_epoch: 2,
    source_offset: 2n ** 40n,
    source_timestamp: 1_700_000_000_000_000n,
    inserted: true,
  });
});

test('what is known when it is written is put in, and a person’s label is not set', () => {
  const operations = new RowOperations(SCHEMA);
  const changes = changesOf(2 ** 41, 77n);
  operations.appendEncoded('INSERT', encoded(ROW), changes({ inserted: true, keepsLabel: false }));
  operations.appendEncoded('UPDATE', encoded(ROW), changes({ inserted: false, keepsLabel: true }));
  const [inserted, updated] = decodeRows(SCHEMA, operations.rows, operations.indirectData).map(({ values }) =>
    named(values),
  );
  const common = { id: 'ü/1.png', revision: 2n ** 41n, ingested_at: 77n, exif: '{"a":["ü",null]}' };
  expect(inserted).toMatchObject({ ...common, inserted: true, known_label: 4, labelled_by: null });
  expect(updated).toMatchObject({ ...common, inserted: false });
  for (const name of ['known_label', 'labelled_by', 'labelled_at']) expect(updated).not.toHaveProperty(name);
});

test('the first cell over the limit is named', () => {
  expect(largeCell(encoded(ROW), 60)).toBe('sha256 has 64 bytes');
  expect(largeCell(encoded(ROW), 64)).toBeNull();
  expect(largeCell(encoded({ ...ROW, lens: 'ü'.repeat(50) }), 99)).toBe('lens has 100 bytes');
});

test('worker threads, which encode rows, do not load the client and its libraries for that', () => {
  const script = `
    import { registerHooks } from 'node:module';
    const loaded = [];
    registerHooks({ load: (url, context, next) => (loaded.push(url), next(url, context)) });
    await import('./kudu-store/write/row-writer.ts');
    console.log(loaded.filter((url) => /node_modules|kudu.(index|client|rpc|scan)/.test(url)).join(' '));`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', script], {
    encoding: 'utf8',
  });
  expect({ stdout, stderr }).toEqual({ stdout: '\n', stderr: '' });
});
