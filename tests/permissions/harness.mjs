// The same calls under the same rules in the real OpenCode, plain and with the plugin; what was
// asked, what came of each call, and whether the turn went on, are compared. Roots and nothing else
// are mapped to one name.

import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fitting } from "../lib/releases.mjs"
import { createWorld, toolResult } from "../lib/world.mjs"
import { agents, files, sessions } from "./table.mjs"

const SANDBOX = { root: "/home/daytona/project", home: "/home/daytona" }
/** Sessions with sandboxes that run at once: enough to hide waiting, few enough for two cores. */
const WIDTH = 3

/** Answers every question of this server as the row says, and keeps it with its call. */
async function listen(opencode, directory, answers) {
  const controller = new AbortController()
  const response = await fetch(`${opencode.url}/event`, { headers: { "x-opencode-directory": directory }, signal: controller.signal })
  const asked = new Map()
  const answer = async ({ id, sessionID, permission, patterns, always, metadata, tool }) => {
    const key = `${sessionID} ${tool.callID}`
    asked.set(key, [...(asked.get(key) ?? []), { permission, patterns, always, metadata }])
    const given = answers.get(sessionID)
    const reply = ["once", "always", "reject"].includes(given) ? { reply: given } : { reply: "reject", message: given }
    await opencode.request("POST", `/permission/${id}/reply`, reply)
  }
  const done = (async () => {
    let text = ""
    for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
      text += chunk
      const events = text.split("\n\n")
      text = events.pop()
      for (const event of events) {
        const { type, properties } = JSON.parse(event.replace(/^data: /, ""))
        if (type === "permission.asked") await answer(properties)
      }
    }
  })().catch((error) => {
    if (!controller.signal.aborted) throw error
  })
  return { asked, stop: async () => (controller.abort(), await done) }
}

/** Rows that can share a session: a plain rejection ends the turn, so such a row is alone. */
function groups(rows) {
  const groups = []
  const shared = new Map()
  rows.forEach(([agent, , , answer], index) => {
    const key = `${agent} ${answer}`
    if (answer === "reject") return groups.push([index])
    if (!shared.has(key)) groups.push(shared.set(key, []).get(key))
    shared.get(key).push(index)
  })
  return groups
}

function restore(project) {
  for (const name of readdirSync(project)) if (name !== ".git") rmSync(join(project, name), { recursive: true })
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(project, path)), { recursive: true })
    writeFileSync(join(project, path), content)
  }
}

/** Runs all rows; gives what came of each. */
async function side({ plain, sets }) {
  const agent = Object.fromEntries(Object.entries(agents).map(([name, permission]) => [name, { mode: "primary", prompt: "Work.", permission }]))
  const config = { agent, snapshot: false, ...(plain ? { plugin: [] } : {}) }
  const world = await createWorld({ files, config, local: plain ? null : undefined })
  try {
    const place = plain ? { root: world.project, home: world.home } : SANDBOX
    const opencode = await world.serve()
    const answers = new Map()
    const events = await listen(opencode, world.project, answers)
    const map = (value) => JSON.parse(mapped(JSON.stringify(value ?? null), place, world))
    const results = []
    for (const { rows, model, inOrder } of sets) {
      const outcomes = []
      const run = async (indexes) => {
        // A sandbox starts with the project as it was; without one the project must.
        if (plain) restore(world.project)
        const [agent, , , answer] = rows[indexes[0]]
        const id = await opencode.session(sessions[agent] ? { permission: sessions[agent] } : {})
        answers.set(id, answer)
        const script = `s-${id}`
        world.model.scripts[script] = indexes.map((index) => {
          const [, tool, args] = rows[index]
          return { calls: fitting([[tool, JSON.parse(JSON.stringify(args).replaceAll("ROOT", place.root))]]) }
        })
        const body = { parts: [{ type: "text", text: `script:${script}` }], model: { providerID: "fake", modelID: model }, agent }
        await opencode.request("POST", `/session/${id}/message`, body)
        const parts = (await opencode.request("GET", `/session/${id}/message`)).flatMap((message) => message.parts)
        const tools = parts.filter((part) => part.type === "tool")
        const wentOn = parts.some((part) => part.type === "text" && part.text === "Done.")
        indexes.forEach((index, at) => {
          const part = tools[at]
          const { tool, status, output, error } = part ? toolResult(part) : {}
          const questions = part ? (events.asked.get(`${id} ${part.callID}`) ?? []) : []
          outcomes[index] = map({ questions, tool, status, output, error, wentOn })
        })
        await opencode.request("DELETE", `/session/${id}`)
      }
      const waiting = inOrder ? rows.map((_, index) => [index]) : groups(rows)
      const worker = async () => {
        for (let next = waiting.shift(); next; next = waiting.shift()) await run(next)
      }
      await Promise.all(Array.from({ length: inOrder || plain ? 1 : WIDTH }, worker))
      results.push(outcomes)
    }
    await events.stop()
    return results
  } finally {
    await world.close()
  }
}

/**
 * One name for each root. The sandbox's home is also where the project is, so both have one name;
 * OpenCode's own data, which some default rules are about, stays on the host.
 */
function mapped(text, { root, home }, world) {
  return text
    .replaceAll(join(world.home, ".local"), "<data>")
    .replaceAll(root, "<root>")
    .replaceAll(home, "<home>")
    .replaceAll(world.base, "<home>")
    .replace(/(\.\.\/){2,}/g, "<up>/")
}

/** Runs the sets on both sides; gives for each row what OpenCode did and what the plugin did. */
export async function compare(sets) {
  const [plain, plugin] = await Promise.all([side({ plain: true, sets }), side({ plain: false, sets })])
  return sets.map(({ rows }, set) => rows.map((row, index) => ({ row, opencode: plain[set][index], plugin: plugin[set][index] })))
}
