import { SkimError } from '../errors.js'

/** `ERR_HUB` of what the file system refused at `path`; `what` begins its sentence. */
export function diskFailure(what: string, path: string, error: unknown): SkimError {
  const { code, message } = error as NodeJS.ErrnoException
  const full = code === 'ENOSPC' || code === 'EDQUOT'
  const hint = full
    ? 'Free some space, or set `cacheDir` (environment: SKIMLM_CACHE_DIR) to another disk.'
    : 'Set `cacheDir` (environment: SKIMLM_CACHE_DIR) to a folder that can be written.'
  return new SkimError(
    'ERR_HUB',
    `${what}: ${full ? 'the disk is full' : message}. ${hint}`,
    { path, reason: code },
    { cause: error },
  )
}
