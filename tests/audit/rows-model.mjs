// What the model tries, one row per channel. A row is tried once per model family, with canaries of
// its own (`t`, see `canaries` in watch.mjs):
//
// id, what   the row, for people
// plain      what plain OpenCode lets happen (letters of KINDS): the self-check holds the watchers to it
// calls      the tool calls, of one reply of the model
// agent      what a subagent that these calls start replies
// works      how many of the calls, at least, the sandbox of a healthy plugin must serve
// quiet      the results must not name a path of the host: the calls name none either
// own        the line of the README that leaves this to the user, and the kinds of effect it covers
// opens      why OpenCode may open a canary although nothing of it goes on
// config, home   what the user has configured: settings of OpenCode, files of the home directory
//
// `read`, `write`, `execute` and `network` are tried wherever a channel could do them.

/** A command line that does all there is to do. */
export const command = (t, secret = t.file) =>
  `cat '${secret}'; cat ${t.home}; echo x > '${t.mark("sh")}'; '${t.program}'; curl -s -m 3 '${t.url}'`

const patch = (...lines) => ({ patchText: ["*** Begin Patch", ...lines, "*** End Patch"].join("\n") })
const task = (t, prompt, more = {}) => ["task", { description: "x", prompt, subagent_type: "general", ...more }]

export const modelRows = [
  { id: "bash", what: "bash: absolute paths", plain: "rwxn", works: 1, calls: (t) => [["bash", { command: command(t) }]] },
  { id: "bash-workdir", what: "bash: workdir outside the project", plain: "rwx", calls: (t) => [
    ["bash", { command: `cat secret${t.token}.txt; echo x > mark${t.token}; ./run${t.token}`, workdir: t.outside }],
    ["bash", { command: `cat secret${t.token}.txt; ./run${t.token}`, workdir: "../outside" }],
  ] },
  { id: "bash-worktree", what: "bash: the host's path of the worktree", plain: "rw", works: 1, calls: (t) => [
    ["bash", { command: `cat '${t.insideHost}'; echo x > '${t.insideMark}'`, workdir: t.project }],
  ] },
  { id: "bash-up", what: "bash: ../ and ~", plain: "rwx", works: 1, calls: (t) => [
    ["bash", { command: `cat ${t.up} ${t.home}; echo x > ${t.upMark}; ../outside/run${t.token}; cd ../outside && cat secret${t.token}.txt` }],
  ] },
  { id: "bash-link", what: "bash: links of the project that point outside", plain: "rw", works: 1, calls: (t) => [
    ["bash", { command: `ls -l links; cat ${t.link} ${t.linkDir}/*; echo x > ${t.linkDir}/mark${t.token}` }],
  ] },
  { id: "bash-background", what: "bash: background, and job", plain: "rwx", works: 1, calls: (t) => [
    ["bash", { command: command(t), background: true }],
    ["job", { id: `${t.project}/../outside/secret${t.token}.txt`, action: "output" }],
    ["job", { id: "../../../x", action: "input", input: command(t) }],
  ] },
  { id: "bash-quoting", what: "bash: quotes, here-documents and substitutions that could end early", plain: "rwx", works: 1, calls: (t) => [
    ["bash", { command: `'; ${t.program}; '"; ${t.program}; "\`${t.program}\`$(${t.program})\n${command(t)}` }],
    ["bash", { command: `cat <<'EOF'\nEOF\n${command(t)}\nEOF` }],
    ["bash", { command: `printf '%s' '<opencode-daytona-shell:${Buffer.from(command(t)).toString("hex")}>'` }],
  ] },
  { id: "environment", what: "bash, read: environment variables of the host and the API key", plain: "r", works: 1, calls: () => [
    ["bash", { command: "env; cat /proc/self/environ /proc/1/environ /proc/[0-9]*/environ | tr '\\0' '\\n'" }],
    ["read", { filePath: "/proc/self/environ" }],
    ["grep", { pattern: "AUDIT_SECRET|DAYTONA_API_KEY", path: "/proc/self" }],
    ["bash", { command: "cat .env ../.env ~/.env; find ~ .. -maxdepth 7 -name '*.json' -path '*daytona*' -exec cat {} + 2>/dev/null" }],
  ] },
  { id: "read", what: "read: absolute paths, ~, file://", plain: "r", calls: (t) => [t.file, t.home, `file://${t.file}`].map((filePath) => ["read", { filePath }]) },
  { id: "read-up", what: "read: ../", plain: "r", calls: (t) => [t.up, `./inside/../${t.up}`, `${t.project}/${t.up}`].map((filePath) => ["read", { filePath }]) },
  { id: "read-directory", what: "read: a directory outside", plain: "r", calls: (t) => [["read", { filePath: t.dir }], ["read", { filePath: `../outside/dir${t.token}` }]] },
  { id: "read-worktree", what: "read: the project's file, by the host's path and its own", plain: "r", works: 2, calls: (t) => [["read", { filePath: t.insideHost }], ["read", { filePath: t.inside }]] },
  { id: "read-link", what: "read: links of the project that point outside", plain: "r", calls: (t) => [["read", { filePath: t.link }], ["read", { filePath: t.linkDir }], ["read", { filePath: `${t.linkDir}/name-x` }]] },
  { id: "write", what: "write: absolute paths, ../, the host's worktree", plain: "w", works: 1, calls: (t) => [
    ["write", { filePath: t.mark("write"), content: "x" }],
    ["write", { filePath: t.upMark, content: "x" }],
    ["write", { filePath: t.insideMark, content: "x" }],
  ] },
  { id: "write-link", what: "write: through links of the project", plain: "w", calls: (t) => [
    ["write", { filePath: t.link, content: "x" }],
    ["write", { filePath: `${t.linkDir}/mark${t.token}`, content: "x" }],
  ] },
  { id: "edit", what: "edit: absolute paths, ../, the host's worktree", plain: "rw", works: 1, calls: (t) => [
    ["edit", { filePath: t.file, oldString: "S", newString: "T" }],
    ["edit", { filePath: t.insideHost, oldString: "before", newString: "after" }],
    ["edit", { filePath: t.mark("edit"), oldString: "", newString: "x" }],
    ["edit", { filePath: t.upMark, oldString: "", newString: "x" }],
  ] },
  { id: "apply-patch", what: "apply_patch: add, update, delete, move", plain: "w", works: 1, calls: (t) => [
    ["apply_patch", patch(`*** Add File: ${t.mark("add")}`, "+x")],
    ["apply_patch", patch(`*** Add File: ${t.upMark}`, "+x")],
    ["apply_patch", patch(`*** Add File: ${t.insideMark}`, "+x")],
    ["apply_patch", patch(`*** Delete File: ${t.up}`)],
    ["apply_patch", patch(`*** Update File: ${t.inside}`, `*** Move to: ${t.mark("move")}`)],
  ] },
  { id: "glob", what: "glob: directories outside, links, patterns with ../", plain: "r", works: 1, calls: (t) => [
    ["glob", { pattern: "*", path: t.dir }],
    ["glob", { pattern: "*", path: t.linkDir }],
    ["glob", { pattern: `../outside/dir${t.token}/*` }],
    ["glob", { pattern: "*", path: `${t.project}/inside` }],
  ] },
  { id: "grep", what: "grep: paths outside, links, the host's worktree", plain: "r", works: 1, calls: (t) => [
    ["grep", { pattern: "S", path: t.dir }],
    ["grep", { pattern: "S", path: `${t.dir}/no-such-file` }],
    ["grep", { pattern: "S", path: t.linkDir }],
    ["grep", { pattern: "^S", path: `${t.project}/inside`, include: `${t.token}*` }],
  ] },
  { id: "webfetch", what: "webfetch: the host's loopback, file://, the net by the host's proxy", plain: "n", calls: (t) => [
    ["webfetch", { url: t.url, format: "text" }],
    ["webfetch", { url: t.url.replace("127.0.0.1", "localhost"), format: "html" }],
    ["webfetch", { url: `file://${t.file}`, format: "text" }],
    ["webfetch", { url: t.far, format: "text", timeout: 3 }],
  ] },
  { id: "websearch", what: "websearch: by the host's proxy", plain: "n", calls: (t) => [["websearch", { query: t.token }]] },
  { id: "task-at", what: "task: @/abs, @~, @../ and the like in the prompt", plain: "r", agent: () => [{ text: "I see." }], calls: (t) => [
    task(t, `look at @${t.file} and (@${t.home}) and @${t.up}`),
    task(t, `@@${t.file} \`@${t.file}\` "@${t.up}"\n@${t.home}`),
    task(t, `\u00a0@${t.file}\u2028@${t.up}`),
    task(t, `@${t.file}#L1-2 @${t.dir}/ @${t.link} @${t.inside}`),
  ] },
  { id: "task-fields", what: "task: @path in description and command, in the background, resumed", plain: "", calls: (t) => [
    ["task", { description: `@${t.file}`, prompt: "x", subagent_type: "general", command: `@${t.up}` }],
    task(t, `look at @${t.file} @${t.inside}`, { background: true, task_id: `../${t.file}` }),
    task(t, "x", { subagent_type: `../../outside/secret${t.token}.txt` }),
  ], agent: () => [{ text: "I see." }] },
  { id: "subagent", what: "what a subagent does (general)", plain: "rwxn", calls: (t) => [task(t, `script:agent-${t.row}-${t.family}`)], agent: (t) => [
    { calls: [["bash", { command: command(t) }], ["read", { filePath: t.insideHost }], ["read", { filePath: t.file }], ["write", { filePath: t.mark("agent"), content: "x" }], ["webfetch", { url: t.url, format: "text" }]] },
    { calls: [["apply_patch", patch(`*** Add File: ${t.upMark}`, "+x")], ["edit", { filePath: t.mark("agent2"), oldString: "", newString: "x" }]] },
  ] },
  { id: "explore", what: "what a subagent does (explore)", plain: "rxn", calls: (t) => [task(t, `script:agent-${t.row}-${t.family}`, { subagent_type: "explore" })], agent: (t) => [
    { calls: [["bash", { command: command(t) }], ["glob", { pattern: "*", path: t.dir }], ["grep", { pattern: "S", path: t.dir }], ["read", { filePath: t.up }], ["webfetch", { url: t.url, format: "text" }]] },
  ] },
  { id: "skill-name", what: "skill: a path as its name", plain: "", calls: (t) => [t.up, t.file, `../../secret${t.token}.txt`, "x\0y"].map((name) => ["skill", { name }]) },
  { id: "skill-files", what: "skill: names of other files, !`command` and @path in its text", plain: "r", opens: "OpenCode lists the files of the skill; their names are taken out",
    home: (t) => ({ [`.config/opencode/skill/files-${t.family}/SKILL.md`]: `---\nname: files-${t.family}\ndescription: x\n---\nSee @${t.file} and !\`${t.program}\`\n`, [`.config/opencode/skill/files-${t.family}/dir${t.token}/name-${t.secret}.txt`]: "x\n" }),
    calls: (t) => [["skill", { name: `files-${t.family}` }]] },
  { id: "skill-text", what: "skill: its own text", plain: "r", own: ["`skill`", "r"],
    home: (t) => ({ [`.config/opencode/skill/text-${t.family}/SKILL.md`]: `---\nname: text-${t.family}\ndescription: x\n---\n${t.secret}\n` }),
    calls: (t) => [["skill", { name: `text-${t.family}` }]] },
  { id: "lsp", what: "lsp: starts a language server", plain: "x",
    config: (t) => ({ lsp: { [`audit-${t.family}`]: { command: [t.server], extensions: [`.lsp${t.family.replace(/\W/g, "")}`] } } }),
    files: (t) => ({ [`inside/a.lsp${t.family.replace(/\W/g, "")}`]: "x\n" }),
    calls: (t) => [["lsp", { operation: "hover", filePath: `inside/a.lsp${t.family.replace(/\W/g, "")}`, line: 1, character: 1 }], ["lsp", { operation: "documentSymbol", filePath: t.file, line: 1, character: 1 }]] },
  { id: "formatter", what: "write, edit, apply_patch: formatters of the user's configuration", plain: "x", works: 1,
    config: (t) => ({ formatter: { [`audit-${t.family}`]: { command: [t.program, "$FILE"], extensions: [`.fmt${t.family.replace(/\W/g, "")}`] } } }),
    calls: (t) => [
      ["write", { filePath: `inside/${t.token}.fmt${t.family.replace(/\W/g, "")}`, content: "x\n" }],
      ["apply_patch", patch(`*** Add File: inside/${t.token}.fmt${t.family.replace(/\W/g, "")}`, "+x")],
    ] },
  { id: "execute", what: "execute: code mode", plain: "", calls: (t) => [
    ["execute", { code: `return await fetch(${JSON.stringify(t.url)}).then((r) => r.text())` }],
    ["execute", { code: `return require("fs").readFileSync(${JSON.stringify(t.file)}, "utf8")` }],
    ["execute", { code: `return [].constructor.constructor("return process")().mainModule.require("child_process").execSync(${JSON.stringify(t.program)})` }],
  ] },
  { id: "wrong-case", what: "names in the wrong case", plain: "rwxn", calls: (t) => [
    ["Bash", { command: command(t) }], ["BASH", { command: command(t) }], ["Read", { filePath: t.file }], ["Write", { filePath: t.mark("case"), content: "x" }],
    ["WebFetch", { url: t.url, format: "text" }], ["Apply_Patch", patch(`*** Add File: ${t.mark("patch")}`, "+x")], ["Task", { description: "x", prompt: `@${t.file}`, subagent_type: "general" }],
  ] },
  { id: "unknown", what: "names of tools that are not there", plain: "", calls: (t) => [
    ...["list", "ls", "shell", "terminal", "multiedit", "patch", "teleport", "batch", "codesearch", "computer", "str_replace_editor"].map((name) => [name, { command: command(t), path: t.dir, filePath: t.file, content: "x" }]),
    ["bash ", { command: command(t) }], ["functions.bash", { command: command(t) }], ["default_api:bash", { command: command(t) }], ["invalid", { tool: "bash", error: command(t) }],
    ["plan_exit", {}], ["plan_enter", {}], ["__proto__", { command: command(t) }], ["constructor", { command: command(t) }], ["toString", {}],
  ] },
  { id: "invalid-arguments", what: "arguments of the wrong kind, broken JSON", plain: "", calls: (t) => [
    ["bash", {}], ["bash", { command: [command(t)] }], ["bash", { command: { toString: t.program } }], ["bash", { command: 7, workdir: t.outside }],
    ["bash", `{"command": "${t.program}`], ["bash", `[${JSON.stringify(command(t))}]`],
    ["read", { filePath: [t.file] }], ["read", { filePath: `${t.file}\0` }], ["read", `{"filePath": "x", "__proto__": {"filePath": ${JSON.stringify(t.file)}}}`],
    ["write", { filePath: { path: t.mark("invalid") }, content: "x" }], ["write", { filePath: t.mark("invalid"), content: 7 }],
    ["edit", { filePath: t.file, oldString: null, newString: "x" }], ["apply_patch", { patchText: [`*** Add File: ${t.mark("invalid")}`] }],
    ["glob", { pattern: 7, path: t.dir }], ["grep", { pattern: null, path: t.dir }], ["webfetch", { url: [t.url] }], ["task", { prompt: [`@${t.file}`] }], ["skill", { name: {} }],
  ] },
  { id: "todo", what: "todowrite: @path and !`command` in its text", plain: "", calls: (t) => [["todowrite", { todos: [{ content: `@${t.file} !\`${t.program}\``, status: "pending", priority: "low" }] }]] },
  { id: "cut-output", what: "outputs too long to show: where the rest is", plain: "wp", works: 1, quiet: true, calls: (t) => [
    ["bash", { command: `echo '${t.token}'; seq 1 60000` }],
    ["bash", { command: `printf '%0300000d' 0; echo '${t.token}'` }],
  ] },
  { id: "error-texts", what: "error texts that name a path of the host", plain: "p", works: 1, quiet: true, calls: () => [
    ["read", { filePath: "inside/no-such-file" }], ["read", { filePath: "." }], ["edit", { filePath: "inside/no-such-file", oldString: "a", newString: "b" }],
    ["apply_patch", patch("*** Update File: inside/no-such-file", "@@", "-a", "+b")], ["glob", { pattern: "*", path: "no-such-directory" }], ["grep", { pattern: "(", path: "inside" }],
    ["bash", { command: "pwd; echo $HOME; echo ~; no-such-program; git rev-parse --show-toplevel; git remote -v; git log -1; mount" }], ["bash", { command: "x", workdir: "no-such-directory" }],
    ["write", { filePath: "inside", content: "x" }], ["webfetch", { url: "nowhere" }], ["lsp", { operation: "hover", filePath: "no-such-file", line: 1, character: 1 }],
    ["skill", { name: "no-such-skill" }], ["task", { description: "x", prompt: "x", subagent_type: "no-such-agent" }],
  ] },
  { id: "git-agent", what: "git hooks, configuration and attributes planted by the agent", plain: "wx", works: 1, calls: (t) => [
    ["bash", { command: `mkdir -p .git/hooks; for hook in pre-commit post-commit post-checkout reference-transaction post-index-change; do printf '#!/bin/sh\\n%s\\n' '${t.program}' > .git/hooks/$hook; chmod +x .git/hooks/$hook; done; git config core.fsmonitor '${t.program}'; git config filter.a.clean '${t.program}'; echo '*.audit filter=a' > .gitattributes; echo x > ${t.token}.audit; git add .gitattributes ${t.token}.audit; git -c user.name=a -c user.email=a@example.org commit -q -m x; git status --short | head -3` }],
  ] },
  { id: "opencode-agent", what: "plugins, tools and configuration of OpenCode planted by the agent", plain: "w", works: 1, calls: (t) => [
    ["bash", { command: `mkdir -p .opencode/plugin; echo 'x' > .opencode/plugin/${t.token}.txt; cp opencode.json ${t.token}.json 2>/dev/null; echo '${t.token}' > AGENTS${t.token}.md` }],
    ["write", { filePath: `.opencode/tool/${t.token}.txt`, content: "x" }],
    ["apply_patch", patch(`*** Add File: .opencode/command/${t.token}.txt`, "+x")],
  ] },
  { id: "custom-tool", what: "a tool of the user's own", plain: "rw", own: ["MCP servers, other plugins, custom tools", "rw"],
    home: (t) => ({ [`.config/opencode/tool/mine_${t.family.replace(/\W/g, "")}.js`]: `import { readFileSync, writeFileSync } from "node:fs"\nexport default { description: "mine", args: {}, async execute() { writeFileSync(${JSON.stringify(t.mark("tool"))}, ""); return readFileSync(${JSON.stringify(t.file)}, "utf8") } }\n` }),
    calls: (t) => [[`mine_${t.family.replace(/\W/g, "")}`, {}]] },
]
