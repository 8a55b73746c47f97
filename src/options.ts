import { invalidOption } from './errors.js'
import { oneOf } from './similar.js'

/** Refuses what is no object, and entries of unknown names. */
export function checkOptions(options: unknown, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null) throw invalidOption('options', options, 'an object')
  for (const key of Object.keys(options)) if (!known.includes(key)) throw invalidOption(key, key, oneOf(known, key))
}

/** Refuses a `signal` that cannot be listened to; undefined is none. */
export function checkSignal(signal: unknown): void {
  if (signal !== undefined && !(signal instanceof AbortSignal)) throw invalidOption('signal', signal, 'an AbortSignal')
}

/** Refuses a callback that cannot be called; undefined is none. */
export function checkCallback(option: string, callback: unknown): void {
  if (callback !== undefined && typeof callback !== 'function') throw invalidOption(option, callback, 'a function')
}

/** The entries that were given. */
export function pick<T extends object, K extends keyof T>(from: T, keys: readonly K[]): Pick<T, K> {
  return Object.fromEntries(keys.filter((key) => from[key] !== undefined).map((key) => [key, from[key]])) as Pick<T, K>
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
      const below = (where: string, item: unknown) => plain(item, where, state, depth + 1)
      if (Array.isArray(value)) return value.map((item, i) => below(`${path}[${i}]`, item))
      if (ArrayBuffer.isView(value)) throw invalidOption(path, 'a typed array', 'plain JSON')
      const entry = ([key, item]: [string, unknown]) => [key, below(path === '' ? key : `${path}.${key}`, item)]
      return Object.fromEntries(Object.entries(value).map(entry))
    }
    default:
      throw invalidOption(path, typeof value, 'plain JSON')
  }
}
