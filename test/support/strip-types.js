import { stripTypeScriptTypes } from 'node:module';

/** The same type stripping that Node does when it runs the sources, so tests and product see one language. */
export default { process: (source) => ({ code: stripTypeScriptTypes(source) }) };
