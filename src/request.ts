import { warningCodes } from './error-codes.js'
import { invalidOption } from './errors.js'
import { checkCallback, checkOptions, checkSignal, pick, plain } from './options.js'
import type { GenerateOptions, Prompt, Warning } from './types.js'

/** A request as it crosses the seam; numbers that may be many travel beside the JSON. */
export interface SeamRequest {
  json: string
  tokens?: Uint32Array
  forced?: Uint32Array
  /** The prompt that offsets index: the caller's, with lone surrogates replaced. */
  prompt: Prompt
  warnings: Warning[]
}

/** More text than this is refused. */
const MAX_TEXT_BYTES = 512 * 1024 * 1024

const samplingKeys = ['temperature', 'topK', 'topP', 'minP', 'repetitionPenalty', 'seed'] as const
const plainKeys = ['policy', 'pins', 'maxNewTokens', 'stop', 'overflow'] as const
const knownKeys = [...plainKeys, ...samplingKeys, 'forceIndices', 'signal', 'onPrefill'] as const

/** Turns a prompt and options to plain data. Ranges are checked by the native side; here is what JSON would lose. */
export function toRequest(
  prompt: Prompt,
  options: GenerateOptions,
  extra: { selectOnly?: boolean; allScores?: boolean } = {},
): SeamRequest {
  checkOptions(options, knownKeys)
  const { signal, onPrefill, forceIndices, seed } = options
  checkSignal(signal)
  checkCallback('onPrefill', onPrefill)
  if (forceIndices !== undefined && !(forceIndices instanceof Uint32Array))
    throw invalidOption('forceIndices', forceIndices, 'a Uint32Array')
  if (seed !== undefined && !(Number.isSafeInteger(seed) && seed >= 0))
    throw invalidOption('seed', seed, 'a whole number of at least 0')
  const sampling = pick(options, samplingKeys)
  for (const [key, value] of Object.entries(sampling))
    if (typeof value !== 'number') throw invalidOption(key, value, 'a number')

  if (typeof prompt !== 'string' && (typeof prompt !== 'object' || prompt === null))
    throw invalidOption('prompt', prompt, 'a string, a list of messages, { document, question } or { tokens }')
  const state = { replaced: false }
  const tokens = bareTokens(prompt)
  const text = tokens ? { tokens: [] } : plain(prompt, 'prompt', state)
  checkSize(prompt)
  const request = { prompt: text, sampling: plain(sampling, '', state), ...extra }
  const json = stringify(Object.assign(request, plain(pick(options, plainKeys), '', state)))
  const warnings: Warning[] = state.replaced ? [{ code: 'W_ILL_FORMED', message: warningCodes.W_ILL_FORMED }] : []
  return {
    json,
    ...(tokens ? { tokens } : {}),
    ...(forceIndices ? { forced: forceIndices } : {}),
    prompt: tokens ? prompt : (text as Prompt),
    warnings,
  }
}

function bareTokens(prompt: Prompt): Uint32Array | undefined {
  if (typeof prompt !== 'object' || !('tokens' in prompt)) return undefined
  if (!(prompt.tokens instanceof Uint32Array)) throw invalidOption('prompt.tokens', prompt.tokens, 'a Uint32Array')
  return prompt.tokens
}

function checkSize(prompt: Prompt): void {
  const fields = (value: object) => Object.values(value ?? {}).filter((field) => typeof field === 'string')
  const texts: string[] =
    typeof prompt === 'string' ? [prompt] : Array.isArray(prompt) ? prompt.flatMap(fields) : fields(prompt)
  // UTF-8 has at least one byte a code unit, so most prompts need no exact count.
  let bytes = texts.reduce((sum, text) => sum + text.length, 0)
  if (bytes <= MAX_TEXT_BYTES && bytes * 3 > MAX_TEXT_BYTES)
    bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0)
  if (bytes > MAX_TEXT_BYTES)
    throw invalidOption('prompt', `${bytes} bytes long`, `at most ${MAX_TEXT_BYTES} bytes of UTF-8`)
}

function stringify(value: unknown): string {
  try {
    return JSON.stringify(value)
  } catch (error) {
    // The engine's longest string is shorter than the escaped prompt.
    throw invalidOption('prompt', (error as Error).message, 'shorter')
  }
}
