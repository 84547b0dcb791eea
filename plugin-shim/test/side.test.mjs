// OpenCode's side: words to the user never fail, and a dead core fails every call, also later ones.

import assert from "node:assert/strict"
import { test } from "node:test"
import { mortal } from "../dist/shared/mortal.js"
import { Side } from "../dist/side.js"

const toast = JSON.stringify({ title: "t", message: "m", variant: "info" })
const rejects = () => Promise.reject(new Error("no terminal"))
const throws = () => {
  throw new Error("another client")
}

for (const [name, client] of [
  ["no client", undefined],
  ["a client without these methods", {}],
  ["methods that throw", { tui: { showToast: throws }, app: { log: throws } }],
  ["methods that reject", { tui: { showToast: rejects }, app: { log: rejects } }],
  ["methods that give no promise", { tui: { showToast: () => undefined }, app: { log: () => undefined } }],
]) {
  test(`a toast and a log line do not fail: ${name}`, async () => {
    const unhandled = []
    const note = (error) => unhandled.push(error)
    process.on("unhandledRejection", note)
    const side = new Side(client)
    side.toast(toast)
    side.log("error", "words")
    await new Promise((done) => setTimeout(done, 10))
    process.off("unhandledRejection", note)
    assert.deepEqual(unhandled, [])
  })
}

test("a session that cannot be looked up is an error, not a root session", async () => {
  const get = async ({ throwOnError }) => {
    if (throwOnError) throw new Error("not found")
    return { error: "not found" }
  }
  await assert.rejects(new Side({ session: { get } }).parent("s"))
})

for (const [what, ask, expected] of [
  ["a promise that holds", async () => {}, true],
  ["a promise that breaks", rejects, false],
  ["an error", throws, false],
  // Up to 1.15.4 it is a description of what would be done, and nobody does it.
  ["an object that is no promise", () => ({ pipe() {} }), undefined],
  ["nothing", () => undefined, undefined],
  // 1.0 has no such function.
  ["no function", undefined, undefined],
]) {
  test(`a permission question whose answer is ${what} counts as ${expected === undefined ? "not asked" : expected ? "allowed" : "rejected"}`, async () => {
    const side = new Side({})
    side.running.set(1, { context: { ask }, fiber: undefined })
    assert.equal(await side.ask(1, "{}"), expected)
  })
}

test("a call settles as it would, and when the core dies so does every call, also one that starts later", async () => {
  assert.equal(await mortal(Promise.resolve("answer")), "answer")
  await assert.rejects(mortal(Promise.reject(new Error("its own"))), /its own/)
  const pending = mortal(new Promise(() => {}))
  new Side({}).dead("panic")
  await assert.rejects(pending, /crashed .* panic/)
  await assert.rejects(mortal(Promise.resolve("late")), /crashed .* panic/)
})
