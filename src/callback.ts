import type { Warning } from './types.js'

/** A callback whose failure is reported once, as a warning; the work goes on without it. */
export function guardCallback<T>(
  name: string,
  callback: ((value: T) => void) | undefined,
  warn: (warning: Warning) => void,
): (value: T) => void {
  let failed = callback === undefined
  return (value) => {
    if (failed) return
    try {
      callback!(value)
    } catch (error) {
      failed = true
      const what = error instanceof Error ? error.message : String(error)
      warn({ code: 'W_CALLBACK', message: `\`${name}\` threw and is not called any more: ${what}` })
    }
  }
}

/** Reports a warning where no result carries it. */
export function emitWarning({ code, message }: Warning): void {
  process.emitWarning(message, { type: 'SkimWarning', code })
}
