import { readdir, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { SkimError } from '../errors.js'
import { closest } from './similar.js'

/** The GGUF a path stands for: the file, or the only GGUF of a folder. Null when nothing is there. */
export async function findLocal(path: string): Promise<string | null> {
  const absolute = expand(path)
  const found = await stat(absolute).catch(() => null)
  if (found === null) return null
  return found.isDirectory() ? onlyModel(absolute) : absolute
}

export async function missingPath(path: string): Promise<SkimError> {
  const absolute = expand(path)
  const near = closest(basename(absolute), await modelsIn(dirname(absolute))).map((name) =>
    join(dirname(absolute), name),
  )
  const hint = near.length > 0 ? `Near it: ${near.join(', ')}.` : 'Check the path, or name a built-in model.'
  return new SkimError('ERR_MODEL_NOT_FOUND', `There is no model at ${absolute}. ${hint}`, { path: absolute, near })
}

/** A separator the hub's `owner/name` cannot have, a leading dot or tilde, or the file's extension. */
export function looksLikePath(source: string): boolean {
  return /\.gguf$/i.test(source) || /^[.~/\\]/.test(source) || source.includes('\\') || source.split('/').length > 2
}

async function onlyModel(folder: string): Promise<string> {
  const found = await modelsIn(folder)
  if (found.length === 1) return join(folder, found[0] as string)
  const what = found.length === 0 ? 'no GGUF file' : `${found.length} GGUF files (${found.join(', ')})`
  throw new SkimError('ERR_MODEL_NOT_FOUND', `The folder ${folder} holds ${what}; give the path of one GGUF file.`, {
    path: folder,
    found,
    expected: ['*.gguf'],
  })
}

async function modelsIn(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => [] as string[])
  return names.filter((name) => /\.gguf$/i.test(name)).toSorted()
}

function expand(path: string): string {
  return resolve(/^~(?=$|[/\\])/.test(path) ? join(homedir(), path.slice(1)) : path)
}
