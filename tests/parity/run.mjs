import { openArena } from "./arena.mjs"
import { groups, runGroup } from "./table.mjs"
const only = process.argv[2]
const arena = await openArena({ lanes: 2 })
let rows = 0, bad = 0, next = 0
const t = Date.now()
const worker = async () => {
  for (;;) {
    const group = groups[next++]
    if (!group) return
    if (only && !group.name.includes(only)) continue
    const start = Date.now()
    try {
      const outcome = await runGroup(arena, group)
      rows += outcome.rows.length
      for (const { tool, args, wrong } of outcome.rows) if (wrong) { bad++; console.log(`-- ${group.name}: ${tool} ${JSON.stringify(args).slice(0, 300)}\n${wrong}`) }
      if (outcome.tree.wrong) { bad++; console.log(`-- ${group.name}: tree\n${outcome.tree.wrong}`) }
    } catch (e) { console.log(group.name, e) }
    console.log(`== ${group.name} ${Date.now() - start}`)
  }
}
await Promise.all([worker(), worker()])
console.log({ rows, bad, ms: Date.now() - t })
await arena.close()
