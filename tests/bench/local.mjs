// daytona-local by itself: how soon sandboxes are there, what they cost, and how fast files come and go.
// Alone: `node tests/bench/local.mjs`, with DAYTONA_LOCAL_BIN for another build.

import { execFileSync } from "node:child_process"
import { mkdtempSync, openAsBlob, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { startLocal } from "../lib/world.mjs"
import { median } from "./median.mjs"

const MB = 1 << 20
const MANY = 50
const EXECS = 500
const FILE_MB = 500

const timed = async (work) => {
  const start = performance.now()
  await work()
  return performance.now() - start
}

/** Runs the measurements on a server of their own; gives the figures. */
export async function local() {
  const base = mkdtempSync(join(tmpdir(), "local-bench-"))
  const server = await startLocal()
  try {
    const toolbox = (id) => `${server.url.replace(/\/api$/, "")}/toolbox/${id}`
    const headers = { authorization: `Bearer ${server.apiKey}` }
    const asked = async (response) => {
      if (!response.ok) throw new Error(`${response.url}: ${response.status} ${await response.text()}`)
      return response
    }
    const exec = async (id, command) => {
      const body = JSON.stringify({ command })
      const reply = await asked(await fetch(`${toolbox(id)}/process/execute`, { method: "POST", headers: { ...headers, "content-type": "application/json" }, body }))
      return (await reply.json()).result
    }
    const create = () => server.api("POST", "/sandbox", {})
    const remove = ({ id }) => server.api("DELETE", `/sandbox/${id}`)

    const firsts = []
    for (let n = 0; n < 10; n++) {
      let sandbox
      firsts.push(await timed(async () => exec((sandbox = await create()).id, "true")))
      await remove(sandbox)
    }

    const before = processes(server.child.pid)
    let many
    const manyMs = await timed(async () => {
      many = await Promise.all(Array.from({ length: MANY }, create))
      await Promise.all(many.map(({ id }) => exec(id, "true")))
    })
    const all = processes(server.child.pid).filter((pid) => !before.includes(pid))
    const memory = all.reduce((sum, pid) => sum + pss(pid), 0)

    const [{ id }] = many
    const execs = await timed(() => Promise.all(Array.from({ length: EXECS }, () => exec(id, "echo x"))))

    const file = join(base, "file")
    execFileSync("dd", ["if=/dev/urandom", `of=${file}`, "bs=1M", `count=${FILE_MB}`], { stdio: "ignore" })
    const rounds = []
    for (let n = 0; n < 3; n++) {
      const copyMs = await timed(() => execFileSync("cp", [file, join(base, "copy")]))
      const uploadMs = await timed(async () => {
        const form = new FormData()
        form.append("files[0].path", "file")
        form.append("files[0].file", await openAsBlob(file), "file")
        await asked(await fetch(`${toolbox(id)}/files/bulk-upload`, { method: "POST", headers, body: form }))
      })
      let bytes = 0
      const downloadMs = await timed(async () => {
        const reply = await asked(await fetch(`${toolbox(id)}/files/download?path=file`, { headers }))
        for await (const chunk of reply.body) bytes += chunk.length
      })
      if (bytes !== FILE_MB * MB) throw new Error(`${bytes} bytes came back`)
      rounds.push({ copyMs, uploadMs, downloadMs })
    }
    const of = (name) => median(rounds.map((round) => round[name]))

    await exec(id, `head -c ${1024 * MB} /dev/zero | tr '\\0' x > ~/large`)
    const makeMs = await timed(async () => {
      await server.api("POST", `/sandbox/${id}/snapshot`, { name: "large" })
      while ((await server.api("GET", "/snapshots/large")).state !== "active");
    })
    const starts = []
    for (let n = 0; n < 5; n++) {
      let sandbox
      starts.push(await timed(async () => exec((sandbox = await server.api("POST", "/sandbox", { snapshot: "large" })).id, "true")))
      const size = Number(await exec(sandbox.id, "stat -c %s ~/large"))
      if (size !== 1024 * MB) throw new Error(`the snapshot's file has ${size} bytes`)
      await remove(sandbox)
    }
    return {
      createToExecMs: median(firsts),
      fifty: { ms: manyMs, processesEach: all.length / MANY, memoryMbEach: memory / MB / MANY },
      execs: { count: EXECS, ms: execs },
      snapshot: { mb: 1024, makeMs, startMs: median(starts) },
      file: { mb: FILE_MB, copyMs: of("copyMs"), uploadMs: of("uploadMs"), downloadMs: of("downloadMs") },
    }
  } finally {
    await server.stop()
    rmSync(base, { recursive: true, force: true })
  }
}

/** A process and all below it. */
function processes(root) {
  const parents = new Map()
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      parents.set(Number(pid), Number(readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1).split(" ")[1]))
    } catch {
      // It has ended.
    }
  }
  const isBelow = (pid) => pid === root || (parents.has(pid) && isBelow(parents.get(pid)))
  return [...parents.keys()].filter(isBelow)
}

/** Memory of a process in bytes; what several share counts in parts. */
function pss(pid) {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8")
  return Number(/^Pss: +(\d+)/m.exec(rollup)[1]) * 1024
}

/** The figures as rows: name, value, limit in words, whether it holds. */
export function localRows({ createToExecMs, fifty, execs, snapshot, file }) {
  const [up, down] = [file.uploadMs / file.copyMs, file.downloadMs / file.copyMs]
  return [
    ["daytona-local: create to first command, ms", createToExecMs, "≤ 250", createToExecMs <= 250],
    [`daytona-local: ${MANY} sandboxes at once, ms`, fifty.ms, "≤ 10000", fifty.ms <= 10_000],
    ["daytona-local: processes of a sandbox", fifty.processesEach, "≤ 3", fifty.processesEach <= 3],
    ["daytona-local: memory of a sandbox, MB", fifty.memoryMbEach, "≤ 17", fifty.memoryMbEach <= 17],
    [`daytona-local: ${execs.count} commands at once, ms`, execs.ms, "≤ 10000", execs.ms <= 10_000],
    [`daytona-local: first command from a snapshot of ${snapshot.mb} MB, ms`, snapshot.startMs, "≤ 1000", snapshot.startMs <= 1000],
    [`daytona-local: ${file.mb} MB up / cp`, up, "≤ 12", up <= 12],
    [`daytona-local: ${file.mb} MB down / cp`, down, "≤ 12", down <= 12],
  ]
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const figures = await local()
  console.log(JSON.stringify(figures, null, 2))
  console.table(localRows(figures).map(([figure, measured, must, ok]) => ({ figure, measured, must, ok: ok ? "yes" : "NO" })))
}
