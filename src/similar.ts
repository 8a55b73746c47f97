/** What a value must be that has to be one of `names`, with the nearest to what was given instead. */
export function oneOf(names: readonly string[], instead: unknown): string {
  const [near] = typeof instead === 'string' ? closest(instead, names) : []
  return `one of ${names.join(', ')}${near ? ` (did you mean ${near}?)` : ''}`
}

/** Up to three of `candidates` that are a few edits away from `wanted`, nearest first. */
export function closest(wanted: string, candidates: readonly string[]): string[] {
  const limit = Math.max(2, Math.floor(wanted.length * 0.4))
  return candidates
    .map((name) => ({ name, distance: distance(wanted.toLowerCase(), name.toLowerCase()) }))
    .filter((candidate) => candidate.distance <= limit)
    .toSorted((a, b) => a.distance - b.distance || a.name.localeCompare(b.name))
    .slice(0, 3)
    .map((candidate) => candidate.name)
}

/** Levenshtein distance. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(replaced, (row[j] as number) + 1, (next[j - 1] as number) + 1))
    }
    row = next
  }
  return row[b.length] as number
}
