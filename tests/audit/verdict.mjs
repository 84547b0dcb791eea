// What the watchers' findings mean: for each row and state a verdict, and the README lines that
// leave an effect to the user.

import { readFileSync } from "node:fs"
import { join } from "node:path"
import { root } from "../lib/world.mjs"
import { expected } from "../lib/releases.mjs"
import { ownEffect } from "./releases.mjs"
import { KINDS } from "./watch.mjs"

/** First cells of the README's table "What still runs on your machine", with the whole lines. */
export function usersOwn() {
  const readme = readFileSync(join(root, "README.md"), "utf8")
  const section = readme.split("**What still runs on your machine**")[1]?.split("\n\nWhat goes into a sandbox")[0] ?? ""
  const lines = [...section.matchAll(/^\| (.+?) \| (.+) \|$/gm)].map(([line, what]) => ({ what, line }))
  return lines.filter(({ what }) => what !== "what" && !/^-+$/.test(what))
}

/** The one line of the README that starts with `text`; without it, nothing is the user's own. */
export function readmeLine(text) {
  const found = usersOwn().filter(({ what }) => what.startsWith(text))
  if (found.length !== 1) throw new Error(`The README's list of what still runs on your machine has no line ${text}`)
  return found[0].line
}

/** Whether a session was not made because OpenCode does not accept its configuration: then nothing runs. */
export const refused = (error) => error.includes("ConfigInvalidError")

/** A row in a state: `{ cell, effects, notes }`; `effects` are those that count, `notes` say why others do not. */
export function judge(row, state, found) {
  const [line, kinds] = row.own ?? (state === "missing" ? (row.missing ?? []) : [])
  const users = line ? readmeLine(line) : undefined
  const unnamed = row.unnamed?.[state] ?? (expected() === "refuses" ? row.unnamed?.refused : undefined)
  const verdict = { cell: "ok", effects: [], notes: [] }
  const own = []
  for (const effect of found) {
    const release = ownEffect(row.id, effect)
    if (kinds?.includes(effect.kind)) own.push(`the user's own: ${users}`)
    else if (release) own.push(`by itself: ${release.what}${release.line ? ` (${readmeLine(release.line)})` : ""}`)
    else if (effect.opened && row.opens) verdict.notes.push(`ok: ${row.opens}`)
    else if (effect.kind === "p" && unnamed) continue
    else verdict.effects.push(effect)
  }
  if (own.length) verdict.cell = "user's own"
  else if (unnamed) {
    verdict.cell = "-"
    verdict.notes.push(`-: ${unnamed}`)
  }
  if (verdict.effects.length) verdict.cell = "HOST EFFECT"
  verdict.notes.push(...own)
  return verdict
}

/** What the watchers failed to see in plain OpenCode: one text for each row, with what came of its first try. */
export function unseen(rows, found, results) {
  return rows.flatMap((row) => {
    const seen = new Set(found.filter((effect) => effect.row === row.id).map(({ kind }) => kind))
    const missed = [...row.plain].filter((kind) => !seen.has(kind))
    return missed.length ? [`${row.id}: ${missed.map((kind) => KINDS[kind]).join(", ")}; it came to ${JSON.stringify(results.get(row.id)[0])?.slice(0, 600)}`] : []
  })
}

/** Tries that prove nothing, because the sandbox of a healthy plugin did not serve them. */
export function idle(rows, results) {
  return rows.flatMap((row) => {
    const done = results.get(row.id).filter(({ status, tool }) => status === "completed" && tool !== "invalid").length
    return done < Number(row.works ?? 0) ? [`${row.id}: ${JSON.stringify(results.get(row.id)[0])?.slice(0, 300)}`] : []
  })
}
