export { Troubles, type WaitingHealth as IngestHealth } from '../troubles.ts';
