import { access } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'

/** The absolute path; what stands there, or stands near it where nothing does, is for the engine to say. */
export function localPath(path: string): string {
  return resolve(/^~(?=$|[/\\])/.test(path) ? join(homedir(), path.slice(1)) : path)
}

export async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}

/** The extension of a model file, a leading dot or tilde, or separators that the hub's `owner/name` cannot have. */
export function looksLikePath(source: string): boolean {
  return (
    /\.(gguf|safetensors)$/i.test(source) ||
    /^[.~/\\]/.test(source) ||
    source.includes('\\') ||
    source.split('/').length > 2
  )
}
