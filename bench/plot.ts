import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './rounds.js'

/** Bars of one measure, in groups: `values[group][series]`. */
export interface Bars {
  title: string
  groups: readonly string[]
  series: readonly string[]
  values: readonly (readonly number[])[]
  /** Text at the end of a bar. */
  show(value: number): string
}

const width = 760
const labels = 210
const bar = 16
const gap = 14
const colours = ['#8a8f98', '#2f6fde', '#12a594', '#d97706', '#c026d3', '#57606a']

const escaped = (text: string) => text.replace(/[&<>]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[c]!)

/** Writes `bench/results/<name>.svg`. Each group has a scale of its own: lengths differ by more than a plot can show. */
export function plot(name: string, { title, groups, series, values, show }: Bars): void {
  const parts: string[] = [`<text x="0" y="18" font-weight="600">${escaped(title)}</text>`]
  let y = 40
  for (const [g, group] of groups.entries()) {
    const row = values[g]!
    const scale = (width - labels - 110) / Math.max(...row)
    parts.push(`<text x="0" y="${y + 4}" font-weight="600">${escaped(group)}</text>`)
    y += 12
    for (const [s, value] of row.entries()) {
      const length = Math.max(1, value * scale).toFixed(1)
      parts.push(
        `<text x="${labels - 8}" y="${y + 12}" text-anchor="end">${escaped(series[s]!)}</text>`,
        `<rect x="${labels}" y="${y}" width="${length}" height="${bar - 3}" fill="${colours[s % colours.length]}"/>`,
        `<text x="${(labels + Number(length) + 6).toFixed(1)}" y="${y + 12}">${escaped(show(value))}</text>`,
      )
      y += bar
    }
    y += gap + 6
  }
  write(name, width, y, parts)
}

/** A number from 0 to 1 for each row and column, on one map for each series: `values[series][row][column]`. */
export interface Maps {
  title: string
  series: readonly string[]
  rows: readonly string[]
  columns: readonly string[]
  values: readonly (readonly (readonly number[])[])[]
}

const cell = { width: 56, height: 24 }

/** Writes `bench/results/<name>.svg`, maps side by side. */
export function maps(name: string, { title, series, rows, columns, values }: Maps): void {
  const left = 74
  const step = columns.length * cell.width + 26
  const bottom = 64 + rows.length * cell.height
  const parts: string[] = [`<text x="0" y="18" font-weight="600">${escaped(title)}</text>`]
  for (const [r, row] of rows.entries())
    parts.push(`<text x="${left - 8}" y="${80 + r * cell.height}" text-anchor="end">${escaped(row)}</text>`)
  for (const [s, map] of values.entries()) {
    const x = left + s * step
    parts.push(`<text x="${x}" y="50" font-weight="600">${escaped(series[s]!)}</text>`)
    for (const [c, column] of columns.entries()) {
      const middle = x + c * cell.width + cell.width / 2
      parts.push(`<text x="${middle}" y="${bottom + 18}" text-anchor="middle">${escaped(column)}</text>`)
      for (const [r, row] of map.entries()) {
        const value = row[c]!
        const y = 64 + r * cell.height
        // Opacity over the page's own ground: light and dark come out right without a second palette.
        parts.push(
          `<rect x="${x + c * cell.width}" y="${y}" width="${cell.width - 2}" height="${cell.height - 2}" fill="#2f6fde" fill-opacity="${(0.06 + 0.94 * value).toFixed(2)}"/>`,
          `<text x="${middle}" y="${y + 16}" text-anchor="middle"${value > 0.55 ? ' style="fill:#fff"' : ''}>${value.toFixed(2)}</text>`,
        )
      }
    }
  }
  write(name, left + values.length * step, bottom + 28, parts)
}

function write(name: string, width: number, height: number, parts: string[]): void {
  const style = 'text{font:12px system-ui,sans-serif;fill:#1f2328}@media(prefers-color-scheme:dark){text{fill:#e6edf3}}'
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"><style>${style}</style>\n${parts.join('\n')}\n</svg>\n`
  writeFileSync(join(root, 'bench/results', `${name}.svg`), svg)
}
