// Rule × tool × argument. A row is [agent, tool, args, answer]: what the agent may do is in
// `agents`; the answer goes to every question of the call: "once", "always", "reject", or a text,
// which rejects with that feedback. ROOT is the project, wherever it is.

import { line } from "./lines.mjs"

export const files = {
  "a.txt": "one\ntwo\nthree\n",
  "b.txt": "b\n",
  "crlf.txt": "one\r\ntwo\r\n",
  ".env": "KEY=1\n",
  "app.env.example": "KEY=\n",
  "src/a.js": "let a = 1\n\tif (a) {\n\t\tb()\n\t}\n",
  "src/b.js": "let b = 2\n",
  "secret/key.txt": "hidden\n",
  "dist/x.lock": "1\n",
}

export const agents = {
  asks: { read: "ask", edit: "ask", glob: "ask", grep: "ask", bash: "ask" },
  narrow: {
    read: { "*": "allow", "secret/*": "deny" },
    edit: { "*": "ask", "src/*": "allow", "secret/*": "deny", "*.lock": "deny" },
    bash: { "*": "allow", "git *": "ask", "git push *": "deny", "rm *": "deny", "npm run build": "ask" },
    glob: { "*": "allow", "**/*.key": "deny" },
    grep: { "*": "allow", "hidden*": "deny" },
  },
  outside: { external_directory: { "*": "ask", "/usr/none/*": "allow", "/etc/*": "deny" } },
  open: { external_directory: "allow", edit: "ask" },
  closed: { external_directory: "deny" },
  reader: { edit: "deny" },
  nothing: { "*": "deny", read: "allow" },
  session: {},
  lines: { bash: "ask", external_directory: "allow" },
}

/** Rules of the session, where it has some; they come after the agent's. */
export const sessions = {
  session: [
    { permission: "bash", pattern: "ls *", action: "deny" },
    { permission: "edit", pattern: "*", action: "ask" },
    { permission: "edit", pattern: "src/*", action: "allow" },
    { permission: "external_directory", pattern: "/opt/*", action: "deny" },
  ],
}

const edit = (filePath, oldString, newString, more) => ["edit", { filePath, oldString, newString, ...more }]
const bash = (command, more) => ["bash", { command, ...more }]
const patch = (...lines) => ["apply_patch", { patchText: ["*** Begin Patch", ...lines, "*** End Patch"].join("\n") }]

// The words that OpenCode's "always" keeps of a command: of each of these, and of their subcommands.
const heads =
  "cat cd chmod echo env export grep kill ls mkdir mv ps pwd rm sleep source tail touch which aws az bazel brew bun cargo cdk cf cmake composer consul crictl deno doctl docker eksctl firebase flyctl gcloud gh git go gradle helm heroku hugo ip kind kubectl kustomize make mc minikube mongosh mysql mvn ng npm nvm nx openssl pip pipenv pnpm poetry podman psql pulumi pyenv python rake rbenv redis-cli rustup serverless sfdx skaffold sls sst swift systemctl terraform tmux turbo ufw vault vercel volta wp yarn node python3 sudo xargs".split(" ")
const pairs =
  "bun run,bun x,cargo add,cargo run,consul kv,deno task,docker builder,docker compose,docker container,docker image,docker network,docker volume,eksctl create,git config,git remote,git stash,ip addr,ip link,ip netns,ip route,kind create,kubectl kustomize,kubectl rollout,mc admin,npm exec,npm init,npm run,npm view,openssl req,openssl x509,pnpm dlx,pnpm exec,pnpm run,podman container,podman image,pulumi stack,terraform workspace,vault auth,vault kv,yarn dlx,yarn run".split(",")
const everyPrefix = [...heads, ...pairs].map((head) => `${head} one two three`).join("; ")

export const rows = [
  // Nothing is asked.
  ["build", "read", { filePath: "a.txt" }, "once"],
  ["build", ...edit("b.txt", "b", "B"), "once"],
  ["build", ...bash("cat b.txt; export X=1; [ -f b.txt ] && echo yes"), "once"],
  ["build", "read", { filePath: "app.env.example" }, "once"],
  // The default question about secrets.
  ["build", "read", { filePath: ".env" }, "once"],
  ["build", "read", { filePath: "ROOT/.env" }, "reject"],
  ["build", "read", { filePath: "sub/.env.local" }, "Use the example."],
  // A question for every tool.
  ["asks", "read", { filePath: "a.txt" }, "once"],
  ["asks", "read", { filePath: "missing.txt" }, "once"],
  ["asks", "read", { filePath: "src" }, "once"],
  ["asks", "read", { filePath: "a.txt" }, "reject"],
  ["asks", "read", { filePath: "a.txt" }, "Not that one."],
  ["asks", "write", { filePath: "new/c.txt", content: "c\n" }, "once"],
  ["asks", "write", { filePath: "a.txt", content: "one\n2\nthree\nfour" }, "once"],
  ["asks", "write", { filePath: "src/a.js", content: "let a = 1\n\tif (a) {\n\t\tc()\n\t}\n" }, "once"],
  ["asks", "write", { filePath: "crlf.txt", content: "one\r\n2\r\n" }, "once"],
  ["asks", "write", { filePath: "src", content: "x" }, "once"],
  ["asks", "write", { filePath: "a.txt", content: "no\n" }, "reject"],
  ["asks", "write", { filePath: "never.txt", content: "no\n" }, "Call it otherwise."],
  ["asks", ...edit("b.txt", "b", "bee"), "once"],
  ["asks", ...edit("b.txt", "not there", "x"), "once"],
  ["asks", ...edit("b.txt", "same", "same"), "once"],
  ["asks", ...edit("missing.txt", "a", "b"), "once"],
  ["asks", ...edit("src", "a", "b"), "once"],
  ["asks", ...edit("made.txt", "", "made\n"), "once"],
  ["asks", ...edit("src/b.js", "let  b = 2", "let b = 3"), "once"],
  ["asks", ...edit("a.txt", "e", "E", { replaceAll: true }), "once"],
  ["asks", ...edit("a.txt", "two", "x"), "reject"],
  ["asks", ...edit("b.txt", "bee", "x"), "No, leave it."],
  ["asks", "glob", { pattern: "*.txt" }, "reject"],
  ["asks", "glob", { pattern: "made.*", path: "ROOT" }, "once"],
  ["asks", "grep", { pattern: "bee", include: "*.txt" }, "once"],
  ["asks", "grep", { pattern: "b" }, "reject"],
  ["asks", "grep", { pattern: "nothing at all", path: "src" }, "Look elsewhere."],
  ["asks", ...bash("cat b.txt"), "once"],
  ["asks", ...bash("cat b.txt"), "reject"],
  ["asks", ...bash("echo 'a; b' | tr a-z A-Z && true; echo hi > out.txt; FOO=1 pwd"), "once"],
  ["asks", ...bash("cd src && export A=$(ls | head -1) && [ -n \"$A\" ] && echo \"got $(cat b.js)\""), "once"],
  ["asks", ...bash("for f in src/*.js; do if grep -q let \"$f\"; then wc -l < $f; fi; done > list; while read l; do echo $l; done < list"), "once"],
  ["asks", ...bash("cat <<EOF > here.txt && cat here.txt\nhome of $(echo x)\nEOF\ncase a in a|b) echo ab;; *) echo c > d;; esac"), "once"],
  ["asks", ...bash("f() { echo in f 2>&1; }; f; (echo sub; echo shell) | cat; ! false && { echo group; }"), "once"],
  ["asks", ...bash("git status --short 2>/dev/null | head -1; npm run build --if-present || true; ./none.sh a; true"), "No."],
  ["asks", ...bash("cd src"), "once"],
  ["asks", ...bash(everyPrefix), "No."],
  ["asks", "read", { filePath: "/opt/none/x" }, "once"],
  ["asks", "write", { filePath: "/opt/none/x", content: "x" }, "Not there."],
  ["asks", ...edit("/opt/none/x", "a", "b"), "once"],
  ["asks", "grep", { pattern: "x", path: "/usr/lib" }, "Not there."],
  ["asks", ...bash("cat /opt/none/x /usr/lib 2> /dev/null; cd /usr/lib/..; pwd", { workdir: "/usr" }), "once"],
  // Sixty statements a line, and the paths in them; nothing of it runs.
  ...[1, 2, 3, 4, 5, 6].map((seed) => ["lines", ...bash(line(seed, 60)), "No."]),
  ...[7, 8, 9].map((seed) => ["asks", ...bash(line(seed, 60)), "No."]),
  // Rules about some arguments.
  ["narrow", "read", { filePath: "secret/key.txt" }, "once"],
  ["narrow", "read", { filePath: "ROOT/src/../secret/key.txt" }, "once"],
  ["narrow", "read", { filePath: "src/b.js" }, "once"],
  ["narrow", "write", { filePath: "src/c.js", content: "c\n" }, "once"],
  ["narrow", "write", { filePath: "secret/new.txt", content: "c\n" }, "once"],
  ["narrow", "write", { filePath: "dist/x.lock", content: "2\n" }, "once"],
  ["narrow", "write", { filePath: "notes.md", content: "# Notes\n" }, "once"],
  ["narrow", ...edit("secret/key.txt", "hidden", "shown"), "once"],
  ["narrow", ...edit("secret/key.txt", "not there", "shown"), "once"],
  ["narrow", ...edit("src/b.js", "let", "const"), "once"],
  ["narrow", ...bash("rm -rf src"), "once"],
  ["narrow", ...bash("true && (echo \"$(rm -rf src)\")"), "once"],
  ["narrow", ...bash("git status --short > status.txt; git log"), "Not now."],
  ["narrow", ...bash("git push origin main"), "once"],
  ["narrow", ...bash("ls src; echo rm -rf src"), "once"],
  ["narrow", ...bash("npm run build"), "No build."],
  ["narrow", "glob", { pattern: "**/*.key" }, "once"],
  ["narrow", "grep", { pattern: "hidden" }, "once"],
  // Outside the project.
  ["outside", "read", { filePath: "/opt/none/x.txt" }, "once"],
  ["outside", "read", { filePath: "/usr/bin" }, "reject"],
  ["outside", "read", { filePath: "/usr/lib/" }, "reject"],
  ["outside", "read", { filePath: "/usr/none/x" }, "once"],
  ["outside", "read", { filePath: "/etc/none.txt" }, "once"],
  ["outside", "read", { filePath: "../beside.txt" }, "once"],
  ["outside", "write", { filePath: "/opt/none/x.txt", content: "x" }, "reject"],
  ["outside", "write", { filePath: "/etc/x.txt", content: "x" }, "once"],
  ["outside", ...edit("/opt/none/x.txt", "a", "b"), "once"],
  ["outside", "glob", { pattern: "*", path: "/opt/none" }, "reject"],
  ["outside", "grep", { pattern: "x", path: "/etc" }, "once"],
  ["outside", "grep", { pattern: "x", path: "/opt/none/file" }, "reject"],
  ["outside", ...bash("cat /etc/none.txt"), "once"],
  ["outside", ...bash("cat /opt/none/a '/opt/none/b' /usr/none/c; cp -r /var/lib/none x; chmod +x /opt/none/d"), "Stay here."],
  ["outside", ...bash("cd /usr/lib && pwd"), "once"],
  ["outside", ...bash("cat ~/none $HOME/none \"$(pwd)/none\" /var/*/none"), "No."],
  ["outside", ...bash("echo a > /dev/null; ls -d /usr; head -1 < /dev/null /etc/none; true"), "once"],
  ["outside", ...bash("pwd", { workdir: "/usr/lib" }), "once"],
  ["outside", ...bash("pwd; cat none", { workdir: "src" }), "once"],
  ["closed", "read", { filePath: "/opt/none/x.txt" }, "once"],
  ["closed", ...bash("rm -f /opt/none/x"), "once"],
  ["closed", ...bash("pwd", { workdir: "/opt" }), "once"],
  ["open", "read", { filePath: "/opt/none/x.txt" }, "once"],
  ["open", ...bash("cat /opt/none/x"), "once"],
  ["open", "write", { filePath: "/opt/none/x.txt", content: "x\n" }, "reject"],
  // Whole tools, plan mode, rules of the session.
  ["reader", "read", { filePath: "a.txt" }, "once"],
  ["reader", ...edit("a.txt", "one", "1"), "once"],
  ["nothing", ...bash("true"), "once"],
  ["plan", "write", { filePath: "a.txt", content: "x" }, "once"],
  ["plan", "write", { filePath: ".opencode/plans/p.md", content: "# Plan\n" }, "once"],
  ["plan", ...edit("a.txt", "one", "1"), "once"],
  ["plan", ...bash("ls src"), "once"],
  ["session", ...bash("ls src"), "once"],
  ["session", ...bash("echo src"), "once"],
  ["session", ...edit("src/b.js", "2", "4"), "once"],
  ["session", ...edit("a.txt", "one", "1"), "once"],
  ["session", ...bash("cat /opt/none/x"), "once"],
]

export const patches = [
  ["asks", ...patch("*** Add File: p/new.txt", "+new", "*** Update File: a.txt", "@@", "-two", "+2", "*** Delete File: b.txt"), "once"],
  ["asks", ...patch("*** Update File: src/b.js", "*** Move to: src/moved.js", "@@", "-let b = 2", "+let b = 3"), "once"],
  ["asks", ...patch("*** Update File: a.txt", "@@", "-not there", "+x"), "once"],
  ["asks", ...patch("*** Update File: missing.txt", "@@", "-a", "+b"), "once"],
  ["asks", ...patch(), "once"],
  ["asks", ...patch("*** Add File: no.txt", "+no"), "reject"],
  ["asks", ...patch("*** Add File: no.txt", "+no"), "Not there."],
  ["narrow", ...patch("*** Add File: src/d.js", "+d"), "once"],
  ["narrow", ...patch("*** Add File: src/e.js", "+e", "*** Delete File: secret/key.txt"), "once"],
  ["narrow", ...patch("*** Add File: src/f.js", "+f", "*** Add File: other.md", "+o"), "once"],
  ["outside", ...patch("*** Add File: in.txt", "+in", "*** Add File: /opt/none/a.txt", "+a", "*** Add File: /opt/none/b.txt", "+b"), "reject"],
  ["outside", ...patch("*** Update File: /opt/none/a.txt", "@@", "-a", "+b"), "once"],
  ["outside", ...patch("*** Update File: a.txt", "*** Move to: /opt/none/a.txt", "@@", "-one", "+1"), "reject"],
  ["reader", ...patch("*** Add File: no.txt", "+no"), "once"],
  ["plan", ...patch("*** Add File: no.txt", "+no"), "once"],
]

/** "Always" holds for all sessions of an instance, so these come last, in this order. */
export const always = [
  ["asks", ...bash("git status --short; cat b.txt"), "always"],
  ["asks", ...bash("git status; cat a.txt | head -1"), "No."],
  ["asks", ...bash("git status -s && cat a.txt"), "once"],
  ["outside", ...bash("cat /opt/none/x"), "always"],
  ["outside", "read", { filePath: "/opt/none/y" }, "once"],
  ["asks", "read", { filePath: "a.txt" }, "always"],
  ["asks", "read", { filePath: "secret/key.txt" }, "once"],
  ["narrow", "read", { filePath: "secret/key.txt" }, "once"],
  ["narrow", ...edit("b.txt", "b", "again"), "always"],
  ["narrow", ...edit("b.txt", "again", "and again"), "once"],
  ["narrow", ...edit("secret/key.txt", "hidden", "shown"), "once"],
]
