import { expect, test } from '@jest/globals';
import { appendFile, open, rename, rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { SourceImage } from '../../../ingest/senders/image.ts';
import { openJournal, watchFolder } from '../../../ingest/senders/watch.ts';
import { recordOmissions } from '../../support/omissions.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

/** Watches until `stop`; what was sent goes into the journal at once. */
async function startWatching(folder: string, journalFile: string) {
  const sent: string[] = [];
  const omissions = recordOmissions();
  const journal = await openJournal(journalFile, false);
  const controller = new AbortController();
  const done = (async () => {
    for await (const image of watchFolder(folder, journal, omissions, controller.signal)) {
      await journal.add([image]);
      sent.push(`${image.id}=${image.bytes.toString()}`);
    }
  })();
  return {
    sent,
    omissions,
    async until(count: number) {
      for (let i = 0; sent.length < count && i < 300; i++) await sleep(50);
      // What should not come has its chance to come.
      await sleep(700);
      return [...sent].sort();
    },
    async stop() {
      controller.abort();
      await done;
    },
  };
}

test('a watched folder gives what is there, what is put into it and what changes, each version once', async () => {
  await using folder = await temporaryFolder();
  await using home = await temporaryFolder();
  await folder.write('in/old.png', 'old');
  const first = await startWatching(folder.at('in'), home.at('journal'));
  expect(await first.until(1)).toEqual(['old.png=old']);
  await folder.write('in/deep/new.png', 'new');
  await folder.write('in/notes.txt', 'x');
  await folder.write('moved.png', 'moved');
  await rename(folder.at('moved.png'), folder.at('in/moved.png'));
  expect(await first.until(3)).toEqual(['deep/new.png=new', 'moved.png=moved', 'old.png=old']);
  expect(first.omissions.skipped).toEqual(['notes.txt: not an image by its extension']);
  await folder.write('in/old.png', 'changed');
  await rm(folder.at('in/moved.png'));
  expect(await first.until(4)).toContain('old.png=changed');
  await first.stop();

  await folder.write('in/meanwhile.png', 'meanwhile');
  const second = await startWatching(folder.at('in'), home.at('journal'));
  expect(await second.until(1)).toEqual(['meanwhile.png=meanwhile']);
  await second.stop();
});

test('a file that is still being written is sent when it is complete', async () => {
  await using folder = await temporaryFolder();
  await using home = await temporaryFolder();
  const early = await open(await folder.write('early.png', ''), 'a');
  await early.write('1');
  const watching = await startWatching(folder.path, home.at('journal'));
  const late = await open(folder.at('late.png'), 'a');
  for (let i = 2; i < 8; i++) {
    await early.write(String(i));
    await late.write(String(i));
    await sleep(150);
    expect(watching.sent).toEqual([]);
  }
  await early.close();
  await late.close();
  expect(await watching.until(2)).toEqual(['early.png=1234567', 'late.png=234567']);
  await watching.stop();
});

test('the journal survives a line cut short by a crash', async () => {
  await using home = await temporaryFolder();
  const image = (id: string): SourceImage => ({ id, bytes: Buffer.from('x'), position: '1 1' });
  await (await openJournal(home.at('j'), false)).add([image('a'), image('b')]);
  await appendFile(home.at('j'), '["c","1');
  await (await openJournal(home.at('j'), false)).add([image('d')]);
  const journal = await openJournal(home.at('j'), false);
  expect(['a', 'b', 'c', 'd'].map((id) => journal.has(id, '1 1'))).toEqual([true, true, false, true]);
  expect(journal.has('a', '2 1')).toBe(false);
  expect((await openJournal(home.at('j'), true)).has('a', '1 1')).toBe(false);
});
