// One short session with a release of OpenCode: it starts, and the plugin either serves, with every tool,
// the work's way home and the end of the sandbox, or refuses in one sentence, and nothing runs.

import assert from "node:assert/strict"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { below, expected, fittingScript, release } from "../lib/releases.mjs"
import { createWorld, eventually, git } from "../lib/world.mjs"

const files = { "a.txt": "alpha\n" }
const patch = "*** Begin Patch\n*** Add File: patched.txt\n+patched\n*** End Patch"

/** Every tool of one model family, in the order of their use. */
const SERIAL = [
  ["write", { filePath: "made.txt", content: "one\n" }],
  ["edit", { filePath: "made.txt", oldString: "one", newString: "two" }],
  ["read", { filePath: "made.txt" }],
  ["glob", { pattern: "*.txt" }],
  ["grep", { pattern: "two" }],
  ["bash", { command: "pwd; cat made.txt; echo ran > ran.txt" }],
  ["task", { description: "look", prompt: "script:child", subagent_type: "general" }],
  ["bash", { command: "sleep 1", background: true }],
  ["sync", {}],
]
const PATCH = [["apply_patch", { patchText: patch }], ["bash", { command: "cat patched.txt" }]]
const steps = (calls) => fittingScript(calls.map((call) => ({ calls: [call] })))
const scripts = { tools: steps(SERIAL), patch: steps(PATCH), child: steps([["bash", { command: "cat made.txt; echo child > child.txt" }]]), gone: steps([["webfetch", { url: "http://127.0.0.1:9/" }]]) }

/** What the gate says, and the loader of releases before 1.14. */
const refusal = () => new RegExp(`opencode-daytona-sandbox needs OpenCode \\S+ or later, and this is ${below(release(), "1.1.0") ? "an older one" : release().replaceAll(".", "\\.")}: `)

/** Runs checks one after another in a world of their own; gives `{ name, error }` of each, `error` only of those that fail. */
export async function smoke() {
  const results = []
  const check = async (name, work) => {
    try {
      await work()
      results.push({ name })
    } catch (error) {
      results.push({ name, error: error.message })
    }
  }
  const refuses = expected() === "refuses"
  const world = await createWorld({ files, scripts })
  try {
    const opencode = await world.serve()
    await (refuses ? refusing : serving)(world, opencode, check)
  } catch (error) {
    results.push({ name: "it starts", error: error.message })
  } finally {
    await world.close()
  }
  return results
}

async function serving(world, opencode, check) {
  let session
  await check("it makes a session, and the plugin says that it is ready", async () => {
    session = await opencode.session()
    await eventually("the log", () => /opencode-daytona-sandbox \S+ is ready/.test(world.logs()))
  })
  await check("every tool works in the sandbox", async () => {
    const results = await opencode.prompt(session, "script:tools")
    assert.deepEqual(results.map(({ tool, status }) => `${tool} ${status}`), SERIAL.map(([tool]) => `${tool} completed`), JSON.stringify(results.map(({ text }) => text)))
    assert.match(results[5].output, /^\/home\/daytona\/project\ntwo\n/)
  })
  await check("apply_patch works for the other family of models", async () => {
    const [patched, cat] = await opencode.prompt(session, "script:patch", { model: "gpt-5" })
    assert.equal(patched.status, "completed", patched.text)
    assert.equal(cat.output, "patched\n")
  })
  await check("the model is offered the plugin's arguments", async () => {
    const tools = world.model.requests.findLast((request) => request.tools?.length).tools.map((tool) => tool.function)
    assert.deepEqual(tools.find(({ name }) => name === "bash").parameters.required, ["command"])
    for (const name of ["read", "apply_patch", "glob", "grep", "job", "preview", "sync", "webfetch"]) assert.ok(Object.keys(tools.find((tool) => tool.name === name)?.parameters.properties ?? {}).length || name === "sync", name)
  })
  await check("nothing of it is in the user's worktree", () => {
    for (const name of ["made.txt", "ran.txt", "child.txt", "patched.txt"]) assert.ok(!existsSync(join(world.project, name)), name)
  })
  await check("webfetch does not ask this machine", async () => {
    const [result] = await opencode.prompt(session, "script:gone")
    assert.equal(result.status, "error")
  })
  await check("the work comes home, the subagent's too", async () => {
    const { branch } = await eventually("the work is home", () => {
      const entry = world.store().sessions[session]
      return entry?.home && !entry.unsynced && entry.home
    })
    for (const name of ["made.txt", "ran.txt", "child.txt", "patched.txt"]) assert.ok(git(world.project, "ls-tree", "--name-only", branch).split("\n").includes(name), name)
  })
  await check("with the session its sandbox is deleted", async () => {
    await opencode.request("DELETE", `/session/${session}`)
    await eventually("the deletion", async () => (await world.local.sandboxes()).length === 0)
  })
}

async function refusing(world, opencode, check) {
  let session
  await check("it makes a session", async () => {
    session = await opencode.session()
  })
  for (const [script, model, calls] of [["tools", "m", SERIAL], ["patch", "gpt-5", PATCH]]) {
    await check(`every tool refuses in a sentence (${model})`, async () => {
      const results = await opencode.prompt(session, `script:${script}`, { model })
      assert.equal(results.length, calls.length)
      // A tool that this release does not have is none, and `task` may start a subagent, whose tools refuse.
      for (const { tool, text } of results.filter(({ tool, status }) => tool !== "invalid" && !(tool === "task" && status === "completed"))) assert.match(text, refusal(), `${tool}: ${text}`)
      assert.ok(results.some(({ tool }) => tool !== "invalid"))
    })
  }
  await check("!command refuses in the same sentence", async () => {
    const { parts } = await opencode.request("POST", `/session/${session}/shell`, { agent: "build", command: "touch ran.txt; echo ran", model: { providerID: "fake", modelID: "m" } })
    const { state } = parts.find(({ type }) => type === "tool")
    assert.match(state.output ?? state.error, refusal())
  })
  await check("nothing ran, neither here nor in a sandbox", async () => {
    for (const name of ["made.txt", "ran.txt", "child.txt", "patched.txt"]) assert.ok(!existsSync(join(world.project, name)), name)
    assert.deepEqual(await world.local.sandboxes(), [])
  })
}
