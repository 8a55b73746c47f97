import type { Study } from '#native'
import { fromNative } from './errors.js'
import { studyOf } from './model.js'
import type { Policy } from './policy-types.js'
import type { Model } from './types.js'

/** A file of cases; for `needle` the folder of text files that the published needle test hides its sentence in. */
export interface BenchmarkFile {
  format: 'longbench' | 'ruler' | 'infinitebench' | 'needle'
  path: string
  /** The benchmark's own prompts. */
  templates?: string
  /** The needle test with the two flaws of the published harness. */
  asPublished?: boolean
}

/** Policies beside each other on tasks with known answers. Paths are the caller's. */
export interface EvaluationPlan {
  /** A text file to hide facts in; needed for `tasks`. */
  text?: string
  /** Names of tasks: needle, paraphrase, multikey, multivalue, multiquery, twohop, tracking, common, frequent, ... */
  tasks?: string[]
  /** Document lengths in tokens. */
  lengths?: number[]
  /** Cases of each task and length, or of each file; depths of each length of the needle test. */
  cases: number
  seed?: number
  /** What published benchmarks are made of. */
  files?: BenchmarkFile[]
  /** Nothing is answered: what policies keep is all that is measured, and filter passes are shared. */
  selectOnly?: boolean
  /** `full` first, so that the others have something to differ from. */
  policies: { name: string; policy: Policy | Bm25 }[]
  /** The folder for records, summary, table and report; records that are there are not measured again. */
  output: string
}

/** The control that reads words only: the best sentences for the question, and everything around the document. */
export interface Bm25 {
  kind: 'bm25'
  budget: number | { ratio: number }
  /** Whether what is around the document counts towards the budget; default true. */
  chargeBudget?: boolean
}

export interface EvaluationProgress {
  done: number
  total: number
  last: { task: string; policy: string; length: number; score?: number; recall?: number; error?: string } | null
}

export interface Mean {
  mean: number
  low: number
  high: number
  n: number
}

/** The means of some records of one policy, with 95 % intervals; differences are to `full` on the same cases. */
export interface EvaluationCell {
  policy: string
  task?: string
  family?: 'single' | 'several' | 'words' | 'continuation'
  length?: number
  cases: number
  errors: number
  score: Mean | null
  scoreDifference: Mean | null
  recall: Mean | null
  lossDifference: Mean | null
  kept: Mean | null
  ttftMs: Mean | null
  speedup: number | null
  prefillMs: Mean | null
  peakBytes: number | null
}

export interface EvaluationSummary {
  policies: EvaluationCell[]
  /** By length: over all tasks, and over those of each family. */
  groups: EvaluationCell[]
  cells: EvaluationCell[]
}

export interface CalibrationPlan {
  /** A text file to hide facts in. */
  text: string
  /** What to call the profile. */
  name: string
  lengths?: number[]
  /** Cases of each task and length to choose heads on, and as many to check them. */
  cases?: number
  seed?: number
  /** The share of the prompt that is read in the end; default 0.2. */
  keep?: number
  /** Prompts of fewer tokens shall be read whole. */
  exactBelow?: number
}

export interface CalibrationProgress {
  phase: 'listen' | 'choose' | 'check'
  done: number
  total: number
}

/** What calibration found: ways to select, the cheapest first. `JSON.stringify` makes the file that `profile` takes. */
export interface Profile {
  name: string
  model: { layers: number; heads: number; hidden: number; vocab: number; fingerprint: string }
  exactBelow: number
  settings: {
    name: string
    policy: Policy
    recall: { mean: number; low: number; high: number; cases: number }
    cost: number
  }[]
  calibration: { tasks: string[]; lengths: number[]; cases: number; seed: number; version: string }
}

interface StudyOptions<P> {
  /** Stops: an evaluation resolves with what is done, a calibration rejects. */
  signal?: AbortSignal
  onProgress?: (progress: P) => void
}

/** Runs an evaluation on a loaded model; other requests wait meanwhile. */
export function evaluate(
  model: Model,
  plan: EvaluationPlan,
  options: StudyOptions<EvaluationProgress> = {},
): Promise<EvaluationSummary> {
  return follow(() => studyOf(model, (native) => native.evaluate(JSON.stringify(plan))), options)
}

/** Calibrates a loaded model; other requests wait meanwhile. */
export function calibrate(
  model: Model,
  plan: CalibrationPlan,
  options: StudyOptions<CalibrationProgress> = {},
): Promise<Profile> {
  return follow(() => studyOf(model, (native) => native.calibrate(JSON.stringify(plan))), options)
}

async function follow<P, R>(start: () => Study, { signal, onProgress }: StudyOptions<P>): Promise<R> {
  signal?.throwIfAborted()
  const study = start()
  const stop = () => study.cancel()
  signal?.addEventListener('abort', stop, { once: true })
  try {
    for (;;) {
      // oxlint-disable-next-line no-await-in-loop -- one piece of news after the other
      const news = JSON.parse((await study.next()) ?? 'null') as { progress: P } | { result: R } | null
      if (news === null) throw new Error('the work ended without a result')
      if ('result' in news) return news.result
      onProgress?.(news.progress)
    }
  } catch (error) {
    throw fromNative(error)
  } finally {
    signal?.removeEventListener('abort', stop)
  }
}
