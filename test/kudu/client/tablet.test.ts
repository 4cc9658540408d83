import { expect, test } from '@jest/globals';
import { Tablet } from '../../../kudu/client/tablet.ts';

const replica = (server: string, leader = false) => ({ server, address: { host: server, port: 1 }, leader });
const partition = { hashBuckets: [], keyStart: new Uint8Array(), keyEnd: new Uint8Array() };
const newTablet = () => new Tablet('t', partition, [replica('a'), replica('b', true), replica('c')]);

test('the replica that the master calls leader comes first, then, as each turns out not to lead, the others', () => {
  const tablet = newTablet();
  const tried: (string | undefined)[] = [];
  while (!tablet.exhausted) {
    tried.push(tablet.leader?.server);
    tablet.demote(tablet.leader!.server);
  }
  expect(tried).toEqual(['b', 'a', 'c']);
  tablet.update([replica('c', true), replica('d')]);
  expect(tablet.leader?.server).toBe('c');
  expect(tablet.exhausted).toBe(false);
});

test('two calls that found out the same demote one replica', () => {
  const tablet = newTablet();
  tablet.demote('b');
  tablet.demote('b');
  expect(tablet.leader?.server).toBe('a');
});

test('a tablet of which the master knows no replicas has to be looked up again', () => {
  const tablet = new Tablet('t', partition, []);
  expect(tablet.leader).toBeUndefined();
  expect(tablet.exhausted).toBe(true);
});
