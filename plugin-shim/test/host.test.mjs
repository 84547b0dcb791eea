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

  test("a part of a file is read, as far as there is one", async () => {
    const path = join(dir, "parts")
    writeFileSync(path, "0123456789")
    const part = async (offset, length) => Buffer.from(await machine.readPart(path, offset, length)).toString()
    assert.equal(await part(2, 3), "234")
    assert.equal(await part(8, 100), "89")
    assert.equal(await part(20, 5), "")
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
      if (req.url === "/cut") return res.writeHead(200, { "content-length": 10 }).write("half!", () => req.socket.destroy())
      if (req.url === "/broken") return res.writeHead(500).end("why")
      res.writeHead(200, { "x-answer": "yes" }).end(req.url === "/large" ? Buffer.alloc(5000) : "body")
    })
    await new Promise((done) => server.listen(0, "127.0.0.1", done))
    url = `http://127.0.0.1:${server.address().port}`
  })
  after(() => (server.closeAllConnections(), server.close()))

  const call = (path, more = {}) =>
    machine.http(JSON.stringify({ method: "POST", url: url + path, headers: [["authorization", "Bearer k"]], timeoutMs: 5000, maxBytes: 1000, saveTo: null, json: null, parts: null, ...more }), more.bytes ?? [])

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

  test("a successful answer goes to a private file, and only there", async () => {
    const saveTo = join(dir, "saved")
    const { head, body } = await call("/large", { saveTo, maxBytes: 5000 })
    assert.equal(JSON.parse(head).status, 200)
    assert.equal(body.length, 0)
    assert.equal(statSync(saveTo).size, 5000)
    assert.equal(statSync(saveTo).mode & 0o777, 0o600)
    await call("/", { saveTo })
    assert.equal(readFileSync(saveTo, "utf8"), "body")
  })

  test("an answer that says no is not saved", async () => {
    const saveTo = join(dir, "unsaved")
    assert.equal(Buffer.from((await call("/broken", { saveTo })).body).toString(), "why")
    assert.ok(!existsSync(saveTo))
  })

  test("an answer to save that is cut short or too long is an error", async () => {
    const saveTo = join(dir, "partial")
    await assert.rejects(call("/cut", { saveTo }), { message: /terminated|bytes came/ })
    await assert.rejects(call("/large", { saveTo }), { code: "TooLarge" })
  })

  for (const [path, more, error] of [
    ["/cut", {}, { message: /terminated|bytes came/ }],
    ["/large", {}, { code: "TooLarge" }],
    ["/silent", { timeoutMs: 50 }, { name: "TimeoutError" }],
    ["/drop", {}, { code: "UND_ERR_SOCKET" }],
  ]) {
    test(`${path} is an error`, () => assert.rejects(call(path, more), error))
  }
})

describe("git", () => {
  test("code, output and error text", async () => {
    const run = (...args) => machine.git(JSON.stringify({ args, cwd: dir, env: [["GIT_AUTHOR_NAME", "x"]], stdinFile: null, stdoutFile: null }), new Uint8Array())
    const good = await run("--version")
    assert.match(Buffer.from(good.body).toString(), /^git version/)
    const bad = JSON.parse((await run("no-such-command")).head)
    assert.equal(bad.code, 1)
    assert.match(bad.stderr, /not a git command/)
  })

  test("standard input goes in, and output may go to a file", async () => {
    execFileSync("git", ["init", "--quiet", dir])
    const stdoutFile = join(dir, "out")
    const call = { args: ["hash-object", "--stdin"], cwd: dir, env: [], stdinFile: null, stdoutFile }
    const { body } = await machine.git(JSON.stringify(call), Buffer.from("hello\n"))
    assert.equal(body.length, 0)
    assert.equal(readFileSync(stdoutFile, "utf8").trim(), "ce013625030ba8dba906f756967f9e9ca394464a")
  })

  test("standard input may be a file, from a byte on", async () => {
    const run = (path) => machine.git(JSON.stringify({ args: ["hash-object", "--stdin"], cwd: dir, env: [], stdinFile: [path, 5], stdoutFile: null }), new Uint8Array())
    const path = join(dir, "framed")
    writeFileSync(path, "head\nhello\n")
    assert.equal(Buffer.from((await run(path)).body).toString().trim(), "ce013625030ba8dba906f756967f9e9ca394464a")
    await assert.rejects(run(join(dir, "nothing")), { code: "ENOENT" })
  })

  test("a git that reads nothing of a large file ends all the same", async () => {
    const path = join(dir, "large")
    writeFileSync(path, Buffer.alloc(1_000_000))
    const { head } = await machine.git(JSON.stringify({ args: ["--version"], cwd: dir, env: [], stdinFile: [path, 0], stdoutFile: null }), new Uint8Array())
    assert.equal(JSON.parse(head).code, 0)
  })

  test("a git that is not there is an error", async () => {
    const path = process.env.PATH
    process.env.PATH = "/nowhere"
    try {
      await assert.rejects(machine.git(JSON.stringify({ args: [], cwd: dir, env: [], stdinFile: null, stdoutFile: null }), new Uint8Array()), { code: "ENOENT" })
    } finally {
      process.env.PATH = path
    }
  })
})
