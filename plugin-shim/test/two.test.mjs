// OpenCode 2 is in no registry that tests can reach: a double stands for it, with the shapes of its plugin
// interface (2.0 to 2.3), and takes nothing that the real one would not take.

import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import plugin from "../dist/index.js"

/** OpenCode 2's own tools, and whether one touches the machine. */
const OWN = { edit: true, execute: false, glob: true, grep: true, patch: true, question: false, read: true, shell: true, skill: true, subagent: false, webfetch: true, websearch: true, write: true }
const HOOKS = { tool: ["execute.before", "execute.after"], session: ["prompt", "context", "compaction", "generate", "title", "model.request"], shell: ["create.before"], permission: ["evaluate"] }

/** An object that has only these members: whatever else is asked for is an error, as a misspelled one should be. */
const only = (name, members) =>
  new Proxy(members, {
    get(target, key) {
      if (typeof key === "symbol" || key in target) return target[key]
      throw new Error(`${name} has no ${String(key)}`)
    },
  })

/** OpenCode 2 with one plugin. `without` names members of the context that it does not have; `refuses` a tool whose name it does not take. */
function openCode2({ without = [], refuses = [] } = {}) {
  const ran = []
  const tools = new Map(Object.keys(OWN).map((name) => [name, { name, execute: async () => (ran.push(name), { content: "host" }) }]))
  const hooks = new Map()
  const editor = only("the editor", {
    add(tool) {
      assert.deepEqual(Object.keys(tool).filter((key) => !["name", "description", "input", "output", "options", "permission", "execute"].includes(key)), [], "unknown properties of a tool")
      assert.match(tool.name, /^[A-Za-z0-9_-]{1,64}$/)
      if (tool.name === "execute" || refuses.includes(tool.name)) throw new Error(`${tool.name} is reserved`)
      assert.equal(typeof tool.description, "string")
      assert.equal(tool.input.type, "object")
      assert.equal(tool.options.codemode, false, "a plugin's tool is hidden behind `execute` unless it says otherwise")
      assert.equal(typeof tool.execute, "function")
      tools.set(tool.name, tool)
    },
  })
  const registration = { dispose() {} }
  const hook = (domain) => (name, callback) => {
    assert.ok(HOOKS[domain].includes(name), `${domain} has no hook ${name}`)
    hooks.set(`${domain} ${name}`, callback)
    return registration
  }
  const transform = (change) => {
    assert.equal(change(editor), undefined, "a transform is synchronous")
    return registration
  }
  const members = { app: { version: "2.3.2" }, tool: only("tool", { transform, hook: hook("tool") }), session: only("session", { hook: hook("session") }), shell: only("shell", { hook: hook("shell") }) }
  for (const name of without) {
    const [member, method] = name.split(".")
    if (method) members[member] = only(member, Object.fromEntries(Object.entries({ transform, hook: hook(member) }).filter(([key]) => key !== method)))
    else delete members[member]
  }
  const trigger = async (name, event) => (await hooks.get(name)?.(event), event)
  return {
    context: only("the context", members),
    ran,
    tools,
    async call(tool) {
      try {
        await trigger("tool execute.before", { tool, sessionID: "s", agent: "build", messageID: "m", id: "c", input: {} })
        return (await tools.get(tool).execute({}, {})).content
      } catch (error) {
        return error.message
      }
    },
    prompt: async (files) => (await trigger("session prompt", { sessionID: "s", messageID: "m", prompt: { text: "look", files }, metadata: {}, delivery: "steer" })).prompt.files,
    shell: (command) => trigger("shell create.before", { command, cwd: "/", timeout: 0, shell: "/bin/sh", env: { KEPT: "1" } }),
  }
}

const REFUSAL = /does not serve OpenCode 2 yet, and this is 2\.3\.2: stay on 1\.18 .*, or remove the plugin .*nothing runs, neither in a sandbox nor on this machine/

test("one export is for both: OpenCode 1 reads `server`, OpenCode 2 `id` and `setup`", () => {
  assert.deepEqual(Object.keys(plugin).sort(), ["id", "server", "setup"])
})

test("every tool of OpenCode 2 that touches the machine refuses, and says what to do", async () => {
  const opencode = openCode2()
  await plugin.setup(opencode.context)
  for (const [tool, touches] of Object.entries(OWN)) {
    const answer = await opencode.call(tool)
    if (touches) assert.match(answer, REFUSAL, tool)
    else assert.equal(answer, "host", tool)
  }
  assert.match(await opencode.call("browser_open"), REFUSAL)
  assert.deepEqual(opencode.ran, Object.keys(OWN).filter((name) => !OWN[name]))
})

test("the refusing tools are offered where the user has denied OpenCode's own", async () => {
  const opencode = openCode2()
  await plugin.setup(opencode.context)
  // A tool is hidden by the rules for its permission: its name, unless it has another.
  for (const [name, touches] of Object.entries(OWN)) if (touches) assert.notEqual(opencode.tools.get(name).options.permission ?? name, name)
})

test("of attached files only what is no file of this machine goes on", async () => {
  const opencode = openCode2()
  await plugin.setup(opencode.context)
  const typed = { uri: "data:text/plain;base64,eA==", name: "pasted" }
  assert.deepEqual(await opencode.prompt([{ uri: "file:///etc/hostname", name: "a" }, typed, { uri: "/etc/hostname", name: "b" }]), [typed])
  assert.equal(await opencode.prompt(undefined), undefined)
})

test("a shell prints the refusal and runs nothing, whether its program or its command counts", async () => {
  const opencode = openCode2()
  await plugin.setup(opencode.context)
  const dir = mkdtempSync(join(tmpdir(), "two-"))
  try {
    const event = await opencode.shell(`touch ${dir}/ran`)
    assert.equal(event.env.KEPT, "1")
    const run = (program, command) => spawnSync(program, ["-c", command], { encoding: "utf8", env: { PATH: process.env.PATH, ...event.env } })
    const typed = run(event.shell, `touch ${dir}/ran`)
    assert.deepEqual([typed.status, typed.stdout], [1, ""])
    assert.match(typed.stderr, REFUSAL)
    assert.equal(run("/bin/sh", event.command).status, 1)
    assert.deepEqual(readdirSync(dir), [])
  } finally {
    rmSync(dir, { recursive: true })
  }
})

for (const without of [["app"], ["tool"], ["tool.transform"], ["tool.hook"], ["session"], ["session.hook"], ["shell"], ["shell.hook"], ["app", "tool", "session", "shell"]]) {
  test(`setup does not throw without ${without.join(", ")}, and replaces what is left`, async () => {
    const opencode = openCode2({ without })
    await plugin.setup(opencode.context)
    const touching = Object.keys(OWN).filter((name) => OWN[name])
    if (!without.includes("tool")) for (const name of touching) assert.match(await opencode.call(name), /does not serve OpenCode 2 yet/, name)
    if (!without.join().includes("shell")) assert.notEqual((await opencode.shell("ls")).shell, "/bin/sh")
  })
}

test("a name that cannot be taken leaves the other tools refusing, and its calls are refused before they run", async () => {
  const opencode = openCode2({ refuses: ["read"] })
  await plugin.setup(opencode.context)
  for (const tool of ["read", "shell", "write"]) assert.match(await opencode.call(tool), REFUSAL, tool)
  assert.deepEqual(opencode.ran, [])
})

test("setup does not throw whatever it is given", async () => {
  for (const context of [undefined, null, {}, { tool: null, session: 1, shell: "x" }]) await plugin.setup(context)
})

test("the built file for OpenCode 2 imports nothing but Node's own and files beside it", () => {
  const text = readFileSync(new URL("../dist/two.js", import.meta.url), "utf8")
  for (const [, from] of text.matchAll(/from "([^"]+)"/g)) assert.match(from, /^(node:|\.\/)/)
})
