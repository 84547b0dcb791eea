// Generated from crates/tools by `cargo xtask types`. Do not edit.
// Registered, to refuse, when the core cannot be loaded.

import type { ToolDefinition } from "./types.js"

export const catalog: ToolDefinition[] = [
  {
    "description": "Changes files in the sandbox with a patch. The patch is one block that names every file it touches:\n\n*** Begin Patch\n*** Add File: docs/hello.txt\n+Hello, world\n*** Update File: src/app.py\n*** Move to: src/main.py\n@@ def greet():\n-    print(\"Hi\")\n+    print(\"Hello, world!\")\n*** Delete File: old.txt\n*** End Patch\n\nRules:\n- Each file starts with one of three headers: Add File (every line of the new file follows, each with a leading `+`), Delete File (nothing follows), Update File (hunks follow). After an Update File header, `*** Move to:` renames the file.\n- A hunk starts with `@@`, optionally with a line of context that comes before it in the file, such as a function's first line. Its lines start with a space (unchanged), `-` (removed) or `+` (added). Give about three unchanged lines around a change so that its place is clear. `*** End of File` ends a hunk that must match at the end of the file.\n- Paths are relative to the project directory, or absolute.\n- All hunks are checked first: if one does not match, no file is changed.",
    "name": "apply_patch",
    "schema": {
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "properties": {
        "patchText": {
          "description": "The whole patch, from *** Begin Patch to *** End Patch",
          "type": "string"
        }
      },
      "required": [
        "patchText"
      ],
      "type": "object"
    }
  },
  {
    "description": "Runs a command with bash in the sandbox, a Linux machine of its own, and returns its output (stdout and stderr together).\n\n- Every call starts a new shell in the project directory; variables and `cd` do not carry over to the next call. Use `workdir` to run elsewhere instead of `cd dir && command`.\n- The command is killed after `timeout` milliseconds (default 120000). Give long builds and test runs more.\n- There is no terminal and no input: use flags that make programs ask nothing (`--yes`, `--no-pager`). To leave a server running, start it in the background with its output in a file: `server > /tmp/server.log 2>&1 &`.\n- Quote paths that contain spaces with double quotes.\n- Output over 2000 lines or 51200 bytes is cut to its end, and the answer names a file in the sandbox that holds more of it, for the read and grep tools. So there is no need for `head` or `tail`.\n- For files use the other tools, which are faster and safer: glob to find files, grep to search in them, read to show them, edit or apply_patch to change them, write to make them. Do not use find, grep, cat, sed, awk or echo for that. Speak to the user in your answer, not with echo.\n- Independent commands: make several bash calls in one message. Dependent ones: one call, joined with `&&` (or `;` if a failure of the first does not matter).\n\nGit:\n- Commit, amend, push or open a pull request only when the user asks for it.\n- Before a commit look at `git status`, `git diff` and `git log --oneline -10`, stage only what belongs to the change, never a secret, and write a short message in the style of the repository.\n- Leave the git configuration alone; no force pushes, no interactive flags (`-i`), no skipped hooks, no empty commits unless the user asks for one. If a hook rejects a commit, fix the cause and make a new commit instead of amending.",
    "name": "bash",
    "schema": {
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "properties": {
        "background": {
          "description": "Leave the command running and return at once; the tool job reads on, sends input and stops it",
          "type": "boolean"
        },
        "command": {
          "description": "The command line to run",
          "type": "string"
        },
        "timeout": {
          "description": "Milliseconds after which the command is killed (default 120000)",
          "exclusiveMinimum": 0,
          "maximum": 9007199254740991,
          "type": "integer"
        },
        "workdir": {
          "description": "Directory to run in, absolute or relative to the project directory (the default). Prefer it to `cd`",
          "type": "string"
        }
      },
      "required": [
        "command"
      ],
      "type": "object"
    }
  },
  {
    "description": "Replaces text in a file of the sandbox.\n\n- Read the file before you edit it, and copy `oldString` from what you read without the line number prefix (`12: `), with its exact indentation.\n- `oldString` must occur exactly once, else the edit fails: add surrounding lines until it is unique, or set `replaceAll` to change every occurrence, for example to rename something.\n- With an empty `oldString` and a path that does not exist yet, a new file is made from `newString`.\n- Prefer changing existing files to making new ones, and add emojis only if the user asks for them.",
    "name": "edit",
    "schema": {
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "properties": {
        "filePath": {
          "description": "Absolute path of the file to change",
          "type": "string"
        },
        "newString": {
          "description": "The text to put in its place; must differ from oldString",
          "type": "string"
        },
        "oldString": {
          "description": "The text to replace",
          "type": "string"
        },
        "replaceAll": {
          "description": "Replace every occurrence of oldString (default false)",
          "type": "boolean"
        }
      },
      "required": [
        "filePath",
        "oldString",
        "newString"
      ],
      "type": "object"
    }
  },
  {
    "description": "Finds files in the sandbox by name.\n\n- Takes a pattern such as \"**/*.js\" or \"src/**/*.ts\"; a pattern without a slash matches at any depth.\n- Returns the absolute paths of files, at most 100. Hidden files and those that .gitignore excludes are left out.\n- Make several searches in one message if that may help. For open-ended exploration over many rounds, use the task tool.",
    "name": "glob",
    "schema": {
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "properties": {
        "path": {
          "description": "Directory to search. Leave it out, rather than passing \"undefined\" or \"null\", to search the project directory",
          "type": "string"
        },
        "pattern": {
          "description": "Glob pattern that file paths must match",
          "type": "string"
        }
      },
      "required": [
        "pattern"
      ],
      "type": "object"
    }
  },
  {
    "description": "Finds lines in files of the sandbox with a regular expression, fast in a project of any size.\n\n- Full regular expressions in Rust's syntax, such as \"log.*Error\" or \"function\\s+\\w+\"; case-sensitive unless the pattern starts with (?i).\n- `include` limits the search to files whose name matches a glob, such as \"*.js\" or \"*.{ts,tsx}\".\n- Returns paths, line numbers and the matching lines, at most 100. Files that .gitignore excludes are left out.\n- To count matches, run `rg` or `grep -c` with the bash tool. For open-ended exploration over many rounds, use the task tool.",
    "name": "grep",
    "schema": {
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "properties": {
        "include": {
          "description": "Glob that file names must match, such as \"*.js\" or \"*.{ts,tsx}\"",
          "type": "string"
        },
        "path": {
          "description": "Directory to search (default: the project directory)",
          "type": "string"
        },
        "pattern": {
          "description": "Regular expression to look for in file contents",
          "type": "string"
        }
      },
      "required": [
        "pattern"
      ],
      "type": "object"
    }
  },
  {
    "description": "Looks after a command that bash started with `background`: shows what it printed since the last look and whether it still runs.\n\n- Without `job` it lists the commands that run, with their names, and the last ones of the background that have ended. A command whose answer was lost is one of them.\n- `input` is written to its standard input first, `stop` ends it with all its processes.\n- A job lives as long as the sandbox, beyond the turn and beyond OpenCode. Stop servers that you no longer need.",
    "name": "job",
    "schema": {
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "properties": {
        "input": {
          "description": "Text for its standard input, as it is; end a line with a newline",
          "type": "string"
        },
        "job": {
          "description": "The job's name, as bash gave it. Leave it out to list the commands that run",
          "type": "string"
        },
        "stop": {
          "description": "Stop the command",
          "type": "boolean"
        },
        "wait": {
          "description": "Milliseconds to wait for new output or its end (default 1000, at most 10000)",
          "exclusiveMinimum": 0,
          "maximum": 9007199254740991,
          "type": "integer"
        }
      },
      "required": [],
      "type": "object"
    }
  },
  {
    "description": "Gives the user a link to a server in the sandbox that works outside of the sandbox, in a browser for example.\n\n- Call it once the server runs: start it with bash and `background`, listening on 0.0.0.0 or localhost.\n- Hand the user the link that it returns, never a localhost URL, which leads nowhere on the user's machine.\n- The link holds for `minutes` (default 60). When it is over, call again.",
    "name": "preview",
    "schema": {
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "properties": {
        "minutes": {
          "description": "Minutes that the link holds (default 60, at most 1440)",
          "exclusiveMinimum": 0,
          "maximum": 9007199254740991,
          "type": "integer"
        },
        "port": {
          "description": "TCP port in the sandbox that your server listens on",
          "exclusiveMinimum": 0,
          "maximum": 9007199254740991,
          "type": "integer"
        },
        "wait": {
          "description": "Milliseconds to wait until something listens there (default and at most 10000)",
          "exclusiveMinimum": 0,
          "maximum": 9007199254740991,
          "type": "integer"
        }
      },
      "required": [
        "port"
      ],
      "type": "object"
    }
  },
  {
    "description": "Shows a file or a directory of the sandbox. A path that does not exist is an error.\n\n- `filePath` should be absolute.\n- Shows up to 2000 lines from the start; `offset` names another first line (counted from 1) and `limit` another number of lines. For a later part of a long file, call again with a larger offset.\n- Each line has its number before it, `<number>: <text>`: a file that holds \"foo\\n\" is shown as `1: foo`. Lines over 2000 characters are cut.\n- A directory is shown as one entry per line, with `/` after the name of each subdirectory.\n- Images and PDF files are attached to the answer.\n- To find something in a large file, use grep; to find a path, use glob. Read several files in one message when you know that you need them, and avoid many small slices of the same file.",
    "name": "read",
    "schema": {
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "properties": {
        "filePath": {
          "description": "Absolute path of the file or directory to read",
          "type": "string"
        },
        "limit": {
          "description": "How many lines (or entries) to show at most (default 2000)",
          "maximum": 9007199254740991,
          "minimum": 0,
          "type": "integer"
        },
        "offset": {
          "description": "First line (or directory entry) to show, counted from 1",
          "maximum": 9007199254740991,
          "minimum": 0,
          "type": "integer"
        }
      },
      "required": [
        "filePath"
      ],
      "type": "object"
    }
  },
  {
    "description": "Brings the work home now: commits what is in the project and puts it on a branch of the user's repository. It returns when it is there.\n\n- This also happens by itself when a turn ends. Call it only if the user needs the commits before, or to be sure that they are there.\n- Your branch, index and files in the sandbox stay as they are. Ignored files stay in the sandbox.",
    "name": "sync",
    "schema": {
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "properties": {
        "message": {
          "description": "First line of the commit message for what is not committed yet",
          "type": "string"
        }
      },
      "required": [],
      "type": "object"
    }
  },
  {
    "description": "Fetches a web page from the sandbox and returns it as Markdown, as text or as it is.\n\n- Takes a complete http or https URL. The request leaves from the sandbox: services of the user's machine cannot be reached.\n- `format` is markdown (the default), text or html; only HTML pages are converted.\n- Images are attached to the answer. A long page is cut and kept whole in a file of the sandbox.\n- If another tool fetches pages better for the task, prefer that.",
    "name": "webfetch",
    "schema": {
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "properties": {
        "format": {
          "default": "markdown",
          "description": "What to make of the page (default markdown)",
          "enum": [
            "text",
            "markdown",
            "html"
          ],
          "type": "string"
        },
        "timeout": {
          "description": "Seconds to wait (at most 120)",
          "type": "number"
        },
        "url": {
          "description": "The page's URL",
          "type": "string"
        }
      },
      "required": [
        "url"
      ],
      "type": "object"
    }
  },
  {
    "description": "Searches the web from the sandbox and returns what the best pages say.\n\n- Use it for what is newer than your training, and name the current year in a query about recent things.\n- `numResults`, `contextMaxCharacters`, `type` and `livecrawl` say how much, how thorough and how fresh.",
    "name": "websearch",
    "schema": {
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "properties": {
        "contextMaxCharacters": {
          "description": "Longest text of all results, in characters (default 10000)",
          "type": "number"
        },
        "livecrawl": {
          "description": "Read pages live only if they are not cached (fallback, the default), or first (preferred)",
          "enum": [
            "fallback",
            "preferred"
          ],
          "type": "string"
        },
        "numResults": {
          "description": "Results wanted (default 8)",
          "type": "number"
        },
        "query": {
          "description": "What to look for",
          "type": "string"
        },
        "type": {
          "description": "How thorough the search is (default auto)",
          "enum": [
            "auto",
            "fast",
            "deep"
          ],
          "type": "string"
        }
      },
      "required": [
        "query"
      ],
      "type": "object"
    }
  },
  {
    "description": "Writes a whole file in the sandbox, making its directories if need be; what was there before is replaced.\n\n- Read an existing file first, and prefer edit or apply_patch for changing a part of it.\n- Make new files, documentation above all, only when the task needs them, and use emojis only if the user asks for them.",
    "name": "write",
    "schema": {
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "properties": {
        "content": {
          "description": "The whole new content of the file",
          "type": "string"
        },
        "filePath": {
          "description": "Absolute path of the file to write",
          "type": "string"
        }
      },
      "required": [
        "content",
        "filePath"
      ],
      "type": "object"
    }
  }
]
