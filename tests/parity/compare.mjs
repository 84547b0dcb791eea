// What counts as the same: everything in a part but what is normalized here, and each of these
// normalizations is a deviation with an entry in DEVIATIONS.md.

import { readFileSync } from "node:fs"

const SUGGESTED = "\n\nDid you mean one of these?\n"

/** The deviations that any call may show: by id, how they are taken out of a part. */
const normalizations = {
  /** Where the whole of a cut output is kept. */
  "saved-output"(part) {
    return JSON.parse(part.saved.reduce((text, place) => text.replaceAll(place, "<saved>"), JSON.stringify(part)))
  },
  /** The remark that tells the model of an exit code. */
  "exit-code"(part) {
    const note = `\n\n<shell_metadata>\nThe command ended with exit code ${part.metadata?.exit}.\n</shell_metadata>`
    return part.tool === "bash" && part.output?.endsWith(note) ? { ...part, output: part.output.slice(0, -note.length) } : part
  },
  /** The order in which files are found: in glob, grep, and names that are suggested. */
  order(part) {
    const sorted = (text, separator) => text.split(separator).sort().join(separator)
    // One block per file. How many newlines part two of them depends on the line before, so the
    // blocks are compared without these, and the length of the whole with them.
    const blocks = (text) => {
      const [, found, end] = text.match(/^(.*?)(\n+\(Results truncated[^\n]*\))?$/s)
      return [...found.split(/\n+(?=<root>\/[^\n]*:\n {2}Line )/).map((block) => block.replace(/\n+$/, "")).sort(), found.length, end].join("\n")
    }
    const place = (text) => {
      if (typeof text !== "string") return text
      if (part.tool === "glob") return sorted(text, "\n")
      if (part.tool === "grep") return blocks(text)
      const [head, names] = text.split(SUGGESTED)
      return names === undefined ? text : head + SUGGESTED + sorted(names, "\n")
    }
    return { ...part, output: place(part.output), error: place(part.error) }
  },
}

/** What is compared of a part. `raw` leaves that normalization out. */
function comparable(part, raw) {
  let value = part
  for (const [id, normalize] of Object.entries(normalizations)) {
    if (id !== raw) value = normalize(value)
  }
  const { tool, status, output, error, title, metadata, attachments } = value
  return { tool, status, output, error, title, metadata, attachments: (attachments ?? []).map(({ type, mime, url }) => ({ type, mime, url })) }
}

/** Paths of the fields in which two values differ, with both values. */
export function differences(a, b, path = "") {
  if (JSON.stringify(a) === JSON.stringify(b)) return []
  const bothObjects = a && b && typeof a === "object" && typeof b === "object"
  if (!bothObjects) return [{ path, opencode: a, plugin: b }]
  const keys = [...new Set([...Object.keys(a), ...Object.keys(b)])]
  return keys.flatMap((key) => differences(a[key], b[key], path ? `${path}.${key}` : key))
}

/** In what the two parts of one call differ. */
export const compareParts = ([a, b], raw) => differences(comparable(a, raw), comparable(b, raw))

/** In what two trees differ: the lines that only one of them has. */
export function compareTrees([a, b]) {
  const only = (from, other) => {
    const known = new Set(other.split("\n"))
    return from.split("\n").filter((line) => !known.has(line)).join("\n")
  }
  return a === b ? [] : [{ path: "tree", opencode: only(a, b), plugin: only(b, a) }]
}

/** Text of the differences, cut to what a person reads. */
export function explain(differs) {
  const around = (value, other) => {
    const [text, against] = [JSON.stringify(value) ?? "nothing", JSON.stringify(other) ?? "nothing"]
    if (text.length < 600) return text
    let at = 0
    while (at < text.length && text[at] === against[at]) at++
    return `${at > 200 ? `${at - 200} characters, then ` : ""}${text.slice(Math.max(0, at - 200), at + 400)}`
  }
  return differs.map(({ path, opencode, plugin }) => `${path}\n  OpenCode: ${around(opencode, plugin)}\n  plugin:   ${around(plugin, opencode)}`).join("\n")
}

/** The entries of DEVIATIONS.md, by id. */
export function deviations() {
  const text = readFileSync(new URL("DEVIATIONS.md", import.meta.url), "utf8")
  const rows = [...text.matchAll(/^\| `([a-z-]+)` \|(.*)\|$/gm)]
  return Object.fromEntries(rows.map(([, id, rest]) => [id, rest.split(" | ").map((cell) => cell.trim())]))
}

/** Where a deviation must not show more than this. */
const only = { "web-markdown": /^output$/ }

/** What a row or a tree that names the deviation `id` comes to; nothing if all is as it should be. */
export function verdict(differs, id, both) {
  if (!id) return explain(differs)
  const shown = normalizations[id] ? compareParts(both, id) : differs
  const more = differs.filter(({ path }) => only[id] && !only[id].test(path))
  if (more.length) return explain(more)
  return shown.length ? "" : `it no longer differs: remove the deviation "${id}" here and, if nothing else names it, from DEVIATIONS.md`
}
