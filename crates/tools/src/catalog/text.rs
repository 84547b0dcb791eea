//! Descriptions, as the model reads them. They speak of a sandbox because that is where it works.

pub(super) const APPLY_PATCH: &str = "\
Changes files in the sandbox with a patch. The patch is one block that names every file it touches:

*** Begin Patch
*** Add File: docs/hello.txt
+Hello, world
*** Update File: src/app.py
*** Move to: src/main.py
@@ def greet():
-    print(\"Hi\")
+    print(\"Hello, world!\")
*** Delete File: old.txt
*** End Patch

Rules:
- Each file starts with one of three headers: Add File (every line of the new file follows, each with a leading `+`), \
Delete File (nothing follows), Update File (hunks follow). After an Update File header, `*** Move to:` renames the file.
- A hunk starts with `@@`, optionally with a line of context that comes before it in the file, such as a function's \
first line. Its lines start with a space (unchanged), `-` (removed) or `+` (added). Give about three unchanged lines \
around a change so that its place is clear. `*** End of File` ends a hunk that must match at the end of the file.
- Paths are relative to the project directory, or absolute.
- All hunks are checked first: if one does not match, no file is changed.";

pub(super) const BASH: &str = "\
Runs a command with bash in the sandbox, a Linux machine of its own, and returns its output (stdout and stderr together).

- Every call starts a new shell in the project directory; variables and `cd` do not carry over to the next call. \
Use `workdir` to run elsewhere instead of `cd dir && command`.
- The command is killed after `timeout` milliseconds (default 120000). Give long builds and test runs more.
- There is no terminal and no input: use flags that make programs ask nothing (`--yes`, `--no-pager`). \
To leave a server running, start it in the background with its output in a file: `server > /tmp/server.log 2>&1 &`.
- Quote paths that contain spaces with double quotes.
- Output over 2000 lines or 51200 bytes is cut to its end, and the answer names a file in the sandbox that holds \
more of it, for the read and grep tools. So there is no need for `head` or `tail`.
- For files use the other tools, which are faster and safer: glob to find files, grep to search in them, read to show \
them, edit or apply_patch to change them, write to make them. Do not use find, grep, cat, sed, awk or echo for that. \
Speak to the user in your answer, not with echo.
- Independent commands: make several bash calls in one message. Dependent ones: one call, joined with `&&` \
(or `;` if a failure of the first does not matter).

Git:
- Commit, amend, push or open a pull request only when the user asks for it.
- Before a commit look at `git status`, `git diff` and `git log --oneline -10`, stage only what belongs to the change, \
never a secret, and write a short message in the style of the repository.
- Leave the git configuration alone; no force pushes, no interactive flags (`-i`), no skipped hooks, no empty commits \
unless the user asks for one. If a hook rejects a commit, fix the cause and make a new commit instead of amending.";

pub(super) const EDIT: &str = "\
Replaces text in a file of the sandbox.

- Read the file before you edit it, and copy `oldString` from what you read without the line number prefix \
(`12: `), with its exact indentation.
- `oldString` must occur exactly once, else the edit fails: add surrounding lines until it is unique, or set \
`replaceAll` to change every occurrence, for example to rename something.
- With an empty `oldString` and a path that does not exist yet, a new file is made from `newString`.
- Prefer changing existing files to making new ones, and add emojis only if the user asks for them.";

pub(super) const GLOB: &str = "\
Finds files in the sandbox by name.

- Takes a pattern such as \"**/*.js\" or \"src/**/*.ts\"; a pattern without a slash matches at any depth.
- Returns the absolute paths of files, at most 100. Hidden files and those that .gitignore excludes are left out.
- Make several searches in one message if that may help. For open-ended exploration over many rounds, use the task tool.";

pub(super) const GREP: &str = "\
Finds lines in files of the sandbox with a regular expression, fast in a project of any size.

- Full regular expressions in Rust's syntax, such as \"log.*Error\" or \"function\\s+\\w+\"; case-sensitive unless the \
pattern starts with (?i).
- `include` limits the search to files whose name matches a glob, such as \"*.js\" or \"*.{ts,tsx}\".
- Returns paths, line numbers and the matching lines, at most 100. Files that .gitignore excludes are left out.
- To count matches, run `rg` or `grep -c` with the bash tool. For open-ended exploration over many rounds, use the task tool.";

pub(super) const READ: &str = "\
Shows a file or a directory of the sandbox. A path that does not exist is an error.

- `filePath` should be absolute.
- Shows up to 2000 lines from the start; `offset` names another first line (counted from 1) and `limit` another number \
of lines. For a later part of a long file, call again with a larger offset.
- Each line has its number before it, `<number>: <text>`: a file that holds \"foo\\n\" is shown as `1: foo`. Lines over 2000 \
characters are cut.
- A directory is shown as one entry per line, with `/` after the name of each subdirectory.
- Images and PDF files are attached to the answer.
- To find something in a large file, use grep; to find a path, use glob. Read several files in one message when you know \
that you need them, and avoid many small slices of the same file.";

pub(super) const WRITE: &str = "\
Writes a whole file in the sandbox, making its directories if need be; what was there before is replaced.

- Read an existing file first, and prefer edit or apply_patch for changing a part of it.
- Make new files, documentation above all, only when the task needs them, and use emojis only if the user asks for them.";

pub(super) const WEBFETCH: &str = "\
Fetches a web page from the sandbox and returns it as Markdown, as text or as it is.

- Takes a complete http or https URL. The request leaves from the sandbox: services of the user's machine cannot be reached.
- `format` is markdown (the default), text or html; only HTML pages are converted.
- Images are attached to the answer. A long page is cut and kept whole in a file of the sandbox.
- If another tool fetches pages better for the task, prefer that.";

pub(super) const WEBSEARCH: &str = "\
Searches the web from the sandbox and returns what the best pages say.

- Use it for what is newer than your training, and name the current year in a query about recent things.
- `numResults`, `contextMaxCharacters`, `type` and `livecrawl` say how much, how thorough and how fresh.";

pub(super) const JOB: &str = "\
Looks after a command that bash started with `background`: shows what it printed since the last look and whether it still runs.

- Without `job` it lists the commands that run, with their names, and the last ones of the background that have ended. A command whose answer was lost is one of them.
- `input` is written to its standard input first, `stop` ends it with all its processes.
- A job lives as long as the sandbox, beyond the turn and beyond OpenCode. Stop servers that you no longer need.";

pub(super) const PREVIEW: &str = "\
Gives the user a link to a server in the sandbox that works outside of the sandbox, in a browser for example.

- Call it once the server runs: start it with bash and `background`, listening on 0.0.0.0 or localhost.
- Hand the user the link that it returns, never a localhost URL, which leads nowhere on the user's machine.
- The link holds for `minutes` (default 60). When it is over, call again.";

pub(super) const SYNC: &str = "\
Brings the work home now: commits what is in the project and puts it on a branch of the user's repository. It returns \
when it is there.

- This also happens by itself when a turn ends. Call it only if the user needs the commits before, or to be sure that \
they are there.
- Your branch, index and files in the sandbox stay as they are. Ignored files stay in the sandbox.";
