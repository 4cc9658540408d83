import type { Dashboard } from '@grafana/grafana-foundation-sdk/dashboard';
import { photos } from './photos.ts';
import { pipeline } from './pipeline.ts';
import { predictions } from './predictions.ts';

/** Every dashboard by its file in grafana/dashboards, one per audience. */
export function dashboards(): Record<string, Dashboard> {
  return {
    'predictions.json': numbered(predictions().build()),
    'photos.json': numbered(photos().build()),
    'pipeline.json': numbered(pipeline().build()),
  };
}

/** Panels get their ids here, in order: Grafana would number them anew each time it loads the file. */
function numbered(dashboard: Dashboard): Dashboard {
  for (const [index, panel] of (dashboard.panels ?? []).entries()) panel.id = index + 1;
  return dashboard;
}

/** As committed. */
export const dashboardText = (dashboard: Dashboard): string => `${JSON.stringify(dashboard, null, 2)}\n`;
