import { leftOut } from './test/support/left-out.js';

/** Tests run against real servers: globalSetup starts them once, or joins those named in the environment. */
export default async () => {
  const { jvm, kudu, patterns, reasons } = await leftOut();
  if (jvm) process.env.IMAGEHUB_TEST_WITHOUT_JVM = '1';
  if (kudu) process.env.IMAGEHUB_TEST_WITHOUT_KUDU = '1';
  // jest reads this file twice.
  if (!process.env.IMAGEHUB_TEST_TOLD)
    for (const reason of reasons) console.error(`NOT EVERYTHING IS TESTED. ${reason}.`);
  process.env.IMAGEHUB_TEST_TOLD = '1';
  return {
    testMatch: ['<rootDir>/test/**/*.test.ts'],
    testPathIgnorePatterns: ['/node_modules/', ...patterns],
    testEnvironment: '<rootDir>/test/support/environment.js',
    extensionsToTreatAsEsm: ['.ts'],
    transform: { '\\.ts$': '<rootDir>/test/support/strip-types.js' },
    globalSetup: '<rootDir>/test/support/global-setup.js',
    globalTeardown: '<rootDir>/test/support/global-teardown.js',
    modulePathIgnorePatterns: ['<rootDir>/dist/', '<rootDir>/.imagehub/'],
    // Only what hangs reaches it: a busy machine of two cores takes several times as long as a quiet one.
    testTimeout: 300_000,
    maxWorkers: 3,
  };
};
