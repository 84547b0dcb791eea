// What is secret stays where it is, and errors between here and the service are told by their cause:
// the real OpenCode, and everything that it wrote down, said, or sent to the model.

import assert from "node:assert/strict"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, describe, test } from "node:test"
import { cert, startProxy, startTls } from "../lib/tls.mjs"
import { createWorld, eventually, startLocal } from "../lib/world.mjs"

let local
before(async () => (local = await startLocal()))
after(() => local.stop())

/** Toasts of an OpenCode, as they come. */
async function toasts(opencode) {
  const shown = []
  const see = ({ type, properties }) => type === "tui.toast.show" && shown.push(properties)
  // An OpenCode may have the port of the one before, whose connections Node still knows.
  const stop = await eventually("events", () => opencode.watch(see))
  return { shown, stop }
}

/** One prompt in a world of its own; gives all that left OpenCode and the plugin. */
async function tried({ script = [{ calls: [["bash", { command: "true" }]] }], ...options }) {
  const world = await createWorld({ local: null, files: { a: "1\n" }, scripts: { try: script }, ...options })
  try {
    const opencode = await world.serve()
    const { shown, stop } = await toasts(opencode)
    const session = await opencode.session()
    const results = await opencode.prompt(session, "script:try")
    const messages = await opencode.request("GET", `/session/${session}/message`)
    await eventually("the failure is shown", () => shown.length > 0 || results.every(({ status }) => status === "completed"))
    await stop()
    await opencode.stop()
    const [result] = results
    const sent = JSON.stringify(world.model.requests)
    const store = world.store()
    return { result, shown, store, all: [JSON.stringify(messages), sent, world.logs(), JSON.stringify(store ?? {}), JSON.stringify(shown)].join("\n") }
  } finally {
    await world.close()
  }
}

describe("a key that no request can carry", () => {
  for (const [name, odd] of [["a zero-width space", "\u200b"], ["a carriage return", "\r"]]) {
    test(`${name} in it is named, and the key is shown nowhere`, async () => {
      const [head, tail] = [local.apiKey.slice(0, 20), local.apiKey.slice(20)]
      const env = { DAYTONA_API_URL: local.url, DAYTONA_API_KEY: head + odd + tail }
      const { result, all, shown } = await tried({ env })
      assert.match(result.error, /DAYTONA_API_KEY \(in the environment\) has .* at position 21 of \d+/)
      assert.match(JSON.stringify(shown), /at position 21/)
      assert.ok(!all.includes(head) && !all.includes(tail), all)
    })
  }
})

test("a key that a file of the sandbox or the user's prompt holds is not sent to the model", async () => {
  const { result, all } = await tried({
    env: { DAYTONA_API_URL: local.url, DAYTONA_API_KEY: local.apiKey },
    script: [{ calls: [["bash", { command: `printf %s '${local.apiKey.slice(0, 16)}' > k; printf %s '${local.apiKey.slice(16)}' >> k; cat k` }]] }],
  })
  assert.match(result.output, /\[hidden: DAYTONA_API_KEY\]/)
  // The model wrote the two halves itself; the whole is nowhere.
  assert.ok(!all.includes(local.apiKey), all)
})

describe("what was never sent", () => {
  const nothingLeft = ({ store, shown, all }, title = "Sandbox unavailable") => {
    assert.deepEqual(store?.cleanup ?? [], [], "a note of a sandbox that nobody asked for")
    assert.deepEqual(store?.creating ?? [], [])
    assert.deepEqual([...new Set(shown.map(({ title }) => title))], [title])
    assert.ok(!/connection to .* was lost/.test(all), all)
  }

  test("a certificate that nobody has signed is named with the way out, and the way out works", async () => {
    const server = await startTls(local.url)
    const dir = mkdtempSync(join(tmpdir(), "certificate-"))
    try {
      const file = join(dir, "authority.pem")
      writeFileSync(file, cert)
      const env = { DAYTONA_API_URL: ` https://localhost:${server.port}/api\n`, DAYTONA_API_KEY: local.apiKey, NODE_EXTRA_CA_CERTS: "" }
      const refused = await tried({ env })
      assert.match(refused.result.error, /the certificate of https:\/\/localhost:\d+\/api\S* cannot be verified \(\w+\), so nothing was sent\. .*NODE_EXTRA_CA_CERTS/)
      nothingLeft(refused)
      assert.deepEqual(server.requests, [])
      const accepted = await tried({ env: { ...env, NODE_EXTRA_CA_CERTS: file } })
      assert.equal(accepted.result.status, "completed", accepted.result.error)
      assert.ok(server.requests.some((request) => request === "POST /api/sandbox"), server.requests.join())
    } finally {
      await server.close()
      rmSync(dir, { recursive: true })
    }
  })

  for (const [status, said, creates] of [
    [407, /It wants to know who asks: put user and password into HTTPS_PROXY/, 1],
    [503, /It may be out of order, or not reach the host/, 4],
  ]) {
    test(`a proxy that answers ${status} is named, and its password is shown nowhere`, async () => {
      const proxy = await startProxy(status)
      try {
        const HTTPS_PROXY = `http://me:s3cret-of-proxy@127.0.0.1:${proxy.port}`
        const result = await tried({ env: { DAYTONA_API_URL: "https://daytona.invalid/api", DAYTONA_API_KEY: local.apiKey, HTTPS_PROXY, NO_PROXY: "127.0.0.1,localhost" } })
        assert.match(result.result.error, new RegExp(`the proxy 127\\.0\\.0\\.1:${proxy.port} that HTTPS_PROXY names answers ${status}`))
        assert.match(result.result.error, said)
        nothingLeft(result)
        assert.ok(!result.all.includes("s3cret-of-proxy"), result.all)
        // Each try and, where only the proxy can tell, one look. OpenCode's own requests go there, too.
        const asked = proxy.requests.filter((request) => request === "CONNECT daytona.invalid:443").length
        assert.ok(asked >= creates && asked <= 4 * creates + 4, proxy.requests.join("\n"))
      } finally {
        await proxy.close()
      }
    })
  }

  test("a name that nobody has and a port where nobody listens are told apart", async () => {
    for (const [url, said, title] of [
      ["https://no-such-host.invalid/api", /the name no-such-host\.invalid in https:\S+ is not known here \(\w+\)\. Check how DAYTONA_API_URL is spelled/],
      ["http://127.0.0.1:9/api", /cannot connect to http:\/\/127\.0\.0\.1:9\/api/, "Connection lost"],
    ]) {
      const result = await tried({ env: { DAYTONA_API_URL: url, DAYTONA_API_KEY: local.apiKey } })
      assert.match(result.result.error, said)
      nothingLeft(result, title)
    }
  })
})

test("a .env with a tab is read, and no file that holds the key gets into the sandbox", async () => {
  const { result, shown, all } = await tried({
    files: { a: "1\n", ".env": `\ufeffexport\tDAYTONA_API_KEY='${local.apiKey}'\r\nexport\tDAYTONA_API_URL=${local.url} # here\r\n`, ".envrc": `export DAYTONA_API_KEY=${local.apiKey}\n` },
    env: { DAYTONA_API_KEY: "", DAYTONA_API_URL: "" },
    script: [{ calls: [["bash", { command: "ls -A; git log --oneline | wc -l; git log -p | grep -c DAYTONA_API_KEY" }]] }],
  })
  assert.equal(result.output.replace(/\n\n[^]*/, "").trim(), ".git\na\n1\n0", JSON.stringify(result))
  const said = shown.filter(({ title }) => title === "Stays on this machine").map(({ message }) => message)
  assert.ok(said.some((message) => message.startsWith(".envrc holds a key")), JSON.stringify(shown))
  assert.ok(!all.includes(local.apiKey), all)
})
