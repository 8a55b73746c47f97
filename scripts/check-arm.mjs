// The kernels' tests on an emulated ARM processor. What follows on the command line goes to `cargo test`, in place of
// `-p skimlm-kernels --lib`.
//
// Needs the standard library for it (`rustup target add aarch64-unknown-linux-gnu`), a C compiler that links for it
// (Debian: `gcc-aarch64-linux-gnu libc6-dev-arm64-cross`) and QEMU (`qemu-user`). Slow: an emulator runs every instruction.
import { spawnSync } from 'node:child_process'

const target = 'aarch64-unknown-linux-gnu'
const compiler = 'aarch64-linux-gnu-gcc'
const given = process.argv.slice(2)
const what = given.length > 0 ? given : ['-p', 'skimlm-kernels', '--lib']
// GPU kernels are emulated by what a C++ compiler of this machine makes of them, which another processor cannot load.
const args = ['test', '--locked', '--target', target, ...what, '--', '--skip', 'gpus', '--skip', 'the_kernel_adds']
const { status, error } = spawnSync('cargo', args, {
  stdio: 'inherit',
  env: {
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER: compiler,
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER: 'qemu-aarch64 -L /usr/aarch64-linux-gnu',
    CC_aarch64_unknown_linux_gnu: compiler,
    ...process.env,
  },
})
if (error) throw error
process.exitCode = status ?? 1
