import type { Device, JobContext } from '../jobs/job.ts';

/** Of the devices that IMAGEHUB_DEVICES names, those that onnxruntime can really use here; says what is wrong with others. */
export async function devicesHere({ config, log }: Pick<JobContext, 'config' | 'log'>): Promise<Device[]> {
  // onnxruntime is loaded only where it is asked.
  if (!config.devices.includes('cuda')) return config.devices;
  const { usableDevices } = await import('../classifier/devices.ts');
  const { devices, problem } = await usableDevices(config.devices);
  if (problem !== null) log.warn(`IMAGEHUB_DEVICES names cuda, but ${problem}`);
  return devices;
}
