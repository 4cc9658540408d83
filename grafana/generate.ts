import { writeFile } from 'node:fs/promises';
import { dashboards, dashboardText } from './dashboards.ts';

// npm run dashboards: writes the committed JSON anew.
for (const [file, dashboard] of Object.entries(dashboards())) {
  await writeFile(new URL(`./dashboards/${file}`, import.meta.url), dashboardText(dashboard));
}
