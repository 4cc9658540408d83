#!/usr/bin/env node
// Starts the command line: compiled in the published package, straight from the TypeScript sources in the
// repository. These need Node 24 (`using`, Float16Array); on an older Node the one that npm installed beside us is used.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import module from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

// Compiled code, and the TypeScript without its types, is kept in the folder for temporary files: a command starts in 0.6
// instead of 0.9 s, and so do threads and child processes, which find the folder in the environment.
module.enableCompileCache?.(); // from Node 22.1 on
process.env.NODE_COMPILE_CACHE ??= join(tmpdir(), 'node-compile-cache');

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const runsSources = Number.parseInt(process.versions.node, 10) >= 24;

if (existsSync(here('../dist/cli/main.js'))) {
  await import('../dist/cli/main.js');
} else if (runsSources) {
  await import('../cli/main.ts');
} else {
  const node = here('../node_modules/node/bin/node');
  if (!existsSync(node)) {
    console.error(`imagehub needs Node 24 or newer here (this is ${process.version}); run "npm ci" first.`);
    process.exit(1);
  }
  // The IPC channel lets the child notice our death, however it comes, and stop too.
  const child = spawn(node, [here('../cli/main.ts'), ...process.argv.slice(2)], {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, IMAGEHUB_LAUNCHER: '1' },
  });
  // A terminal sends the interrupt to the whole group; the child decides when it is done.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('exit', (code, signal) => {
    if (!signal) process.exit(code ?? 1);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}
