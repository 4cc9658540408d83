import { type CellValue, connect } from '../../../kudu/index.ts';
import type { TestPipeline } from '../../support/pipeline.ts';

/** The rows of the pipeline's table in Kudu, by id. */
export async function kuduRows(
  { kudu, dataset }: Pick<TestPipeline, 'kudu' | 'dataset'>,
  columns?: string[],
): Promise<Record<string, CellValue>[]> {
  using client = await connect({ masters: kudu! });
  const table = await client.openTable(dataset);
  const rows: Record<string, CellValue>[] = [];
  for await (const row of table.scan(columns ? { columns } : {}).rows()) rows.push(row);
  return rows.sort((a, b) => (String(a.id) < String(b.id) ? -1 : 1));
}

/** As a person would label it who works on the table. */
export async function labelInKudu(
  { kudu, dataset }: Pick<TestPipeline, 'kudu' | 'dataset'>,
  id: string,
  label: number,
): Promise<void> {
  using client = await connect({ masters: kudu! });
  await using session = client.session();
  session.update(await client.openTable(dataset), { id, known_label: label, labelled_by: 'somebody' });
}
