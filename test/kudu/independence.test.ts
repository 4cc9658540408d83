import { expect, test } from '@jest/globals';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

const files = readdirSync('kudu', { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => join('kudu', name));

test('the Kudu client needs nothing of the rest of the repository, and few libraries', () => {
  const outside = new Set<string>();
  for (const file of files) {
    for (const [, from] of readFileSync(file, 'utf8').matchAll(
      /^(?:import|export|\}).* from '([^']+)';$/gm,
    )) {
      if (!from!.startsWith('.')) outside.add(from!);
      else if (!normalize(join(dirname(file), from!)).startsWith('kudu/')) outside.add(`${file}: ${from}`);
    }
  }
  const libraries = [...outside].filter((name) => !name.startsWith('node:')).sort();
  expect(files.length).toBeGreaterThan(50);
  expect(libraries).toEqual(['@bufbuild/protobuf/wire', 'apache-arrow']);
});

test('other programs import it as imagehub/kudu', async () => {
  const { exports } = JSON.parse(readFileSync('package.json', 'utf8')) as { exports: Record<string, string> };
  const kudu = (await import(`../../${exports['./kudu']}`)) as Record<string, unknown>;
  expect(kudu).toMatchObject({ connect: expect.any(Function), KuduError: expect.any(Function) });
});
