// The shim's half of `Host`: each method does one thing and throws what the system throws. The
// built file is tested, because that is what ships.

import assert from "node:assert/strict"
import { execFileSync, spawn, spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, readdirSync, realpathSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from "node:fs"
import { createServer } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, describe, test } from "node:test"
import { Machine } from "../dist/shared/host.js"
import { opencodeBinary } from "../../tests/lib/world.mjs"

const machine = new Machine()
let dir

before(() => (dir = mkdtempSync(join(tmpdir(), "shim-"))))
after(() => rmSync(dir, { recursive: true, force: true }))

describe("a program of the user's", () => {
  const run = (script, ms = 60_000, bytes = 1024) => machine.outputOf(process.execPath, ["--eval", script], dir, ms, bytes)

  test("gives what it writes to its standard output, in the directory that is named", async () => {
    assert.equal(await run("console.error('no'); process.stdin.on('data', () => {}).on('end', () => console.log(process.cwd()))"), `${realpathSync(dir)}\n`)
  })

  test("says why there is no output", async () => {
    await assert.rejects(run("process.exit(3)"), /exit code 3/)
    await assert.rejects(machine.outputOf(join(dir, "nothing"), [], dir, 60_000, 1024), { code: "ENOENT" })
  })

  test("is ended at its time, with what it has started", async () => {
    await assert.rejects(run("require('node:child_process').spawnSync(process.execPath, ['--eval', 'setInterval(() => {}, 1000)'], { stdio: 'inherit' })", 300), /did not end within 0.3 s/)
  })

  test("is ended when it writes more than is wanted", async () => {
    await assert.rejects(run("setInterval(() => process.stdout.write('x'.repeat(1000)), 1)"), /more than 1024 bytes/)
  })

  test("letters that come in two pieces are whole", async () => {
    const script = "process.stdout.write(Buffer.from([0xc3]), () => setTimeout(() => process.stdout.write(Buffer.from([0xa9])), 50))"
    assert.equal(await run(script), "é")
  })
})

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

  test("only temporary directories are removed", async () => {
    const own = join(dir, "place/opencode-daytona-1")
    await machine.makeDir(own)
    writeFileSync(join(own, "a"), "a")
    await machine.removeDir(own)
    assert.ok(!existsSync(own))
    await machine.removeDir(own)
    const other = join(dir, "place")
    await assert.rejects(machine.removeDir(other))
    assert.ok(existsSync(other))
  })

  test("a directory that is made is private, with those above it", async () => {
    const path = join(dir, "made/below")
    const mask = process.umask(0)
    try {
      await machine.makeDir(path)
    } finally {
      process.umask(mask)
    }
    for (const made of [path, join(dir, "made")]) assert.equal(statSync(made).mode & 0o777, 0o700, made)
    await machine.makeDir(path)
  })

  test("sizes are those of files, and links are not followed", async () => {
    writeFileSync(join(dir, "six"), "123456")
    symlinkSync("six", join(dir, "link"))
    assert.deepEqual(await machine.fileSizes(dir, ["six", "link", "nothing", "."]), [6, 0, 0, 0])
    assert.ok(Math.abs((await machine.modified(join(dir, "six"))) - Date.now()) < 3_600_000)
  })

  test("a copy has the content of a file and the time when that was written", async () => {
    writeFileSync(join(dir, "old"), "was")
    utimesSync(join(dir, "old"), 1_700_000_000.1239, 1_700_000_000.1239)
    await machine.copyFile(join(dir, "old"), join(dir, "copy"))
    assert.equal(readFileSync(join(dir, "copy"), "utf8"), "was")
    assert.equal(Math.round(statSync(join(dir, "copy")).mtimeMs), 1_700_000_000_123)
  })
})

describe("http", () => {
  let server, url
  const seen = []
  /** Those that wait for an answer, by path. */
  const waiting = new Map()
  before(async () => {
    server = createServer(async (req, res) => {
      if (req.url.startsWith("/held")) return waiting.get(req.url)({ socket: req.socket, res })
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
    machine.http(more.id ?? 0, JSON.stringify({ method: "POST", url: url + path, headers: [["authorization", "Bearer k"]], timeoutMs: 5000, maxBytes: 1000, saveTo: null, json: null, parts: null, ...more }), more.bytes ?? [])

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
    const part = (name, more) => ({ name, text: null, file: null, slice: null, bytes: null, ...more })
    const parts = [part("files[0].path", { text: "/a" }), part("files[0].file", { file }), part("files[1].path", { text: "/b" }), part("files[1].file", { bytes: 0 })]
    await call("/", { parts, bytes: [new Uint8Array([1, 2, 255])] })
    const { body } = seen.at(-1)
    const order = ['name="files[0].path"', "/a", 'name="files[0].file"', "from a file", 'name="files[1].path"', "/b", 'name="files[1].file"', "\x01\x02\xff"]
    const at = order.map((text) => body.indexOf(text))
    assert.ok(at.every((position, index) => position >= 0 && (index === 0 || position > at[index - 1])), JSON.stringify(at))
  })

  for (const [start, end] of [[0, 3], [3, 7], [7, 100], [0, 10]]) {
    test(`of a file from ${start} to ${end}, exactly these bytes are uploaded`, async () => {
      const file = join(dir, "sliced")
      const content = Buffer.from([0, 1, 2, 253, 254, 255, 13, 10, 45, 45])
      writeFileSync(file, content)
      await call("/", { parts: [{ name: "part", text: null, file, slice: [start, end], bytes: null }] })
      const { headers, body } = seen.at(-1)
      const form = await new Response(Buffer.from(body, "latin1"), { headers: { "content-type": headers["content-type"] } }).formData()
      assert.deepEqual(Buffer.from(await form.get("part").arrayBuffer()), content.subarray(start, end))
    })
  }

  test("a request that is ended fails, and its connection is closed; another one goes on", { timeout: 20_000 }, async () => {
    const held = (path) => new Promise((arrived) => waiting.set(path, arrived))
    const [ending, other] = [held("/held/ended"), held("/held/other")]
    const ended = assert.rejects(call("/held/ended", { id: 7, timeoutMs: 20_000 }), { name: "AbortError" })
    const answered = call("/held/other", { id: 8, timeoutMs: 20_000 })
    const { socket } = await ending
    const { res } = await other
    const closed = new Promise((done) => socket.once("close", done))
    machine.end(7)
    await ended
    await closed
    res.end("whole")
    assert.equal(Buffer.from((await answered).body).toString(), "whole")
    machine.end(7)
    machine.end(9)
  })

  test("a successful answer goes to a private file, and only there", async () => {
    const saveTo = join(dir, "saved")
    const { head, body } = await call("/large", { saveTo: [saveTo, 0], maxBytes: 5000 })
    assert.equal(JSON.parse(head).status, 200)
    assert.equal(body.length, 0)
    assert.equal(statSync(saveTo).size, 5000)
    assert.equal(statSync(saveTo).mode & 0o777, 0o600)
    await call("/", { saveTo: [saveTo, 0] })
    assert.equal(readFileSync(saveTo, "utf8"), "body")
    await call("/", { saveTo: [saveTo, 2] })
    assert.equal(readFileSync(saveTo, "utf8"), "bobody")
  })

  test("an answer that says no is not saved", async () => {
    const saveTo = join(dir, "unsaved")
    assert.equal(Buffer.from((await call("/broken", { saveTo: [saveTo, 0] })).body).toString(), "why")
    assert.ok(!existsSync(saveTo))
  })

  test("an answer to save that is cut short or too long is an error", async () => {
    const saveTo = join(dir, "partial")
    await assert.rejects(call("/cut", { saveTo: [saveTo, 0] }), { message: /terminated|bytes came/ })
    await assert.rejects(call("/large", { saveTo: [saveTo, 0] }), { code: "TooLarge" })
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
  const git = (args, { id = 0, stdin = "", listener, ...more } = {}) =>
    machine.git(id, JSON.stringify({ args, cwd: dir, env: [], keep: [], timeoutMs: 60_000, stdinFile: null, stdoutFile: null, ...more }), Buffer.from(stdin), listener)
  const text = ({ body }) => Buffer.from(body).toString().trim()

  test("code, output and error text", async () => {
    const good = await git(["--version"], { env: [["GIT_AUTHOR_NAME", "x"]] })
    assert.match(text(good), /^git version/)
    const bad = JSON.parse((await git(["no-such-command"])).head)
    assert.equal(bad.code, 1)
    assert.match(bad.stderr, /not a git command/)
  })

  test("standard input goes in, and output may go to a file", async () => {
    execFileSync("git", ["init", "--quiet", dir])
    const stdoutFile = join(dir, "out")
    const { body } = await git(["hash-object", "--stdin"], { stdin: "hello\n", stdoutFile })
    assert.equal(body.length, 0)
    assert.equal(readFileSync(stdoutFile, "utf8").trim(), "ce013625030ba8dba906f756967f9e9ca394464a")
  })

  test("standard input may be a file, from a byte on", async () => {
    const run = (path) => git(["-c", "alias.read=!cat", "read"], { stdinFile: [path, 5] })
    const path = join(dir, "framed")
    writeFileSync(path, "head\nhello\n")
    assert.equal(text(await run(path)), "hello")
    await assert.rejects(run(join(dir, "nothing")), { code: "ENOENT" })
  })

  test("a git that reads nothing of a large file ends all the same", async () => {
    const path = join(dir, "large")
    writeFileSync(path, Buffer.alloc(1_000_000))
    const { head } = await git(["--version"], { stdinFile: [path, 0] })
    assert.equal(JSON.parse(head).code, 0)
  })

  test("a git that is not there is an error", async () => {
    const path = process.env.PATH
    process.env.PATH = "/nowhere"
    try {
      await assert.rejects(git([]), { code: "ENOENT" })
    } finally {
      process.env.PATH = path
    }
  })

  test("of git's variables only those that the call keeps are inherited", async () => {
    const set = { GIT_DIR: "/nowhere", GIT_NAMESPACE: "x", GIT_CONFIG_COUNT: "1", GIT_CONFIG_KEY_0: "my.key", GIT_CONFIG_VALUE_0: "" }
    Object.assign(process.env, set)
    try {
      const shown = await git(["-c", "alias.vars=!env", "vars"], { keep: ["GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_0", "GIT_CONFIG_VALUE_0"] })
      const seen = text(shown).split("\n").filter((line) => Object.keys(set).includes(line.split("=")[0]) && !line.startsWith("GIT_DIR=.git"))
      assert.deepEqual(seen.sort(), ["GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=my.key", "GIT_CONFIG_VALUE_0="])
    } finally {
      for (const name of Object.keys(set)) delete process.env[name]
    }
  })

  // A git that starts a program, says its number, and waits for it.
  const endless = ["-c", "alias.wait=!echo $$; exec sleep 1000", "wait"]
  const number = () => (existsSync(join(dir, "number")) ? Number(readFileSync(join(dir, "number"), "utf8")) : 0)
  const until = async (done) => {
    while (!done()) await new Promise((wait) => setTimeout(wait, 10))
  }
  const ended = (pid) => until(() => !existsSync(`/proc/${pid}`) || readFileSync(`/proc/${pid}/stat`, "utf8").includes(") Z "))

  test("a git that takes too long is ended, with what it has started", async () => {
    rmSync(join(dir, "number"), { force: true })
    for (let timeoutMs = 200; number() === 0; timeoutMs *= 2) {
      await assert.rejects(git(endless, { timeoutMs, stdoutFile: join(dir, "number") }), { code: "ETIMEDOUT" })
    }
    await ended(number())
  })

  test("what git says is told while it runs, and is in the result as well", async () => {
    // It waits for a file that is made when it has been heard.
    const heard = join(dir, "heard")
    const alias = `alias.say=!echo first >&2; while ! test -e '${heard}'; do sleep 0.01; done; printf last >&2; exit 3`
    let told = ""
    const listener = (text) => {
      told += text
      if (told === "first\n") writeFileSync(heard, "")
    }
    const { code, stderr } = JSON.parse((await git(["-c", alias, "say"], { listener, timeoutMs: 20_000 })).head)
    assert.deepEqual([code, stderr, told], [3, "first\nlast", "first\nlast"])
  })

  test("a git that is ended ends at once, with what it has started; another one goes on", async () => {
    rmSync(join(dir, "number"), { force: true })
    // What it starts holds its output open, so that the result waits for the end of both.
    const both = ["-c", "alias.both=!sleep 1000 & echo $!; wait", "both"]
    const ending = git(both, { id: 7, timeoutMs: 20_000, stdoutFile: join(dir, "number") })
    const open = join(dir, "open")
    const other = git(["-c", `alias.wait=!while ! test -e '${open}'; do sleep 0.01; done`, "wait"], { id: 8 })
    await until(() => number() !== 0)
    machine.end(7)
    assert.notEqual(JSON.parse((await ending).head).code, 0)
    await ended(number())
    writeFileSync(open, "")
    assert.equal(JSON.parse((await other).head).code, 0)
    machine.end(7)
  })

  for (const signal of ["SIGTERM", "SIGKILL"]) {
    test(`a git ends with the process that called it, which ends by ${signal}`, async () => {
      rmSync(join(dir, "number"), { force: true })
      const call = { args: endless, cwd: dir, env: [], keep: [], timeoutMs: 0, stdinFile: null, stdoutFile: join(dir, "number") }
      // A call before that has ended, so that there is something to forget.
      const before = { ...call, args: ["--version"], stdoutFile: null }
      const script = `
        import { Machine } from ${JSON.stringify(new URL("../dist/shared/host.js", import.meta.url).href)}
        const machine = new Machine()
        for (const call of ${JSON.stringify([before, call])}) await machine.git(0, JSON.stringify(call), new Uint8Array())`
      const caller = spawn(process.execPath, ["--input-type=module", "--eval", script], { stdio: "inherit" })
      const dead = new Promise((done) => caller.once("exit", done))
      await until(() => number() !== 0)
      caller.kill(signal)
      await dead
      await ended(number())
    })
  }

  // Bun, which is OpenCode's JavaScript, writes to a pipe only when the tick is over in which it was asked to.
  test("a child ends with a process that is killed in the tick that started it", async () => {
    const script = `
      import { writeSync } from "node:fs"
      import { start } from ${JSON.stringify(new URL("../dist/shared/children.js", import.meta.url).href)}
      for (const seconds of [0, 1000, 1000]) {
        const child = start("sleep", [String(seconds)], { cwd: "/", env: process.env })
        if (seconds === 0) await new Promise((done) => child.on("close", done))
        else writeSync(1, child.pid + "\\n")
      }
      process.kill(process.pid, "SIGKILL")`
    for (const [program, env] of [[process.execPath, {}], [opencodeBinary(), { BUN_BE_BUN: "1" }]]) {
      const path = join(dir, "killed.mjs")
      writeFileSync(path, script)
      const { stdout, signal } = spawnSync(program, [path], { encoding: "utf8", env: { ...process.env, ...env } })
      assert.equal(signal, "SIGKILL")
      const pids = stdout.trim().split("\n").map(Number)
      assert.equal(pids.length, 2, stdout)
      for (const pid of pids) await ended(pid)
    }
  })
})
