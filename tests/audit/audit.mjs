import { round, rows, STATES } from "./round.mjs"
import { ensureTrace } from "./trace.mjs"
const name = process.argv[2]
const trace = ensureTrace()
const only = process.argv[3]
const r = await round(name, { chosen: only ? rows.filter(x=>x.id===only) : rows, trace })
const by = new Map()
for (const e of r.effects) { const k = e.row ?? "(none)"; by.set(k, [...(by.get(k)??[]), e]) }
for (const row of [...rows.map(r=>r.id), "(none)", ...[...by.keys()].filter(k=>k!=="(none)"&&!rows.some(r=>r.id===k))]) {
  const es = by.get(row) ?? []
  const kinds = [...new Set(es.map(e=>e.kind+(e.opened?"'":"")))].join(" ")
  const st = (r.results.get(row)??[]).map(x=>x.status[0]).join("")
  const want = rows.find(r=>r.id===row)?.plain
  console.log(row.padEnd(22), (want??"").padEnd(5), kinds.padEnd(14), st, es.length ? es.map(e=>e.what.slice(0,140)).filter((x,i)=>i<(process.env.V??2)).join(" | ") : "")
}
console.log(r.seconds)
process.exit(0)
