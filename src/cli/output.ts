import { access, constants, writeFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { SkimError } from '../errors.js'

/** Writes a text file; one that cannot be written is `ERR_STORAGE`. */
export async function save(file: string, text: string): Promise<void> {
  const path = resolve(file)
  await writing(path, () => writeFile(path, text))
}

/** Refuses a file in a folder that cannot be written to, before the work whose result would be lost. */
export async function checkFolder(file: string): Promise<void> {
  const path = resolve(file)
  await writing(path, () => access(dirname(path), constants.W_OK))
}

async function writing(path: string, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const details = { path, reason: code }
    throw new SkimError('ERR_STORAGE', `${path} cannot be written: ${message}.`, details, { cause: error })
  }
}
