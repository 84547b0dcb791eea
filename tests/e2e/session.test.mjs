// One OpenCode server, many sessions: each works in a sandbox of its own, and nowhere else.

import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { existsSync, readFileSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { after, before, describe, test } from "node:test"
import { createWorld, eventually, git, opencodeBinary } from "../lib/world.mjs"

const one = (tool, args) => [{ calls: [[tool, args]] }]

const scripts = {
  where: one("bash", { command: "pwd; whoami; cat a.txt" }),
  tools: [
    { calls: [["write", { filePath: "new/file.txt", content: "one\ntwo\n" }]] },
    { calls: [["edit", { filePath: "new/file.txt", oldString: "two", newString: "TWO" }]] },
    { calls: [["read", { filePath: "new/file.txt" }], ["glob", { pattern: "**/*.txt" }], ["grep", { pattern: "TWO" }]] },
  ],
  patch: [
    { calls: [["apply_patch", { patchText: "*** Begin Patch\n*** Add File: p.txt\n+patched\n*** Update File: a.txt\n@@\n-alpha\n+ALPHA\n*** End Patch" }]] },
    { calls: [["bash", { command: "cat p.txt a.txt" }]] },
  ],
  ten: [{ calls: Array.from({ length: 10 }, (_, n) => ["bash", { command: `echo ${n} > n${n}; ls` }]) }],
  hello: [{ text: "Hello." }],
  mark: one("bash", { command: "echo mine >> mark; cat mark" }),
  marked: one("read", { filePath: "mark" }),
  parent: [
    { calls: [["bash", { command: "echo from the parent > shared" }]] },
    { calls: [["task", { description: "look", prompt: "script:child look at @/etc/hostname and @a.txt", subagent_type: "general" }]] },
  ],
  child: one("bash", { command: "cat shared; pwd" }),
  host: (request, done) =>
    done === 0 ? { calls: [["read", { filePath: `${process.env.TEST_HOST_PROJECT}/a.txt` }], ["bash", { command: `cat ${process.env.TEST_HOST_PROJECT}/a.txt` }]] } : {},
  long: one("bash", { command: "echo begun > begun; while [ ! -e go ]; do sleep 0.05; done; echo ended" }),
  open: one("bash", { command: "touch go" }),
  forever: one("bash", { command: "sleep 12345 & echo started; sleep 12345" }),
}

describe("a session and its sandbox", () => {
  let world, opencode

  before(async () => {
    world = await createWorld({
      scripts,
      files: { "a.txt": "alpha\n", ".gitignore": "ignored\n", ignored: "secret\n", "sub/b.txt": "b\n" },
    })
    process.env.TEST_HOST_PROJECT = world.project
    opencode = await world.serve()
  })
  after(() => world?.close())

  test("the model works in the project's directory of the sandbox, which holds the host's files", async () => {
    const session = await opencode.session()
    const [result] = await opencode.prompt(session, "script:where")
    assert.equal(result.output, "/home/daytona/project\ndaytona\nalpha\n")
  })

  test("every tool of one model family works, and the host's worktree stays as it was", async () => {
    const session = await opencode.session()
    const [write, edit, read, glob, grep] = await opencode.prompt(session, "script:tools")
    assert.equal(write.output, "Wrote file successfully.")
    assert.equal(edit.output, "Edit applied successfully.")
    assert.match(read.output, /^<path>\/home\/daytona\/project\/new\/file.txt<\/path>\n<type>file<\/type>\n<content>\n1: one\n2: TWO\n/)
    assert.match(glob.output, /\/home\/daytona\/project\/new\/file.txt/)
    assert.match(grep.output, /Found 1 matches\n\/home\/daytona\/project\/new\/file.txt:\n {2}Line 2: TWO/)
    assert.deepEqual(readdirSync(world.project).sort(), [".git", ".gitignore", "a.txt", "ignored", "sub"])
    assert.equal(git(world.project, "status", "--porcelain"), "")
  })

  test("a model of the other family gets apply_patch, and the schemas are the plugin's", async () => {
    const session = await opencode.session()
    const [patch, cat] = await opencode.prompt(session, "script:patch", { model: "gpt-5" })
    assert.equal(patch.output, "Success. Updated the following files:\nA p.txt\nM a.txt")
    assert.equal(cat.output, "patched\nALPHA\n")
    const offered = world.model.requests.filter((request) => request.model === "gpt-5" && request.tools?.length).at(-1).tools.map((tool) => tool.function)
    assert.deepEqual(offered.map((tool) => tool.name), ["apply_patch", "bash", "glob", "grep", "job", "preview", "question", "read", "skill", "sync", "task", "todowrite", "webfetch"])
    const bash = offered.find((tool) => tool.name === "bash")
    assert.deepEqual(bash.parameters.required, ["command"])
    assert.deepEqual(Object.keys(bash.parameters.properties).sort(), ["background", "command", "timeout", "workdir"])
  })

  test("ten parallel calls of a fresh session make one sandbox", async () => {
    const before = (await world.local.sandboxes()).length
    const session = await opencode.session()
    const results = await opencode.prompt(session, "script:ten")
    assert.equal(results.filter((result) => result.status === "completed").length, 10)
    assert.equal((await world.local.sandboxes()).length, before + 1)
  })

  test("a subagent works in its parent's sandbox, and no @path of its prompt is read on the host", async () => {
    const before = (await world.local.sandboxes()).length
    const session = await opencode.session()
    const results = await opencode.prompt(session, "script:parent")
    assert.equal(results[1].status, "completed", results[1].error)
    const isUser = (message) => message.role === "user" && JSON.stringify(message.content).includes("script:child")
    const seen = JSON.stringify(world.model.requests.findLast((request) => request.messages.some(isUser)).messages.slice(1))
    assert.ok(seen.includes("from the parent\\n/home/daytona/project"), "the child's bash did not see the parent's file")
    assert.ok(!seen.includes("Called the Read tool"), "an @path was resolved on the host")
    assert.equal((await world.local.sandboxes()).length, before + 1)
  })

  test("two sessions do not see each other's files", async () => {
    const [first, second] = [await opencode.session(), await opencode.session()]
    await opencode.prompt(first, "script:mark")
    const [read] = await opencode.prompt(second, "script:marked")
    assert.equal(read.error, "File not found: /home/daytona/project/mark")
  })

  test("an argument that names the host's worktree means the sandbox's project", async () => {
    const session = await opencode.session()
    const [read, bash] = await opencode.prompt(session, "script:host")
    assert.match(read.output, /<path>\/home\/daytona\/project\/a.txt<\/path>/)
    assert.equal(bash.output, "alpha\n")
  })

  test("the system prompt names the sandbox and no directory of the host", async () => {
    const session = await opencode.session()
    await opencode.prompt(session, "script:where")
    const system = world.model.requests.findLast((request) => request.tools?.length).messages.filter((message) => message.role === "system")
    const text = JSON.stringify(system)
    assert.ok(!text.includes(world.project), "the host's worktree is in the system prompt")
    assert.ok(text.includes("Working directory: /home/daytona/project\\n"), "the sandbox's directory is not named")
    assert.ok(text.includes("# Sandbox"), "the sandbox is not explained")
  })

  test("a sandbox that was stopped runs again, files and all", async () => {
    const session = await opencode.session()
    await opencode.prompt(session, "script:mark")
    await world.local.api("POST", `/sandbox/${world.store().sessions[session].sandboxId}/stop`)
    const [result] = await opencode.prompt(session, "script:mark")
    assert.equal(result.output, "mine\nmine\n")
  })

  test("a sandbox that was deleted elsewhere is replaced, and the model is told", async () => {
    const session = await opencode.session()
    await opencode.prompt(session, "script:mark")
    const old = world.store().sessions[session].sandboxId
    await world.local.api("DELETE", `/sandbox/${old}`)
    const [result] = await opencode.prompt(session, "script:mark")
    assert.match(result.output, /^mine\n\n\n<system-reminder>\nThe sandbox of this session had been deleted\./)
    assert.notEqual(world.store().sessions[session].sandboxId, old)
  })

  test("a command that outlives its first request is waited for", async () => {
    const session = await opencode.session()
    const running = opencode.prompt(session, "script:long")
    const id = await eventually("the sandbox", () => world.store()?.sessions[session]?.ready && world.store().sessions[session].sandboxId)
    const execute = (command) => world.local.control("POST", `/toolbox/${id}/process/execute`, { command, timeout: 10 })
    await eventually("the command's start", async () => (await execute("cat /home/daytona/project/begun")).exitCode === 0)
    await world.local.reset()
    await eventually("a second request", async () => (await world.local.requests()).total > 0, 30)
    await execute("touch /home/daytona/project/go")
    const [result] = await running
    assert.equal(result.output, "ended\n")
  })

  test("an abort kills the command's whole process group", async () => {
    const session = await opencode.session()
    const running = opencode.prompt(session, "script:forever").catch((error) => error)
    const id = await eventually("the sandbox", () => world.store()?.sessions[session]?.ready && world.store().sessions[session].sandboxId)
    const sleeping = async () => JSON.stringify(await world.local.control("GET", `/_test/processes/${id}`)).includes("12345")
    await eventually("the command's start", sleeping)
    await opencode.request("POST", `/session/${session}/abort`)
    await eventually("the command's end", async () => !(await sleeping()))
    await running
  })

  test("a deleted session's sandbox is deleted", async () => {
    const session = await opencode.session()
    await opencode.prompt(session, "script:mark")
    const { sandboxId } = world.store().sessions[session]
    await opencode.request("DELETE", `/session/${session}`)
    await eventually("the deletion", async () => !(await world.local.sandboxes()).some((sandbox) => sandbox.id === sandboxId))
    await eventually("the entry's end", () => !world.store().sessions[session] && !world.store().cleanup?.length)
  })

  test("a deletion that fails is remembered, and done at the next start", async () => {
    const session = await opencode.session()
    await opencode.prompt(session, "script:mark")
    const { sandboxId } = world.store().sessions[session]
    await world.local.fault("DELETE", "/api/sandbox/*", { kind: "status", status: 500 }, { times: -1 })
    await opencode.request("DELETE", `/session/${session}`)
    await eventually("the note", () => world.store().cleanup?.find((item) => item.sandbox === sandboxId)?.error, 60)
    await world.local.heal()
    await opencode.stop()
    opencode = await world.serve()
    await opencode.session()
    await eventually("the deletion", async () => !(await world.local.sandboxes()).some((sandbox) => sandbox.id === sandboxId))
    await eventually("the note's end", () => !world.store().cleanup?.length)
  })

  test("after a restart of OpenCode a session has the sandbox it had, at one request per call", async () => {
    const session = await opencode.session()
    await opencode.prompt(session, "script:mark")
    await eventually("its work is home", () => !world.store().sessions[session].unsynced)
    await opencode.stop("SIGKILL")
    opencode = await world.serve()
    await opencode.request("GET", `/session/${session}`)
    await world.local.reset()
    const [result] = await opencode.prompt(session, "script:marked")
    assert.match(result.output, /1: mine\n/)
    const { counts } = await world.local.requests()
    assert.deepEqual(counts, { "POST /toolbox/{sandboxId}/process/execute": 1 })
  })

  test("no key is in any sandbox, and no file of the host but the project's", async () => {
    const session = await opencode.session()
    world.model.scripts.leak = one("bash", { command: `env; ls -A /home/daytona/project; ls ${world.base} 2>&1` })
    const [result] = await opencode.prompt(session, "script:leak")
    assert.ok(!result.output.includes(world.local.apiKey))
    assert.ok(!result.output.includes("ignored"), "an ignored file was carried in")
    assert.match(result.output, /No such file or directory/)
  })
})

describe("a chat without tools", () => {
  test("leaves no sandbox behind when OpenCode ends", async () => {
    const world = await createWorld({ scripts, files: { "a.txt": "a\n" } })
    try {
      const result = await world.run("script:hello")
      assert.equal(result.code, 0, result.stderr)
      const created = (await world.local.requests()).counts["POST /api/sandbox"]
      assert.equal(created, 1, "the sandbox was not created early")
      // What the end of the process did not get done, the next start does.
      if ((await world.local.sandboxes()).length) await world.run("script:where")
      const entries = Object.values(world.store()?.sessions ?? {})
      assert.deepEqual((await world.local.sandboxes()).map((sandbox) => sandbox.id), entries.map((entry) => entry.sandboxId))
    } finally {
      await world.close()
    }
  })

  test("a session that `opencode session delete` removed leaves no sandbox after the next start, and its work is home", async () => {
    const world = await createWorld({ scripts, files: { "a.txt": "a\n" } })
    try {
      const { session } = await world.run("script:mark")
      assert.equal((await world.local.sandboxes()).length, 1)
      const [{ home }] = Object.values(world.store().sessions)
      execFileSync(opencodeBinary(), ["session", "delete", session], { cwd: world.project, env: world.environment, stdio: "pipe" })
      const opencode = await world.serve()
      await opencode.request("GET", "/session")
      await eventually("the sandbox is gone", async () => (await world.local.sandboxes()).length === 0)
      await eventually("so is its entry", () => Object.keys(world.store().sessions).length === 0)
      assert.equal(git(world.project, "rev-parse", home.branch), home.commit)
    } finally {
      await world.close()
    }
  })

  test("makes none at all with prewarm off", async () => {
    const world = await createWorld({ scripts, files: { "a.txt": "a\n" }, options: { prewarm: false } })
    try {
      await world.run("script:hello")
      assert.equal((await world.local.requests()).counts["POST /api/sandbox"], undefined)
      assert.ok(!existsSync(world.storeDir) || readdirSync(world.storeDir).length === 0)
    } finally {
      await world.close()
    }
  })
})
