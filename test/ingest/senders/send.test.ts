import { expect, test } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ImageSink, OutgoingImage, SourceImage } from '../../../ingest/senders/image.ts';
import { type SendOptions, sendImages } from '../../../ingest/senders/send.ts';
import { NEVER, recordOmissions } from '../../support/omissions.ts';

const image = (id: string, size = 100): SourceImage => ({ id, bytes: Buffer.alloc(size, 1), position: id });

async function* images(count: number): AsyncGenerator<SourceImage> {
  for (let i = 0; i < count; i++) yield image(String(i));
}

/** Keeps what it is given, as the end of the way; with `work` it takes its time. */
function keepingSink(work: () => Promise<void> = () => Promise.resolve()) {
  const batches: string[][] = [];
  const sink: ImageSink = {
    async send(batch: OutgoingImage[]) {
      await work();
      batches.push(batch.map(({ id }) => id));
    },
    close: () => Promise.resolve(),
  };
  return { sink, batches };
}

const options = (changes: Partial<SendOptions> = {}): SendOptions & { positions: string[] } => {
  const positions: string[] = [];
  return {
    batchImages: 10,
    batchBytes: 10_000,
    limit: Infinity,
    signal: NEVER,
    omissions: recordOmissions(),
    acknowledged: (_sent, position) => Promise.resolve(void positions.push(position)),
    positions,
    ...changes,
  };
};

test('batches are bounded by images and by bytes; a larger image goes alone; order is kept', async () => {
  const { sink, batches } = keepingSink();
  async function* source() {
    yield* images(25);
    yield image('large', 50_000);
    for (let i = 0; i < 8; i++) yield image(`half${i}`, 4000);
  }
  const o = options();
  await sendImages(source(), sink, o);
  expect(batches.map((batch) => batch.length)).toEqual([10, 10, 5, 1, 2, 2, 2, 2]);
  expect(batches[3]).toEqual(['large']);
  expect(o.positions).toEqual(['9', '19', '24', 'large', 'half1', 'half3', 'half5', 'half7']);
});

test('the limit ends a source, also one that would go on for ever', async () => {
  const { sink, batches } = keepingSink();
  await sendImages(images(Infinity), sink, options({ limit: 13 }));
  expect(batches.map((batch) => batch.length)).toEqual([10, 3]);
});

test('ids that no row can have are refused, their neighbours are sent', async () => {
  const { sink, batches } = keepingSink();
  const o = options();
  async function* source() {
    for (const id of ['a', '', 'nul\0', 'x'.repeat(401), 'half \ud800', 'ü'.repeat(200), 'z'])
      yield image(id);
  }
  await sendImages(source(), sink, o);
  expect(batches).toEqual([['a', 'ü'.repeat(200), 'z']]);
  expect((o.omissions as ReturnType<typeof recordOmissions>).refused).toEqual([
    ': empty id',
    'nul\0: id with a NUL byte',
    `${'x'.repeat(80)}…: id over 400 bytes`,
    'half \ud800: id that is not UTF-8',
  ]);
});

test('a source that pauses has its images sent all the same', async () => {
  const { sink, batches } = keepingSink();
  async function* source() {
    yield image('early');
    for (let waited = 0; batches.length === 0 && waited < 30_000; waited += 50) await sleep(50);
    expect(batches).toEqual([['early']]);
    yield image('late');
  }
  await sendImages(source(), sink, options());
  expect(batches).toEqual([['early'], ['late']]);
});

test('an interrupt finishes the batch in flight, acknowledges it and sends nothing more', async () => {
  const stop = new AbortController();
  const { sink, batches } = keepingSink(async () => {
    stop.abort();
    await sleep(50);
  });
  const o = options({ signal: stop.signal });
  await sendImages(images(1000), sink, o);
  expect(batches).toEqual([Array.from({ length: 10 }, (_, i) => String(i))]);
  expect(o.positions).toEqual(['9']);
});

test('an interrupt ends a send whose source waits for its next image', async () => {
  const stop = new AbortController();
  const { sink, batches } = keepingSink();
  async function* source() {
    yield image('only');
    await new Promise(() => undefined);
  }
  setTimeout(() => stop.abort(), 500);
  await sendImages(source(), sink, options({ signal: stop.signal }));
  expect(batches).toEqual([['only']]);
});

test('when the sink fails nothing after it is acknowledged, and the failure is thrown', async () => {
  let calls = 0;
  const { sink } = keepingSink(() => (++calls === 2 ? Promise.reject(new Error('gone')) : Promise.resolve()));
  const o = options();
  await expect(sendImages(images(50), sink, o)).rejects.toThrow('gone');
  expect(o.positions).toEqual(['9']);
});

test('when the source fails what was read before is sent first', async () => {
  const { sink, batches } = keepingSink();
  async function* source() {
    yield* images(3);
    throw new Error('cut short');
  }
  await expect(sendImages(source(), sink, options())).rejects.toThrow('cut short');
  expect(batches).toEqual([['0', '1', '2']]);
});

test('an image that the sink refuses is reported and not acknowledged as sent; the place moves on', async () => {
  const acknowledged: string[] = [];
  const omissions = recordOmissions();
  const sink: ImageSink = {
    send: (batch) =>
      Promise.resolve(batch.filter(({ id }) => id === '4').map((i) => ({ image: i, reason: 'too large' }))),
    close: () => Promise.resolve(),
  };
  await sendImages(
    images(5),
    sink,
    options({
      omissions,
      acknowledged: (sent, position) =>
        Promise.resolve(void acknowledged.push(...sent.map(({ id }) => id), `at ${position}`)),
    }),
  );
  expect(acknowledged).toEqual(['0', '1', '2', '3', 'at 4']);
  expect(omissions.refused).toEqual(['4 (100 bytes): too large']);
});
