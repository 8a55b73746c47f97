import { styleText } from 'node:util'

export type Style = Parameters<typeof styleText>[0]
export type Paint = (style: Style, text: string) => string

type Stream = Pick<NodeJS.WriteStream, 'isTTY'>

/** NO_COLOR (no-color.org) wins over FORCE_COLOR, which wins over what the stream is. */
export function wantsColor(stream: Stream, env: NodeJS.ProcessEnv = process.env): boolean {
  if (env['NO_COLOR']) return false
  const forced = env['FORCE_COLOR']
  if (forced !== undefined) return forced !== '0' && forced !== 'false'
  return stream.isTTY === true && env['TERM'] !== 'dumb'
}

export function painter(stream: Stream): Paint {
  // Node 20 does not look at the stream by itself, and newer versions look at stdout: the decision is made here.
  return wantsColor(stream) ? (style, text) => styleText(style, text, { validateStream: false }) : (_, text) => text
}
