import { describe, expect, test } from '@jest/globals';
import { describeConfig, hidePassword, loadConfig, SETTINGS } from '../config.ts';

describe('settings', () => {
  test('have defaults, and the environment wins over them', () => {
    expect(loadConfig({})).toMatchObject({ home: '.imagehub', batchImages: 2000, kafkaSsl: false });
    expect(loadConfig({})).toHaveProperty('postgresUrl', undefined);
    const config = loadConfig({
      IMAGEHUB_BATCH_IMAGES: '17',
      IMAGEHUB_KAFKA_SSL: 'true',
      IMAGEHUB_HOME: '/data',
    });
    expect(config).toMatchObject({ batchImages: 17, kafkaSsl: true, home: '/data' });
  });

  test('an empty variable counts as unset', () => {
    expect(loadConfig({ IMAGEHUB_POSTGRES_URL: '', IMAGEHUB_BATCH_IMAGES: '' })).toMatchObject({
      batchImages: 2000,
    });
  });

  test('every bad one is named at once, with what to do', () => {
    const load = () =>
      loadConfig({ IMAGEHUB_BATCH_IMAGES: 'many', IMAGEHUB_WORKERS: '0', IMAGEHUB_LOG_LEVEL: 'loud' });
    for (const name of ['IMAGEHUB_BATCH_IMAGES', 'IMAGEHUB_WORKERS', 'IMAGEHUB_LOG_LEVEL'])
      expect(load).toThrow(name);
    expect(load).toThrow(
      expect.objectContaining({ code: 'CONFIG_INVALID', hint: expect.stringContaining('imagehub config') }),
    );
  });

  test('are described with secrets and passwords in URLs hidden', () => {
    const env = {
      IMAGEHUB_POSTGRES_URL: 'postgresql://ann:geheim@db:5432/hub',
      IMAGEHUB_KAFKA_PASSWORD: 'geheim',
      IMAGEHUB_ELASTICSEARCH_API_KEY: 'geheim',
    };
    const described = describeConfig(loadConfig(env), env);
    expect(described).toHaveLength(Object.keys(SETTINGS).length);
    expect(JSON.stringify(described)).not.toContain('geheim');
    expect(described.find(({ env: name }) => name === 'IMAGEHUB_POSTGRES_URL')).toMatchObject({
      value: 'postgresql://ann:***@db:5432/hub',
      set: true,
    });
    expect(described.find(({ env: name }) => name === 'IMAGEHUB_KAFKA_PASSWORD')).toMatchObject({
      value: '***',
    });
  });

  test('each is declared with a variable of its own and a meaning', () => {
    const settings = Object.values(SETTINGS);
    expect(new Set(settings.map(({ env }) => env)).size).toBe(settings.length);
    for (const { env, doc } of settings) {
      expect(env).toMatch(/^IMAGEHUB_[A-Z_]+$/);
      expect(doc).toMatch(/\.$/);
    }
  });
});

describe('hidePassword', () => {
  test.each([
    ['postgresql://u:p@h/d', 'postgresql://u:***@h/d'],
    ['http://h:9200', 'http://h:9200'],
    ['http://u@h:9200', 'http://u@h:9200'],
    ['postgresql://u:p:with@at@h/d', 'postgresql://u:***@h/d'],
    [
      'postgresql://h/d?user=u&password=p&sslmode=require',
      'postgresql://h/d?user=u&password=***&sslmode=require',
    ],
    ['not a url', 'not a url'],
  ])('%s → %s', (url, shown) => expect(hidePassword(url)).toBe(shown));
});
