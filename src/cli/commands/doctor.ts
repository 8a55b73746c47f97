import { access, constants, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Command } from 'commander'
import { SkimError } from '../../errors.js'
import { builtinPath, defaultModel, hubKeys, hubSettings } from '../../hub/index.js'
import { devices } from '../../load.js'
import { call, native } from '../../native.js'
import { pick } from '../../options.js'
import type { DeviceInfo } from '../../types.js'
import { exit } from '../exit.js'
import { type HubFlags, addHubFlags, flag } from '../flags.js'
import { painter } from '../render/paint.js'
import { bytes } from '../render/units.js'

interface Levels {
  level: string
  present: string[]
  /** Instruction sets of this processor that matter to the kernels. */
  features: string[]
}

interface Check {
  name: string
  state: 'ok' | 'note' | 'bad'
  found: string
  fix?: string
}

export function doctorCommand(program: Command, done: (code: number) => void): void {
  const command = program
    .command('doctor')
    .summary('check the installation and say how to mend it')
    .description(
      'Checks what skimlm needs on this machine; fails where something is missing that it cannot do without.',
    )
  addHubFlags(command)
    .addOption(flag('--json', 'print the checks as one line of JSON'))
    .action(async (flags: HubFlags & { json?: boolean }) => done(await doctor(flags)))
}

async function doctor(flags: HubFlags & { json?: boolean }): Promise<number> {
  const settings = hubSettings(pick(flags, hubKeys))
  const checks = [node(), binding(), ...kernels(), ...usable(), await cache(settings.cacheDir), await model(settings)]
  if (flags.json) process.stdout.write(`${JSON.stringify({ checks })}\n`)
  else process.stdout.write(checks.map(line).join(''))
  return checks.some((check) => check.state === 'bad') ? exit.failure : exit.ok
}

function line({ name, state, found, fix }: Check): string {
  const paint = painter(process.stdout)
  const mark = { ok: paint('green', 'ok  '), note: paint('yellow', 'note'), bad: paint('red', 'bad ') }[state]
  return `${mark}  ${name.padEnd(14)}  ${found}\n${fix ? `${' '.repeat(22)}${paint('bold', 'fix')} ${fix}\n` : ''}`
}

function node(): Check {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const fine = (major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major > 22
  const found = `${process.version} on ${process.platform}-${process.arch}`
  if (fine) return { name: 'node', state: 'ok', found }
  return { name: 'node', state: 'bad', found, fix: 'Install Node 20.19 or newer, or 22.12 or newer.' }
}

function binding(): Check {
  try {
    native()
    return { name: 'native binding', state: 'ok', found: 'loads' }
  } catch (error) {
    const { message, details } = error as SkimError
    return {
      name: 'native binding',
      state: 'bad',
      found: message,
      fix: String(details?.['fix'] ?? 'Build it with `npm run build`.'),
    }
  }
}

/** What computes, where the binding loads; its own check has said why if not. */
function kernels(): Check[] {
  const name = 'kernels'
  try {
    native()
  } catch {
    return []
  }
  try {
    const { level, present, features } = JSON.parse(call((binding) => binding.kernelLevels())) as Levels
    const forced = process.env['SKIMLM_KERNELS'] ? ' as SKIMLM_KERNELS asks' : ''
    const sets = features.length > 0 ? ` (${features.join(', ')})` : ''
    const found = `${level}${forced}, of ${present.join(', ')}${sets}`
    if (present.includes('avx2') || present.includes('neon')) return [{ name, state: 'ok', found }]
    return [{ name, state: 'note', found, fix: 'A processor with AVX2 or NEON is much faster.' }]
  } catch (error) {
    const fix = 'Unset SKIMLM_KERNELS, or name a level that this processor has.'
    return [{ name, state: 'bad', found: (error as SkimError).message, fix }]
  }
}

function usable(): Check[] {
  let found: DeviceInfo[] = []
  try {
    found = devices()
  } catch {
    // The binding's own check has said why.
  }
  return found.map((device) => {
    if (device.reason) return { name: `device ${device.id}`, state: 'note', found: `cannot be used: ${device.reason}` }
    const memory = `${bytes(device.freeBytes)} free of ${bytes(device.totalBytes)}`
    return { name: `device ${device.id}`, state: 'ok', found: `${device.name}, ${memory}` }
  })
}

/** The cache folder need not exist yet; the nearest folder that does must take files. */
async function cache(folder: string): Promise<Check> {
  let at = folder
  while ((await stat(at).catch(() => null)) === null && dirname(at) !== at) at = dirname(at)
  try {
    await access(at, constants.W_OK)
    return { name: 'cache', state: 'ok', found: folder }
  } catch {
    return {
      name: 'cache',
      state: 'bad',
      found: `${folder} cannot be written`,
      fix: 'Set SKIMLM_CACHE_DIR to a folder that can.',
    }
  }
}

async function model(settings: ReturnType<typeof hubSettings>): Promise<Check> {
  const path = builtinPath(defaultModel, settings)
  const size = (await stat(path).catch(() => null))?.size
  if (size === defaultModel.bytes) return { name: 'default model', state: 'ok', found: `${path}, ${bytes(size)}` }
  const found =
    size === undefined ? `${path} is not there` : `${path} has ${size} bytes in place of ${defaultModel.bytes}`
  return {
    name: 'default model',
    state: 'note',
    found,
    fix: `Fetch it with \`skimlm pull\` (${bytes(defaultModel.bytes)}).`,
  }
}
