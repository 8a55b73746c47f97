/** Splits at a character, but not inside JSON lists, objects and strings. */
export function splitOutside(text: string, at: string): string[] {
  const parts: string[] = []
  let start = 0
  let depth = 0
  let quoted = false
  for (let i = 0; i < text.length; i++) {
    const char = text[i]!
    if (quoted) {
      if (char === '\\') i++
      else if (char === '"') quoted = false
    } else if (char === '"') quoted = true
    else if ('[{'.includes(char)) depth++
    else if (']}'.includes(char)) depth--
    else if (char === at && depth <= 0) {
      parts.push(text.slice(start, i))
      start = i + 1
    }
  }
  return [...parts, text.slice(start)]
}
