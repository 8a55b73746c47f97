/**
 * Text of others, fit to be shown: control characters, which could drive a terminal, become pictures of themselves, and what
 * turns the direction of text, and would reach past its place, is replaced. White space stays.
 */
export function harmless(text: string): string {
  return text
    .replace(/[\0-\x08\x0b\x0c\x0e-\x1f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)))
    .replace(/[\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '\ufffd')
}
