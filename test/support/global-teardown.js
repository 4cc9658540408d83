import { dropDatabase } from './template.ts';

export default async function globalTeardown() {
  const { IMAGEHUB_TEST_POSTGRES_URL: url, IMAGEHUB_TEST_TEMPLATE: template } = process.env;
  if (globalThis.stopImagehubStack) await globalThis.stopImagehubStack();
  else if (url && template) await dropDatabase(url, template);
}
