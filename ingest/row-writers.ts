import type { StoreName } from '../sql/image-store.ts';
import { copyRowWriter, type RowWriter } from '../sql/row-writer.ts';
import type { BatchTask } from './batch-task.ts';

/** How rows are written. */
export interface RowForm extends Pick<BatchTask, 'hash'> {
  /** To write into first. */
  memory: ArrayBuffer[];
  /** As much is taken where there is none. */
  expectedBytes: number;
}

const OPEN: Readonly<Record<StoreName, (form: RowForm) => Promise<RowWriter> | RowWriter>> = {
  postgres: ({ memory: [memory], expectedBytes }) => copyRowWriter(memory ?? expectedBytes),
  // Few have datasets in Kudu.
  async kudu({ memory, hash, expectedBytes }) {
    const { KuduRowWriter } = await import('../kudu-store/write/row-writer.ts');
    if (hash) return new KuduRowWriter({ hash, memory });
    // It may have been that of rows which were put together.
    return new KuduRowWriter(memory.find(({ byteLength }) => byteLength >= expectedBytes) ?? expectedBytes);
  },
};

/** What encodes rows for a store. */
export const openRowWriter = (store: StoreName, form: RowForm): Promise<RowWriter> | RowWriter =>
  OPEN[store](form);
