import type { Builder } from '@grafana/grafana-foundation-sdk/cog';
import {
  type Count,
  DataqueryBuilder as ElasticsearchQuery,
  DateHistogramBuilder,
  TermsBuilder,
  TermsOrder,
} from '@grafana/grafana-foundation-sdk/elasticsearch';
import { ELASTICSEARCH } from './data-sources.ts';

/** The index that serves the dataset: the one behind its alias, not one that is being rebuilt. */
const IN_INDEX = '_index:"$index_prefix-$dataset"';

/** The SDK's CountBuilder (0.0.21) leaves the type "unknown", which Grafana does not understand. */
const count: Builder<Count> = { build: () => ({ type: 'count', id: '1' }) };

/** Documents of the time range by one of their dates. */
export const documentCount = (refId: string, alias: string, timeField = 'ingested_at') =>
  new ElasticsearchQuery()
    .refId(refId)
    .datasource(ELASTICSEARCH)
    .query(IN_INDEX)
    .alias(alias)
    .timeField(timeField)
    .metrics([count]);

export const overTime = (timeField = 'ingested_at') =>
  new DateHistogramBuilder().id('2').field(timeField).settings({ interval: 'auto', min_doc_count: '0' });

/** The commonest terms of a field. */
export const byTerm = (field: string) =>
  new TermsBuilder()
    .id('3')
    .field(field)
    .settings({ size: '20', order: TermsOrder.Desc, orderBy: '_count', min_doc_count: '1' });
