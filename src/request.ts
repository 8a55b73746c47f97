import { invalidOption } from './errors.js'
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
  if (typeof options !== 'object' || options === null) throw invalidOption('options', options, 'an object')
  for (const key of Object.keys(options))
    if (!(knownKeys as readonly string[]).includes(key)) throw invalidOption(key, key, `one of ${knownKeys.join(', ')}`)
  const { signal, onPrefill, forceIndices, seed } = options
  if (signal !== undefined && !(signal instanceof AbortSignal)) throw invalidOption('signal', signal, 'an AbortSignal')
  if (onPrefill !== undefined && typeof onPrefill !== 'function')
    throw invalidOption('onPrefill', onPrefill, 'a function')
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
  const warnings = state.replaced
    ? [
        {
          code: 'W_ILL_FORMED',
          message: 'Lone surrogates in the input were replaced by U+FFFD; offsets are unchanged.',
        },
      ]
    : []
  return {
    json,
    ...(tokens ? { tokens } : {}),
    ...(forceIndices ? { forced: forceIndices } : {}),
    prompt: tokens ? prompt : (text as Prompt),
    warnings,
  }
}

/** A deep copy that is plain JSON: no NaN, no functions, no lone surrogates, no `undefined`. */
export function plain(value: unknown, path: string, state: { replaced: boolean }, depth = 0): unknown {
  if (depth > 32) throw invalidOption(path, 'deeper than 32 levels', 'plain JSON')
  switch (typeof value) {
    case 'string':
      if (value.isWellFormed()) return value
      state.replaced = true
      return value.toWellFormed()
    case 'number':
      if (!Number.isFinite(value)) throw invalidOption(path, value, 'a finite number')
      return value
    case 'boolean':
    case 'undefined':
      return value
    case 'object': {
      if (value === null) return null
      const below = (key: string | number, item: unknown) =>
        plain(item, path === '' ? String(key) : `${path}.${key}`, state, depth + 1)
      if (Array.isArray(value)) return value.map((item, i) => below(i, item))
      if (ArrayBuffer.isView(value)) throw invalidOption(path, 'a typed array', 'plain JSON')
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, below(key, item)]))
    }
    default:
      throw invalidOption(path, typeof value, 'plain JSON')
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

function pick<T extends object, K extends keyof T>(from: T, keys: readonly K[]): Partial<Pick<T, K>> {
  return Object.fromEntries(keys.filter((key) => from[key] !== undefined).map((key) => [key, from[key]])) as Partial<
    Pick<T, K>
  >
}
