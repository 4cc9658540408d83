/** The command line with one kind of job more, and the command that starts it. */
import { JOB_COMMANDS, JOB_KINDS } from '../../cli/job-kinds.ts';
import { COUNT, COUNTING } from './counting-job.ts';

JOB_KINDS.count = async () => COUNTING;
JOB_COMMANDS.count = async () => COUNT;
await import('../../cli/main.ts');
