import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { PreparedServer, ServerDefinition, StartContext } from './definition.ts';
import { classPath, compileJava, ELASTICSEARCH_FOLDER, ELASTICSEARCH_VERSION, java } from './java.ts';
import { type Artefacts, mavenArtefacts } from './maven.ts';
import { freePort, LOCALHOST } from './ports.ts';

const VERSION = ELASTICSEARCH_VERSION;
const MODULE = join('modules', 'transport-netty4');
const LAUNCHER = 'ElasticsearchNode';

const ARTEFACTS: Artefacts = {
  folder: ELASTICSEARCH_FOLDER,
  title: `Elasticsearch ${VERSION}`,
  coordinates: [
    `org.elasticsearch:elasticsearch:${VERSION}`,
    `org.elasticsearch.plugin:transport-netty4:${VERSION}`,
  ],
  megabytes: 40,
  arrange,
};

/** One node from the published jars: no security, no Kibana system plugins, everything an index needs. */
export const elasticsearch: ServerDefinition = {
  name: 'elasticsearch',
  title: `Elasticsearch ${VERSION}`,
  usualPort: (config) => config.elasticsearchPort,
  stopSignals: ['SIGTERM'],
  prepare,
};

/** lib/ with the server's jars, modules/ with the one network plugin, which must not see its jars twice. */
async function arrange(folder: string): Promise<void> {
  await mkdir(join(folder, 'lib'));
  await mkdir(join(folder, MODULE), { recursive: true });
  for (const jar of (await readdir(folder)).filter((name) => name.endsWith('.jar'))) {
    const target = /^(netty-|transport-netty4)/.test(jar) ? MODULE : 'lib';
    await rename(join(folder, jar), join(folder, target, jar));
  }
  // As inside the jar under META-INF/es-plugins/, without `modulename`: here it is loaded from the class path.
  await writeFile(
    join(folder, MODULE, 'plugin-descriptor.properties'),
    `description=Netty 4 based transport implementation
version=${VERSION}
name=transport-netty4
java.version=17
elasticsearch.version=${VERSION}
classname=org.elasticsearch.transport.netty4.Netty4Plugin
`,
  );
}

async function prepare(context: StartContext): Promise<PreparedServer> {
  const home = await mavenArtefacts(ARTEFACTS, context);
  const jars = classPath(join(home, 'lib', '*'));
  const launcher = join(home, 'launcher');
  if (!existsSync(join(launcher, `${LAUNCHER}.class`))) {
    await compileJava(LAUNCHER, jars, launcher, context.signal);
  }
  const config = join(context.folder, 'config');
  for (const name of ['config', 'data', 'logs', 'tmp']) {
    await mkdir(join(context.folder, name), { recursive: true });
  }
  await writeFile(join(config, 'log4j2.properties'), LOG4J);

  return {
    async command(port) {
      await writeFile(join(config, 'elasticsearch.yml'), settings(context.folder, port, await freePort()));
      return {
        file: java(),
        args: [
          '-Xms512m',
          '-Xmx512m',
          '-XX:+UseG1GC',
          `-Djava.io.tmpdir=${join(context.folder, 'tmp')}`,
          '-cp',
          classPath(launcher, jars),
          LAUNCHER,
          home,
          config,
        ],
      };
    },
    async probe(port) {
      const answer = await fetch(
        `${elasticsearchUrl(port)}/_cluster/health?wait_for_status=yellow&timeout=2s`,
        {
          signal: AbortSignal.timeout(5000),
        },
      );
      const health = (await answer.json()) as { status?: string };
      if (!answer.ok || health.status === 'red') throw new Error(`cluster health: ${JSON.stringify(health)}`);
    },
    url: elasticsearchUrl,
  };
}

const elasticsearchUrl = (port: number) => `http://${LOCALHOST}:${port}`;

const settings = (
  folder: string,
  port: number,
  transportPort: number,
): string => `# Written by imagehub at every start.
cluster.name: imagehub
node.name: imagehub
discovery.type: single-node
network.host: ${LOCALHOST}
http.port: ${port}
transport.port: ${transportPort}
path.data: ${JSON.stringify(join(folder, 'data'))}
path.logs: ${JSON.stringify(join(folder, 'logs'))}
# A full developer's disk must not turn every index read-only: stop at the last two gigabytes, not at 95 %.
cluster.routing.allocation.disk.watermark.low: 4gb
cluster.routing.allocation.disk.watermark.high: 3gb
cluster.routing.allocation.disk.watermark.flood_stage: 2gb
# An index exists because imagehub made it with its mapping, never because somebody wrote to a misspelt name.
action.auto_create_index: false
`;

const LOG4J = `status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%c{1.}] %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
`;
