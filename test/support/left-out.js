import { spawnSync } from 'node:child_process';
import { loadConfig } from '../../config.ts';
import { artefactsCached, hasMaven, javaMissing } from '../../stack/java.ts';
import { kuduMissing } from '../../stack/kudu.ts';
import { canMountSmallDisk } from './small-disk.ts';

/** Tests that need Kafka or Elasticsearch, which need a JDK and (the first time) Maven. */
const JVM = [
  '/test/classifier/promote-live',
  '/test/cli/(dataset|dead-letters|duplicates|export|reconcile|relabel|resume|run|send|sql|train)[.-]',
  '/test/demo/',
  '/test/faults/',
  '/test/grafana/',
  '/test/indexer/',
  '/test/ingest/(backlog|bad-messages|crashes|datasets|direct|kafka|new-rows|offsets|pipeline)[.-]',
  '/test/sql/prune',
  '/test/stack/(servers|up)',
];
/** Tests that need a Kudu, which runs on Linux on x86-64 and comes from Maven the first time. */
const KUDU = [
  '/test/kudu/(client|rpc|scan|write)/',
  '/test/query/kudu',
  '/test/cli/sql[.]',
  '/test/kudu-copy/',
  '/test/kudu-store/',
  '/test/image-store/(drift|export|judging|reports|rows|selection|sweep|train)[.-]',
  '/test/indexer/kudu/',
  '/test/cli/kudu-copy',
  '/test/stack/up-kudu',
];

/** Tests that ask a real Prometheus. */
const PROMETHEUS = ['/test/cli/run-metrics', '/test/grafana/dashboards'];

/** Tests that fill a disk. */
const SMALL_DISK = ['/test/faults/disk-full'];

/**
 * What a developer's machine cannot run, said aloud: patterns of test files and why they are left out. In CI nothing
 * is: there a missing server makes the tests fail.
 */
export async function leftOut(env = process.env) {
  if (env.CI || env.IMAGEHUB_TEST_NO_SERVERS === '1')
    return { jvm: false, kudu: false, patterns: [], reasons: [] };
  const config = loadConfig({ IMAGEHUB_CACHE: env.IMAGEHUB_CACHE });
  const named = env.IMAGEHUB_TEST_KAFKA_BROKERS !== undefined;
  const java = named ? null : await javaMissing();
  const maven = named || artefactsCached(config) || (await hasMaven()) ? null : 'Maven is not installed';
  const jvm = java ?? maven;
  const kudu = env.IMAGEHUB_TEST_KUDU_MASTERS === undefined ? await kuduMissing(config) : null;
  const prometheus = spawnSync('prometheus', ['--version'], { stdio: 'ignore' }).error;
  const disk = canMountSmallDisk();
  return {
    jvm: jvm !== null,
    kudu: kudu !== null,
    patterns: [
      ...(jvm === null ? [] : JVM),
      ...(kudu === null ? [] : KUDU),
      ...(prometheus ? PROMETHEUS : []),
      ...(disk ? [] : SMALL_DISK),
    ],
    reasons: [
      ...(jvm === null ? [] : [`${jvm}: tests with Kafka or Elasticsearch are left out`]),
      ...(kudu === null ? [] : [`${kudu}: tests with Kudu are left out`]),
      ...(prometheus
        ? ['prometheus is not on the PATH: the tests of metrics and dashboards are left out']
        : []),
      ...(disk ? [] : ['not root, and sudo wants a password: the test of a full disk is left out']),
    ],
  };
}
