import { SkimError } from '../errors.js'
import { painter } from './render/paint.js'

export const exit = { ok: 0, failure: 1, usage: 2, interrupted: 130 } as const

/** The reason of a signal that Ctrl-C aborted. */
export class Interruption extends Error {
  override readonly name = 'Interruption'

  constructor() {
    super('interrupted')
  }
}

/** Prints a failure for people and returns the exit code it means. */
export function reportFailure(error: unknown, debug: boolean, out: NodeJS.WriteStream = process.stderr): number {
  if (error instanceof Interruption) return exit.interrupted
  const paint = painter(out)
  const { code, message, hint, stack } = describe(error)
  out.write(`${paint('red', 'error')} ${code}: ${message}\n`)
  if (hint) out.write(`${paint('dim', 'hint')} ${hint}\n`)
  if (debug && stack) out.write(`${stack}\n`)
  return code === 'ERR_INVALID_ARG' ? exit.usage : exit.failure
}

interface Description {
  code: string
  message: string
  hint?: string | undefined
  stack?: string | undefined
}

function describe(error: unknown): Description {
  if (!(error instanceof Error)) return { code: 'ERR_INTERNAL', message: String(error) }
  const stack = [error.stack, ...causes(error)].join('\ncaused by ')
  if (!(error instanceof SkimError)) {
    const { code = 'ERR_INTERNAL' } = error as NodeJS.ErrnoException
    return { code, message: error.message, hint: 'Run it again with --debug to see where it happened.', stack }
  }
  const { hint } = error.details
  return { code: error.code, message: error.message, hint: typeof hint === 'string' ? hint : undefined, stack }
}

function causes(error: Error): string[] {
  const all: string[] = []
  for (let cause = error.cause; cause instanceof Error && all.length < 10; cause = cause.cause)
    all.push(String(cause.stack))
  return all
}
