import { emitWarning, guardCallback } from './callback.js'
import { fromNative } from './errors.js'
import { hubKeys, resolveModel } from './hub/index.js'
import { call } from './native.js'
import { checkCallback, checkOptions, checkSignal, plain } from './options.js'
import type { HubOptions, MemoryEstimate, MemoryNeed, ModelInfo, ModelSource } from './types.js'

/** What a model's header says; weights are not read. Rejects like `loadModel`. */
export async function inspectModel(source?: ModelSource, options: HubOptions = {}): Promise<ModelInfo> {
  const path = await fetchModel(source, options)
  return parsed(call((binding) => binding.inspect(path)))
}

/** What a request takes in memory, in bytes, by the model's header; weights are not read. Rejects like `loadModel`. */
export async function estimateMemory(
  source: ModelSource | undefined,
  need: MemoryNeed,
  options: HubOptions = {},
): Promise<MemoryEstimate> {
  const [estimate] = await estimateAll(source, [need], options)
  return estimate!
}

/** The same for several needs; the header is read once. */
export async function estimateAll(
  source: ModelSource | undefined,
  needs: MemoryNeed[],
  options: HubOptions = {},
): Promise<MemoryEstimate[]> {
  const json = JSON.stringify(needs.map((need) => plain(need, '', { replaced: false })))
  const path = await fetchModel(source, options)
  return parsed(call((binding) => binding.estimateMemory(path, json)))
}

function fetchModel(source: ModelSource | undefined, options: HubOptions): Promise<string> {
  checkOptions(options, [...hubKeys, 'signal', 'onProgress'])
  const { signal, onProgress } = options
  checkSignal(signal)
  checkCallback('onProgress', onProgress)
  return resolveModel(source, { ...options, onProgress: guardCallback('onProgress', onProgress, emitWarning) })
}

async function parsed<T>(answer: Promise<string>): Promise<T> {
  try {
    return JSON.parse(await answer) as T
  } catch (error) {
    throw fromNative(error)
  }
}
