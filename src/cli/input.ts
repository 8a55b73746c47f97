import { isUtf8 } from 'node:buffer'
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { SkimError } from '../errors.js'

/** A text file, or stdin for `-`: every byte as it is, or an error that says which byte is not UTF-8. */
export async function readText(path: string): Promise<string> {
  const name = path === '-' ? 'stdin' : resolve(path)
  const bytes = await readBytes(path, name)
  if (isUtf8(bytes)) return decode(bytes, name)
  const offset = firstBadByte(bytes)
  const byte = (bytes[offset] as number).toString(16).padStart(2, '0')
  throw new SkimError(
    'ERR_INVALID_ARG',
    `${name} is not UTF-8: byte ${offset} is 0x${byte}. Convert it first, for example with \`iconv -f latin1 -t utf-8\`.`,
    { path: name, offset },
  )
}

/** Where the longest prefix that is UTF-8 ends. */
export function firstBadByte(bytes: Uint8Array): number {
  // bytes[0, low) is valid and ends at a character; bytes[0, high) is not valid.
  let low = 0
  let high = bytes.length
  while (high - low > 8) {
    const middle = (low + high) >> 1
    if (mayContinue(bytes.subarray(low, middle))) low = lastValidEnd(bytes, low, middle)
    else high = middle
  }
  return lastValidEnd(bytes, low, high)
}

/** The largest end up to `to` with bytes[from, end) valid. */
function lastValidEnd(bytes: Uint8Array, from: number, to: number): number {
  let end = to
  while (end > from && !isUtf8(bytes.subarray(from, end))) end--
  return end
}

/** Valid, but for a character that is cut off at the end. */
function mayContinue(bytes: Uint8Array): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: true })
    return true
  } catch {
    return false
  }
}

async function readBytes(path: string, name: string): Promise<Uint8Array> {
  try {
    if (path !== '-') return await readFile(path)
    const parts: Buffer[] = []
    for await (const part of process.stdin) parts.push(part as Buffer)
    return Buffer.concat(parts)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const why = code === 'ENOENT' ? 'there is no such file' : code === 'EISDIR' ? 'it is a folder' : message
    throw new SkimError(
      'ERR_INVALID_ARG',
      `${name} cannot be read: ${why}.`,
      { path: name, reason: code },
      { cause: error },
    )
  }
}

function decode(bytes: Uint8Array, name: string): string {
  try {
    // A byte order mark is text too: offsets must fit the file.
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes)
  } catch (error) {
    throw new SkimError(
      'ERR_INVALID_ARG',
      `${name} has ${bytes.length} bytes, too many for one string; split it.`,
      { path: name, bytes: bytes.length },
      { cause: error },
    )
  }
}
