import type { Builder, Dataquery } from '@grafana/grafana-foundation-sdk/cog';
import type { DataSourceRef } from '@grafana/grafana-foundation-sdk/common';

/** The data sources of provisioning/datasources, by the uids given there. */
export const POSTGRES: DataSourceRef = { type: 'grafana-postgresql-datasource', uid: 'imagehub-postgres' };
export const ELASTICSEARCH: DataSourceRef = { type: 'elasticsearch', uid: 'imagehub-elasticsearch' };
export const PROMETHEUS: DataSourceRef = { type: 'prometheus', uid: 'imagehub-prometheus' };
/** Grafana's own: each query of the panel names its source. */
export const MIXED: DataSourceRef = { type: 'datasource', uid: '-- Mixed --' };

/** A query of Grafana's PostgreSQL data source as it is saved in a dashboard; the SDK has no builder for it. */
export interface PostgresQuery extends Dataquery {
  refId: string;
  datasource: DataSourceRef;
  format: 'table' | 'time_series';
  editorMode: 'code';
  rawQuery: true;
  rawSql: string;
}

/**
 * SQL with Grafana's macros and variables. `time_series` answers have a column `time`, in order; a text column
 * `metric` gives one series per value.
 */
export function postgres(
  rawSql: string,
  { refId = 'A', format = 'table' }: Partial<Pick<PostgresQuery, 'refId' | 'format'>> = {},
): Builder<PostgresQuery> {
  return {
    build: () => ({
      refId,
      datasource: POSTGRES,
      format,
      editorMode: 'code',
      rawQuery: true,
      rawSql: rawSql.trim().replace(/\n {4}/g, '\n'),
      _implementsDataqueryVariant() {},
    }),
  };
}
