// nvcc and what linking needs, without a CUDA installation: nvcc from PyPI's wheels, and in place of the driver's
// and CUDA's libraries empty ones with the same symbols, since those of the machine that runs are what is loaded.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..')
export const standIn = join(root, 'scripts/cuda/stand-in-nvcc.sh')

const release = '13.0'
const wheels = ['nvidia-cuda-nvcc', 'nvidia-cuda-runtime', 'nvidia-cuda-cccl', 'nvidia-cuda-crt', 'nvidia-nvvm']
const folder = join(root, 'target/cuda')

/** The processor that candle's own kernels are compiled for, and the version of CUDA. */
export const settings = { CUDA_COMPUTE_CAP: process.env.CUDA_COMPUTE_CAP ?? '90', CUDARC_CUDA_VERSION: '13000' }

/** nvcc: `NVCC`, that of `CUDA_HOME`, the one in the path, or that of PyPI, fetched once into `target/cuda`. */
export function nvcc(fetch = run) {
  const { NVCC, CUDA_HOME, PATH = '' } = process.env
  if (NVCC) return NVCC
  const folders = [...(CUDA_HOME ? [join(CUDA_HOME, 'bin')] : []), ...PATH.split(delimiter)]
  const found = folders.map((path) => join(path, 'nvcc')).find((path) => existsSync(path))
  return found ?? join(fetched(fetch), 'bin/nvcc')
}

/** The same, or nothing, said aloud, where PyPI's cannot be fetched or the C++ compiler is missing that it works with. */
export function nvccIfAny() {
  try {
    execFileSync('c++', ['--version'], { stdio: 'ignore' })
    return nvcc((command, args) => execFileSync(command, args, { cwd: root, stdio: 'inherit' }))
  } catch (error) {
    console.log(`skipped: no nvcc can be had here (${error.message.split('\n', 1)[0]})`)
    return undefined
  }
}

/** The folder of PyPI's toolkit. */
function fetched(fetch) {
  const environment = join(folder, 'python')
  const python = join(environment, 'bin/python')
  if (!toolkitIn(environment)) {
    console.log(`nvcc ${release} is fetched from PyPI (about 270 MB, once)`)
    rmSync(environment, { recursive: true, force: true })
    mkdirSync(folder, { recursive: true })
    fetch('python3', ['-m', 'venv', environment])
    fetch(python, ['-m', 'pip', 'install', '--quiet', ...wheels.map((name) => `${name}==${release}.*`)])
  }
  return toolkitIn(environment)
}

function toolkitIn(environment) {
  const lib = join(environment, 'lib')
  const pythons = existsSync(lib) ? readdirSync(lib) : []
  return pythons
    .map((python) => join(lib, python, 'site-packages/nvidia/cu13'))
    .find((path) => existsSync(join(path, 'bin/nvcc')))
}

// What the binary is linked with: file, the name it is loaded by, and where its symbols are listed.
const libraries = [
  ['cuda', 'libcuda.so.1', 'driver'],
  ['cublas', 'libcublas.so.13', 'cublas'],
  ['cublasLt', 'libcublasLt.so.13', 'cublaslt'],
  ['curand', 'libcurand.so.10', 'curand'],
  ['nvrtc', 'libnvrtc.so.13', 'nvrtc'],
  ['cudart', 'libcudart.so.13', 'runtime'],
]

/** A folder to be `CUDA_HOME` where libraries are only linked: `lib64` holds one empty library for each. */
export function linkable() {
  const home = join(folder, 'home')
  const lib = join(home, 'lib64')
  if (libraries.every(([name]) => existsSync(join(lib, `lib${name}.so`)))) return home
  mkdirSync(lib, { recursive: true })
  const bindings = sourceOf('cudarc')
  for (const [name, soname, part] of libraries) {
    const declared = readFileSync(join(bindings, 'src', part, 'sys/mod.rs'), 'utf8')
    const symbols = new Set([...declared.matchAll(/^ *(?:pub )?fn ([A-Za-z_]\w*)\(/gm)].map(([, symbol]) => symbol))
    // What nvcc's own code calls besides; it is in no header.
    if (name === 'cudart') for (const symbol of hidden) symbols.add(symbol)
    const source = join(lib, `${name}.c`)
    writeFileSync(source, [...symbols].map((symbol) => `void ${symbol}(void) {}\n`).join(''))
    run('cc', ['-shared', '-w', `-Wl,-soname,${soname}`, '-o', join(lib, `lib${name}.so`), source])
    rmSync(source)
  }
  const bin = join(home, 'bin')
  rmSync(bin, { recursive: true, force: true })
  symlinkSync(dirname(nvcc()), bin)
  return home
}

const hidden = [
  '__cudaRegisterFatBinary',
  '__cudaRegisterFatBinaryEnd',
  '__cudaUnregisterFatBinary',
  '__cudaRegisterFunction',
  '__cudaRegisterVar',
  '__cudaPushCallConfiguration',
  '__cudaPopCallConfiguration',
  '__cudaInitModule',
  '__cudaLaunchKernel',
  '__cudaLaunchKernel_ptsz',
  '__cudaGetKernel',
]

/** The folder of a dependency's source. */
function sourceOf(crate) {
  const args = ['metadata', '--format-version', '1', '--locked', '--features', 'skimlm-kernels/cuda']
  const out = execFileSync('cargo', args, { cwd: root, maxBuffer: 1 << 28, encoding: 'utf8' })
  const found = JSON.parse(out).packages.find(({ name }) => name === crate)
  if (!found) throw new Error(`There is no crate ${crate} among the dependencies.`)
  return dirname(found.manifest_path)
}

/** Runs a command with its output passed on; its failure ends the script. */
export function run(command, args, env = {}) {
  execute(command, args, env, { stdio: 'inherit' })
}

/**
 * Runs Cargo and answers which file it made last, wherever its target folder is: an executable, or a library of
 * `crate-type` cdylib. A failure ends the script.
 */
export function built(args, env = {}) {
  const out = execute('cargo', [...args, '--message-format', 'json-render-diagnostics'], env, {
    stdio: ['inherit', 'pipe', 'inherit'],
    maxBuffer: 1 << 28,
    encoding: 'utf8',
  })
  const paths = out.split('\n').flatMap((line) => {
    const { executable, filenames = [], target } = line ? JSON.parse(line) : {}
    return executable ?? (target?.crate_types.includes('cdylib') ? filenames[0] : undefined) ?? []
  })
  if (paths.length === 0) throw new Error(`\`cargo ${args.join(' ')}\` made nothing to run or load.`)
  return paths.at(-1)
}

function execute(command, args, env, options) {
  try {
    return execFileSync(command, args, { cwd: root, env: { ...process.env, ...env }, ...options })
  } catch (error) {
    console.error(`\n\`${[command, ...args].join(' ')}\` failed: ${error.message}`)
    process.exit(1)
  }
}
