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

/** Prints a failure, as a sentence or one line of JSON, and returns the exit code it means. */
export function reportFailure(
  error: unknown,
  { json = false, debug = false } = {},
  out: NodeJS.WriteStream = process.stderr,
): number {
  if (error instanceof Interruption) return exit.interrupted
  const { stack, ...failure } = describe(error)
  if (json) out.write(`${JSON.stringify(debug ? { ...failure, stack } : failure)}\n`)
  else {
    const paint = painter(out)
    out.write(`${paint('red', 'error')} ${failure.code}: ${failure.message}\n`)
    if (debug) out.write(`${stack}\n`)
    else if (!(error instanceof SkimError)) out.write(`${paint('dim', 'hint')} --debug shows where it happened\n`)
  }
  return failure.code === 'ERR_INVALID_ARG' ? exit.usage : exit.failure
}

interface Failure {
  code: string
  message: string
  details: Readonly<Record<string, unknown>>
  stack: string
}

function describe(error: unknown): Failure {
  if (!(error instanceof Error)) return { code: 'ERR_INTERNAL', message: String(error), details: {}, stack: '' }
  const { message } = error
  const stack = [error.stack, ...causes(error)].join('\ncaused by ')
  if (error instanceof SkimError) return { code: error.code, message, details: error.details, stack }
  const { code = 'ERR_INTERNAL' } = error as NodeJS.ErrnoException
  return { code, message, details: {}, stack }
}

function causes(error: Error): string[] {
  const all: string[] = []
  for (let cause = error.cause; cause instanceof Error && all.length < 10; cause = cause.cause)
    all.push(String(cause.stack))
  return all
}
