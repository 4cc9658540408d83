import { beforeAll, describe, expect, test } from '@jest/globals';
import { labelChanges, listLabelOperations } from '../../sql/label-history.ts';
import { type RunningCommand, startImagehub } from '../support/imagehub.ts';
import { digitPng } from '../support/digits.ts';
import { untilSomebodyWaits } from '../support/sessions.ts';
import { type StoreDataset, storeHub, type StoreMessage } from '../image-store/support/store-hub.ts';

const hub = storeHub('kudu');
const labels = () => hub.stores.kudu.labels;

const image = (key: string, n: number, label: number): StoreMessage => ({
  key,
  value: digitPng(n % 10, n),
  label,
});

/** A dataset with `count` images a0, a1, … that the producer labelled 7. */
async function produced(count: number): Promise<StoreDataset> {
  const dataset = await hub.dataset();
  await dataset.deliver(Array.from({ length: count }, (_, n) => image(`a${n}`, n, 7)));
  return dataset;
}

const say = (dataset: StoreDataset, ids: string[], label: number, by: string) =>
  labels().relabel(hub.pool, dataset, { ids, labels: ids.map(() => label) }, { by, detail: `to ${label}` });

const stored = async (dataset: StoreDataset) =>
  Object.fromEntries(
    (await dataset.images()).map(({ id, known_label, labelled_by }) => [
      id,
      labelled_by === null ? `${known_label}` : `${known_label} by ${labelled_by}`,
    ]),
  );
const seen = async (dataset: StoreDataset, ids: string[]) =>
  (await labels().read(hub.pool, dataset.name, ids)).map((one) => `${one.class} by ${one.by}`);
const pending = async (dataset: StoreDataset) => (await dataset.reconcile()).pendingLabels;

/** Any number that nobody else locks. */
const GATE = 4711;

/** Where a relabelling can be made to wait. */
const GATES = {
  /** All is decided, nothing committed. */
  decided: 'before insert on imagehub.pending_labels for each statement',
  /** Committed in Postgres; not a byte is sent to Kudu. */
  promised: 'before delete on imagehub.pending_labels for each statement',
  /** Written to Kudu; that is not committed. */
  written: 'before delete on imagehub.kudu_writes for each statement when (not imagehub.any_label_waits())',
} as const;

beforeAll(async () => {
  await hub.pool.query(`
    create function imagehub.any_label_waits() returns boolean language sql as 'select exists (select from imagehub.pending_labels)';
    create function imagehub.wait_at_gate() returns trigger language plpgsql as $$ begin
      perform pg_advisory_xact_lock_shared(${GATE});
      return null;
    end $$`);
});

interface AtGate {
  command: RunningCommand;
  /** Ends its session, as the end of its process does, or idle_in_transaction_session_timeout; and lets others through. */
  endSession(): Promise<void>;
}

/** Starts `imagehub relabel` and has `work` done while it waits at the gate. */
async function atGate(
  gate: keyof typeof GATES,
  args: string[],
  work: (held: AtGate) => Promise<void>,
): Promise<void> {
  const { pool, env } = hub;
  const keeper = await pool.connect();
  const table = GATES[gate].includes('kudu_writes') ? 'imagehub.kudu_writes' : 'imagehub.pending_labels';
  const command = await (async () => {
    await keeper.query('select pg_advisory_lock($1)', [GATE]);
    await keeper.query(`create trigger gate ${GATES[gate]} execute function imagehub.wait_at_gate()`);
    return startImagehub(['relabel', ...args], { env });
  })();
  try {
    await Promise.race([
      untilSomebodyWaits(pool),
      command.ended.then((result) => {
        throw new Error(`it did not come to the gate: ${JSON.stringify(result)}`);
      }),
    ]);
    const endSession = async () => {
      await keeper.query(
        `select pg_terminate_backend(pid, 10000) from pg_locks where locktype = 'advisory' and objid = $1 and not granted`,
        [GATE],
      );
      await keeper.query(`drop trigger gate on ${table}`);
    };
    await work({ command, endSession });
  } finally {
    command.kill();
    // Whoever waits for it ends with the lock.
    keeper.release(true);
    await pool.query(`drop trigger if exists gate on ${table}`);
  }
}

describe('a relabelling that is killed', () => {
  test('before its commit has not happened', async () => {
    await using dataset = await produced(2);
    await atGate('decided', [dataset.name, '--id', 'a0', '--class', '3'], async ({ command, endSession }) => {
      command.kill();
      await endSession();
    });
    expect(await stored(dataset)).toEqual({ a0: '7', a1: '7' });
    expect(await listLabelOperations(hub.pool, dataset.name, { limit: 5 })).toEqual([]);
    expect(await say(dataset, ['a0'], 4, 'bob')).toMatchObject({ changed: 1 });
    expect(await stored(dataset)).toEqual({ a0: '4 by bob', a1: '7' });
  });

  test('between its commit and Kudu is carried out by whoever comes next, and no message wins against it', async () => {
    await using dataset = await produced(6);
    const ids = ['a0', 'a1', 'a2', 'a3', 'a4'];
    const args = [dataset.name, ...ids.flatMap((id) => ['--id', id]), '--class', '3', '--by', 'ada'];
    await atGate('promised', args, async ({ command, endSession }) => {
      command.kill();
      await endSession();
    });
    expect(Object.values(await stored(dataset))).toEqual(Array(6).fill('7'));
    // It happened, and all who ask are told so.
    expect(await seen(dataset, ids)).toEqual(Array(5).fill('3 by ada'));
    expect(await dataset.reconcile()).toMatchObject({ consistent: true, complete: false, pendingLabels: 5 });
    // Newer messages of two images, one of which is deleted and comes again.
    await dataset.deliver([image('a0', 50, 4)]);
    await dataset.deliver([{ key: 'a1', value: null }]);
    expect(await pending(dataset)).toBe(3);
    await dataset.deliver([image('a1', 51, 9)]);
    // Relabelled and undone.
    const { operation } = await say(dataset, ['a2'], 5, 'bob');
    expect(await labelChanges(hub.pool, dataset.name, ['a2'])).toMatchObject([
      { from: '7', to: '3', by: 'ada' },
      { from: '3', before: 'ada', to: '5', by: 'bob' },
    ]);
    expect(await pending(dataset)).toBe(0);
    await labels().undo(hub.pool, dataset.name, operation!, { by: 'bob', detail: '' });
    expect(await stored(dataset)).toEqual({
      a0: '3 by ada',
      a1: '9',
      a2: '3 by ada',
      a3: '3 by ada',
      a4: '3 by ada',
      a5: '7',
    });
  });
});
