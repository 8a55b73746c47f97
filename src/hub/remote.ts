import { setTimeout as sleep } from 'node:timers/promises'
import { SkimError } from '../errors.js'
import type { ModelSource } from '../types.js'
import { Interrupted, request, statusError, unreachable } from './http.js'
import type { HubSettings } from './settings.js'

/** A model on the hub. */
export type HubSource = Extract<ModelSource, { hub: string }>

/** One file of a repository on the hub. */
export interface RemoteFile {
  path: string
  bytes: number
  sha256: string | undefined
}

const attempts = 3

/** The file asked for, or the repository's only GGUF. */
export async function chooseFile(source: HubSource, settings: HubSettings): Promise<RemoteFile> {
  const files = (await listFiles(source, settings)).filter((file) => /\.gguf$/i.test(file.path))
  const found = files.map((file) => file.path)
  const chosen = source.file === undefined ? files : files.filter((file) => file.path === source.file)
  if (chosen.length === 1) return chosen[0] as RemoteFile
  throw noOneFile(source, found)
}

/** The files found are not the one asked for, or there are several and none was asked for. */
export function noOneFile(source: HubSource, found: string[]): SkimError {
  const where = `${source.hub} at revision ${source.revision ?? 'main'}`
  const list = found.length > 0 ? `has ${found.join(', ')}` : 'has no GGUF file'
  return new SkimError(
    'ERR_MODEL_NOT_FOUND',
    source.file === undefined
      ? `${where} ${list}; name one with { hub, file }, or --hub-file on the command line.`
      : `${where} has no file ${source.file}; it ${list}.`,
    { hub: source.hub, found, expected: [source.file ?? '*.gguf'] },
  )
}

export function fileUrl(source: HubSource, path: string, endpoint: string): string {
  return `${endpoint}/${source.hub}/resolve/${encodeURIComponent(source.revision ?? 'main')}/${path.split('/').map(encodeURIComponent).join('/')}`
}

async function listFiles(source: HubSource, settings: HubSettings): Promise<RemoteFile[]> {
  const url = `${settings.endpoint}/api/models/${source.hub}/tree/${encodeURIComponent(source.revision ?? 'main')}?recursive=true`
  const entries = await getJson(url, settings)
  if (!Array.isArray(entries))
    throw new SkimError('ERR_HUB', `${url} did not answer with a list of files. Check the hub endpoint.`, { url })
  return entries
    .filter((entry) => entry?.type === 'file' && typeof entry.path === 'string' && isInside(entry.path))
    .map((entry) => ({ path: entry.path, bytes: entry.lfs?.size ?? entry.size, sha256: entry.lfs?.oid }))
}

async function getJson(url: string, settings: HubSettings): Promise<unknown> {
  for (let attempt = 1; ; attempt++) {
    try {
      const response = await request({
        url,
        token: settings.token,
        signal: settings.signal,
        connectMs: 5_000 * attempt,
      })
      if (!response.ok) throw await statusError(response, url)
      return await response.json()
    } catch (error) {
      settings.signal?.throwIfAborted()
      if (error instanceof SkimError) throw error
      const failure = error instanceof Interrupted ? error : new Interrupted('the answer was not JSON')
      if (attempt >= (failure.unreachable ? 2 : attempts)) throw unreachable(url, failure, attempt)
      await sleep(failure.retryAfterMs ?? 500 * attempt, undefined, settings.signal ? { signal: settings.signal } : {})
    }
  }
}

/** The name becomes a path in the cache and must not climb out of it. */
function isInside(path: string): boolean {
  return !path.split(/[/\\]/).some((part) => part === '..' || part === '') && !path.includes(':')
}
