import { InferenceSession } from 'onnxruntime-node';
import { HubError, errorText } from '../errors.ts';

/** onnxruntime's level "fatal": its errors reach us as exceptions, its warnings are of no use to our users. */
const LOG_FATAL = 4;

/**
 * Opens an ONNX model in onnxruntime.
 * @param threads threads of one operator; undefined leaves it to onnxruntime (one per physical core)
 * @throws HubError BAD_MODEL with onnxruntime's reason when the bytes cannot be loaded.
 */
export async function openSession(onnx: Uint8Array, threads?: number): Promise<InferenceSession> {
  try {
    return await InferenceSession.create(onnx, {
      ...(threads === undefined ? {} : { intraOpNumThreads: threads }),
      logSeverityLevel: LOG_FATAL,
      // Idle threads sleep instead of spinning: the other workers and servers need the cores (same speed, measured).
      extra: { session: { intra_op: { allow_spinning: '0' } } },
    });
  } catch (cause) {
    throw new HubError('BAD_MODEL', `onnxruntime cannot load the model: ${errorText(cause)}`, {
      cause,
      hint: 'Check that the file is a complete ONNX model in one file, with operators that onnxruntime knows.',
    });
  }
}
