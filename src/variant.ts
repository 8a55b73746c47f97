import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { DeviceInfo } from './types.js'

/** The binary with CUDA that can be used here, or why none can. */
export interface Variant {
  path?: string
  reason: string
}

/** What a child process that loads the binary and lists its devices has to say. */
interface Answer {
  status: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
  error?: Error
}

/**
 * Looks for the binary with CUDA beside the one without, and tries it in a child process first: it links the driver and
 * the CUDA libraries, so loading it may fail or, with a broken driver, end the process.
 */
export function findVariant(binding: string, ask: (path: string) => Answer = askChild): Variant {
  const { platform, arch } = process
  const libc = platform === 'linux' ? '-gnu' : platform === 'win32' ? '-msvc' : ''
  const path = join(dirname(binding), `skimlm.${platform}-${arch}${libc}-cuda.node`)
  if (!existsSync(path))
    return { reason: 'This build runs on the CPU only; `npm run build:cuda` makes the one for NVIDIA GPUs.' }
  const answer = ask(path)
  if (answer.status !== 0) return { reason: refusal(answer) }
  let gpus: DeviceInfo[]
  try {
    gpus = (JSON.parse(answer.stdout) as DeviceInfo[]).filter(({ id }) => id.startsWith('cuda'))
  } catch {
    return { reason: 'The build with CUDA gave no list of devices.' }
  }
  if (gpus.some((gpu) => gpu.reason === undefined)) return { path, reason: '' }
  return { reason: gpus[0]?.reason ?? 'There is no NVIDIA GPU.' }
}

function askChild(path: string): Answer {
  const script = 'process.stdout.write(require(process.argv[1]).devices())'
  // The child of an Electron app must be Node too, and none of ours may listen to a debugger's port.
  const env = { ...process.env, ELECTRON_RUN_AS_NODE: '1', NODE_OPTIONS: '' }
  return spawnSync(process.execPath, ['-e', script, path], { encoding: 'utf8', timeout: 30_000, env })
}

function refusal({ status, signal, stderr, error }: Answer): string {
  const missing = /(lib(?:cuda|cudart|cublas|cublasLt|curand|nvrtc)\.so[.\d]*): cannot open/.exec(stderr)?.[1]
  if (missing?.startsWith('libcuda.so')) return `There is no NVIDIA driver: ${missing} is absent.`
  if (missing) return `A library of CUDA 13 is absent: ${missing}.`
  if ((error as NodeJS.ErrnoException | undefined)?.code === 'ETIMEDOUT')
    return 'The build with CUDA did not answer for 30 seconds.'
  const line = stderr.split('\n').find((text) => /error/i.test(text))
  const how = error?.message ?? line?.trim() ?? `it ended with ${signal ?? `code ${status}`}`
  return `The build with CUDA does not load: ${how}.`
}
