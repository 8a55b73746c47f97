import { hubKeys } from '../hub/index.js'
import { loadModel } from '../load.js'
import { pick } from '../options.js'
import type { LoadOptions, Model } from '../types.js'
import { type ModelFlags, loadKeys, sourceOf } from './flags.js'
import { readText } from './input.js'
import type { ProgressLine } from './render/progress.js'

/** Loads the model that the flags describe, with progress. */
export async function openModel(
  name: string | undefined,
  flags: ModelFlags,
  progress: ProgressLine,
  signal: AbortSignal,
): Promise<Model> {
  const options: LoadOptions = {
    ...pick(flags, loadKeys),
    ...pick(flags, hubKeys),
    signal,
    onProgress: progress.onLoad,
  }
  if (flags.chatTemplate !== undefined) options.chatTemplate = await readText(flags.chatTemplate)
  try {
    return await loadModel(sourceOf(name, flags), options)
  } finally {
    progress.clear()
  }
}
