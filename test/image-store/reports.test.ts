import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { datasetReport } from '../../classifier/dataset-report.ts';
import { connect } from '../../kudu/index.ts';
import { STORE_SUPPORT, type StoreName } from '../../sql/image-store.ts';
import { imagehub } from '../support/imagehub.ts';
import { insertOddRows } from './support/odd-rows.ts';
import { type Twins, twins } from './support/twins.ts';

const STORES = Object.keys(STORE_SUPPORT) as StoreName[];
const NOBODY = '127.0.0.1:1';

describe('reports', () => {
  let shared: Promise<Twins>;
  beforeAll(() => {
    shared = twins((pool, dataset) => insertOddRows(pool, dataset, 300));
  });
  afterAll(async () => (await shared)[Symbol.asyncDispose]());

  const run = async (at: Twins, kudu: string, ...args: string[]) => {
    const env = {
      IMAGEHUB_POSTGRES_URL: at.database.url,
      IMAGEHUB_KUDU_MASTERS: kudu,
      IMAGEHUB_KAFKA_BROKERS: '',
    };
    const { status, stdout, stderr } = await imagehub([...args, '--json'], { env });
    return { status, stderr, json: JSON.parse(stdout || 'null') as unknown };
  };

  test('say the same of the same images, wherever they are, and in Postgres what the views say', async () => {
    const at = await shared;
    const { pool } = at;
    for (const store of STORES) {
      await pool.query(
        `insert into imagehub.dead_letters (dataset, source_topic, source_partition, source_epoch, source_offset, source_timestamp, stage, reason, detail)
         values ($1, 't', 0, 0, $2, now(), 'decode', 'not-an-image', '')`,
        [at.datasets[store], STORES.indexOf(store)],
      );
    }
    const [inPostgres, inKudu] = await Promise.all(
      STORES.map((store) => datasetReport(at, at.datasets[store])),
    );
    expect(inPostgres).toMatchObject({ images: 300, deadLetters: { total: 1 } });
    expect({ ...inKudu, dataset: 'digits' }).toEqual(inPostgres);
    const { rows: classes } = await pool.query(
      `select class_index as index, class as name, support, predicted, correct, precision, recall, f1
       from public.class_metrics where dataset = 'digits' order by class_index`,
    );
    expect(inPostgres!.classes).toEqual(classes);
    const { rows: cells } = await pool.query<{ known: number; row: number[] }>(
      `select known_label as known, array_agg(images::int order by prediction) as row from public.confusion_matrix
       where dataset = 'digits' group by 1 order by 1`,
    );
    expect(inPostgres!.confusionMatrix).toEqual(cells.map(({ row }) => row));
    const { rows: summary } = await pool.query(
      `select images, classified, unclassified, labelled, labelled_by_people as "labelledByPeople", evaluated, correct, accuracy
       from public.dataset_summary where dataset = 'digits'`,
    );
    expect(inPostgres).toMatchObject(summary[0] as object);

    // In Kudu nothing keeps people from labels that are no class of the dataset.
    using client = await connect({ masters: at.kudu });
    const session = client.session();
    session.update(await client.openTable(at.datasets.kudu), { id: 'train/B1.png', known_label: 99 });
    expect(await session.flush()).toEqual({ errors: [] });
    const { evaluated, confusionMatrix } = await datasetReport(at, at.datasets.kudu);
    const inMatrix = confusionMatrix.flat().reduce((sum, images) => sum + images, 0);
    expect([evaluated, inMatrix]).toEqual([inPostgres!.evaluated, inPostgres!.evaluated - 1]);
  });

  test('are printed by the commands, and a list says which images could not be counted', async () => {
    const at = await shared;
    const { kudu: name } = at.datasets;
    const masters = at.kudu.join(',');
    const counts = { rows: 300, labelled: 257, unclassified: 28 };
    const both = [
      { name: 'digits', ...counts },
      { name, ...counts },
    ];
    const [report, show, list, awayReport, awayList] = await Promise.all([
      run(at, masters, 'report', name),
      run(at, masters, 'dataset', 'show', name),
      run(at, masters, 'dataset', 'list'),
      run(at, NOBODY, 'report', name),
      run(at, NOBODY, 'dataset', 'list'),
    ]);
    expect(report).toMatchObject({ status: 0, json: { dataset: name, images: 300 } });
    expect(show).toMatchObject({ status: 0, json: counts });
    expect(list).toMatchObject({ status: 0, stderr: '', json: both });
    expect(awayReport).toMatchObject({ status: 1, stderr: expect.stringContaining('Kudu does not answer') });
    expect(awayList).toMatchObject({
      status: 0,
      stderr: expect.stringContaining(`The images of ${name} are not counted: Kudu does not answer`),
      json: [both[0], { name, rows: null, labelled: null, unclassified: null }],
    });
  });
});
