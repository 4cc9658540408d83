import type { FindKind, JobKind } from '../jobs/job.ts';
import type { JobCommand } from './job-command.ts';

/** Every kind of job, loaded when one of it is worked on. The name is that of `JobKind.kind`. */
export const JOB_KINDS: Record<string, () => Promise<JobKind>> = {
  sweep: async () => (await import('../classifier/sweep/sweep-job.ts')).SWEEP_JOB,
  reclassify: async () => (await import('../classifier/reclassify/reclassify.ts')).RECLASSIFY,
  predict: async () => (await import('../classifier/reclassify/predict.ts')).PREDICT,
  features: async () => (await import('../classifier/features/features-job.ts')).FEATURES,
};

/** Every command that starts a job, by its name; each can be scheduled. */
export const JOB_COMMANDS: Record<string, () => Promise<JobCommand>> = {
  sweep: async () => (await import('./sweep.ts')).SWEEP_COMMAND,
  reclassify: async () => (await import('./reclassify.ts')).reclassifyCommand,
  predict: async () => (await import('./predict.ts')).predictCommand,
  features: async () => (await import('./features.ts')).featuresCommand,
};

export const findKind: FindKind = async (kind) => JOB_KINDS[kind]?.();
