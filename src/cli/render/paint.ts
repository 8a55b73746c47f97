import { styleText } from 'node:util'
import { wantsColor } from '../../color.js'

export type Style = Parameters<typeof styleText>[0]
export type Paint = (style: Style, text: string) => string

export function painter(stream: Pick<NodeJS.WriteStream, 'isTTY'>): Paint {
  // Node 20 does not look at the stream by itself, and newer versions look at stdout: the decision is made here.
  return wantsColor(stream) ? (style, text) => styleText(style, text, { validateStream: false }) : (_, text) => text
}
