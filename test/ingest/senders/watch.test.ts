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
      for (let i = 0; sent.length < count && i < 1800; i++) await sleep(50);
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

/** A file that has not changed for so long may be taken for complete (it is, after twice that). */
const LONG_PAUSE_MS = 250;

/** Writes two files bit by bit: what was sent before they were complete, what in the end, and the longest pause of the writer. */
async function writeSlowly() {
  await using folder = await temporaryFolder();
  await using home = await temporaryFolder();
  const early = await open(await folder.write('early.png', ''), 'a');
  let [longestMs, wroteAt] = [0, Date.now()];
  const write = async (text: string, ...files: (typeof early)[]) => {
    for (const file of files) await file.write(text);
    longestMs = Math.max(longestMs, Date.now() - wroteAt);
    wroteAt = Date.now();
  };
  await write('1', early);
  const watching = await startWatching(folder.path, home.at('journal'));
  const late = await open(folder.at('late.png'), 'a');
  for (let i = 2; i < 10; i++) {
    await write(String(i), early, late);
    await sleep(100);
  }
  const tooEarly = [...watching.sent];
  await write('', early, late);
  await early.close();
  await late.close();
  const sent = await watching.until(2);
  await watching.stop();
  return { tooEarly, sent, longestMs };
}

test('a file that is still being written is sent when it is complete', async () => {
  let written = await writeSlowly();
  // A machine that stood still made it a writer that paused: that is another matter.
  while (written.longestMs > LONG_PAUSE_MS) written = await writeSlowly();
  expect(written.tooEarly).toEqual([]);
  expect(written.sent).toEqual(['early.png=123456789', 'late.png=23456789']);
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
