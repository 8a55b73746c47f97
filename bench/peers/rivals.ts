// The engines that skimlm is measured beside: how each is run, and what its numbers stand for.
import { join } from 'node:path'
import { inChild, root } from '../rounds.js'
import { python } from './python.js'

export interface Job {
  model: string
  prompt: string
  maxNewTokens: number
  threads: number
}

export interface Sample {
  ttftMs: number
  decodePerSecond: number
  newTokens: number
  peakBytes: number
  /** The first few new ids. */
  firstTokens: number[]
  /** The peak without that of loading the model, where an engine can tell. */
  afterLoadingBytes?: number
  release?: Readonly<Record<string, string>>
  usage?: { keptTokens: number }
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
    about: ({ release }) => `llama.cpp ${release} (node-llama-cpp 3.22.1, prebuilt): flash attention, batch 512.`,
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
