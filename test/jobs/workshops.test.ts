import { expect, test } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Job, JobContext, JobKind, Workshop } from '../../jobs/job.ts';
import { Workshops } from '../../jobs/workshops.ts';

/** A kind that says when what its parts share is opened and let go. */
function watched(): { kind: JobKind; happened: string[] } {
  const happened: string[] = [];
  let opened = 0;
  const kind: JobKind = {
    kind: 'watched',
    cut: async () => [],
    async open(_, { job }) {
      const name = `${job}/${++opened}`;
      happened.push(`open ${name}`);
      await sleep(10);
      return {
        work: () => Promise.reject(new Error('not here')),
        async [Symbol.asyncDispose]() {
          happened.push(`close ${name}`);
        },
      };
    },
  };
  return { kind, happened };
}

const context = {} as JobContext;
const job = (n: number) => ({ job: n }) as Job;
const nothing = async (_: Workshop) => undefined;

test('what parts of a job share is opened once, however many come at the same time, and let go at the end', async () => {
  const { kind, happened } = watched();
  {
    await using workshops = new Workshops(context);
    await Promise.all([
      workshops.use(kind, job(1), nothing),
      workshops.use(kind, job(1), nothing),
      workshops.use(kind, job(2), nothing),
    ]);
    await workshops.use(kind, job(1), nothing);
    expect(happened).toEqual(['open 1/1', 'open 2/2']);
  }
  expect(happened.slice(2).sort()).toEqual(['close 1/1', 'close 2/2']);
});

test('after a part failed the next one opens another; the one that failed is let go when nobody uses it', async () => {
  const { kind, happened } = watched();
  await using workshops = new Workshops(context);
  let finish = () => undefined as void;
  const long = workshops.use(kind, job(1), () => new Promise<void>((resolve) => (finish = resolve)));
  await expect(
    workshops.use(kind, job(1), () => Promise.reject(new Error('its thread died'))),
  ).rejects.toThrow('its thread died');
  await workshops.use(kind, job(1), nothing);
  expect(happened).toEqual(['open 1/1', 'open 1/2']);
  finish();
  await long;
  await sleep(10);
  expect(happened).toEqual(['open 1/1', 'open 1/2', 'close 1/1']);
});

test('what cannot be opened is tried again by the next part', async () => {
  const { kind } = watched();
  let tries = 0;
  const flaky: JobKind = {
    ...kind,
    open: (context, job) => (++tries === 1 ? Promise.reject(new Error('not yet')) : kind.open(context, job)),
  };
  await using workshops = new Workshops(context);
  await expect(workshops.use(flaky, job(1), nothing)).rejects.toThrow('not yet');
  await workshops.use(flaky, job(1), nothing);
  expect(tries).toBe(2);
});
