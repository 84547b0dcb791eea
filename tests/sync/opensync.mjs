// A fake OpenSync: the HTTP interface of the dashboard's server (Convex functions, February 2026), with what it
// drops without a word, its limits, and its 500 for bad input. It shares no code with what is tested.
//
//   node tests/sync/opensync.mjs          prints {"url","key"}, serves on loopback until its input ends
//
// Beside the interface: `GET /_test/state` (everything stored), `POST /_test/fault` {status, body, times, path,
// drop, percent} (without `percent` each request is hit), `DELETE /_test/fault`, `POST /_test/clock` {ms} (moves its clock forward), `GET /_test/requests`.

import { randomBytes } from "node:crypto"
import { createServer } from "node:http"

const MIB = 1024 * 1024
const ROLES = ["user", "assistant", "system", "tool", "unknown"]
/** Longer than this after a change, an update of a session that changes little is taken. */
const SESSION_QUIET_MS = 10_000
/** Sooner than this after its date, an update of a message is dropped. */
const MESSAGE_QUIET_MS = 5_000

const SESSION = { externalId: "string", sessionId: "string", title: "string", projectPath: "string", projectName: "string", model: "string", provider: "string", source: "string", promptTokens: "number", completionTokens: "number", cost: "number", durationMs: "number", createdAt: "number" }
const MESSAGE = { sessionExternalId: "string", externalId: "string", role: "string", textContent: "string", model: "string", promptTokens: "number", completionTokens: "number", durationMs: "number", source: "string", createdAt: "number" }

class Refused extends Error {
  constructor(status, message) {
    super(message)
    this.status = status
  }
}
const invalid = (why) => new Refused(500, `ArgumentValidationError: ${why}`)

/** What Convex takes as a value: names of fields, nesting, sizes of lists, valid Unicode, finite numbers. */
function check(value, depth = 0) {
  if (depth > 16) throw invalid("Value is nested too deeply (maximum 16)")
  if (typeof value === "string") {
    if (!value.isWellFormed()) throw invalid("String contains a lone surrogate")
  } else if (typeof value === "number") {
    if (!Number.isFinite(value)) throw invalid("Number is not finite")
  } else if (Array.isArray(value)) {
    if (value.length > 8192) throw invalid("Array length is too long (maximum 8192)")
    for (const entry of value) check(entry, depth + 1)
  } else if (value && typeof value === "object") {
    const names = Object.keys(value)
    if (names.length > 1024) throw invalid("Object has too many fields (maximum 1024)")
    for (const name of names) {
      if (!name || name.startsWith("$") || name.length > 1024 || !/^[ -~]*$/.test(name)) throw new Refused(500, `Field name ${JSON.stringify(name)} is not allowed`)
      check(value[name], depth + 1)
    }
  }
}

const size = (value) => Buffer.byteLength(JSON.stringify(value))
function document(value, what) {
  if (size(value) > MIB) throw new Refused(500, `${what} is too large (${size(value)} bytes > maximum size 1 MiB)`)
  return value
}

/** The fields of `given` that are known, of the right type. `null` is no absence. */
function fields(given, known, required) {
  if (!given || typeof given !== "object" || Array.isArray(given)) throw invalid("an object is expected")
  const out = {}
  for (const [name, type] of Object.entries(known)) {
    if (given[name] === undefined) continue
    if (typeof given[name] !== type) throw invalid(`Validator: ${name} is not a ${type}`)
    out[name] = given[name]
  }
  for (const name of required) if (out[name] === undefined) throw invalid(`Validator: ${name} is missing`)
  return out
}

function partsOf(given) {
  if (given === undefined) return undefined
  if (!Array.isArray(given)) throw invalid("Validator: parts is not an array")
  for (const part of given) {
    const more = Object.keys(part).filter((key) => key !== "type" && key !== "content")
    if (typeof part.type !== "string" || part.content === undefined || more.length) throw invalid(`Validator: a part has type and content and nothing else (${more})`)
    document(part, "a part")
  }
  return given
}

export async function startOpenSync({ port = 0 } = {}) {
  const key = `osk_${randomBytes(24).toString("base64url")}`
  const state = { sessions: new Map(), messages: new Map() }
  const requests = []
  let faults = []
  let hits = 0
  let ahead = 0
  let serial = 0
  const now = () => Date.now() + ahead

  const session = (given) => {
    const known = fields(given, SESSION, [])
    const externalId = known.externalId ?? known.sessionId
    if (!externalId) throw new Refused(400, "Missing session id")
    const { createdAt, sessionId, ...rest } = known
    const found = state.sessions.get(externalId)
    if (!found) {
      const made = { source: "opencode", promptTokens: 0, completionTokens: 0, cost: 0, ...rest, externalId, id: `s${++serial}`, createdAt: createdAt ?? now(), updatedAt: now(), searchableText: rest.title ?? "", embeddings: 1 }
      state.sessions.set(externalId, document(made, "a session"))
      return made
    }
    const { title, model, projectPath, promptTokens = 0, completionTokens = 0 } = rest
    const same = title === found.title && model === found.model && projectPath === found.projectPath
    const counted = (promptTokens === 0 || promptTokens === found.promptTokens) && (completionTokens === 0 || completionTokens === found.completionTokens)
    if (same && counted && now() - found.updatedAt < SESSION_QUIET_MS) return found
    if (title !== undefined && title !== found.title) found.searchableText = title
    for (const [name, value] of Object.entries(rest)) {
      if ((name === "promptTokens" || name === "completionTokens") && !(value > 0)) continue
      found[name] = value
    }
    found.updatedAt = now()
    found.embeddings++
    document(found, "a session")
    return found
  }

  const message = (given) => {
    check(given)
    const known = fields(given, MESSAGE, ["sessionExternalId", "externalId", "role"])
    if (!ROLES.includes(known.role)) throw invalid(`Validator: role ${known.role} is none of ${ROLES}`)
    const parts = partsOf(given.parts)
    if (size(given) > 8 * MIB) throw new Refused(500, "Arguments are too large (maximum 8 MiB)")
    const { createdAt, source, ...rest } = known
    if (!state.sessions.has(known.sessionExternalId)) {
      state.sessions.set(known.sessionExternalId, { source: source ?? "opencode", promptTokens: 0, completionTokens: 0, cost: 0, externalId: known.sessionExternalId, id: `s${++serial}`, createdAt: now(), updatedAt: now(), searchableText: "", embeddings: 0 })
    }
    const of = state.sessions.get(known.sessionExternalId)
    const found = state.messages.get(known.externalId)
    if (found && now() < found.createdAt + MESSAGE_QUIET_MS) return found
    const { parts: _, ...stored } = found ? { ...found, ...rest, role: found.role } : { ...rest, id: `m${++serial}`, createdAt: createdAt ?? now() }
    document(stored, "a message")
    const made = { ...stored, parts: parts ?? [] }
    state.messages.set(known.externalId, made)
    of.updatedAt = now()
    of.searchableText = `${of.searchableText} ${made.parts.filter(({ type }) => type === "text").map(({ content }) => content.text ?? content.content ?? content).join(" ")}`.slice(0, 10_000)
    return made
  }

  const messagesOf = (externalId) => [...state.messages.values()].filter((one) => one.sessionExternalId === externalId).sort((a, b) => a.createdAt - b.createdAt)
  const shown = (one) => ({ id: one.id, externalId: one.externalId, title: one.title, projectPath: one.projectPath, projectName: one.projectName, model: one.model, provider: one.provider, source: one.source, promptTokens: one.promptTokens, completionTokens: one.completionTokens, totalTokens: one.promptTokens + one.completionTokens, cost: one.cost, durationMs: one.durationMs, messageCount: messagesOf(one.externalId).length, createdAt: one.createdAt, updatedAt: one.updatedAt })

  /** Entries of a batch are all taken or all refused, and the answer is 200 either way. */
  const batch = ({ sessions = [], messages = [] }) => {
    const errors = []
    const list = (entries, known, take) => {
      try {
        for (const entry of entries) {
          const unknown = Object.keys(entry).find((name) => name === "createdAt" || (!(name in known) && name !== "parts"))
          if (unknown) throw invalid(`Validator: unknown field ${unknown}`)
          if (entry.role !== undefined && !ROLES.includes(entry.role)) throw invalid("Validator: role")
        }
        for (const entry of entries) take(entry)
        return entries.length
      } catch (error) {
        errors.push(error.message)
        return 0
      }
    }
    return { ok: true, sessions: list(sessions, SESSION, session), messages: list(messages, MESSAGE, ({ parts, ...entry }) => message(state.messages.has(entry.externalId) ? entry : { parts, ...entry })), errors }
  }

  const routes = {
    "GET /health": () => ({ status: "ok", timestamp: now() }),
    "POST /sync/session": (body) => {
      check(body)
      return { ok: true, sessionId: session(body).id }
    },
    "POST /sync/message": (body) => ({ ok: true, messageId: message(body).id }),
    "POST /sync/batch": batch,
    "GET /sync/sessions/list": () => ({ sessionIds: [...state.sessions.keys()] }),
    "GET /api/sessions": (_, query) => {
      const limit = Number(query.get("limit") ?? 50)
      if (Number.isNaN(limit)) throw invalid("Validator: limit")
      return { sessions: [...state.sessions.values()].sort((a, b) => b.updatedAt - a.updatedAt).slice(0, limit).map(shown) }
    },
    "GET /api/sessions/get": (_, query) => {
      if (!query.get("id")) throw new Refused(400, "Missing session id")
      const found = [...state.sessions.values()].find(({ id }) => id === query.get("id"))
      if (!found) throw invalid("Validator: id is no id of a session")
      const answer = { session: shown(found), messages: messagesOf(found.externalId).map(({ sessionExternalId: _, ...one }) => one) }
      if (size(answer) > 16 * MIB) throw new Refused(500, "Too many bytes read in a single function execution (limit: 16777216 bytes)")
      return answer
    },
    "GET /api/stats": () => {
      const all = [...state.sessions.values()].map(shown)
      const sum = (name) => all.reduce((total, one) => total + (one[name] ?? 0), 0)
      return { totalSessions: all.length, totalMessages: state.messages.size, totalTokens: sum("totalTokens"), totalCost: sum("cost") }
    },
  }
  const controls = {
    "GET /_test/state": () => ({ sessions: [...state.sessions.values()].map((one) => ({ ...shown(one), searchableText: one.searchableText, embeddings: one.embeddings, messages: messagesOf(one.externalId) })) }),
    "GET /_test/requests": () => requests,
    "GET /_test/hits": () => hits,
    "DELETE /_test/requests": () => ((requests.length = 0), {}),
    "POST /_test/fault": (body) => (faults.push({ times: 1, ...body }), {}),
    "DELETE /_test/fault": () => ((faults = []), {}),
    "POST /_test/clock": ({ ms }) => ((ahead += ms), {}),
  }

  const server = createServer(async (request, response) => {
    const answer = (status, body, headers = {}) => {
      const text = typeof body === "string" ? body : JSON.stringify(body)
      response.writeHead(status, { "content-type": typeof body === "string" ? "text/plain" : "application/json", ...headers }).end(text)
    }
    const chunks = []
    let length = 0
    for await (const chunk of request) {
      length += chunk.length
      if (length <= 20 * MIB) chunks.push(chunk)
    }
    const { pathname, searchParams } = new URL(request.url, "http://opensync")
    const route = `${request.method} ${pathname}`
    try {
      if (controls[route]) return answer(200, controls[route](length ? JSON.parse(Buffer.concat(chunks)) : {}))
      requests.push(route)
      const fault = faults.find(({ times, path, percent }) => times !== 0 && (!path || path === pathname) && (percent === undefined || Math.random() * 100 < percent))
      if (fault) {
        hits++
        fault.times--
        if (fault.drop === "before") return request.socket.destroy()
        if (fault.drop !== "after" && !fault.silent) return answer(fault.status, fault.body ?? { error: "fault" }, fault.headers)
        // `silent`: the answer of success, and nothing is done.
        if (fault.silent) return answer(200, { ok: true, sessionId: "s0", messageId: "m0" })
      }
      if (!routes[route]) return answer(404, "No matching routes found")
      if (pathname !== "/health") {
        const given = request.headers.authorization
        if (!given) throw new Refused(401, "Missing Authorization header")
        if (given !== `Bearer ${key}`) throw new Refused(401, given.startsWith("Bearer osk_") ? "Invalid API key" : "Invalid or expired token")
      }
      if (length > 20 * MIB) throw new Refused(413, "Request is too large")
      let body
      try {
        body = length ? JSON.parse(Buffer.concat(chunks).toString("utf8")) : {}
      } catch (error) {
        throw new Refused(500, `SyntaxError: ${error.message}`)
      }
      const done = routes[route](body, searchParams)
      if (fault?.drop === "after") return request.socket.destroy()
      answer(200, done)
    } catch (error) {
      answer(error.status ?? 500, { error: error.message })
    }
  })
  await new Promise((done) => server.listen(port, "127.0.0.1", done))
  return { url: `http://127.0.0.1:${server.address().port}`, key, stop: () => new Promise((done) => (server.closeAllConnections(), server.close(done))) }
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const { url, key, stop } = await startOpenSync()
  console.log(JSON.stringify({ url, key }))
  process.stdin.resume().on("end", stop)
}
