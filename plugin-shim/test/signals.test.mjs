// What is done before a signal ends the process, and that the signal ends it all the same.

import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { test } from "node:test"

const module = new URL("../dist/shared/signals.js", import.meta.url).href

/** A process that does this and then waits for its end. */
async function start(code) {
  const text = `import { beforeSignal } from ${JSON.stringify(module)}; const say = (text) => process.stdout.write(text + "\\n"); setInterval(() => {}, 1 << 30); ${code}; say("ready")`
  const child = spawn(process.execPath, ["--input-type=module", "--eval", text], { stdio: ["ignore", "pipe", "inherit"] })
  let said = ""
  const says = (word) => new Promise((done) => (said.includes(word) ? done() : child.stdout.on("data", () => said.includes(word) && done())))
  child.stdout.on("data", (data) => (said += data))
  await says("ready")
  const ended = once(child, "exit")
  return { kill: (signal) => child.kill(signal), says, ended: async () => ({ how: await ended, said: said.split("\n").slice(1, -1) }) }
}

test("all that is to be done is done, and the process ends by the signal", async () => {
  const child = await start(`beforeSignal(async () => say("one")); beforeSignal(async () => { await new Promise((done) => setTimeout(done, 20)); say("two"); throw new Error("no reason to stay") })`)
  child.kill("SIGTERM")
  assert.deepEqual(await child.ended(), { how: [null, "SIGTERM"], said: ["one", "two"] })
})

test("another signal ends the process at once", async () => {
  const child = await start(`beforeSignal(() => (say("waits"), new Promise(() => {})))`)
  child.kill("SIGINT")
  await child.says("waits")
  child.kill("SIGTERM")
  assert.deepEqual(await child.ended(), { how: [null, "SIGTERM"], said: ["waits"] })
})

test("somebody else who listens may end the process in another way, and sooner", async () => {
  const child = await start(`beforeSignal(() => (say("ours"), new Promise(() => {}))); process.on("SIGTERM", () => { say("theirs"); process.exit(7) })`)
  child.kill("SIGTERM")
  assert.deepEqual(await child.ended(), { how: [7, null], said: ["ours", "theirs"] })
})

test("somebody else who ends the process only where nobody else listens hears the signal again", async () => {
  const child = await start(`beforeSignal(async () => say("ours")); process.on("SIGTERM", () => process.listenerCount("SIGTERM") === 1 && process.exit(7))`)
  child.kill("SIGTERM")
  assert.deepEqual(await child.ended(), { how: [7, null], said: ["ours"] })
})

test("two copies of this file wait for each other", async () => {
  const copy = `const { beforeSignal: another } = await import(${JSON.stringify(`${module}?copy`)}); if (another === beforeSignal) throw new Error("it is no copy")`
  const child = await start(`${copy}; beforeSignal(async () => say("one")); another(async () => { await new Promise((done) => setTimeout(done, 20)); say("two") })`)
  child.kill("SIGTERM")
  assert.deepEqual(await child.ended(), { how: [null, "SIGTERM"], said: ["one", "two"] })
})

test("what was taken back is not done", async () => {
  const child = await start(`const first = beforeSignal(async () => say("one")); beforeSignal(async () => say("two")); first()`)
  child.kill("SIGHUP")
  assert.deepEqual(await child.ended(), { how: [null, "SIGHUP"], said: ["two"] })
  const bare = await start(`beforeSignal(async () => say("one"))()`)
  bare.kill("SIGTERM")
  assert.deepEqual(await bare.ended(), { how: [null, "SIGTERM"], said: [] })
})
