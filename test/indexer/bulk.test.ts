import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { type BulkOptions, writeBulk } from '../../indexer/bulk.ts';
import type { Operation } from '../../indexer/bulk-request.ts';
import {
  aliasOf,
  type Client,
  createNextIndex,
  ensureTemplate,
  openElasticsearch,
  pointAlias,
} from '../../indexer/elasticsearch.ts';
import { Troubles } from '../../troubles.ts';
import { memoryLog } from '../support/indexer.ts';
import { until } from '../support/pipeline.ts';
import { testServers, uniqueName } from '../support/servers.ts';

const prefix = uniqueName('bulk');
const alias = aliasOf(prefix, 'mnist');
let client: Client;
let options: BulkOptions;

beforeAll(async () => {
  const url = testServers().elasticsearch;
  client = openElasticsearch({ elasticsearchApiKey: undefined }, url);
  await ensureTemplate(client, prefix);
  options = {
    client,
    url,
    troubles: new Troubles(memoryLog().log),
    signal: new AbortController().signal,
    requireAlias: true,
    versionType: 'external',
  };
});

beforeEach(async () => {
  await pointAlias(client, alias, (await createNextIndex(client, alias)).name);
});

afterAll(async () => {
  for (const name of Object.keys(await client.indices.get({ index: `${prefix}-*` }))) {
    await client.indices.delete({ index: name });
  }
  await client.indices.deleteIndexTemplate({ name: prefix });
  await client.close();
});

const put = (id: string, revision: number, fields: object = {}): Operation => ({
  index: alias,
  dataset: 'mnist',
  id,
  revision,
  source: (out) => out.text(JSON.stringify({ id, revision, ...fields })),
});
const remove = (id: string, revision: number): Operation => ({ ...put(id, revision), source: null });
const revisionOf = async (id: string) => {
  const found = await client.get<{ revision: number }>(
    { index: alias, id: `mnist/${id}` },
    { ignore: [404] },
  );
  return found.found ? found._source!.revision : undefined;
};
const ids = (operations: Operation[]) => operations.map(({ id, revision }) => `${id}@${revision}`);

describe('writing documents in bulk', () => {
  test('replays in any order end with the newest version, and a conflict with it counts as success', async () => {
    const history = [put('a', 1), put('a', 2), remove('a', 3), put('a', 5), remove('b', 9), put('c', 4)];
    const orders = [
      [0, 1, 2, 3, 4, 5],
      [5, 4, 3, 2, 1, 0],
      [3, 1, 4, 0, 5, 2],
    ];
    for (const order of orders) {
      await pointAlias(client, alias, (await createNextIndex(client, alias)).name);
      for (const i of order) {
        const outcome = await writeBulk([history[i]!], options);
        expect(outcome.refused).toEqual([]);
        expect(outcome.homeless).toEqual([]);
      }
      await writeBulk([put('b', 8)], options);
      expect(await revisionOf('a')).toBe(5);
      expect(await revisionOf('b')).toBeUndefined();
      expect(await revisionOf('c')).toBe(4);
    }
  });

  test('a deletion that came first keeps an older document out', async () => {
    const first = await writeBulk([remove('a', 7)], options);
    expect(ids(first.deleted)).toEqual(['a@7']);
    const second = await writeBulk([put('a', 6), put('b', 6)], options);
    expect(ids(second.superseded)).toEqual(['a@6']);
    expect(ids(second.indexed)).toEqual(['b@6']);
    expect(await revisionOf('a')).toBeUndefined();
  });

  test('the same version replaces a document only where that is asked for', async () => {
    await writeBulk([put('a', 3, { camera: 'one' })], options);
    expect(ids((await writeBulk([put('a', 3, { camera: 'two' })], options)).superseded)).toEqual(['a@3']);
    const again = await writeBulk([put('a', 3, { camera: 'two' })], {
      ...options,
      versionType: 'external_gte',
    });
    expect(ids(again.indexed)).toEqual(['a@3']);
    expect(
      ids((await writeBulk([put('a', 2)], { ...options, versionType: 'external_gte' })).superseded),
    ).toEqual(['a@2']);
  });

  test('a refused document says why and its neighbours are written', async () => {
    const outcome = await writeBulk([put('a', 1), put('b', 1, { unheard_of: 1 }), put('c', 1)], options);
    expect(ids(outcome.indexed)).toEqual(['a@1', 'c@1']);
    expect(outcome.refused).toEqual([
      { operation: expect.objectContaining({ id: 'b' }), error: expect.stringMatching(/unheard_of/) },
    ]);
  });

  test('a document too large for any request is refused, not tried for ever', async () => {
    const outcome = await writeBulk(
      [put('a', 1), put('huge', 1, { camera: 'x'.repeat(101 * 1024 * 1024) }), put('c', 1)],
      options,
    );
    expect(ids(outcome.indexed)).toEqual(['a@1', 'c@1']);
    expect(outcome.refused.map(({ operation }) => operation.id)).toEqual(['huge']);
  });

  test('more than one request’s worth is written in several', async () => {
    const big = Array.from({ length: 12 }, (_, i) =>
      put(`big${i}`, 1, { classify_error: 'x'.repeat(1024 * 1024) }),
    );
    const outcome = await writeBulk(big, options);
    expect(outcome.indexed).toHaveLength(12);
  });

  test('without its alias nothing is written, and no index appears by itself', async () => {
    const elsewhere = aliasOf(prefix, 'nowhere');
    const outcome = await writeBulk(
      [{ ...put('a', 1), index: elsewhere }, { ...remove('b', 1), index: elsewhere }, put('c', 1)],
      options,
    );
    expect(ids(outcome.homeless)).toEqual(['a@1', 'b@1']);
    expect(ids(outcome.indexed)).toEqual(['c@1']);
    expect(await client.indices.exists({ index: elsewhere })).toBe(false);
  });

  test('a read-only index is waited for', async () => {
    const { log, lines } = memoryLog();
    const troubles = new Troubles(log);
    await client.indices.addBlock({ index: alias, block: 'write' });
    const writing = writeBulk([put('a', 1)], { ...options, troubles });
    await until(() => Promise.resolve(lines.length > 0), 'the log says so');
    expect(lines[0]!.msg).toMatch(/^Elasticsearch does not take documents of .*block.*trying again$/);
    expect(troubles.health()).toMatchObject({ state: 'waiting', detail: expect.stringMatching(/block/) });
    await client.indices.putSettings({ index: alias, settings: { 'index.blocks.write': null } as never });
    expect(ids((await writing).indexed)).toEqual(['a@1']);
    expect(troubles.health()).toEqual({ state: 'ok' });
  });

  test('gives up on an unreachable server where it may, naming it', async () => {
    const url = 'http://user:secret@127.0.0.1:9';
    const unreachable = openElasticsearch({ elasticsearchApiKey: undefined }, url);
    await expect(
      writeBulk([put('a', 1)], { ...options, client: unreachable, url, giveUpAfterMs: 300 }),
    ).rejects.toMatchObject({
      code: 'SERVER_UNREACHABLE',
      message: expect.stringMatching(/http:\/\/user:\*\*\*@127.0.0.1:9 /),
    });
    await unreachable.close();
  });
});
