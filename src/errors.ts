import { errorCodes, type warningCodes } from './error-codes.js'

/** Stable names of failures; never renamed. */
export type ErrorCode = keyof typeof errorCodes

/** Stable names of remarks that do not stop the work; never renamed. */
export type WarningCode = keyof typeof warningCodes

/** Every failure of this package: a stable code, a sentence for people, values for machines. */
export class SkimError extends Error {
  override readonly name = 'SkimError'
  /** Stable; never renamed. */
  readonly code: ErrorCode
  /** The values the message speaks of; which there are depends on the code. */
  readonly details: Readonly<Record<string, unknown>>

  constructor(code: ErrorCode, message: string, details: Record<string, unknown> = {}, options?: ErrorOptions) {
    super(message, options)
    this.code = code
    this.details = Object.freeze(details)
  }
}

/** `ERR_INVALID_ARG` in the words the Rust side uses. */
export function invalidOption(option: string, value: unknown, expected: string): SkimError {
  return new SkimError('ERR_INVALID_ARG', `\`${option}\` is ${show(value)}; it must be ${expected}.`, {
    option,
    value,
    expected,
  })
}

function show(value: unknown): string {
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value)
  return text.length > 80 ? `${text.slice(0, 77)}...` : text
}

interface NativeFailure {
  code: string
  message: string
  details: Record<string, unknown>
  causes: string[]
}

/** What a native call threw, as `SkimError`. Codes, details and causes travel as JSON in the message. */
export function fromNative(error: unknown): SkimError {
  if (error instanceof SkimError) return error
  const failure = parseFailure(error)
  if (failure === null) {
    // The binding's own refusals: a missing argument, a value of the wrong type.
    const message = error instanceof Error ? error.message : String(error)
    const wrongType = (error as { code?: unknown } | null)?.code
    const code =
      typeof wrongType === 'string' && /Expected$|^InvalidArg$/.test(wrongType) ? 'ERR_INVALID_ARG' : 'ERR_INTERNAL'
    return new SkimError(code, message, {}, { cause: error })
  }
  const { code, message, details, causes } = failure
  const cause = error as Error
  cause.message = [message, ...causes].join(' Caused by: ')
  return new SkimError(isErrorCode(code) ? code : 'ERR_INTERNAL', message, details, { cause })
}

function parseFailure(error: unknown): NativeFailure | null {
  if (!(error instanceof Error) || !error.message.startsWith('{')) return null
  try {
    return JSON.parse(error.message) as NativeFailure
  } catch {
    return null
  }
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorCodes, code)
}
