// What goes through OpenCode's other interfaces (faces.mjs), one row per channel: the model's tool calls,
// and a command that the user types. Rows are as in rows-user.mjs.

import { command } from "./rows-model.mjs"

/** What the model does, whoever has asked it. */
const script = (t) => [
  { calls: [["bash", { command: command(t) }], ["read", { filePath: t.file }], ["write", { filePath: t.mark("face"), content: "x" }], ["webfetch", { url: t.url, format: "text" }]] },
  { text: DONE },
]
const DONE = "All of it is done."
const works = { plain: "rwxn", script }

/** All tool parts of sessions, of which `is` says whose. */
async function tools(world, is) {
  const sessions = await Promise.all((await world.request("GET", "/session")).map(({ id }) => world.request("GET", `/session/${id}/message`)))
  return sessions.filter((messages) => is(JSON.stringify(messages))).flat().flatMap(({ parts }) => parts).filter(({ type }) => type === "tool")
}

export const faceRows = [
  { id: "face-run", what: "opencode run --attach", ...works, act: (t, world) => world.faces.run("script:face-run") },
  { id: "face-run-command", what: "opencode run --attach: !`command` in what is typed behind a command", plain: "rwxn", act: (t, world) => world.faces.run(`!\`${command(t)}\``, "--command", "audit-say") },
  { id: "face-web", what: "opencode web", ...works, act: async (t, world) => {
    const web = await world.faces.web()
    return JSON.stringify(await web.prompt(await web.session(), "script:face-web"))
  } },
  { id: "face-web-shell", what: "opencode web: !command", plain: "rwxn", act: async (t, world) => {
    const web = await world.faces.web()
    return web.request("POST", `/session/${await web.session()}/shell`, { agent: "build", command: command(t), model: { providerID: "fake", modelID: "m" } })
  } },
  { id: "face-acp", what: "opencode acp", ...works, act: (t, world) => world.faces.acp((editor) => editor.say("script:face-acp")) },
  { id: "face-acp-command", what: "opencode acp: !`command` in what is typed behind a command", plain: "rwxn", act: (t, world) => world.faces.acp((editor) => editor.say(`/audit-say !\`${command(t)}\``)) },
  { id: "face-acp-editor", what: "opencode acp: files that the editor is asked to write", plain: "w", missing: ["a rule of an agent's own that allows or asks", "w"],
    config: () => ({ agent: { "audit-asks": { mode: "primary", prompt: "Work.", permission: { edit: "ask" } } } }),
    script: (t) => [{ calls: [["write", { filePath: t.mark("write"), content: "x\n" }], ["write", { filePath: `inside/new${t.token}.txt`, content: "x\n" }], ["edit", { filePath: `inside/new${t.token}.txt`, oldString: "x", newString: "y" }]] }],
    act: (t, world) => world.faces.acp((editor) => editor.say("script:face-acp-editor", { mode: "audit-asks", mark: t.mark("editor") })) },
  { id: "face-attach", what: "opencode attach, in a terminal", ...works, act: (t, world) => world.faces.attach(async (terminal) => {
    await terminal.type("script:face-attach")
    await terminal.waits("the model's calls", () => terminal.screen().includes(DONE))
    return tools(world, (text) => text.includes("script:face-attach"))
  }) },
  { id: "face-attach-shell", what: "opencode attach: !command", plain: "wx", act: (t, world) => world.faces.attach(async (terminal) => {
    const typed = async () => (await tools(world, (text) => text.includes(t.token))).filter(({ tool, state }) => tool === "bash" && state.input.command?.includes(t.program))
    // A path alone would be completed as one of OpenCode's own commands.
    await terminal.type("!", `exec ${t.program}`)
    await terminal.waits("the command's end", async () => (await typed()).some(({ state }) => ["completed", "error"].includes(state.status)))
    return typed()
  }) },
]
