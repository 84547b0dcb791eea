// What a request that was never sent throws, and the two looks that tell why: each hands on what the
// system says, and the core decides what it means.

import assert from "node:assert/strict"
import { createServer } from "node:net"
import { after, before, test } from "node:test"
import { Machine } from "../dist/shared/host.js"

const machine = new Machine()
const asked = []
let server
let port

before(async () => {
  server = createServer((socket) => {
    socket.on("error", () => {})
    socket.once("data", (data) => {
      asked.push(String(data))
      socket.end("HTTP/1.1 407 Who\r\nproxy-authenticate: Basic\r\n\r\n")
    })
  })
  await new Promise((done) => server.listen(0, "127.0.0.1", done))
  port = server.address().port
})
after(() => new Promise((done) => server.close(done)))

test("a request that cannot be made says so, and nothing is sent", async () => {
  const call = { method: "POST", headers: [], timeoutMs: 5000, maxBytes: 100, saveTo: null, json: "{}", parts: null }
  for (const odd of [
    { url: `http://127.0.0.1:${port}/`, headers: [["authorization", "Bearer a\u200bb"]] },
    { url: `http://127.0.0.1:${port}/`, headers: [["authorization", "Bearer a\rb"]] },
    { url: "http://exa mple/" },
  ]) {
    await assert.rejects(machine.http(0, JSON.stringify({ ...call, ...odd }), []), { code: "NotMade" })
  }
  assert.deepEqual(asked, [])
})

test("a name that nobody has is told with the resolver's code", async () => {
  await assert.rejects(machine.lookup("no-such-host.invalid"), { code: /^(ENOTFOUND|EAI_AGAIN)$/ })
  await machine.lookup("127.0.0.1")
})

test("the first line that a proxy answers comes back, and a port where nobody listens is an error", async () => {
  assert.equal(await machine.firstLine(`127.0.0.1:${port}`, false, "CONNECT a:1 HTTP/1.1\r\n\r\n"), "HTTP/1.1 407 Who")
  assert.deepEqual(asked, ["CONNECT a:1 HTTP/1.1\r\n\r\n"])
  await assert.rejects(machine.firstLine("127.0.0.1:1", false, "x"), { code: "ECONNREFUSED" })
})
