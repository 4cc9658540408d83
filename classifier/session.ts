import { env, InferenceSession } from 'onnxruntime-node';
import { HubError, errorText } from '../errors.ts';

/** onnxruntime's level "fatal": its errors reach us as exceptions, its warnings are of no use to our users. */
const LOG_FATAL = 4;
env.logLevel = 'fatal';

/** What onnxruntime computes on: the processor, or a GPU by Nvidia. */
export type Device = 'cpu' | 'cuda';

/**
 * Opens an ONNX model in onnxruntime.
 * @param threads threads of one operator; undefined leaves it to onnxruntime (one per physical core)
 * @param device with `cuda`, what CUDA has no kernel for still runs on the processor
 * @throws HubError BAD_MODEL with onnxruntime's reason when the bytes cannot be loaded; NO_DEVICE when onnxruntime cannot
 * use a GPU here.
 */
export async function openSession(
  onnx: Uint8Array,
  threads?: number,
  device: Device = 'cpu',
): Promise<InferenceSession> {
  try {
    return await InferenceSession.create(onnx, {
      ...(threads === undefined ? {} : { intraOpNumThreads: threads }),
      ...(device === 'cuda' ? { executionProviders: ['cuda', 'cpu'] } : {}),
      logSeverityLevel: LOG_FATAL,
      // Idle threads sleep instead of spinning: the other workers and servers need the cores (same speed, measured).
      extra: { session: { intra_op: { allow_spinning: '0' } } },
    });
  } catch (cause) {
    // onnxruntime refuses the provider itself, before it looks at the model.
    if (device === 'cuda' && /ExecutionProvider|CUDA|no available backend/i.test(errorText(cause))) {
      throw new HubError('NO_DEVICE', `onnxruntime cannot use a GPU here: ${errorText(cause)}`, {
        cause,
        hint: 'It takes an Nvidia GPU with CUDA 12 and cuDNN 9, and onnxruntime’s CUDA libraries: ONNXRUNTIME_NODE_INSTALL=cuda12 npm rebuild onnxruntime-node. Without: --device cpu.',
      });
    }
    throw new HubError('BAD_MODEL', `onnxruntime cannot load the model: ${errorText(cause)}`, {
      cause,
      hint: 'Check that the file is a complete ONNX model in one file, with operators that onnxruntime knows.',
    });
  }
}
