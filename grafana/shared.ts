import {
  LegendDisplayMode,
  LegendPlacement,
  ReduceDataOptionsBuilder,
  StackingConfigBuilder,
  StackingMode,
  TooltipDisplayMode,
  VizLegendOptionsBuilder,
  VizTooltipOptionsBuilder,
} from '@grafana/grafana-foundation-sdk/common';
import {
  ConstantVariableBuilder,
  DashboardBuilder,
  DashboardLinkBuilder,
  DashboardLinkType,
  QueryVariableBuilder,
  VariableRefresh,
  VariableSort,
} from '@grafana/grafana-foundation-sdk/dashboard';
import { POSTGRES } from './data-sources.ts';

/** Grafana's grid is 24 columns wide; a row of it is 30 pixels high. */
export const FULL = 24;
export const HALF = 12;
export const PANEL_HEIGHT = 9;
export const STAT_HEIGHT = 4;

/** The dataset that the reader chose, as an SQL string. */
export const DATASET_SQL = '${dataset:sqlstring}';

export const stacked = () => new StackingConfigBuilder().mode(StackingMode.Normal);

/** The SDK's defaults leave the legend out. */
export const legend = () =>
  new VizLegendOptionsBuilder()
    .showLegend(true)
    .displayMode(LegendDisplayMode.List)
    .placement(LegendPlacement.Bottom);

/** All series at the pointer, not one. */
export const tooltip = () => new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi);

/** A stat shows each field's newest value. */
export const newest = () => new ReduceDataOptionsBuilder().calcs(['lastNotNull']);

/** What all our dashboards share: the variable `dataset`, and a link to the other ones. */
export function dashboard(uid: string, title: string, description: string): DashboardBuilder {
  return new DashboardBuilder(`imagehub: ${title}`)
    .uid(uid)
    .description(description)
    .tags(['imagehub'])
    .refresh('30s')
    .timezone('browser')
    .link(
      new DashboardLinkBuilder('imagehub')
        .type(DashboardLinkType.Dashboards)
        .tags(['imagehub'])
        .includeVars(true)
        .keepTime(true),
    )
    .withVariable(
      new QueryVariableBuilder('dataset')
        .label('Dataset')
        .datasource(POSTGRES)
        .query('select name from imagehub.datasets order by name')
        .refresh(VariableRefresh.OnDashboardLoad)
        .sort(VariableSort.AlphabeticalAsc),
    );
}

/** The setting IMAGEHUB_INDEX_PREFIX: whoever changes it changes it here too. */
export const indexPrefix = () => new ConstantVariableBuilder('index_prefix').value('imagehub');
