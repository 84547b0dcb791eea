// `npm run audit`: does any way lead from the model to the host?
//
// The real OpenCode runs in each state of the plugin, and the scripted model and a scripted user try
// every channel that is known (rows-model.mjs, rows-user.mjs): to read a secret, to write, to
// execute, to reach a server on loopback. Three watchers look from outside (watch.mjs). First of
// all they look at OpenCode without the plugin, where they must see all of it.
//
// Options: --state NAME and --row ID (each may be repeated) for a part of it.

import { parseArgs } from "node:util"
import { ensureLocal, ensurePackage, ensurePackages, ensurePrograms, ensureTools, enterPrograms } from "../lib/setup.mjs"
import { packedPackage } from "../lib/world.mjs"
import { FAMILIES, round, rows, STATES, states } from "./round.mjs"
import { canTrace } from "./trace.mjs"
import { idle, judge, readmeLine, unseen } from "./verdict.mjs"
import { kept, KINDS } from "./watch.mjs"

/** As many states at a time. */
const LANES = 2

/** Runs the audit. Gives `{ lines, effects, secrets, problems, rows, states }`. */
export async function audit({ chosen = rows, names = STATES, say = () => {} } = {}) {
  const lines = []
  const problems = []
  const trace = canTrace()
  if (!trace) {
    lines.push("process trace: NOT AVAILABLE (strace cannot trace here), so nobody saw what was executed")
    if (process.env.CI) problems.push("no process trace, which CI must have")
  }
  packedPackage()
  // The slow ones first.
  const waiting = ["plain", "down", "healthy", "missing", "no-key", "corrupt"].filter((name) => name === "plain" || names.includes(name))
  const done = new Map()
  const lane = async () => {
    for (let name; (name = waiting.shift()); ) {
      say(`${name}: ${states[name].what}`)
      done.set(name, await round(name, { chosen, trace }))
      say(`${name}: ${done.get(name).seconds.toFixed(0)} s`)
    }
  }
  await Promise.all(Array.from({ length: LANES }, lane))

  // The self-check: what the watchers see where nothing holds.
  const plain = done.get("plain")
  const rowsThere = chosen.filter((row) => trace || !row.plain.includes("x"))
  for (const missed of unseen(rowsThere, plain.effects)) problems.push(`self-check: the watchers did not see plain OpenCode do this: ${missed}`)
  const kinds = Object.entries(KINDS).map(([kind, name]) => `${name} ${new Set(plain.effects.filter((effect) => effect.kind === kind).map(({ row }) => row)).size}`)
  lines.push(`self-check: without the plugin, effects in ${chosen.filter(({ id }) => plain.effects.some(({ row }) => row === id)).length} of ${chosen.length} rows (${kinds.join(", ")})`, "")
  if (done.has("healthy")) for (const what of idle(chosen, done.get("healthy").results)) problems.push(`this try proves nothing, for the sandbox did not do it: ${what}`)

  const width = Math.max(...chosen.map(({ id, what }) => id.length + what.length)) + 4
  const table = (...cells) => cells.map((cell, at) => String(cell).padEnd(at ? 12 : width)).join(" ").trimEnd()
  lines.push(table("row", "plain", ...names))
  const effects = []
  const footnotes = new Map()
  const note = (text, row) => footnotes.set(text, [...(footnotes.get(text) ?? []), row])
  for (const row of [...chosen, { id: "(no row)", what: "what no try's token is in", plain: "" }]) {
    const of = (name) => done.get(name).effects.filter((effect) => (row.id === "(no row)" ? !rows.some(({ id }) => id === effect.row) : effect.row === row.id))
    const cells = names.map((name) => {
      const verdict = judge(row, name, of(name))
      effects.push(...verdict.effects.map((effect) => ({ ...effect, row: row.id, state: name })))
      if (verdict.own.length) note(`the user's own: ${readmeLine((row.own ?? row.missing)[0])}`, row.id)
      if (verdict.opened) note(`ok: ${row.opens}`, row.id)
      if (verdict.cell === "-") note(`-: ${row.unnamed[name]}`, row.id)
      return verdict.cell
    })
    const there = [...new Set(of("plain").map(({ kind }) => kind))]
    lines.push(table(`${row.id}: ${row.what}`, Object.keys(KINDS).filter((kind) => there.includes(kind)).join("") || ".", ...cells))
  }
  lines.push("", `plain: what happens without the plugin (${Object.entries(KINDS).map(([kind, name]) => `${kind} ${name}`).join(", ")})`)
  for (const [text, ids] of footnotes) lines.push(text, `    ${[...new Set(ids)].join(", ")}`)
  lines.push("not watched:", ...kept.map((text) => `    ${text}`))
  const tries = names.map((name) => done.get(name).tries).reduce((sum, count) => sum + count, 0)
  const calls = names.map((name) => [...done.get(name).results.values()].flat().length).reduce((sum, count) => sum + count, 0)
  lines.push(`${chosen.length} rows × ${names.length} states, ${FAMILIES.length} model families; ${tries} tries with ${calls} calls`)
  // What is the user's own choice to send, as instruction files are, does not count.
  const secrets = effects.filter(({ sent }) => sent).length
  lines.push(`${names.reduce((count, name) => count + done.get(name).requests, 0)} requests to the model, looked through for every secret: of files, of the environment, the API key, a proxy's password`)
  const told = effects.map(({ row, state, kind, what }) => `HOST EFFECT ${state} ${row} ${KINDS[kind]}: ${what}`)
  if (effects.length) lines.push("", ...new Set(told))
  lines.push(...problems.map((problem) => `PROBLEM ${problem}`))
  return { lines, effects, secrets, problems, rows: chosen.length, states: names.length }
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const { values } = parseArgs({ options: { state: { type: "string", multiple: true }, row: { type: "string", multiple: true } } })
  for (const name of values.state ?? []) if (!STATES.includes(name)) fail(`There is no state ${name}: ${STATES.join(", ")}`)
  for (const id of values.row ?? []) if (!rows.some((row) => row.id === id)) fail(`There is no row ${id}: ${rows.map((row) => row.id).join(", ")}`)
  ensureTools()
  ensurePackages()
  ensurePrograms()
  ensurePackage({ reuse: true })
  ensureLocal()
  enterPrograms()
  const chosen = values.row ? rows.filter(({ id }) => values.row.includes(id)) : rows
  const { lines, effects, secrets, problems } = await audit({ chosen, names: values.state ?? STATES, say: (text) => console.error(text) })
  console.log(lines.join("\n"))
  const count = new Set(effects.map(({ row, state }) => `${row} ${state}`)).size
  console.log(`${secrets} secrets in what the model was sent`)
  console.log(`${count} host effects`)
  process.exit(effects.length || problems.length ? 1 : 0)
}

function fail(text) {
  console.error(text)
  process.exit(2)
}
