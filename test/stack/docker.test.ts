import { expect, test } from '@jest/globals';
import { existsSync, readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { loadConfig, SETTINGS } from '../../config.ts';
import packageJson from '../../package.json' with { type: 'json' };
import { DOCKER_SERVERS } from '../../stack/docker.ts';

interface Service {
  image?: string;
  build?: string;
  command?: string[];
  environment?: Record<string, string>;
  ports: string[];
  volumes?: string[];
  depends_on?: Record<string, object>;
}

const { services, volumes } = parse(readFileSync('docker-compose.yml', 'utf8')) as {
  services: Record<string, Service>;
  volumes: Record<string, null>;
};
const environment = (service: string) => services[service]!.environment!;
const defaults = loadConfig({});

test('the compose file has every service, none of them published beyond this machine', () => {
  expect(Object.keys(services).sort()).toEqual([
    'elasticsearch',
    'grafana',
    'imagehub',
    'kafka',
    'kibana',
    'postgres',
    'prometheus',
  ]);
  for (const { ports, image, build } of Object.values(services)) {
    expect(ports).toEqual(ports.map(() => expect.stringMatching(/^127\.0\.0\.1:\d+:\d+$/)));
    // A version is named, so that the same file starts the same servers next year.
    expect(build ?? image).toMatch(/^\.$|:v?\d+/);
  }
});

test('it publishes what imagehub up --docker tells clients, on the usual ports', () => {
  const published = Object.values(services).flatMap(({ ports }) =>
    ports.map((port) => Number(port.split(':')[1])),
  );
  expect(published).toEqual(
    expect.arrayContaining([defaults.postgresPort, defaults.kafkaPort, defaults.elasticsearchPort]),
  );
  expect(new Set(published).size).toBe(published.length);
  const { POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB } = environment('postgres');
  expect(DOCKER_SERVERS).toEqual({
    postgres: `postgresql://${POSTGRES_USER}:${POSTGRES_PASSWORD}@127.0.0.1:${defaults.postgresPort}/${POSTGRES_DB}`,
    kafka: [/OUTSIDE:\/\/(127[^,]*)/.exec(environment('kafka').KAFKA_ADVERTISED_LISTENERS!)![1]],
    elasticsearch: `http://127.0.0.1:${defaults.elasticsearchPort}`,
    kudu: null,
  });
});

test('the imagehub service sets settings that exist, and they name the other services', () => {
  const settings = environment('imagehub');
  const known: string[] = Object.values(SETTINGS).map(({ env }) => env);
  expect(known).toEqual(expect.arrayContaining(Object.keys(settings)));
  const config = loadConfig(settings);
  const { POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB } = environment('postgres');
  expect(config.postgresUrl).toBe(
    `postgresql://${POSTGRES_USER}:${POSTGRES_PASSWORD}@postgres:5432/${POSTGRES_DB}`,
  );
  expect(environment('kafka').KAFKA_ADVERTISED_LISTENERS).toContain(`INSIDE://${config.kafkaBrokers},`);
  expect(new URL(config.elasticsearchUrl!).hostname).toBe('elasticsearch');
  expect(services.imagehub!.ports).toEqual([`127.0.0.1:${config.operationsPort}:${config.operationsPort}`]);
  expect(Object.keys(services.imagehub!.depends_on!).sort()).toEqual(['elasticsearch', 'kafka', 'postgres']);
  expect(services.postgres!.command).toContain('wal_level=logical');
});

test('Prometheus asks imagehub where it answers', () => {
  const { scrape_configs } = parse(readFileSync('deploy/prometheus.yml', 'utf8')) as {
    scrape_configs: { static_configs: { targets: string[] }[] }[];
  };
  expect(scrape_configs.flatMap((job) => job.static_configs.flatMap(({ targets }) => targets))).toEqual([
    `imagehub:${loadConfig(environment('imagehub')).operationsPort}`,
  ]);
});

test('Grafana gets every variable its provisioned data sources use, and the folders they speak of', () => {
  const used = new Set(
    readFileSync('grafana/provisioning/datasources/imagehub.yml', 'utf8').match(/(?<=\$\{)\w+/g),
  );
  const given = Object.keys(environment('grafana')).filter((name) => name.startsWith('IMAGEHUB_'));
  expect(given.sort()).toEqual([...used].sort());
  const { providers } = parse(readFileSync('grafana/provisioning/dashboards/imagehub.yml', 'utf8')) as {
    providers: { options: { path: string } }[];
  };
  const mounted = services.grafana!.volumes!.map((volume) => volume.split(':')[1]);
  expect(mounted).toEqual(expect.arrayContaining(['/etc/grafana/provisioning', providers[0]!.options.path]));
});

test('what the compose file mounts is there: files of the repository, or volumes it declares', () => {
  const sources = Object.values(services)
    .flatMap((service) => service.volumes ?? [])
    .map((volume) => volume.split(':')[0]!);
  const missing = sources.filter((source) =>
    source.startsWith('.') ? !existsSync(source) : !(source in volumes),
  );
  expect(missing).toEqual([]);
});

test('the image is built on a Node that runs the sources as they are, and starts the program of package.json', () => {
  const dockerfile = readFileSync('Dockerfile', 'utf8');
  const major = /^FROM node:(\d+)/m.exec(dockerfile)![1];
  expect(packageJson.devDependencies.node.split('.')[0]).toBe(major);
  expect(dockerfile).toContain(`ENTRYPOINT ["node", "${packageJson.bin.imagehub}"]`);
  for (const file of /^COPY (.*) \.\/$/m.exec(dockerfile)![1]!.split(' '))
    expect(existsSync(file)).toBe(true);
});
