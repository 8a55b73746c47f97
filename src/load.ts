import type { Loading, Model as NativeModel } from '#native'
import { emitWarning, guardCallback } from './callback.js'
import { fromNative } from './errors.js'
import { hubKeys, resolveModel } from './hub/index.js'
import { makeModel } from './model.js'
import { call, noGpus } from './native.js'
import { checkCallback, checkOptions, checkSignal, plain } from './options.js'
import type { DeviceInfo, LoadOptions, LoadProgress, Model, ModelSource } from './types.js'

const engineKeys = [
  'device',
  'dtype',
  'kvDtype',
  'activations',
  'contextLength',
  'threads',
  'tokenizer',
  'chatTemplate',
  'profile',
  'verify',
  'maxQueue',
] as const
const knownKeys: readonly string[] = [...engineKeys, ...hubKeys, 'signal', 'onProgress']

/**
 * Loads a model: from a path, from the model hub, or a built-in one by name. Without a source, the default model.
 *
 * Rejects with `ERR_MODEL_NOT_FOUND`, `ERR_MODEL_CORRUPT` or `ERR_MODEL_UNSUPPORTED` where the file is at fault, `ERR_TOKENIZER`,
 * `ERR_CHAT_TEMPLATE` where the option or the file has one that is wrong, `ERR_HUB` while it is fetched, `ERR_DEVICE`,
 * `ERR_OUT_OF_MEMORY` before weights are read, `ERR_NATIVE_BINDING`, and `ERR_INVALID_ARG`.
 */
export async function loadModel(source?: ModelSource, options: LoadOptions = {}): Promise<Model> {
  checkOptions(options, knownKeys)
  const { signal, onProgress } = options
  checkSignal(signal)
  checkCallback('onProgress', onProgress)
  signal?.throwIfAborted()
  const engine = Object.fromEntries(engineKeys.map((key) => [key, options[key]]))
  const json = JSON.stringify(plain({ ...engine, noGpus: noGpus() }, '', { replaced: false }))
  // Nothing is fetched for options that cannot be.
  call((binding) => binding.checkLoad(json))
  const report = guardCallback<LoadProgress>('onProgress', onProgress, emitWarning)
  const path = await resolveModel(source, { ...options, onProgress: report })
  signal?.throwIfAborted()
  const native = await follow(
    call((binding) => binding.load(path, json)),
    signal,
    report,
  )
  return makeModel(native)
}

/** What models can run on, and what cannot be used with the reason. Throws `ERR_NATIVE_BINDING` where there is no binary. */
export function devices(): DeviceInfo[] {
  return JSON.parse(call((binding) => binding.devices(noGpus()))) as DeviceInfo[]
}

async function follow(
  loading: Loading,
  signal: AbortSignal | undefined,
  report: (progress: LoadProgress) => void,
): Promise<NativeModel> {
  const onAbort = () => loading.cancel()
  signal?.addEventListener('abort', onAbort)
  try {
    for (let news = await loading.progress(); news; news = await loading.progress()) {
      const [loadedBytes = 0, totalBytes = 0] = news
      if (!signal?.aborted) report({ phase: 'weights', loadedBytes, totalBytes })
    }
    const model = await loading.model()
    if (signal?.aborted) await model.dispose()
    signal?.throwIfAborted()
    return model
  } catch (error) {
    signal?.throwIfAborted()
    throw fromNative(error)
  } finally {
    signal?.removeEventListener('abort', onAbort)
  }
}
