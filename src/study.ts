import type { Study } from '#native'
import { fromNative } from './errors.js'
import { studyOf } from './model.js'
import type { Policy } from './policy-types.js'
import type { Model } from './types.js'

/** Policies beside each other on tasks with known answers. Paths are the caller's. */
export interface EvaluationPlan {
  /** A text file to hide facts in; needed for `tasks`. */
  text?: string
  /** Names of tasks: needle, paraphrase, multikey, multivalue, multiquery, twohop, tracking, common, frequent, ... */
  tasks?: string[]
  /** Document lengths in tokens. */
  lengths?: number[]
  /** Cases of each task and length, or of each file. */
  cases: number
  seed?: number
  /** Files of published benchmarks. */
  files?: { format: 'longbench' | 'ruler' | 'infinitebench'; path: string; templates?: string }[]
  /** `full` first, so that the others have something to differ from; `bm25` is the control that reads words only. */
  policies: { name: string; policy: Policy | { kind: 'bm25'; budget: number } }[]
  /** The folder for records, summary, table and report; records that are there are not measured again. */
  output: string
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
