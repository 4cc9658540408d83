import type { StoreName } from '../sql/image-store.ts';
import { copyRowWriter, type RowWriter } from '../sql/row-writer.ts';

const OPEN: Readonly<Record<StoreName, (memory: ArrayBuffer | number) => Promise<RowWriter> | RowWriter>> = {
  postgres: copyRowWriter,
  // Few have datasets in Kudu.
  async kudu(memory) {
    const { KuduRowWriter } = await import('../kudu-store/write/row-writer.ts');
    return new KuduRowWriter(memory);
  },
};

/** What encodes rows for a store. @param memory to write into, or how many bytes of it to take */
export const openRowWriter = (
  store: StoreName,
  memory: ArrayBuffer | number,
): Promise<RowWriter> | RowWriter => OPEN[store](memory);
