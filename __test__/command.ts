// The command line as a child process of a test.
import { spawn } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { scratch } from './tiny.js'

const root = join(import.meta.dirname, '..')
/** Where files of the test go. */
export const folder = join(scratch, 'cli')
const cache = join(folder, 'cache')
await mkdir(cache, { recursive: true })

export interface Outcome {
  code: number | null
  out: string
  err: string
}

/** The environment of the tests without what changes how the command line behaves. */
export function plainEnv(): NodeJS.ProcessEnv {
  const other = Object.entries(process.env).filter(([name]) => !/^(SKIMLM_|HF_|NO_COLOR|FORCE_COLOR)/.test(name))
  return Object.fromEntries(other)
}

/** Starts the command line with an empty cache and no network. */
export function start(args: string[], env: NodeJS.ProcessEnv = {}) {
  return spawn(process.execPath, ['--import', '@oxc-node/core/register', 'src/cli/main.ts', ...args], {
    cwd: root,
    env: { ...plainEnv(), SKIMLM_CACHE_DIR: cache, SKIMLM_OFFLINE: '1', ...env },
  })
}

export function outcome(child: ReturnType<typeof start>): Promise<Outcome> {
  let out = ''
  let err = ''
  child.stdout.on('data', (part: Buffer) => (out += part.toString()))
  child.stderr.on('data', (part: Buffer) => (err += part.toString()))
  return new Promise((resolve, reject) => child.on('error', reject).on('close', (code) => resolve({ code, out, err })))
}

export function skimlm(args: string[], { env = {}, stdin = '' as string | Buffer } = {}): Promise<Outcome> {
  const child = start(args, env)
  child.stdin.end(stdin)
  return outcome(child)
}

export async function file(name: string, content: string | Buffer): Promise<string> {
  const path = join(folder, name)
  await writeFile(path, content)
  return path
}

export const story =
  'The keeper lit the lamp at dusk. A red boat came in before the storm. Nobody saw who rowed it. '.repeat(6)
