// `npm run demo:sync`: session sync, offline, from a fresh clone. The model and the store are stand-ins; OpenCode,
// its terminal, the plugin and the command are real. Every line that says "ok" was checked.

import { spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { block, item, ok, print, seconds, section, setUp } from "../lib/transcript.mjs"
import { openTerminal } from "../lib/terminal.mjs"
import { eventually, opencodeBinary } from "../lib/world.mjs"
import { ofOpenCode, ofStore } from "./equal.mjs"
import { createSyncWorld } from "./world.mjs"

const look = [{ text: "Let me look.", calls: [["read", { filePath: "README.md" }], ["bash", { command: "wc -w README.md" }]] }, { text: "It has five words." }]
const scripts = {
  look,
  again: [{ calls: [["bash", { command: "date -u +%Y" }]] }, { text: "That was the year." }],
  fail: [{ calls: [["read", { filePath: "missing.md" }]] }, { text: "There is no such file." }],
  sub: [{ calls: [["task", { description: "count words", prompt: "script:look", subagent_type: "general" }]] }, { text: "The other one counted five." }],
  slow: [{ text: "A first step.", calls: [["bash", { command: "echo a first step; sleep 600" }]] }],
  "*": look,
}

/** Both sides of each session, side by side. */
function sideBySide(conversations, sessions) {
  const theirs = new Map(sessions.map((session) => [session.externalId, ofStore(session)]))
  const row = (name, left, right) => print(`   ${name.padEnd(10)} ${String(left).padEnd(44)} ${right}`)
  for (const conversation of conversations) {
    const [left, right] = [ofOpenCode(conversation), theirs.get(conversation.info.id)]
    print()
    row("", "OpenCode", "the store")
    row("title", left.title, right?.title)
    row("created", new Date(left.created).toISOString(), right && new Date(right.created).toISOString())
    row("tokens", `${left.prompt} in, ${left.completion} out`, right && `${right.prompt} in, ${right.completion} out`)
    row("cost", `$${left.cost.toFixed(6)}`, right && `$${right.cost.toFixed(6)}`)
    for (const [n, message] of left.messages.entries()) {
      const shown = (one) => one && `${one.text.slice(0, 28) || "-"}${one.tools.length ? ` + ${one.tools.map(({ name }) => name).join(", ")}` : ""}`
      row(message.role, shown(message), shown(right?.messages[n]))
    }
  }
}

async function show(world) {
  const arrived = async (text) => JSON.stringify(await world.stored()).includes(text)
  const sync = async (args, options) => {
    const { stdout, code } = await world.command(args, options)
    print(`   $ ${options?.input ? "echo KEY | " : ""}opencode-sync ${args.join(" ")}`)
    block(stdout.replaceAll(world.base, ""), 6)
    return code
  }

  section("A store, and a key")
  item("the store", world.store.url)
  ok("the key is tried, and kept", (await sync(["login", "--url", world.store.url], { input: world.store.key })) === 0)

  section("One prompt with `opencode run`")
  await world.run("Count the words. script:look")
  ok("its last answer is in the store when `run` has ended", await arrived("It has five words."))

  section("A session in OpenCode's own terminal")
  const terminal = openTerminal(world)
  await terminal.type("count them here")
  terminal.keys("Enter")
  await terminal.shows(/It has five words/)
  await eventually("the turn's end", () => !/interrupt/.test(terminal.screen()))
  block(terminal.screen().split("\n").filter((line) => line.trim()).slice(0, 8).join("\n"))
  terminal.keys("C-c")
  await terminal.shows(/ended with/)
  terminal.close()
  ok("it is in the store", await eventually("it is there", () => arrived("count them here")))

  section("The network drops, and returns")
  await world.control("POST", "fault", { drop: "before", times: -1 })
  await world.run("Which year is it? script:again")
  ok("OpenCode worked, and nothing is in the store", !(await arrived("That was the year.")))
  await sync(["pending"])
  await world.control("DELETE", "fault")
  print("   the network is back; OpenCode has ended, and nobody does anything")
  ok("what waited is in the store", await eventually("it is there", () => arrived("That was the year."), 90))
  await eventually("the process that stayed behind ends", () => !existsSync(join(world.state, "drain")))

  section("OpenCode is killed in mid-answer")
  const child = spawn(opencodeBinary(), ["run", "--format", "json", "Take long. script:slow"], { cwd: world.project, env: world.environment, stdio: "ignore", detached: true })
  const opencode = await world.serve({ env: { OPENCODE_PURE: "1" } })
  await eventually("the command runs", async () => JSON.stringify(await world.conversations(opencode)).includes("sleep 600"))
  await opencode.stop()
  process.kill(-child.pid, "SIGKILL")
  await once(child, "exit")
  await world.run("Go on. script:again")
  ok("the next start brings what OpenCode has of it", await eventually("it is there", () => arrived("A first step."), 60))

  section("Sessions of the past")
  for (const name of ["look", "fail", "sub"]) await world.run(`Without the plugin. script:${name}`, { env: { OPENCODE_PURE: "1" } })
  ok("the store does not have them", !(await arrived("Without the plugin")))
  ok("push brings them", (await sync(["push"])) === 0)
  ok("a second time there is nothing to do", (await sync(["push"])) === 0)

  section("Both sides")
  const saved = await world.saved()
  await eventually("both sides are the same", async () => (await world.differences(saved)).length === 0).catch(async () => {
    throw new Error((await world.differences(saved)).join("\n"))
  })
  sideBySide(saved, await world.stored())
  print()
  ok(`${saved.length} sessions: text, order, dates, tokens, cost and tool results are equal`, (await world.differences(saved)).length === 0)
  ok("nothing is in the store that OpenCode does not have", (await world.stored()).length === saved.length)
  await sync(["status"])
}

section("Set-up")
setUp({ command: "demo:sync", local: false })
let world
let code = 0
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => Promise.resolve(world?.close()).finally(() => process.exit(130)))
try {
  const start = Date.now()
  world = await createSyncWorld({ scripts, files: { "README.md": "Five words are in here.\n" }, login: false })
  await show(world)
  print(`\nEverything above was checked, in ${seconds(start)} after the set-up.`)
} catch (error) {
  code = 1
  print(`\nThe demo failed: ${error.message}`)
  const logs = world?.logs().split("\n").filter((line) => /level=(WARN|ERROR)|opencode-sync/i.test(line))
  if (logs?.length) print(`\nOpenCode's log:\n${logs.slice(-20).join("\n")}`)
} finally {
  await world?.close()
}
process.exit(code)
