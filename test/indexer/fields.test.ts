import { expect, test } from '@jest/globals';
import { insertImage } from '../support/image-rows.ts';
import { testIndex, type TestIndex } from '../support/indexer.ts';
import { aliasOf, concreteIndexes } from '../../indexer/elasticsearch.ts';
import { MAPPINGS } from '../../indexer/mapping.ts';
import { recordIndex } from '../../indexer/state.ts';
import { until } from '../support/pipeline.ts';

/** An index as an earlier version made it: `lens` is of another type, or is not there. */
async function earlierIndex(index: TestIndex, lens?: object): Promise<string> {
  const alias = aliasOf(index.config.indexPrefix, 'mnist');
  const name = `${alias}-000001`;
  const { lens: _, dominant_colours: __, ...properties } = MAPPINGS.properties;
  // It would add the fields of this version.
  await index.client.indices.deleteIndexTemplate({ name: index.config.indexPrefix });
  await index.client.indices.create({
    index: name,
    mappings: { dynamic: 'strict', properties: { ...properties, ...(lens && { lens }) } } as never,
    aliases: { [alias]: {} },
  });
  const { uuid } = (await concreteIndexes(index.client, alias))[0]!;
  await recordIndex(
    index.pool,
    { dataset: 'mnist', bornRevision: await bornRevision(index) },
    { name, uuid },
    0,
  );
  return name;
}

async function bornRevision(index: TestIndex): Promise<number> {
  const { rows } = await index.pool.query<{ born: number }>(
    "select born_revision as born from imagehub.index_state where dataset = 'mnist'",
  );
  return rows[0]!.born;
}

async function indexName(index: TestIndex): Promise<string | undefined> {
  const found = await concreteIndexes(index.client, aliasOf(index.config.indexPrefix, 'mnist'));
  return found.find(({ serving }) => serving)?.name;
}

const PHOTO = { id: 'a', lens: 'EF 50mm', dominant_colours: ['#ffffff'] };

test('an index of an earlier version gets the new fields in place, before documents have them', async () => {
  await using index = await testIndex();
  // The feed's slot exists, so that nothing has to be built.
  const first = index.start();
  await until(async () => (await indexName(index)) !== undefined, 'the first index');
  await index.inStep();
  await first.stop();
  const alias = aliasOf(index.config.indexPrefix, 'mnist');
  await index.client.indices.delete({ index: `${alias}-000001` });
  const name = await earlierIndex(index);

  await insertImage(index.pool, 'mnist', PHOTO);
  index.start();
  await index.inStep();
  expect(await index.document('a')).toMatchObject({ lens: 'EF 50mm', dominant_colours: ['#ffffff'] });
  expect(await indexName(index)).toBe(name);
  const { rows } = await index.pool.query('select * from imagehub.index_dead_documents');
  expect(rows).toEqual([]);
});

test('an index that has a field in another way is built anew', async () => {
  await using index = await testIndex();
  const first = index.start();
  await until(async () => (await indexName(index)) !== undefined, 'the first index');
  await index.inStep();
  await first.stop();
  const alias = aliasOf(index.config.indexPrefix, 'mnist');
  await index.client.indices.delete({ index: `${alias}-000001` });
  const name = await earlierIndex(index, { type: 'integer' });

  await insertImage(index.pool, 'mnist', PHOTO);
  index.start();
  await until(async () => (await indexName(index)) !== name, 'another index serves');
  await index.inStep();
  expect(await index.document('a')).toMatchObject({ lens: 'EF 50mm' });
});
