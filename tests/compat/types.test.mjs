// What Daytona's API is, by its official client packages: `daytona-local` has no route that they do
// not call and gives no answer that their types do not allow, and our own client sends no request
// that they would not. The packages are generated from Daytona's API documents, so this is checked
// on every machine, and a new version of them shows what has changed.

import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { after, before, test } from "node:test"
import { createRequire } from "node:module"
import { eventually, root, startLocal } from "../lib/world.mjs"

const ts = createRequire(import.meta.url)("typescript")
const packages = { api: "@daytona/api-client", toolbox: "@daytona/toolbox-api-client" }

/** Every operation of a client: `{ class, name, method, path, query, body }`; `body` is the number of the parameter that becomes the body. */
function operations(side) {
  const dir = join(root, "node_modules", packages[side], "src/api")
  const all = []
  for (const file of readdirSync(dir).filter((name) => name.endsWith(".js"))) {
    const text = readFileSync(join(dir, file), "utf8")
    const [, api] = text.match(/^const (\w+)AxiosParamCreator = /m)
    const creators = text.slice(0, text.indexOf(`exports.${api}AxiosParamCreator = `, text.indexOf(`const ${api}AxiosParamCreator`)))
    for (const [, name, parameters, code] of creators.matchAll(/^ {8}(\w+): async \((.*?)\) => \{\n(.*?)^ {8}\},$/gms)) {
      const body = code.match(/serializeDataIfNeeded\)\((\w+),/)?.[1]
      all.push({
        class: api,
        name,
        path: code.match(/localVarPath = `([^`]*)`/)[1],
        method: code.match(/localVarRequestOptions = \{ method: '(\w+)'/)[1],
        query: [...code.matchAll(/localVarQueryParameter\['(\w+)'\]/g)].map(([, name]) => name),
        body: body ? parameters.split(", ").indexOf(body) : -1,
      })
    }
  }
  return all
}

const known = { api: operations("api"), toolbox: operations("toolbox") }

/** The operation of a request; placeholders of a path stand for anything. Literal parts are better. */
function operation(side, method, path) {
  const parts = path.split("?")[0].split("/")
  const fits = (template) => {
    const own = template.split("/")
    return own.length === parts.length && own.every((part, at) => part === parts[at] || (part.startsWith("{") && parts[at]))
  }
  const found = known[side].filter((operation) => operation.method === method && fits(operation.path))
  return found.toSorted((a, b) => a.path.split("{").length - b.path.split("{").length)[0]
}

/** What the compiler says of `lines`, each of which is a declaration; none of it is in the repository. */
function complaints(lines) {
  const dir = mkdtempSync(join(root, "node_modules/.types-"))
  const file = join(dir, "check.ts")
  try {
    const imports = Object.entries(packages).map(([side, name]) => `import type * as ${side} from "${name}"`)
    const helpers = [
      // The clients leave dates as the text that they are in JSON, whatever their types say.
      "type Json<T> = T extends Date ? string : T extends object ? { [K in keyof T]: Json<T[K]> } : T",
      "type Answer<F> = F extends (...args: any) => Promise<{ data: infer T }> ? Json<T> : never",
    ]
    const text = [...imports, ...helpers, ...lines].join("\n")
    writeFileSync(file, text)
    const options = { strict: true, noEmit: true, skipLibCheck: true, module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext, target: ts.ScriptTarget.ES2022, types: [] }
    const program = ts.createProgram([file], options)
    return ts.getPreEmitDiagnostics(program).map((found) => {
      const line = found.file === undefined ? "" : text.split("\n")[found.file.getLineAndCharacterOfPosition(found.start).line]
      return `${ts.flattenDiagnosticMessageText(found.messageText, " ")}\n${line.slice(0, 2000)}`
    })
  } finally {
    rmSync(dir, { recursive: true })
  }
}

const typeOf = (side, { class: api, name }) => `${side}.${api}["${name}"]`
/** Fields that clients newer than these packages insist on: `kvm` from 0.220 on. */
const NEWER = ["kvm"]
const isAnswer = (side, operation, value, at) => `const a${at}: Answer<${typeOf(side, operation)}> = ${JSON.stringify(value, (key, value) => (NEWER.includes(key) ? undefined : value))}`
const isBody = (side, operation, value, at) => `const b${at}: Parameters<${typeOf(side, operation)}>[${operation.body}] = ${JSON.stringify(value)}`

let local
before(async () => (local = await startLocal()))
after(() => local?.stop())

test("the compiler notices a field that is missing, unknown or of another kind", () => {
  const get = operation("api", "GET", "/sandbox/{id}/ports/3000/preview-url")
  const answer = { sandboxId: "a", url: "u", token: "t" }
  const { url, ...without } = answer
  const wrong = [without, { ...answer, more: 1 }, { ...answer, url: 1 }]
  assert.deepEqual(complaints([isAnswer("api", get, answer, 0)]), [])
  assert.equal(complaints(wrong.map((value, at) => isAnswer("api", get, value, at))).length, wrong.length)
})

test("daytona-local serves no route that the official clients do not call", async () => {
  const { api, toolbox } = await local.control("GET", "/_test/routes")
  assert.ok(api.length > 15 && toolbox.length > 20, `${api.length} and ${toolbox.length} routes were read`)
  // Of older daemons and of newer ones than this client, and called by other clients.
  const unknown = ["POST /files/upload"]
  const templates = (side) => new Set(known[side].map(({ method, path }) => `${method} ${path}`))
  const missing = Object.entries({ api, toolbox }).flatMap(([side, table]) => table.map((route) => route.join(" ")).filter((route) => !templates(side).has(route)))
  assert.deepEqual(missing, unknown)
})

test("every answer of daytona-local is one that the official clients' types allow", async () => {
  const lines = []
  const seen = []
  const send = async (side, method, path, body) => {
    const base = side === "api" ? "/api" : `/toolbox/${id}`
    // The types are those of clients that say which they are; others get less of a session's output.
    const answer = await local.control(method, base + path, body, { "x-daytona-sdk-version": "0.216.0" })
    const found = operation(side, method, path)
    assert.ok(found, `${method} ${path}`)
    seen.push(`${method} ${found.path}`)
    if (body !== undefined) lines.push(isBody(side, found, body, lines.length))
    if (answer !== undefined) lines.push(isAnswer(side, found, answer, lines.length))
    return answer
  }
  let id
  ;({ id } = await send("api", "POST", "/sandbox", { name: "typed", labels: { a: "b" }, env: { GIVEN: "yes" } }))
  await send("api", "GET", `/sandbox/${id}`)
  await send("api", "GET", "/sandbox?limit=1")
  await send("api", "GET", "/config")
  await send("api", "GET", "/snapshots")
  await send("api", "GET", "/snapshots/daytona-small")
  await send("api", "GET", `/sandbox/${id}/ports/3000/preview-url`)
  await send("api", "GET", `/sandbox/${id}/ports/3000/signed-preview-url?expiresInSeconds=60`)
  await send("api", "GET", `/sandbox/${id}/toolbox-proxy-url`)
  await send("api", "PUT", `/sandbox/${id}/labels`, { labels: { a: "c" } })
  for (const path of ["autostop/10", "autoarchive/10", "autodelete/10"]) await send("api", "POST", `/sandbox/${id}/${path}`)

  await send("toolbox", "GET", "/version")
  await send("toolbox", "GET", "/work-dir")
  await send("toolbox", "GET", "/user-home-dir")
  await send("toolbox", "POST", "/process/execute", { command: "mkdir d; echo needle > d/f.txt", envs: { A: "b" }, cwd: "/tmp", timeout: 10 })
  await send("toolbox", "POST", "/process/execute", { command: "mkdir -p d; echo needle > d/f.txt" })
  await send("toolbox", "POST", "/process/session", { sessionId: "s" })
  const { cmdId } = await send("toolbox", "POST", "/process/session/s/exec", { command: "echo said", runAsync: false })
  await send("toolbox", "GET", "/process/session/s")
  await send("toolbox", "GET", "/process/session")
  await send("toolbox", "GET", `/process/session/s/command/${cmdId}`)
  await send("toolbox", "POST", "/process/pty", { id: "p", cols: 80, rows: 24, envs: { A: "b" }, cwd: "/tmp", lazyStart: false })
  await send("toolbox", "POST", "/process/pty/p/resize", { cols: 90, rows: 20 })
  await send("toolbox", "GET", "/process/pty")
  await send("toolbox", "GET", "/process/pty/p")
  // Not its end: the daemon answers with a text where the types have an object.
  await send("toolbox", "GET", "/files?path=d")
  await send("toolbox", "GET", "/files/info?path=d/f.txt")
  await send("toolbox", "GET", "/files/find?path=d&pattern=needle")
  await send("toolbox", "GET", "/files/search?path=d&pattern=*.txt")
  await send("toolbox", "POST", "/files/replace", { files: ["d/f.txt"], pattern: "needle", newValue: "pin" })
  await send("toolbox", "GET", "/port")
  await send("toolbox", "GET", "/port/3000/in-use")

  await send("api", "POST", `/sandbox/${id}/stop`)
  await eventually("the stop", async () => (await send("api", "GET", `/sandbox/${id}`)).state === "stopped")
  await send("api", "POST", `/sandbox/${id}/start`)
  await send("api", "DELETE", `/sandbox/${id}`)
  assert.ok(new Set(seen).size > 28, `${new Set(seen).size} operations`)
  assert.deepEqual(complaints(lines), [])
})

test("every request of our own client is one that the official clients could send", () => {
  const target = process.env.CARGO_TARGET_DIR ?? join(root, "target")
  const text = execFileSync(join(target, "debug/examples/requests"), { encoding: "utf8" })
  const requests = text.trim().split("\n").map((line) => JSON.parse(line))
  assert.equal(requests.length, 13)
  const lines = []
  for (const { side, method, path, body, parts } of requests) {
    const found = operation(side, method, path)
    assert.ok(found, `${method} ${path} is not in ${packages[side]}`)
    for (const name of new URLSearchParams(path.split("?")[1] ?? "").keys()) assert.ok(found.query.includes(name), `${method} ${path}: the parameter ${name} is unknown`)
    if (body !== null) {
      assert.ok(found.body >= 0, `${method} ${path} takes no body`)
      lines.push(isBody(side, found, body, lines.length))
    } else if (parts) {
      // The clients do not name these fields; the daemon wants the path first.
      assert.deepEqual([found.path, ...parts], ["/files/bulk-upload", "files[0].path", "files[0].file"])
    } else assert.equal(found.body, -1, `${method} ${path} needs a body`)
  }
  assert.deepEqual(complaints(lines), [])
})
