import { readFileSync } from 'node:fs'

/** The most memory this process ever held, in bytes: the system's own mark where it keeps one. */
export function peakBytes() {
  try {
    const [, kib] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))
    return Number(kib) * 1024
  } catch {
    return process.resourceUsage().maxRSS * 1024
  }
}
