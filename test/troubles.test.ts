import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { pino } from 'pino';
import { Troubles } from '../troubles.ts';

function logged() {
  const lines: { level: number; msg: string; times?: number }[] = [];
  const log = pino({}, { write: (line: string) => void lines.push(JSON.parse(line) as (typeof lines)[0]) });
  return { lines, troubles: new Troubles(log) };
}

test('what fails again and again is logged once, also when its words change, and shown while it lasts', () => {
  const { lines, troubles } = logged();
  expect(troubles.health()).toEqual({ state: 'ok' });
  for (let i = 0; i < 100; i++) {
    troubles.notice('cannot write', new Error(i % 2 === 0 ? 'connection refused' : 'connection reset'));
  }
  troubles.notice('cannot consume', new Error('no broker'));
  expect(lines.map(({ msg }) => msg)).toEqual([
    'cannot write: connection refused; nothing is lost, trying again',
    'cannot consume: no broker; nothing is lost, trying again',
  ]);
  expect(troubles.health()).toEqual({
    state: 'waiting',
    detail: 'cannot write: connection reset; cannot consume: no broker',
  });
  troubles.over('cannot write');
  troubles.over('cannot write');
  expect(lines).toHaveLength(3);
  expect(troubles.health()).toMatchObject({ detail: 'cannot consume: no broker' });
  troubles.forget();
  expect(troubles.health()).toEqual({ state: 'ok' });
});

test('a part is starting until every step is done; what is wrong meanwhile is said first', () => {
  const { lines, troubles } = logged();
  troubles.starting('joining the group');
  troubles.starting('loading models');
  expect(troubles.health()).toEqual({
    state: 'starting',
    detail: 'still to come: joining the group, loading models',
  });
  troubles.started('joining the group');
  troubles.notice('cannot load', new Error('no database'));
  expect(troubles.health()).toEqual({ state: 'waiting', detail: 'cannot load: no database' });
  troubles.forget();
  expect(troubles.health()).toEqual({ state: 'starting', detail: 'still to come: loading models' });
  troubles.started('loading models');
  expect(troubles.health()).toEqual({ state: 'ok' });
  expect(lines).toHaveLength(1);
});

test('the line that says it is over names the same things as the one that said it began', () => {
  const { lines, troubles } = logged();
  const where = { dataset: 'digits', topic: 'digits', partition: 3 };
  troubles.notice('cannot write', new Error('refused'), { ...where, offset: 7 });
  troubles.notice('cannot write', new Error('refused'), { ...where, offset: 8 });
  troubles.over('cannot write');
  expect(lines).toMatchObject([
    { level: 40, ...where, offset: 7 },
    { level: 30, ...where, offset: 8, msg: 'it goes on; no longer so: cannot write' },
  ]);
});

test('other words are logged after some seconds, with how often it failed meanwhile', async () => {
  const { lines, troubles } = logged();
  troubles.notice('cannot write', new Error('starting up'));
  troubles.notice('cannot write', new Error('starting up'));
  await sleep(5100);
  troubles.notice('cannot write', new Error('starting up'));
  troubles.notice('cannot write', new Error('no space left'));
  expect(lines).toMatchObject([
    { level: 40, msg: 'cannot write: starting up; nothing is lost, trying again' },
    { level: 40, times: 3, msg: 'cannot write: no space left; nothing is lost, trying again' },
  ]);
});
