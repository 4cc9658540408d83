import type { Table } from '../../../kudu/client/table.ts';
import { Connection } from '../../../kudu/rpc/connection.ts';
import type { Body } from '../../../kudu/rpc/frame.ts';
import { readFields, readFixed64 } from '../../../kudu/messages/fields.ts';

export interface RecordedCall {
  method: string;
  server: string;
  /** Of a Scan: whether it opens, continues or closes a scanner. */
  step: 'open' | 'continue' | 'close' | undefined;
  /** Of a Scan that opens one: which tablet. */
  tablet: string | undefined;
  /** The moment that it asks for. */
  snapshot: bigint | undefined;
}

/** What a table's scans ask servers, in order: the calls go through unchanged. Undone by disposing it. */
export function recordCalls(table: Table): { calls: RecordedCall[] } & Disposable {
  const { pool } = table.context;
  const original = pool.connection.bind(pool);
  const calls: RecordedCall[] = [];
  pool.connection = async (address) => {
    const connection = await original(address);
    return new Proxy(connection, {
      get(target, property) {
        const value: unknown = Reflect.get(target, property, target);
        if (property !== 'call') return typeof value === 'function' ? value.bind(target) : value;
        return (call: Parameters<Connection['call']>[0]) => {
          const { method, body } = call;
          calls.push({
            method,
            server: `${address.host}:${address.port}`,
            ...scanStep(method, wholeOf(body)),
          });
          return target.call(call);
        };
      },
    });
  };
  return {
    calls,
    [Symbol.dispose]() {
      pool.connection = original;
    },
  };
}

const wholeOf = (body: Body): Uint8Array => (body instanceof Uint8Array ? body : Buffer.concat(body));

function scanStep(method: string, body: Uint8Array): Omit<RecordedCall, 'method' | 'server'> {
  let step: RecordedCall['step'] = method === 'Scan' ? 'continue' : undefined;
  let tablet: string | undefined;
  let snapshot: bigint | undefined;
  if (method === 'Scan') {
    readFields(body, {
      2: (reader) => {
        step = 'open';
        readFields(reader.bytes(), {
          1: (field) => (tablet = field.string()),
          6: (field) => (snapshot = readFixed64(field)),
        });
      },
      5: (reader) => {
        if (reader.bool()) step = 'close';
      },
    });
  }
  return { step, tablet, snapshot };
}
