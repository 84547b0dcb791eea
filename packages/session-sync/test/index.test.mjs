// The plugin as OpenCode loads it, with an OpenCode that only answers.

import assert from "node:assert/strict"
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, describe, test } from "node:test"
import { pathToFileURL } from "node:url"
import { startOpenSync } from "../../../tests/sync/opensync.mjs"

const dist = new URL("../dist/", import.meta.url)

/** OpenCode with one session, and what it was told. */
function opencode() {
  const now = Date.now()
  const info = { id: "ses_1", title: "A title", directory: "/p", time: { created: now - 60_000, updated: now - 50_000 }, cost: 0, tokens: { input: 1, output: 1, reasoning: 0, cache: { read: 0, write: 0 } } }
  const messages = [{ info: { id: "msg_1", sessionID: "ses_1", role: "user", time: { created: now - 60_000 } }, parts: [{ type: "text", text: "half of a character: \ud83d" }] }]
  const told = []
  const answer = (data, status = 200) => Promise.resolve({ data, response: { status } })
  return {
    told,
    client: {
      session: {
        get: ({ path }) => (path.id === "ses_1" ? answer(info) : answer(undefined, 404)),
        messages: () => answer(messages),
        list: () => answer([]),
      },
      app: { log: ({ body }) => answer(told.push(body)) },
      tui: { showToast: ({ body }) => answer(told.push(body)) },
    },
  }
}

describe("the plugin", () => {
  let store, home
  before(async () => {
    store = await startOpenSync()
    home = mkdtempSync(join(tmpdir(), "session-sync-test-"))
    Object.assign(process.env, { HOME: home })
    for (const name of ["XDG_CONFIG_HOME", "XDG_STATE_HOME", "OPENCODE_SYNC_URL", "OPENCODE_SYNC_API_KEY"]) delete process.env[name]
    mkdirSync(join(home, ".config/opencode-sync"), { recursive: true })
    writeFileSync(join(home, ".config/opencode-sync/config.json"), JSON.stringify({ url: store.url, apiKey: store.key }))
  })
  after(async () => {
    await store.stop()
    rmSync(home, { recursive: true, force: true })
  })
  const start = async ({ client }) => {
    const { default: plugin } = await import(new URL("index.js", dist).href)
    return plugin.server({ client, directory: home, worktree: home, project: { id: "p" } }, {})
  }
  const stored = async () => (await (await fetch(`${store.url}/_test/state`)).json()).sessions

  test("an event that comes before the core is loaded is not lost, and an end brings it out", async () => {
    const hooks = await start(opencode())
    await hooks.event({ event: { type: "message.updated", properties: { info: { id: "msg_1", sessionID: "ses_1" } } } })
    await hooks.dispose()
    const [session] = await stored()
    assert.equal(session.title, "A title")
    assert.equal(session.messages[0].textContent, "half of a character: \ufffd")
  })

  test("an event gives nothing to wait for", async () => {
    const hooks = await start(opencode())
    const event = { type: "message.part.updated", properties: { part: { sessionID: "ses_2" } } }
    // Settled at once: what comes after it in the same turn of the event loop comes first.
    let settled = false
    void hooks.event({ event }).then(() => (settled = true))
    await Promise.resolve().then(() => {})
    assert.ok(settled)
    await hooks.dispose()
  })

  test("an event without a session, of any shape, is nothing", async () => {
    const hooks = await start(opencode())
    for (const properties of [{}, { info: {} }, { sessionID: undefined, part: {} }]) await hooks.event({ event: { type: "session.updated", properties } })
    await hooks.dispose()
  })

  test("a core that cannot be loaded is said in the log, and OpenCode goes on", async () => {
    const copy = mkdtempSync(join(tmpdir(), "session-sync-broken-"))
    cpSync(dist, copy, { recursive: true })
    writeFileSync(join(copy, "package.json"), JSON.stringify({ type: "module" }))
    writeFileSync(join(copy, "generated/core_bg.wasm"), readFileSync(join(copy, "generated/core_bg.wasm")).subarray(0, 1000))
    const { default: plugin } = await import(pathToFileURL(join(copy, "index.js")).href)
    const { client, told } = opencode()
    const hooks = await plugin.server({ client, directory: home, worktree: home, project: { id: "p" } }, {})
    await hooks.event({ event: { type: "session.idle", properties: { sessionID: "ses_1" } } })
    await hooks.dispose()
    assert.equal(told.length, 1)
    assert.match(told[0].message, /^opencode-session-sync could not be loaded, so sessions are not synced: /)
    assert.equal(told[0].service, "opencode-sync")
    rmSync(copy, { recursive: true, force: true })
  })

  test("what a store that is away has not taken is left to a process that stays behind", async () => {
    await fetch(`${store.url}/_test/fault`, { method: "POST", body: JSON.stringify({ drop: "before", times: -1 }) })
    const session = opencode()
    const { data: info } = await session.client.session.get({ path: { id: "ses_1" } })
    info.title = "Another title"
    const hooks = await start(session)
    await hooks.event({ event: { type: "session.idle", properties: { sessionID: "ses_1" } } })
    await hooks.dispose()
    await fetch(`${store.url}/_test/fault`, { method: "DELETE" })
    for (const deadline = Date.now() + 60_000; (await stored())[0].title !== "Another title"; ) {
      assert.ok(Date.now() < deadline, "nothing came")
      await new Promise((done) => setTimeout(done, 50))
    }
    for (const deadline = Date.now() + 60_000; existsSync(join(home, ".local/state/opencode-sync/drain")); ) {
      assert.ok(Date.now() < deadline, "it stays for ever")
      await new Promise((done) => setTimeout(done, 50))
    }
  })
})
