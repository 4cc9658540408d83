/**
 * What Grafana does to a query before it sends it, as far as our dashboards use it: macros of the PostgreSQL data
 * source, variables, and the Elasticsearch data source's requests. Anything it does not know is an error.
 */
export interface Expansion {
  /** The dashboard's variables. */
  variables: Record<string, string>;
  from: Date;
  to: Date;
  /** Width of a point, in seconds. */
  intervalS: number;
  /** Of Prometheus's scrapes, in seconds. */
  scrapeIntervalS: number;
}

/** https://grafana.com/docs/grafana/latest/visualizations/dashboards/variables/add-template-variables/#global-variables */
function builtIn(name: string, { from, to, intervalS, scrapeIntervalS }: Expansion): string | undefined {
  switch (name) {
    case '__interval':
      return `${intervalS}s`;
    case '__rate_interval':
      return `${Math.max(intervalS + scrapeIntervalS, 4 * scrapeIntervalS)}s`;
    case '__range':
      return `${Math.round((to.getTime() - from.getTime()) / 1000)}s`;
    default:
      return undefined;
  }
}

/** Replaces `$name` and `${name:format}`. @throws on names and formats it does not know. */
export function expandVariables(text: string, expansion: Expansion): string {
  return text.replace(
    /\$\{(\w+)(?::(\w+))?\}|\$(\w+)/g,
    (_, braced: string, format: string | undefined, plain: string) => {
      const name = braced ?? plain;
      const value = builtIn(name, expansion) ?? expansion.variables[name];
      if (value === undefined) throw new Error(`unknown variable $${name}`);
      if (format === undefined) return value;
      if (format === 'sqlstring') return `'${value.replaceAll("'", "''")}'`;
      throw new Error(`unknown format ${format} of $${name}`);
    },
  );
}

/** https://grafana.com/docs/grafana/latest/datasources/postgres/query-editor/#macros */
export function expandSql(sql: string, expansion: Expansion): string {
  const { from, to } = expansion;
  const group = (column: string, interval: string) => {
    const seconds = /^(\d+)s$/.exec(interval)?.[1];
    if (seconds === undefined) throw new Error(`unknown interval ${interval}`);
    return `floor(extract(epoch from ${column})/${seconds})*${seconds}`;
  };
  const macros = sql
    .replaceAll('$__interval', `${expansion.intervalS}s`)
    .replace(/\$__(\w+)\(([^()]*)\)/g, (_, macro: string, list: string) => {
      const [column = '', interval = ''] = list.split(',').map((argument) => argument.trim());
      switch (macro) {
        case 'timeFilter':
          return `${column} BETWEEN '${from.toISOString()}' AND '${to.toISOString()}'`;
        case 'timeGroup':
          return group(column, interval);
        case 'timeGroupAlias':
          return `${group(column, interval)} AS "time"`;
        default:
          throw new Error(`unknown macro $__${macro}`);
      }
    });
  return expandVariables(macros, expansion);
}

interface ElasticsearchTarget {
  query: string;
  timeField: string;
  metrics: { id: string; type: string }[];
  bucketAggs: { id: string; type: string; field: string; settings: Record<string, string> }[];
}

/** The request of a query with metric `count` (a bucket's own) and nested terms and date histograms. */
export function elasticsearchRequest(target: ElasticsearchTarget, expansion: Expansion): object {
  for (const { type } of target.metrics) if (type !== 'count') throw new Error(`unknown metric ${type}`);
  const range = {
    gte: expansion.from.getTime(),
    lte: expansion.to.getTime(),
    format: 'epoch_millis',
  };
  const aggs = target.bucketAggs.reduceRight<object | undefined>(
    (inner, { id, type, field, settings }) => ({
      [id]: { ...bucket(type, field, settings, expansion), ...(inner && { aggs: inner }) },
    }),
    undefined,
  );
  return {
    size: 0,
    query: {
      bool: {
        filter: [
          { range: { [target.timeField]: range } },
          {
            query_string: { analyze_wildcard: true, query: expandVariables(target.query, expansion) },
          },
        ],
      },
    },
    aggs,
  };
}

function bucket(type: string, field: string, settings: Record<string, string>, expansion: Expansion): object {
  switch (type) {
    case 'date_histogram':
      return {
        date_histogram: {
          field,
          fixed_interval: settings.interval === 'auto' ? `${expansion.intervalS}s` : settings.interval,
          min_doc_count: Number(settings.min_doc_count),
          extended_bounds: { min: expansion.from.getTime(), max: expansion.to.getTime() },
          format: 'epoch_millis',
        },
      };
    case 'terms':
      return {
        terms: {
          field,
          size: Number(settings.size),
          order: { [settings.orderBy!]: settings.order },
          min_doc_count: Number(settings.min_doc_count),
        },
      };
    default:
      throw new Error(`unknown aggregation ${type}`);
  }
}
