// `npm run demo`: the main job, offline, from a fresh clone. The model is scripted; OpenCode, the
// plugin, the sandboxes and the programs in them are real. Every line that says "ok" was checked.

import { execFileSync } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { block, item, ok, print, seconds, section, setUp } from "./lib/transcript.mjs"
import { createWorld, eventually, git, opencodeBinary } from "./lib/world.mjs"

// The program the model writes has the bug that most first tries have: centuries.
const program = (condition) => `#!/bin/sh
# Says whether a year is a leap year.
year=$1
if ${condition}; then
  echo "$year is a leap year"
else
  echo "$year is not a leap year"
fi
`
const firstTry = `[ $((year % 4)) -eq 0 ]`
const secondTry = `[ $((year % 400)) -eq 0 ] || { [ $((year % 4)) -eq 0 ] && [ $((year % 100)) -ne 0 ]; }`
const test = `#!/bin/sh
# Compares leap.sh with years whose answer is known.
failed=0
expect() {
  got=$(sh leap.sh "$1")
  if [ "$got" = "$1 $2" ]; then echo "pass  $got"; else echo "FAIL  $got"; failed=1; fi
}
expect 2024 "is a leap year"
expect 2023 "is not a leap year"
expect 2000 "is a leap year"
expect 1900 "is not a leap year"
exit $failed
`
const scripts = {
  leap: [
    { text: "A program and a test for it.", calls: [["write", { filePath: "leap.sh", content: program(firstTry) }], ["write", { filePath: "leap.test.sh", content: test }]] },
    { text: "Does it run?", calls: [["bash", { command: "sh leap.sh 2024" }]] },
    { text: "And the test?", calls: [["bash", { command: "sh leap.test.sh" }]] },
    { text: "1900 is wrong: centuries count only if 400 divides them.", calls: [["edit", { filePath: "leap.sh", oldString: firstTry, newString: secondTry }]] },
    { text: "Again.", calls: [["bash", { command: "sh leap.test.sh" }]] },
    { text: "Where is all this?", calls: [["bash", { command: "pwd; ls" }]] },
    { text: "leap.sh works." },
  ],
  again: [{ calls: [["read", { filePath: "leap.sh" }], ["bash", { command: "pwd; sh leap.test.sh" }]] }, { text: "Still here." }],
}

/** Prints a turn: what the model says, and each tool call with its output. */
function transcript(prompt, parts) {
  print(`   user   ${prompt}`)
  for (const part of parts) {
    if (part.type === "text" && part.text) print(`   model  ${part.text}`)
    if (part.type !== "tool") continue
    const { input, output, error, status, metadata } = part.state
    const exit = metadata?.exit ? `, exit code ${metadata.exit}` : ""
    print(`   ${part.tool.padEnd(6)} ${input.command ?? input.filePath}  (${status}${exit})`)
    block(output ?? error)
  }
  print()
}

// --- what is looked at -----------------------------------------------------------------------

/** Every file of the worktree and what git's refs name, but for the agent's branches, as one hash. */
function fingerprint(dir) {
  const hash = createHash("sha256")
  const walk = (path) => {
    for (const name of readdirSync(join(dir, path)).sort()) {
      const file = join(path, name)
      if (file === ".git") continue
      const { mode } = statSync(join(dir, file))
      hash.update(`${file}\0${mode}\0`)
      if (statSync(join(dir, file)).isDirectory()) walk(file)
      else hash.update(readFileSync(join(dir, file)))
    }
  }
  walk("")
  const refs = git(dir, "for-each-ref").split("\n").filter((line) => !line.includes("refs/heads/opencode/"))
  hash.update(refs.join("\n") + git(dir, "rev-parse", "HEAD"))
  return hash.digest("hex").slice(0, 16)
}

/** One turn over OpenCode's HTTP API; gives the parts of the answer. */
async function turn(opencode, session, text) {
  const path = `/session/${session}/message`
  const before = (await opencode.request("GET", path)).length
  await opencode.request("POST", path, { parts: [{ type: "text", text }], model: { providerID: "fake", modelID: "m" } })
  const messages = (await opencode.request("GET", path)).slice(before)
  return messages.filter((message) => message.info.role === "assistant").flatMap((message) => message.parts)
}

const tools = (parts) => parts.filter((part) => part.type === "tool").map((part) => part.state)

// --- the demo --------------------------------------------------------------------------------

async function show(world) {
  const { local, project } = world
  const stored = (session) => world.store()?.sessions[session]
  const inSandbox = async (id, command) => (await local.control("POST", `/toolbox/${id}/process/execute`, { command, timeout: 10 })).result

  section("What runs where")
  item("this machine", `OpenCode ${execFileSync(opencodeBinary(), ["--version"], { encoding: "utf8", env: world.environment }).trim()} with the plugin, the scripted model, daytona-local`)
  item("the sandbox", "every file, search and shell tool the agent calls")
  item("daytona-local", local.url)
  item("worktree", project)
  const before = fingerprint(project)
  item("", `files ${readdirSync(project).filter((name) => name !== ".git").join(", ")}; hash ${before}`)

  section("A session gets a sandbox")
  let opencode = await world.serve()
  const session = await opencode.session()
  ok("no sandbox before the first message", (await local.sandboxes()).length === 0)
  const start = Date.now()
  const prompt = "Write a program that says whether a year is a leap year."
  const running = turn(opencode, session, `${prompt} script:leap`)
  running.catch(() => {})
  const { sandboxId: id } = await eventually("the sandbox", () => stored(session)?.ready && stored(session))
  const ready = seconds(start)
  const sandbox = await local.api("GET", `/sandbox/${id}`)
  item("session", session)
  item("sandbox", id)
  item("snapshot", sandbox.snapshot)
  item("state", sandbox.state)
  item("ready after", `${ready}, counted from the user's message`)
  ok("it is started, and the only one", sandbox.state === "started" && (await local.sandboxes()).length === 1)

  section("The agent works there")
  const parts = await running
  transcript(prompt, parts)
  const [, , run, fail, edit, pass, pwd] = tools(parts)
  const detail = JSON.stringify(tools(parts), null, 2)
  ok("the program ran", run?.output.includes("2024 is a leap year"), detail)
  ok("the test failed at 1900", fail?.metadata.exit === 1 && fail.output.includes("FAIL  1900 is a leap year"), detail)
  ok("after the edit it passed", edit?.status === "completed" && pass?.metadata.exit === 0 && !pass.output.includes("FAIL"), detail)
  ok("pwd is the sandbox's directory, /home/daytona/project", pwd?.output.startsWith("/home/daytona/project\n"), detail)
  ok("daytona-local, asked without OpenCode, finds the program in the sandbox", (await inSandbox(id, "cat /home/daytona/project/leap.sh")) === program(secondTry))

  const untouched = () => {
    ok("git status --porcelain prints nothing", git(project, "status", "--porcelain", "--ignored") === "")
    ok("leap.sh is not there", !existsSync(join(project, "leap.sh")))
    ok(`the hash of all files, of HEAD and of your branches is still ${before}`, fingerprint(project) === before)
  }
  const show = (object) => git(project, "show", object)
  section("Your worktree is as it was")
  print(`   $ ls -A ${project}`)
  block(readdirSync(project).sort().join("\n"))
  untouched()

  section("The work is home, as a branch")
  await eventually("the homecoming", () => stored(session).home && !stored(session).unsynced)
  const { branch } = stored(session).home
  print(`   $ git log --graph --oneline ${branch}`)
  block(git(project, "log", "--graph", "--oneline", branch))
  print(`   $ git diff --stat main ${branch}`)
  block(git(project, "diff", "--stat", "main", branch))
  ok(`${branch} has the program as the agent left it`, `${show(`${branch}:leap.sh`)}\n` === program(secondTry))
  ok("its message names the session", git(project, "log", "-1", "--format=%B", branch).includes(session))

  section("OpenCode restarts, and the session goes on")
  await opencode.stop()
  print("   OpenCode was stopped and started again")
  opencode = await world.serve()
  const again = "Is it still there?"
  const resumed = await turn(opencode, session, `${again} script:again`)
  transcript(again, resumed)
  const same = async (parts) => {
    const [read, check] = tools(parts)
    ok(`the same sandbox, ${id}`, stored(session).sandboxId === id && (await local.sandboxes()).map((sandbox) => sandbox.id).join() === id)
    ok("leap.sh is there, and its test passes", read?.output.includes("% 400") && check?.metadata.exit === 0, JSON.stringify([read, check], null, 2))
  }
  await same(resumed)

  section("The sandbox is stopped, and the next call starts it")
  // Otherwise it is started once more, for the work of the turn before.
  await eventually("the homecoming", () => !stored(session).unsynced)
  await local.api("POST", `/sandbox/${id}/stop`)
  const state = async () => (await local.api("GET", `/sandbox/${id}`)).state
  await eventually("the stop", async () => (await state()) === "stopped")
  item("state", await state())
  const woken = Date.now()
  const restarted = await turn(opencode, session, "script:again")
  item("state", `${await state()}, after a turn of ${seconds(woken)}`)
  ok("it runs again", (await state()) === "started")
  const told = `Sandbox resumed: Daytona sandbox ${id}`
  ok("OpenCode's log has the plugin's notice: Sandbox resumed", await eventually(`the notice "${told}"`, () => world.logs().includes(told), 10))
  await same(restarted)

  section("The user undoes the first message, and redoes it")
  const messages = await opencode.request("GET", `/session/${session}/message`)
  const first = messages.find((message) => message.info.role === "user").info.id
  const there = async () => (await inSandbox(id, "ls /home/daytona/project")).includes("leap.sh")
  await opencode.request("POST", `/session/${session}/revert`, { messageID: first })
  ok("the sandbox has no leap.sh any more", await eventually("the undo", async () => !(await there())))
  await opencode.request("POST", `/session/${session}/unrevert`)
  ok("it is there again", await eventually("the redo", there))

  section("The session is deleted, and its sandbox with it")
  await opencode.request("DELETE", `/session/${session}`)
  await eventually("the sandbox's end", async () => (await local.sandboxes()).length === 0)
  ok("daytona-local lists no sandbox", (await local.sandboxes()).length === 0)
  ok("the plugin's store has no entry", await eventually("the entry's end", () => !stored(session) && !world.store().cleanup?.length))
  ok(`${branch} stays, with the program`, `${show(`${branch}:leap.sh`)}\n` === program(secondTry))
  untouched()
}

section("Set-up")
setUp({ command: "demo" })
const packed = mkdtempSync(join(tmpdir(), "opencode-daytona-packed-"))
process.env.OPENCODE_DAYTONA_PACKED ||= packed
let world
let code = 0
const leave = async () => {
  await world?.close()
  rmSync(packed, { recursive: true, force: true })
}
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => leave().finally(() => process.exit(130)))
try {
  const start = Date.now()
  world = await createWorld({ scripts, files: { "README.md": "# Calendar\n", ".gitignore": "*.log\n" } })
  await show(world)
  print(`\nEverything above was checked, in ${seconds(start)} after the set-up.`)
} catch (error) {
  code = 1
  print(`\nThe demo failed: ${error.message}`)
  const logs = world?.logs().split("\n").filter((line) => /level=(WARN|ERROR)|daytona/i.test(line))
  if (logs?.length) print(`\nOpenCode's log:\n${logs.slice(-20).join("\n")}`)
} finally {
  await leave()
}
process.exit(code)
