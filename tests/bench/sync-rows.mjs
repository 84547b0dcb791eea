// Fills OpenCode's database with so many sessions of so many messages, in the engine that OpenCode brings, which
// has SQLite. They are copies of one real session, with other ids and dates.

import { Database } from "bun:sqlite"

const [path, sessions, messages] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])]
const db = new Database(path)
const first = (sql, ...values) => db.query(sql).get(...values)
const session = first("SELECT * FROM session LIMIT 1")
const rows = db.query("SELECT * FROM message WHERE session_id = ? ORDER BY id").all(session.id)
const parts = db.query("SELECT * FROM part WHERE session_id = ?").all(session.id)
const insert = (table, row) => {
  const names = Object.keys(row)
  db.query(`INSERT INTO ${table} (${names.map((name) => `"${name}"`).join()}) VALUES (${names.map(() => "?").join()})`).run(...names.map((name) => row[name]))
}
const pad = (number) => String(number).padStart(8, "0")
db.exec("PRAGMA foreign_keys = OFF")
db.transaction(() => {
  for (let s = 0; s < sessions; s++) {
    const id = `ses_bench${pad(s)}`
    const at = session.time_created - (sessions - s) * 1_000_000
    insert("session", { ...session, id, slug: `bench-${s}`, title: `Session ${s}`, time_created: at, time_updated: at + messages * 1_000 })
    for (let m = 0; m < messages; m++) {
      const row = rows[m % rows.length]
      const message = `msg_bench${pad(s)}${pad(m)}`
      const time = at + m * 1_000
      const data = JSON.parse(row.data)
      insert("message", { ...row, id: message, session_id: id, time_created: time, time_updated: time, data: JSON.stringify({ ...data, time: { ...data.time, created: time } }) })
      for (const part of parts.filter((part) => part.message_id === row.id)) insert("part", { ...part, id: `prt_bench${pad(s)}${pad(m)}${part.id.slice(-8)}`, message_id: message, session_id: id })
    }
  }
})()
console.log(JSON.stringify({ sessions: first("SELECT COUNT(*) AS n FROM session").n, messages: first("SELECT COUNT(*) AS n FROM message").n }))
