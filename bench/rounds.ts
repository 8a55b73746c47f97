import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { simdLevel } from './cpu.js'

export const root = fileURLToPath(new URL('..', import.meta.url))

/** Runs every case once a round, in order: what else the machine does hits all cases alike. */
export async function interleave<C extends string, R>(
  rounds: number,
  cases: readonly C[],
  measure: (name: C) => Promise<R>,
): Promise<Record<C, R[]>> {
  const results = Object.fromEntries(cases.map((name) => [name, []])) as unknown as Record<C, R[]>
  for (let round = 1; round <= rounds; round++) {
    for (const name of cases) {
      process.stderr.write(`round ${round} of ${rounds}: ${name}\n`)
      // oxlint-disable-next-line no-await-in-loop -- one at a time is the point
      results[name].push(await measure(name))
    }
  }
  return results
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** The median of one number of several samples. */
export const middle = <S>(samples: readonly S[], pick: (sample: S) => number): number => median(samples.map(pick))

export const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`
/** A speed of 0 is that of an answer that has none: it ended with its first token. */
export const perSecond = (tokens: number): string => (tokens > 0 ? `${tokens.toFixed(1)} tokens/s` : '-')
export const megabytes = (bytes: number): string => `${Math.round(bytes / 1e6)} MB`

/** The median of the per-round ratios and their range. */
export function ratio(
  base: readonly number[],
  other: readonly number[],
): { median: number; low: number; high: number } {
  const each = base.map((value, round) => value / other[round]!)
  return { median: median(each), low: Math.min(...each), high: Math.max(...each) }
}

/** Of speeds that some round did not have there is no ratio. */
export function showRatio({ median: middle, low, high }: ReturnType<typeof ratio>): string {
  if (![middle, low, high].every((value) => Number.isFinite(value) && value > 0)) return '-'
  return `${middle.toFixed(2)}x (${low.toFixed(2)} to ${high.toFixed(2)})`
}

/** Runs one measurement in a child process and reads the JSON it prints last. */
export async function inChild<R>(script: string, job: object, program = process.execPath): Promise<R> {
  const child = spawn(program, [script, JSON.stringify(job)], { stdio: ['ignore', 'pipe', 'inherit'] })
  let out = ''
  child.stdout.on('data', (part: Buffer) => (out += part))
  const code = await new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve))
  if (code !== 0) throw new Error(`${script} ended with ${code}`)
  return JSON.parse(out.trim().split('\n').at(-1)!) as R
}

/** A folder for prompts, gone at exit. */
export function scratch(): string {
  const folder = mkdtempSync(join(tmpdir(), 'skimlm-bench-'))
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  return folder
}

export interface Machine {
  cpu: string
  cores: number
  simd: string
  memoryBytes: number
  node: string
  date: string
  commit: string
}

export async function machine(): Promise<Machine> {
  const git = (...args: string[]) => execFileSync('git', args, { cwd: root, encoding: 'utf8' }).trim()
  const changed =
    git('status', '--porcelain', '--untracked-files=no', '--', '.', ':!bench/results', ':!README.md') !== ''
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    simd: (await simdLevel()) + (process.env.SKIMLM_KERNELS ? `, kernels at ${process.env.SKIMLM_KERNELS}` : ''),
    memoryBytes: totalmem(),
    node: process.version,
    date: new Date().toISOString().slice(0, 10),
    commit: git('rev-parse', '--short', 'HEAD') + (changed ? ' with changes' : ''),
  }
}

export function markdownTable(rows: readonly (readonly string[])[]): string {
  const [head = [], ...rest] = rows
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  return `${[line(head), line(head.map(() => '---')), ...rest.map(line)].join('\n')}\n`
}

/** Writes `bench/results/<name>.{json,md}`, prints it, and quotes it, or what is `quoted`, in the README, formatted. */
export function report(name: string, about: Machine, body: string, data: object, quoted = body): void {
  const where = `${about.cpu}, ${about.cores} cores (${about.simd}), Node ${about.node}, ${about.date}, commit ${about.commit}`
  const text = `# ${name}\n\n${where}\n\n${body}`
  const folder = join(root, 'bench/results')
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, `${name}.json`), `${JSON.stringify({ machine: about, ...data }, null, 1)}\n`)
  writeFileSync(join(folder, `${name}.md`), text)
  const readme = join(root, 'README.md')
  const place = new RegExp(`(<!-- ${name} -->\\n).*(\\n<!-- /${name} -->)`, 's')
  writeFileSync(
    readme,
    readFileSync(readme, 'utf8').replace(place, (_, before, after) => `${before}\n${where}\n\n${quoted}${after}`),
  )
  execFileSync('npx', ['prettier', '--log-level', 'warn', '--write', readme], { cwd: root, stdio: 'inherit' })
  process.stdout.write(text)
}
