import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const folder = mkdtempSync(join(tmpdir(), 'skimlm-test-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))

const made = new Map<string, Promise<string>>()

/**
 * The path of a random model of a few layers, written by the Rust example `tiny`. `options` are its arguments,
 * such as `positions=512` or `template=no`.
 */
export function tinyModel(...options: string[]): Promise<string> {
  const key = options.join(' ')
  const known = made.get(key) ?? write(join(folder, `tiny-${made.size}.gguf`), options)
  made.set(key, known)
  return known
}

/** Makes an existing folder a checkpoint in safetensors of the same model. */
export async function tinyFolder(path: string, ...options: string[]): Promise<void> {
  await write(path, options)
}

/** A folder that is removed when the tests are done. */
export const scratch = folder

async function write(path: string, options: string[]): Promise<string> {
  const example = ['run', '--quiet', '--locked', '--example', 'tiny']
  await run('cargo', [...example, '--', path, ...options], { cwd: join(import.meta.dirname, '..') })
  return path
}
