// The engines that skimlm is measured beside: how each is run, and what its numbers stand for.
import { join } from 'node:path'
import type { Sample as Own } from '../e2e/job.js'
import { inChild, root } from '../rounds.js'
import { python } from './python.js'

export interface Job {
  model: string
  prompt: string
  maxNewTokens: number
  threads: number
}

/** What every engine tells of a measurement, and what some do. */
export interface Sample
  extends
    Pick<Own, 'ttftMs' | 'decodePerSecond' | 'newTokens' | 'peakBytes' | 'firstTokens'>,
    Partial<Pick<Own, 'usage'>> {
  /** The peak without that of loading the model, where an engine can tell. */
  afterLoadingBytes?: number
  release?: Readonly<Record<string, string>>
}

export interface Rival {
  measure(job: Job): Promise<Sample>
  /** Its version and settings in a sentence. */
  about(release: NonNullable<Sample['release']>): string
}

/** Each by its name; a rival that this machine cannot run throws why. */
export const rivals: Readonly<Record<string, () => Rival>> = {
  'llama.cpp': () => ({
    measure: (job) => inChild(join(root, 'bench/peers/llama.mjs'), job),
    about: ({ release, package: version, attention, batch }) =>
      `llama.cpp ${release} (node-llama-cpp ${version}, prebuilt): ${attention} attention, batch ${batch}.`,
  }),
  transformers: () => {
    const program = python()
    return {
      measure: (job) => inChild(join(root, 'bench/peers/transformers_peer.py'), job, program),
      about: ({ transformers, torch, dtype, attention }) =>
        `transformers ${transformers} (PyTorch ${torch?.split('+')[0]} of PyPI without CUDA's libraries): the file's weights as ${dtype}, ${attention} attention, the prompt in one piece, a cache of fixed length; its peak memory counts what reading the file takes.`,
    }
  },
}
