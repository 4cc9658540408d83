import type { Builder } from '@grafana/grafana-foundation-sdk/cog';
import { type Panel, RowBuilder } from '@grafana/grafana-foundation-sdk/dashboard';
import { PanelBuilder as Stat } from '@grafana/grafana-foundation-sdk/stat';
import { PanelBuilder as Table } from '@grafana/grafana-foundation-sdk/table';
import { PanelBuilder as TimeSeries } from '@grafana/grafana-foundation-sdk/timeseries';
import { POSTGRES, postgres } from './data-sources.ts';
import { DATASET_SQL, FULL, HALF, legend, newest, PANEL_HEIGHT, tooltip } from './shared.ts';

const LISTED_ALERTS = 100;

/** How far newer images are from a reference: a row of its own. */
export const driftRow = () => new RowBuilder('Drift');
export const driftPanels = (): Builder<Panel>[] => [
  driftNow(),
  driftDistances(),
  driftShifts(),
  driftAccuracy(),
  driftAlerts(),
];

/** One series per measure, or per measure and monitor where monitors watch the dataset. */
const DRIFT_SERIES = `measure || coalesce(' (monitor ' || monitor || ')', '')`;

/** Of the measures that a condition names, at the end of each window. */
const driftOverTime = (measures: string) =>
  postgres(
    `
    select window_until as time, ${DRIFT_SERIES} as metric, value
    from drift_over_time where dataset = ${DATASET_SQL} and $__timeFilter(window_until) and ${measures}
    order by 1, 2`,
    { format: 'time_series' },
  );

const driftNow = () =>
  new Stat()
    .reduceOptions(newest())
    .title('Drift alerts now')
    .description('Measures that are over the threshold of a monitor (imagehub drift watch).')
    .datasource(POSTGRES)
    .height(PANEL_HEIGHT)
    .span(4)
    .withTarget(
      postgres(`
    select count(*) as alerts from drift_alerts where dataset = ${DATASET_SQL} and ended_at is null`),
    );

const driftDistances = () =>
  new TimeSeries()
    .legend(legend())
    .tooltip(tooltip())
    .title('Population stability index')
    .description(
      'How far the images of a window are from the reference’s, by the window’s end: from 0.1 on moderately, from 0.25 on far.',
    )
    .datasource(POSTGRES)
    .height(PANEL_HEIGHT)
    .span(20)
    .min(0)
    .withTarget(driftOverTime(`measure like '%psi'`));

const driftShifts = () =>
  new TimeSeries()
    .legend(legend())
    .tooltip(tooltip())
    .title('Shift of the mean')
    .description('Of confidence and pixel statistics, in standard deviations of the reference.')
    .datasource(POSTGRES)
    .height(PANEL_HEIGHT)
    .span(HALF)
    .withTarget(driftOverTime(`measure like '%shift'`));

const driftAccuracy = () =>
  new TimeSeries()
    .legend(legend())
    .tooltip(tooltip())
    .title('Drop in accuracy')
    .description(
      'Accuracy of the reference minus that of the window: by the labels there are, and estimated from the confidence of all images.',
    )
    .datasource(POSTGRES)
    .height(PANEL_HEIGHT)
    .span(HALF)
    .unit('percentunit')
    .withTarget(driftOverTime(`measure like '%accuracy_drop'`));

const driftAlerts = () =>
  new Table()
    .title('Drift alerts')
    .description('Newest first; without an end, the alert lasts.')
    .datasource(POSTGRES)
    .height(7)
    .span(FULL)
    .withTarget(
      postgres(`
    select raised_at as "raised", ended_at as "ended", measure, raised_value as "value", threshold, images, monitor
    from drift_alerts where dataset = ${DATASET_SQL}
    order by raised_at desc limit ${LISTED_ALERTS}`),
    );
