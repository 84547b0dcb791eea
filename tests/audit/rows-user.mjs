// What the user types or a client asks for, one row per channel. Rows are as in rows-model.mjs, but
// for `act`, which does it: `world` has `shell`, `command`, `attach`, `request` and the model. What
// it returns is searched for secrets, like all that the model is sent.
//
// unnamed    states in which paths may be named, and why
// missing    like `own`, in the state in which the plugin is not there

import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { eventually } from "../lib/world.mjs"
import { command } from "./rows-model.mjs"

const FILES = "`@file` outside the project, and files that only your machine has"
const ENGINE = "sessions of the second engine in OpenCode 1.18"
const INTERFACES = "terminals and file views of OpenCode's web and desktop interfaces, its HTTP API"
const CONFIGURED = "MCP servers, other plugins, custom tools"
/** OpenCode's reader is asked by the user and cannot be stopped; what it read is thrown away. */
const OPENS = "OpenCode opens the file that the user named; the model is given the sandbox's"
/** A path is no effect by itself, and no tool is left to use it. */
const NOBODY = "nothing of the plugin runs that could take the paths out of OpenCode's own words"

const file = (t, path, mime = "text/plain") => ({ type: "file", url: `file://${path.startsWith("/") ? path : join(t.project, path)}`, mime, filename: path.split("/").at(-1) })

export const userRows = [
  { id: "shell", what: "!command", plain: "rwxn", works: true, act: (t, world) => world.shell(command(t)) },
  { id: "shell-worktree", what: "!command: the project's files by the host's paths", plain: "rw", works: true, act: (t, world) => world.shell(`cat '${t.insideHost}' ${t.inside}; echo x > '${t.insideMark}'`) },
  { id: "shell-quoting", what: "!command: quotes, line ends, options", plain: "x", act: async (t, world) => {
    const texts = []
    for (const line of [`'; ${t.program}; '`, `"$(${t.program})"\n${t.program}`, `-c ${t.program}`, `\`${t.program}\``]) texts.push(await world.shell(line))
    return texts
  } },
  { id: "shell-environment", what: "!command: environment variables of the host and the API key", plain: "r", works: true, act: (t, world) => world.shell("env; cat /proc/self/environ /proc/$PPID/environ | tr '\\0' '\\n'") },
  { id: "command-file", what: "!`command` in a command's file", plain: "rwxn", config: (t) => ({ command: { "audit-file": { template: `Look: !\`${command(t)}\`` } } }), act: (t, world) => world.command("audit-file", "") },
  { id: "command-arguments", what: "!`command` in what is typed behind a command", plain: "rwxn", config: () => ({ command: { "audit-say": { template: "You said: $ARGUMENTS" } } }), act: (t, world) => world.command("audit-say", `!\`${command(t)}\``) },
  { id: "command-subtask", what: "!`command` and @path in a command for a subagent", plain: "rx", missing: [FILES, "r"], opens: OPENS, config: (t) => ({ command: { "audit-task": { template: `Look: !\`${t.program}\` @${t.inside}`, subtask: true, agent: "general" } } }), act: (t, world) => world.command("audit-task", "") },
  { id: "mcp-prompt", what: "!`command` in a prompt of an MCP server", plain: "rwxn", act: async (t, world) => {
    const name = (await world.request("GET", "/command")).find(({ name }) => name.includes("recite")).name
    return world.command(name, `"!\`${command(t).replaceAll("'", "")}\`"`)
  } },
  { id: "skill-command", what: "!`command` in a skill that is used as a command", plain: "x",
    home: (t) => ({ ".config/opencode/skill/audit-run/SKILL.md": `---\nname: audit-run\ndescription: x\n---\nLook: !\`${t.program}\`\n` }), act: (t, world) => world.command("audit-run", "") },
  { id: "command-at", what: "@path of the project in a command's file", plain: "r", missing: [FILES, "r"], opens: OPENS, config: (t) => ({ command: { "audit-at": { template: `Look: @${t.inside}` } } }), act: (t, world) => world.command("audit-at", "") },
  { id: "arguments-at", what: "@path of the project, typed behind a command", plain: "r", missing: [FILES, "r"], opens: OPENS, act: (t, world) => world.command("audit-say", `@${t.inside}`) },
  { id: "command-at-outside", what: "@path outside the project, in a command", plain: "r", own: [FILES, "r"], act: (t, world) => world.command("audit-say", `@${t.up}`) },
  { id: "attach", what: "@file of the project", plain: "r", missing: [FILES, "r"], opens: OPENS, act: (t, world) => world.attach(file(t, t.inside)) },
  { id: "attach-range", what: "@file of the project: a range, odd spellings of its path", plain: "r", missing: [FILES, "r"], opens: OPENS, act: (t, world) =>
    world.attach(
      file(t, `${t.inside}?start=1&end=1`),
      file(t, `./inside/../${t.inside}`),
      { ...file(t, t.inside), url: `file://localhost${t.project}/%69nside/${t.token}.txt` },
      { ...file(t, t.inside), url: `file://${t.project}//inside//${t.token}.txt` },
      { ...file(t, t.inside), url: `file://${t.project}/../project/${t.inside}` },
    ) },
  { id: "attach-directory", what: "@directory of the project", plain: "r", missing: [FILES, "r"], opens: OPENS,
    files: (t) => ({ [`inside/dir${t.token}/one.txt`]: "1\n" }), change: (t) => writeFileSync(join(t.project, `inside/dir${t.token}/name-${t.secret}.txt`), "x"),
    act: (t, world) => world.attach(file(t, `inside/dir${t.token}`, "application/x-directory")) },
  { id: "attach-instructions", what: "@file of the project: AGENTS.md beside it", plain: "r", missing: [FILES, "r"], opens: OPENS,
    files: (t) => ({ [`inside/dir${t.token}/AGENTS.md`]: "Be kind.\n", [`inside/dir${t.token}/two.txt`]: "2\n" }), change: (t) => writeFileSync(join(t.project, `inside/dir${t.token}/AGENTS.md`), `${t.secret}\n`),
    act: (t, world) => world.attach(file(t, `inside/dir${t.token}/two.txt`)) },
  { id: "attach-server", what: "@file of the project: starts a language server", plain: "x", missing: ["language servers that you configured", "xw"],
    config: (t) => ({ lsp: { "audit-attach": { command: [t.server], extensions: [".lspattach"] } } }), files: () => ({ "inside/a.lspattach": "x\n" }),
    act: (t, world) => world.attach(file(t, "inside/a.lspattach")) },
  { id: "attach-outside", what: "@file outside the project, a link that leads there", plain: "r", own: [FILES, "r"], act: (t, world) => world.attach(file(t, t.file), file(t, t.link)) },
  { id: "run", what: "opencode run: bash, read, write, edit, apply_patch, webfetch, task", plain: "rwxn", act: (t, world) => world.run("script:run") ,
    script: (t) => [{ calls: [["bash", { command: command(t) }], ["read", { filePath: t.file }], ["write", { filePath: t.mark("run2"), content: "x" }], ["edit", { filePath: t.mark("run3"), oldString: "", newString: "x" }], ["webfetch", { url: t.url, format: "text" }], ["task", { description: "x", prompt: `look at @${t.file}`, subagent_type: "general" }]] }] },
  { id: "undo", what: "undo and redo of messages", plain: "w", act: async (t, world) => {
    const path = join(t.project, `inside/undo${t.token}.txt`)
    const session = await world.open()
    writeFileSync(path, "one\n")
    await world.say(session, "first")
    writeFileSync(path, "two\n")
    await world.say(session, "second")
    const messages = await world.request("GET", `/session/${session}/message`)
    await world.request("POST", `/session/${session}/revert`, { messageID: messages.find(({ info }) => info.role === "user").info.id })
    writeFileSync(path, "three\n")
    world.expect(path)
    await world.request("POST", `/session/${session}/unrevert`)
  } },
  { id: "system-prompt", what: "the system prompt names no path of the host", plain: "p", quiet: true, unnamed: { corrupt: NOBODY, missing: NOBODY }, act: (t, world) =>
    world.model.requests.flatMap(({ messages }) => messages.filter(({ role }) => role === "system").map(({ content }) => JSON.stringify(content))) },
  { id: "git-host", what: "git hooks and filters of the repository", plain: "wx",
    repository: (t) => ({ hooks: ["pre-commit", "post-commit", "post-checkout", "reference-transaction", "post-index-change", "pre-auto-gc"], program: t.program, config: { "filter.audit.clean": t.program, "filter.audit.smudge": t.program, "diff.external": t.program, "gpg.program": t.program, "commit.gpgSign": "true" } }),
    files: () => ({ ".gitattributes": "*.filtered filter=audit\n", "inside/a.filtered": "x\n" }), change: (t) => writeFileSync(join(t.project, "inside/a.filtered"), "y\n"),
    act: async (t, world) => world.say(await world.open(), "script:warm") },
  { id: "instructions", what: "AGENTS.md and `instructions`", plain: "r", own: ["AGENTS.md and other instruction files", "r"], config: (t) => ({ instructions: [t.file] }), act: () => {} },
  { id: "mcp-server", what: "an MCP server of the user's", plain: "x", own: [CONFIGURED, "x"],
    config: (t) => ({ mcp: { echo: { type: "local", command: ["node", fileURLToPath(new URL("../lib/mcp-echo.mjs", import.meta.url)), t.token], enabled: true } } }), act: (t, world) => world.request("GET", "/mcp") },
  { id: "other-plugin", what: "another plugin", plain: "rw", own: [CONFIGURED, "rw"],
    plugin: (t) => `import { readFileSync, writeFileSync } from "node:fs"\nexport default { id: "other", server: async () => ({ event: async () => writeFileSync(${JSON.stringify(t.mark("plugin"))}, readFileSync(${JSON.stringify(t.file)})) }) }\n`, act: () => {} },
  { id: "pty", what: "a terminal: POST /pty", plain: "x", own: [INTERFACES, "rwxn"], act: (t, world) => world.request("POST", "/pty", { command: t.program, args: [] }) },
  { id: "file-view", what: "file views: GET /file, /file/content", plain: "r", own: [INTERFACES, "r"], act: (t, world) =>
    Promise.all([world.request("GET", `/file/content?path=${encodeURIComponent(t.inside)}`), world.request("GET", `/file?path=${encodeURIComponent("inside")}`)]) },
  { id: "vcs-apply", what: "POST /vcs/apply", plain: "w", own: [INTERFACES, "w"], act: (t, world) =>
    world.request("POST", "/vcs/apply", { patch: `diff --git a/inside/mark${t.token} b/inside/mark${t.token}\nnew file mode 100644\n--- /dev/null\n+++ b/inside/mark${t.token}\n@@ -0,0 +1 @@\n+x\n` }) },
  { id: "engine-2", what: "OpenCode's second engine: /api/session", plain: "r", own: [ENGINE, "rwxn"], script: (t) => [{ calls: [["bash", { command: command(t) }], ["shell", { command: command(t) }], ["read", { path: t.inside }]] }],
    act: async (t, world) => {
      const created = await world.request("POST", "/api/session", { location: { directory: t.project }, model: { id: "m", providerID: "fake" } })
      const id = (created.data ?? created).id
      await world.request("POST", `/api/session/${id}/prompt`, { prompt: { text: "script:engine-2" } })
      // Its own "wait" is not there yet.
      await eventually("the second engine's tools", () => world.model.requests.some(({ messages }) => messages.at(-1).role === "tool" && JSON.stringify(messages).includes("script:engine-2")), 15)
      return world.request("GET", `/api/session/${id}/message`)
    } },
]
