import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import type { HubOptions, LoadProgress } from '../types.js'

/** Options with the environment and the defaults filled in. */
export interface HubSettings {
  cacheDir: string
  offline: boolean
  token: string | undefined
  endpoint: string
  signal: AbortSignal | undefined
  onProgress: (progress: LoadProgress) => void
}

/** Options that say how a model is fetched. */
export const hubKeys = ['cacheDir', 'offline', 'hubToken', 'hubEndpoint'] as const

const publicHub = 'https://huggingface.co'

export function hubSettings(options: HubOptions = {}, env: NodeJS.ProcessEnv = process.env): HubSettings {
  return {
    cacheDir: cacheDirectory(options.cacheDir, env),
    offline: options.offline ?? isSet(env['SKIMLM_OFFLINE']),
    token: options.hubToken || env['HF_TOKEN'] || undefined,
    endpoint: (options.hubEndpoint || env['HF_ENDPOINT'] || publicHub).replace(/\/+$/, ''),
    signal: options.signal,
    onProgress: options.onProgress ?? (() => {}),
  }
}

export function cacheDirectory(cacheDir?: string, env: NodeJS.ProcessEnv = process.env): string {
  if (cacheDir) return resolve(cacheDir)
  if (env['SKIMLM_CACHE_DIR']) return resolve(env['SKIMLM_CACHE_DIR'])
  return join(env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'skimlm')
}

/** Whether a yes-or-no variable says yes. */
export function isSet(value: string | undefined): boolean {
  return value !== undefined && !['', '0', 'false', 'no', 'off'].includes(value.trim().toLowerCase())
}
