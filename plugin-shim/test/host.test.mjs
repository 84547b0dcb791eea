// The shim's half of `Host`: each method does one thing and throws what the system throws. The
// built file is tested, because that is what ships.

import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs"
import { createServer } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, describe, test } from "node:test"
import { Machine } from "../../dist/host.js"

const machine = new Machine()
let dir

before(() => (dir = mkdtempSync(join(tmpdir(), "shim-"))))
after(() => rmSync(dir, { recursive: true, force: true }))

describe("files", () => {
  test("a replaced file is new as a whole, private, and leaves no temporary file", async () => {
    const path = join(dir, "deep/er/file.json")
    await machine.replaceFile(path, Buffer.from("one"))
    await machine.replaceFile(path, Buffer.from("two"))
    assert.equal(readFileSync(path, "utf8"), "two")
    assert.equal(statSync(path).mode & 0o777, 0o600)
    assert.deepEqual(readdirSync(join(dir, "deep/er")), ["file.json"])
  })

  test("a replace that fails leaves the directory as it was", async () => {
    const path = join(dir, "taken")
    await machine.createFile(join(path, "inside"))
    await assert.rejects(machine.replaceFile(path, Buffer.from("x")), { code: /EISDIR|ENOTEMPTY|EEXIST|EPERM/ })
    assert.deepEqual(readdirSync(dir).filter((name) => name.endsWith(".tmp")), [])
  })

  test("a file is created once", async () => {
    const path = join(dir, "once")
    await machine.createFile(path)
    await assert.rejects(machine.createFile(path), { code: "EEXIST" })
  })

  test("what is missing: reading fails, removing and listing do not", async () => {
    await assert.rejects(machine.readFile(join(dir, "nothing")), { code: "ENOENT" })
    await machine.removeFile(join(dir, "nothing"))
    assert.deepEqual(await machine.listDir(join(dir, "nothing")), [])
  })

  test("only directories made here are removed", async () => {
    const own = await machine.tempDir()
    writeFileSync(join(own, "a"), "a")
    await machine.removeTempDir(own)
    assert.ok(!existsSync(own))
    await machine.removeTempDir(dir)
    assert.ok(existsSync(dir))
  })
})

describe("http", () => {
  let server, url
  const seen = []
  before(async () => {
    server = createServer(async (req, res) => {
      const chunks = []
      for await (const chunk of req) chunks.push(chunk)
      seen.push({ url: req.url, headers: req.headers, body: Buffer.concat(chunks).toString("latin1") })
      if (req.url === "/redirect") return res.writeHead(307, { location: "/elsewhere" }).end()
      if (req.url === "/drop") return req.socket.destroy()
      if (req.url === "/silent") return
      res.writeHead(200, { "x-answer": "yes" }).end(req.url === "/large" ? Buffer.alloc(5000) : "body")
    })
    await new Promise((done) => server.listen(0, "127.0.0.1", done))
    url = `http://127.0.0.1:${server.address().port}`
  })
  after(() => (server.closeAllConnections(), server.close()))

  const call = (path, more = {}) =>
    machine.http(JSON.stringify({ method: "POST", url: url + path, headers: [["authorization", "Bearer k"]], timeoutMs: 5000, maxBytes: 1000, json: null, parts: null, ...more }), more.bytes ?? [])

  test("status, headers and body come back", async () => {
    const { head, body } = await call("/", { json: '{"a":1}' })
    const { status, headers } = JSON.parse(head)
    assert.equal(status, 200)
    assert.ok(headers.some(([name, value]) => name === "x-answer" && value === "yes"))
    assert.equal(Buffer.from(body).toString(), "body")
    assert.equal(seen.at(-1).body, '{"a":1}')
    assert.equal(seen.at(-1).headers["content-type"], "application/json")
  })

  test("a redirect is an answer: the key is not carried elsewhere", async () => {
    assert.equal(JSON.parse((await call("/redirect")).head).status, 307)
    assert.ok(!seen.some((request) => request.url === "/elsewhere"))
  })

  test("multipart keeps the order: path before content, from text, file and bytes", async () => {
    const file = join(dir, "upload")
    writeFileSync(file, "from a file")
    const part = (name, more) => ({ name, text: null, file: null, bytes: null, ...more })
    const parts = [part("files[0].path", { text: "/a" }), part("files[0].file", { file }), part("files[1].path", { text: "/b" }), part("files[1].file", { bytes: 0 })]
    await call("/", { parts, bytes: [new Uint8Array([1, 2, 255])] })
    const { body } = seen.at(-1)
    const order = ['name="files[0].path"', "/a", 'name="files[0].file"', "from a file", 'name="files[1].path"', "/b", 'name="files[1].file"', "\x01\x02\xff"]
    const at = order.map((text) => body.indexOf(text))
    assert.ok(at.every((position, index) => position >= 0 && (index === 0 || position > at[index - 1])), JSON.stringify(at))
  })

  for (const [path, more, error] of [
    ["/large", {}, { code: "TooLarge" }],
    ["/silent", { timeoutMs: 50 }, { name: "TimeoutError" }],
    ["/drop", {}, { code: "UND_ERR_SOCKET" }],
  ]) {
    test(`${path} is an error`, () => assert.rejects(call(path, more), error))
  }
})

describe("git", () => {
  test("code, output and error text", async () => {
    const run = (...args) => machine.git(JSON.stringify({ args, cwd: dir, env: [["GIT_AUTHOR_NAME", "x"]], stdoutFile: null }), new Uint8Array())
    const good = await run("--version")
    assert.match(Buffer.from(good.body).toString(), /^git version/)
    const bad = JSON.parse((await run("no-such-command")).head)
    assert.equal(bad.code, 1)
    assert.match(bad.stderr, /not a git command/)
  })

  test("standard input goes in, and output may go to a file", async () => {
    execFileSync("git", ["init", "--quiet", dir])
    const stdoutFile = join(dir, "out")
    const call = { args: ["hash-object", "--stdin"], cwd: dir, env: [], stdoutFile }
    const { body } = await machine.git(JSON.stringify(call), Buffer.from("hello\n"))
    assert.equal(body.length, 0)
    assert.equal(readFileSync(stdoutFile, "utf8").trim(), "ce013625030ba8dba906f756967f9e9ca394464a")
  })

  test("a git that is not there is an error", async () => {
    const path = process.env.PATH
    process.env.PATH = "/nowhere"
    try {
      await assert.rejects(machine.git(JSON.stringify({ args: [], cwd: dir, env: [], stdoutFile: null }), new Uint8Array()), { code: "ENOENT" })
    } finally {
      process.env.PATH = path
    }
  })
})
