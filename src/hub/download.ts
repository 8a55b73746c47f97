import { readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { Interrupted, request, statusError, unreachable } from './http.js'
import { type Progress, receive } from './receive.js'
import { wrongSize } from './verify.js'

// The hub's own client downloads whole blobs without resuming, and general download managers keep their own file
// formats and know nothing of gated files; what is needed is one ranged GET in a loop.

export interface Download {
  url: string
  /** Bytes gather here, and stay here when the download is interrupted. */
  partial: string
  /** The size the file must have, where known. */
  bytes?: number | undefined
  token?: string | undefined
  signal?: AbortSignal | undefined
  onProgress?: Progress | undefined
  /** Give up at the first failure to connect: there is another place to get the file from. */
  failFast?: boolean
  timing?: Partial<Timing>
}

export interface Timing {
  /** First wait for a response's head; the n-th failure in a row multiplies it by n + 1. */
  connectMs: number
  /** A body silent for this long counts as dropped. */
  stallMs: number
  /** First pause before another attempt; doubles. */
  backoffMs: number
}

const timing: Timing = { connectMs: 5_000, stallMs: 30_000, backoffMs: 500 }
const failuresInARow = 5
const restarts = 3

/** Fills `partial` with the whole file, resuming what is there; rejects with `ERR_HUB` or `signal.reason`. */
export async function download(d: Download): Promise<void> {
  const { connectMs, stallMs, backoffMs } = { ...timing, ...d.timing }
  let failures = 0
  let restarted = 0
  for (;;) {
    d.signal?.throwIfAborted()
    const have = await sizeOf(d.partial)
    try {
      return await attempt(d, have, connectMs * (failures + 1), stallMs)
    } catch (error) {
      d.signal?.throwIfAborted()
      if (!(error instanceof Interrupted)) throw error
      const now = await sizeOf(d.partial)
      failures = now > have ? 1 : failures + 1
      restarted += now < have ? 1 : 0
      const limit = error.unreachable ? (d.failFast ? 1 : 2) : failuresInARow
      if (failures >= limit || restarted > restarts) throw unreachable(d.url, error, failures)
      await sleep(
        error.retryAfterMs ?? backoffMs * 2 ** (failures - 1),
        undefined,
        d.signal ? { signal: d.signal } : {},
      )
    }
  }
}

async function attempt(d: Download, have: number, connectMs: number, stallMs: number): Promise<void> {
  if (d.bytes !== undefined && have > d.bytes) {
    await truncate(d.partial)
    have = 0
  }
  const known = have > 0 ? await readFile(tagFile(d), 'utf8').catch(() => '') : ''
  const headers: Record<string, string> = { 'accept-encoding': 'identity' }
  if (have > 0) headers['range'] = `bytes=${have}-`
  if (known && !known.startsWith('W/')) headers['if-range'] = known

  const response = await request({ url: d.url, token: d.token, headers, signal: d.signal, connectMs })
  const tag = response.headers.get('etag') ?? ''
  const range = contentRange(response.headers.get('content-range'))
  if (response.status === 416 && have > 0) {
    await response.body?.cancel().catch(() => {})
    if (range?.total === have) return finished(d)
    return restart(d, 'the file on the hub is shorter than what was fetched')
  }
  if (response.status !== 200 && response.status !== 206) throw await statusError(response, d.url)

  const resumed = response.status === 206
  const total = resumed ? range?.total : lengthOf(response)
  if (resumed && (range?.start !== have || (known && tag && tag !== known))) {
    await response.body?.cancel().catch(() => {})
    return restart(d, 'the file on the hub has changed')
  }
  if (d.bytes !== undefined && total !== undefined && total !== d.bytes) {
    await response.body?.cancel().catch(() => {})
    await forget(d)
    throw wrongSize(d.url, d.bytes, total)
  }
  if (tag && tag !== known) await writeFile(tagFile(d), tag)

  const got = await receive(response, {
    to: d.partial,
    from: resumed ? have : 0,
    total: total ?? d.bytes ?? null,
    stallMs,
    onProgress: d.onProgress,
  })
  if (total !== undefined && got < total) throw new Interrupted(`the connection closed ${total - got} bytes early`)
  return finished(d)
}

/** Drops the partial file and everything known about it. */
async function forget(d: Pick<Download, 'partial'>): Promise<void> {
  await rm(d.partial, { force: true })
  await rm(tagFile(d), { force: true })
}

async function finished(d: Download): Promise<void> {
  await rm(tagFile(d), { force: true })
}

async function restart(d: Download, why: string): Promise<never> {
  await forget(d)
  throw new Interrupted(why)
}

function tagFile(d: Pick<Download, 'partial'>): string {
  return `${d.partial}.etag`
}

async function sizeOf(path: string): Promise<number> {
  return (await stat(path).catch(() => null))?.size ?? 0
}

function lengthOf(response: Response): number | undefined {
  const length = Number(response.headers.get('content-length') ?? Number.NaN)
  return Number.isSafeInteger(length) ? length : undefined
}

/** `bytes 10-99/100`, or the form with a star in place of the range, of a 416. */
function contentRange(header: string | null): { start: number | undefined; total: number | undefined } | undefined {
  const parts = /^bytes (?:(\d+)-\d+|\*)\/(\d+|\*)$/.exec(header ?? '')
  if (parts === null) return undefined
  return { start: parts[1] ? Number(parts[1]) : undefined, total: parts[2] === '*' ? undefined : Number(parts[2]) }
}
