import { beforeAll, describe, expect, test } from '@jest/globals';
import { carryOut } from '../../../ingest/carry-out.ts';
import { labelChanges, listLabelOperations } from '../../../sql/label-history.ts';
import { type CommandResult, imagehub, type RunningCommand, startImagehub } from '../../support/imagehub.ts';
import { digitPng } from '../../support/digits.ts';
import { withSeed } from '../../support/fault-mode.ts';
import { until } from '../../support/pipeline.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { untilSomebodyWaits } from '../../support/sessions.ts';
import { type StoreDataset, storeHub, type StoreMessage } from '../../image-store/support/store-hub.ts';

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

test('imagehub relabel takes ids, a condition and a file, tries it dry, and has a history that can be undone', async () => {
  await using dataset = await produced(3);
  const { name } = dataset;
  const relabel = async (...args: string[]) => {
    const { status, stdout, stderr } = await imagehub(['relabel', ...args, '--json'], { env: hub.env });
    expect({ status, stderr }).toEqual({ status: 0, stderr: expect.not.stringContaining('rror') });
    return JSON.parse(stdout) as Record<string, unknown>;
  };
  const where = [name, '--where', "known_label = 7 and id < 'a2'", '--class', '4', '--by', 'ada'];
  expect(await relabel(...where, '--dry-run')).toMatchObject({
    changed: 2,
    before: [{ class: '7', images: 2 }],
  });
  const { operation } = await relabel(...where, '--yes');
  await using folder = await temporaryFolder();
  const file = await folder.write('labels.csv', 'id,class\na1,5\na2,6\n');
  expect(await relabel(name, '--from', file, '--by', 'bob')).toMatchObject({ images: 2, changed: 2 });
  expect(await relabel('history', name, '--id', 'a1')).toMatchObject({
    images: [{ id: 'a1', class: '5', by: 'bob' }],
    changes: [
      { from: '7', to: '4', by: 'ada' },
      { from: '4', before: 'ada', to: '5', by: 'bob' },
    ],
  });
  expect(await relabel('undo', name, String(operation), '--by', 'eve')).toMatchObject({
    restored: 1,
    changedSince: 1,
    deleted: 0,
  });
  expect(await relabel(name, '--id', 'a0', '--clear', '--by', 'bob')).toMatchObject({ changed: 1 });
  expect((await dataset.images()).map((row) => `${row.known_label} by ${row.labelled_by}`)).toEqual([
    'null by bob',
    '5 by bob',
    '6 by bob',
  ]);
  const missing = await imagehub(['relabel', name, '--id', 'a0', '--id', 'b0', '--class', '1'], {
    env: hub.env,
  });
  expect(missing).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/no image b0.*Nothing was changed/s),
  });
});

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

/** Takes ten seconds to give up, so it begins first. */
let away: Promise<CommandResult>;

beforeAll(async () => {
  await hub.pool.query(
    `insert into imagehub.datasets (name, topic, store) values ('far', 'far', 'kudu');
     insert into imagehub.classes values ('far', 0, 'a'), ('far', 1, 'b')`,
  );
  const env = { ...hub.env, IMAGEHUB_KUDU_MASTERS: '127.0.0.1:1' };
  away = imagehub(['relabel', 'far', '--id', 'a', '--class', 'b'], { env });
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

  test('after Kudu, before that is committed, is carried out once more; a label that somebody set there meanwhile stands', async () => {
    await using dataset = await produced(2);
    const args = [dataset.name, '--id', 'a0', '--id', 'a1', '--class', '3', '--by', 'ada'];
    await atGate('written', args, async ({ command, endSession }) => {
      expect(await stored(dataset)).toEqual({ a0: '3 by ada', a1: '3 by ada' });
      command.kill();
      await endSession();
    });
    expect(await pending(dataset)).toBe(2);
    await dataset.labelByHand('a1', 5);
    expect(await hub.stores.kudu.carryOut!()).toBe(2);
    expect(await stored(dataset)).toEqual({ a0: '3 by ada', a1: '5 by somebody' });
    expect(await pending(dataset)).toBe(0);
  });
});

describe('a relabelling that is frozen, and wakes when its session has ended', () => {
  test('before its commit, says that nothing was changed', async () => {
    await using dataset = await produced(1);
    await atGate('decided', [dataset.name, '--id', 'a0', '--class', '3'], async ({ command, endSession }) => {
      command.freeze();
      await endSession();
      await say(dataset, ['a0'], 5, 'bob');
      command.thaw();
      expect(await command.ended).toMatchObject({ status: 1 });
    });
    expect(await stored(dataset)).toEqual({ a0: '5 by bob' });
    expect(await listLabelOperations(hub.pool, dataset.name, { limit: 5 })).toMatchObject([{ by: 'bob' }]);
  });

  test.each(['promised', 'written'] as const)(
    '%s, undoes nothing of what others said since, and ends well',
    async (gate) => {
      await using dataset = await produced(3);
      const ids = ['a0', 'a1', 'a2'];
      const args = [dataset.name, ...ids.flatMap((id) => ['--id', id]), '--class', '3', '--by', 'ada'];
      await atGate(gate, args, async ({ command, endSession }) => {
        command.freeze();
        await endSession();
        expect(await say(dataset, ['a0'], 5, 'bob')).toMatchObject({ changed: 1 });
        await dataset.deliver([image('a1', 40, 4), { key: 'a2', value: null }]);
        await dataset.deliver([image('a2', 41, 9)]);
        command.thaw();
        expect(await command.ended).toMatchObject({ status: 0, stdout: expect.stringMatching(/^3 images/) });
      });
      expect(await stored(dataset)).toEqual({ a0: '5 by bob', a1: '3 by ada', a2: '9' });
      expect(await labelChanges(hub.pool, dataset.name, ['a0'])).toMatchObject([
        { from: '7', to: '3', by: 'ada' },
        { from: '3', before: 'ada', to: '5', by: 'bob' },
      ]);
      expect(await pending(dataset)).toBe(0);
    },
  );
});

describe('a relabelling that cannot be written to Kudu', () => {
  test('as Kudu is away, has not happened, and says so', async () => {
    const { status, stderr } = await away;
    expect(status).toBe(1);
    expect(stderr).toContain('Kudu does not answer');
    expect(await listLabelOperations(hub.pool, 'far', { limit: 1 })).toEqual([]);
  });

  /** As a table that does not take them. */
  const refusing = async (work: () => Promise<void>) => {
    await hub.pool.query(`
      create or replace function imagehub.refuse() returns trigger language plpgsql as $$ begin raise exception 'not now'; end $$;
      create trigger refuse before delete on imagehub.pending_labels for each row execute function imagehub.refuse()`);
    await work().finally(() => hub.pool.query('drop trigger refuse on imagehub.pending_labels'));
  };

  test('says that it is recorded, and what happens next; a running ingest writes it', async () => {
    await using dataset = await produced(2);
    await refusing(async () => {
      await expect(say(dataset, ['a0'], 3, 'ada')).rejects.toMatchObject({
        code: 'SERVER_UNREACHABLE',
        message: expect.stringMatching(
          /^Operation \d+ is recorded, but not all of its labels are in Kudu yet: not now$/,
        ),
        hint: expect.stringContaining('Do not repeat it'),
      });
      expect((await imagehub(['reconcile', dataset.name], { env: hub.env })).stdout).toMatch(
        /labels still to be written to Kudu: 1 /,
      );
      await expect(hub.stores.kudu.carryOut!()).rejects.toThrow('not now');
    });
    const stop = new AbortController();
    const running = carryOut({ ...hub.context, signal: stop.signal });
    await until(async () => (await pending(dataset)) === 0, 'it is carried out');
    stop.abort();
    await running;
    expect(await stored(dataset)).toEqual({ a0: '3 by ada', a1: '7' });
  });

  test('is dropped with its dataset', async () => {
    await using dataset = await produced(1);
    await refusing(() => expect(say(dataset, ['a0'], 3, 'ada')).rejects.toThrow('is recorded'));
    await dataset.drop();
    const { rows } = await hub.pool.query('select from imagehub.pending_labels where dataset = $1', [
      dataset.name,
    ]);
    expect(rows).toEqual([]);
  });
});

test('an image whose deletion is committed, and whose row is in Kudu still, is none that could be labelled', async () => {
  await using dataset = await produced(2);
  // As if whoever deletes it died then.
  await hub.pool.query(`
    create or replace function imagehub.refuse() returns trigger language plpgsql as $$ begin raise exception 'not now'; end $$;
    create trigger refuse before update on imagehub.deleted_images for each row execute function imagehub.refuse()`);
  await dataset.deliver([{ key: 'a0', value: null }]);
  expect(await stored(dataset)).toEqual({ a0: '7', a1: '7' });
  const asked = await say(dataset, ['a0', 'a1'], 3, 'ada');
  expect(asked).toMatchObject({ changed: 1, missing: ['a0'] });
  expect(await seen(dataset, ['a0', 'a1'])).toEqual(['3 by ada']);
  await hub.pool.query('drop trigger refuse on imagehub.deleted_images');
  expect(
    await labels().undo(hub.pool, dataset.name, asked.operation!, { by: 'ada', detail: '' }),
  ).toMatchObject({
    restored: 1,
  });
  await hub.stores.kudu.carryOut!();
  expect(await stored(dataset)).toEqual({ a1: '7' });
});

test('undoing in SQL, which knows Postgres’s table alone, is refused with what to do', async () => {
  await using dataset = await produced(1);
  const { operation } = await say(dataset, ['a0'], 3, 'ada');
  const undoing = hub.pool.query('select imagehub.undo_labels($1, $2)', [dataset.name, operation]);
  await expect(undoing).rejects.toMatchObject({ hint: `imagehub relabel undo ${dataset.name} ${operation}` });
  expect(await listLabelOperations(hub.pool, dataset.name, { limit: 5 })).toHaveLength(1);
});

test('whoever drops the dataset waits for a relabelling, and takes its history away too', async () => {
  await using dataset = await produced(1);
  const keeper = await hub.pool.connect();
  try {
    await keeper.query('select pg_advisory_lock($1)', [GATE]);
    await keeper.query(`create trigger gate ${GATES.decided} execute function imagehub.wait_at_gate()`);
    const said = say(dataset, ['a0'], 3, 'ada').catch((error: Error) => error.message);
    await untilSomebodyWaits(hub.pool);
    const dropped = dataset.drop();
    await Promise.race([dropped, untilBlocked(2)]);
    await keeper.query('select pg_advisory_unlock($1)', [GATE]);
    await Promise.all([dropped, said]);
  } finally {
    keeper.release(true);
    await hub.pool.query('drop trigger if exists gate on imagehub.pending_labels');
  }
  const left = 'select from imagehub.label_changes where dataset = $1';
  expect((await hub.pool.query(left, [dataset.name])).rows).toEqual([]);
});

/** Until so many sessions wait for a lock. */
const untilBlocked = (sessions: number) =>
  until(async () => {
    const { rows } = await hub.pool.query(
      `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
    );
    return rows.length >= sessions;
  }, `${sessions} sessions wait`);

test('people and messages at once: the label is always the last that a person gave, and no label is without its history', async () =>
  withSeed(async (random) => {
    const IMAGES = 60;
    await using dataset = await produced(IMAGES);
    const some = (count: number) => Array.from({ length: count }, () => `a${Math.floor(random() * IMAGES)}`);
    const person = async (by: string) => {
      for (let i = 0; i < 8; i++) {
        const { operation } = await say(dataset, some(25), Math.floor(random() * 10), by);
        if (operation !== null && random() < 0.3) {
          await labels().undo(hub.pool, dataset.name, operation, { by, detail: '' });
        }
      }
    };
    const messages = async () => {
      for (let i = 0; i < 15; i++) {
        await dataset.deliver(some(20).map((id) => image(id, i, Math.floor(random() * 10))));
      }
    };
    await Promise.all([...['ada', 'bob', 'cleo'].map(person), messages()]);
    const { rows } = await hub.pool.query<{ id: string; label: number | null; by: string | null }>(
      `select distinct on (id) id, new_label as label, new_labelled_by as by from imagehub.label_changes
       where dataset = $1 order by id, change_no desc`,
      [dataset.name],
    );
    const said = new Map(rows.map((row) => [row.id, row]));
    expect(said.size).toBeGreaterThan(IMAGES / 2);
    for (const { id, known_label, labelled_by } of await dataset.images()) {
      const { by = null, label } = said.get(id) ?? {};
      expect([id, labelled_by, labelled_by && known_label]).toEqual([id, by, by && label]);
    }
    expect(await dataset.reconcile()).toMatchObject({ consistent: true, complete: true, pendingLabels: 0 });
  }));
