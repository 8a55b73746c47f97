import { createRequire } from 'node:module'
import type * as Binding from '#native'
import { fromNative, SkimError } from './errors.js'
import { findVariant, type Variant } from './variant.js'

let binding: typeof Binding | undefined
let variant: Variant | undefined

/** The native binding, loaded at first use: the one with CUDA where it can be used, else the one for the CPU. */
export function native(): typeof Binding {
  if (binding) return binding
  const require = createRequire(import.meta.url)
  const { path } = cuda()
  if (path !== undefined) {
    try {
      return (binding = require(path) as typeof Binding)
    } catch (error) {
      variant = { reason: `The build with CUDA does not load: ${(error as Error).message}` }
    }
  }
  return (binding = load((name) => require(name)))
}

/** Whether the binding is the one with CUDA, and if not, why. */
export function cuda(): Variant {
  return (variant ??= findVariant(resolved()))
}

/** Why there are no GPUs where the binding is the one for the CPU, which knows only that it is one. */
export function noGpus(): string | undefined {
  native()
  const { path, reason } = cuda()
  return path === undefined ? reason : undefined
}

function resolved(): string {
  try {
    return createRequire(import.meta.url).resolve('#native')
  } catch {
    // Where the binding is absent altogether, loading it says so.
    return ''
  }
}

/** Runs a synchronous native call; its errors come out as `SkimError`. */
export function call<T>(work: (binding: typeof Binding) => T): T {
  const loaded = native()
  try {
    return work(loaded)
  } catch (error) {
    throw fromNative(error)
  }
}

/** Loads the binding or says why it cannot be: `ERR_NATIVE_BINDING` with platform, arch, libc, tried and fix. */
export function load(require: (name: string) => unknown): typeof Binding {
  try {
    return require('#native') as typeof Binding
  } catch (error) {
    const { platform, arch } = process
    const libc = libcName()
    const target = [platform, arch, libc].filter(Boolean).join('-')
    const tried = messages(error)
    const fix = fixFor(tried)
    throw new SkimError(
      'ERR_NATIVE_BINDING',
      `No native binding of skimlm could be loaded for ${target}. ${fix}`,
      { platform, arch, libc, tried, fix },
      { cause: error },
    )
  }
}

function libcName(): string | null {
  if (process.platform !== 'linux') return null
  // Without network the report takes a millisecond; with it, reverse look-ups can take seconds.
  const report = process.report as typeof process.report & { excludeNetwork?: boolean }
  report.excludeNetwork = true
  const { header } = report.getReport() as unknown as { header: { glibcVersionRuntime?: string } }
  return header.glibcVersionRuntime ? `glibc ${header.glibcVersionRuntime}` : 'musl'
}

/** The loader tries several files and chains what each of them said. */
function messages(error: unknown): string[] {
  const all: string[] = []
  for (let e = error; e instanceof Error && all.length < 50; e = e.cause) {
    const line = e.message.split('\n', 1)[0]
    if (line && !all.includes(line)) all.push(line)
  }
  return all
}

function fixFor(tried: string[]): string {
  if (tried.some((line) => line.includes('GLIBC_')))
    return 'The system’s glibc is older than the binary needs: build on this machine with `npm run build`.'
  if (tried.some((line) => line.includes('.asar')))
    return 'Unpack the package from the asar archive (`asarUnpack: ["**/skimlm/native/**", "**/@skimlm/**"]`).'
  // The loader tries WebAssembly too.
  const ours = new RegExp(`'(@skimlm/binding-${process.platform}-${process.arch}[\\w-]*)'`)
  const absent = tried.map((line) => ours.exec(line)?.[1]).find(Boolean)
  // An installation from a lockfile of another system lacks it.
  if (absent)
    return `Install ${absent} of the same version beside skimlm, or build it with \`npm run build\` in a checkout of skimlm.`
  return 'Build it with `npm run build` in the package’s folder; when bundling, mark `skimlm` as external.'
}
