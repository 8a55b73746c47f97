import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { rm, stat } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import { SkimError } from '../errors.js'

/** What a file must be; unknown parts are left out. */
export interface Expected {
  bytes?: number | undefined
  sha256?: string | undefined
}

/** Removes the file and rejects with `ERR_HUB` unless size and hash are the expected ones. */
export async function verifyFile(path: string, expected: Expected, signal?: AbortSignal): Promise<void> {
  const bytes = (await stat(path)).size
  if (expected.bytes !== undefined && bytes !== expected.bytes) {
    await refuse(path, 'bytes', expected.bytes, bytes)
  }
  if (expected.sha256 === undefined) return
  const hash = createHash('sha256')
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash, signal ? { signal } : {})
  const sha256 = hash.digest('hex')
  if (sha256 !== expected.sha256) await refuse(path, 'sha256', expected.sha256, sha256)
}

async function refuse(path: string, what: 'bytes' | 'sha256', expected: number | string, found: number | string) {
  await rm(path, { force: true })
  throw unexpected(path, what, expected, found)
}

/** The hub announces another size than the one known. */
export function wrongSize(url: string, expected: number, found: number): SkimError {
  return unexpected(url, 'bytes', expected, found)
}

function unexpected(
  from: string,
  what: 'bytes' | 'sha256',
  expected: number | string,
  found: number | string,
): SkimError {
  return new SkimError(
    'ERR_HUB',
    `${from} is not the expected file: its ${what === 'bytes' ? 'size' : 'SHA-256'} is ${found}, not ${expected}. ` +
      'What was fetched has been removed; try again, or another `hubEndpoint`.',
    { from, what, expected, found },
  )
}
