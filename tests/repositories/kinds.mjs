// Repositories as people have them: the table that the tests and the soak draw from.
//
// A row is a repository and what must be true of it in two directions. `make` is a shell script that
// builds it; it starts in the project's directory, which is a repository of one commit unless `base` says
// otherwise. *In*: the agent runs `look`, which prints `shows`. *Home*: the agent runs `work`; then the
// branch differs from what went in by `changed` alone, and holds what `holds` says (file or revision:
// content), and what the agent was told names what was `left`. A repository that cannot be served is
// `refused`, in a sentence that matches; one whose work cannot come home as it is, is `notHome`.
//
// What holds for every row is not written here but checked by the test: what went in is what `git add
// --all` on the host would commit (unless `tree` is false), and nothing of the user's own has changed.
//
// `readme` names the row of README's table *your project / in the sandbox* that the repository shows to be
// true. `soak: false` keeps one out of the soak, where every turn works in the same way.

/** Changes a file and commits another. */
const WORK = "echo agent >> a.txt && echo made > made.txt && git add made.txt && git commit -qm 'Add made.txt'"
const CHANGED = ["a.txt", "made.txt"]
const LOOK = "git status --porcelain; cat a.txt"
const SHOWS = "alpha\n"

const row = (name, more = {}) => ({ name, base: "commit", look: LOOK, shows: SHOWS, work: WORK, changed: CHANGED, holds: {}, ...more })

/** Two branches that change the same line. */
const DIVERGED = "git checkout -q -b other; echo theirs > a.txt; git commit -qam theirs; git checkout -q main; echo ours > a.txt; git commit -qam ours"

/** What README says of places that are no project. */
const PLACES = "a bare repository, the directory around worktrees, a `.git` that leads nowhere, a repository that git does not trust (`safe.directory`)"

/** A second clone's directory beside the project, so that the project can be made from it. */
const CLONE = "cd .. && mv project origin && git clone -q"

export const kinds = [
  row("one commit and a clean worktree", { look: `git log --format=%s; ${LOOK}`, shows: `first\n${SHOWS}` }),
  row("edits that are staged, not staged and not tracked, and a deletion", {
    make: "echo b > b; echo c > c; git add b c; git commit -qm second; echo staged >> b; git add b; echo more >> b; rm c; echo new > new",
    look: "git status --porcelain; git log --format=%s; cat b new; ls c",
    shows: /^Project as it was on the host\nsecond\nfirst\nb\nstaged\nmore\nnew\nls: .*c/,
  }),
  row("a file that is only announced (add -N)", { make: "echo later > later; git add -N later", look: "git status --porcelain; cat later", shows: "later\n" }),
  row("a stash", { make: "echo hidden >> a.txt; git stash -q", look: "git stash list; cat a.txt", shows: "alpha\n" }),
  row("no commits yet", { base: "init", make: "echo alpha > a.txt", readme: "a detached HEAD, no commits yet", look: "git branch --show-current; cat a.txt", shows: "main\nalpha\n" }),
  row("no commits and no files", { base: "init", make: "true", work: "echo made > made.txt", changed: ["made.txt"], look: "ls; git branch --show-current", shows: "main\n", soak: false }),
  row("a detached HEAD", { make: "git commit -q --allow-empty -m second; git checkout -q --detach", readme: "a detached HEAD, no commits yet", look: "git branch --show-current; git log --format=%s", shows: "main\nsecond\nfirst\n" }),
  row("another branch than the main one", { make: "git checkout -q -b fix/it; git commit -q --allow-empty -m on-it", look: "git branch --show-current; git log -1 --format=%s", shows: "fix/it\non-it\n" }),
  row("no git at all", { base: "none", plain: true, make: "echo alpha > a.txt; mkdir d; echo b > d/b", readme: "no git at all, a directory that its repository ignores, or one below a home directory that is a repository", look: "git log --format=%s; cat d/b", shows: "Project as it was on the host\nb\n" }),
  row("a shallow clone", { make: `for n in 2 3 4; do git commit -q --allow-empty -m $n; done; ${CLONE} --depth 2 "file://$PWD/origin" project`, readme: "a shallow clone", look: "git log --format=%s; git status --porcelain", shows: "4\n3\n" }),
  row("a partial clone whose server is away", {
    make: `echo b > b; git add b; git commit -qm second; echo b2 > b; git commit -qam third; git config uploadpack.allowFilter true; ${CLONE} --filter=blob:none "file://$PWD/origin" project && mv origin away`,
    readme: "a partial clone, or a history with a `.env` or a key that must stay with you",
    look: "git log --format=%s; cat a.txt b",
    shows: "third\nalpha\nb2\n",
  }),
  row("a partial clone without old trees", {
    make: `echo b > b; git add b; git commit -qm second; git config uploadpack.allowFilter true; ${CLONE} --filter=tree:0 "file://$PWD/origin" project && mv origin away`,
    look: "git log --format=%s; cat a.txt b",
    shows: "second\nalpha\nb\n",
    soak: false,
  }),
  row("a partial and sparse clone whose server is away", {
    make: `mkdir in out; echo in > in/f; echo out > out/f; git add .; git commit -qm second; git config uploadpack.allowFilter true; ${CLONE} --filter=blob:none --sparse "file://$PWD/origin" project && (cd project && git sparse-checkout set in) && mv origin away`,
    look: "cat a.txt in/f; ls out",
    shows: /^alpha\nin\nls: .*out/,
    tree: false,
    soak: false,
  }),
  row("a sparse checkout of directories", { readme: "a sparse checkout", make: "mkdir in out; echo in > in/f; echo out > out/f; git add .; git commit -qm second; git sparse-checkout set --cone in", look: "git status --porcelain; cat in/f", shows: "in\n", holds: { "BRANCH:out/f": "out\n" }, tree: false, soak: false }),
  row("a sparse checkout by patterns", { make: "mkdir in out; echo in > in/f; echo out > out/f; git add .; git commit -qm second; git sparse-checkout set --no-cone '/*' '!/out'", look: "git status --porcelain; cat in/f", shows: "in\n", holds: { "BRANCH:out/f": "out\n" }, tree: false, soak: false }),
  row("a sparse checkout with a sparse index", { make: "mkdir in out; echo in > in/f; echo out > out/f; git add .; git commit -qm second; git sparse-checkout set --cone --sparse-index in", look: "git status --porcelain; cat in/f", shows: "in\n", holds: { "BRANCH:out/f": "out\n" }, tree: false, soak: false }),
  row("a linked worktree", { make: "cd ..; mv project main; git -C main worktree add -q -b other ../project", look: "git branch --show-current; git status --porcelain", shows: "other\n" }),
  row("a worktree beside a bare repository", { make: "cd ..; git clone -q --bare project box/.bare; rm -rf project; echo 'gitdir: ./.bare' > box/.git; git -C box worktree add -q ../project main", look: LOOK }),
  row("a clone with a git directory elsewhere", { make: "git init -q --separate-git-dir ../elsewhere.git", look: LOOK }),
  row("a clone that borrows objects", { make: `${CLONE} --shared origin project`, look: LOOK }),
  row("a submodule", {
    make: "git init -q -b main ../lib; (cd ../lib; echo lib > f; git add .; git commit -qm lib); git -c protocol.file.allow=always submodule --quiet add ../lib lib; git commit -qm 'Add lib'",
    readme: "submodules",
    look: "ls -A lib; git status --porcelain; git ls-tree HEAD lib | cut -c1-13",
    shows: "160000 commit\n",
  }),
  row("a repository inside, not tracked", { make: "git init -q inner; (cd inner; echo i > i; git add .; git commit -qm inner)", readme: "a repository inside the worktree", look: "ls -A inner; git status --porcelain; echo end", shows: /^(ls: cannot access .*\n)?end\n$/, tree: false, soak: false }),
  row("a directory that other programs keep their repository in", { make: "git init -q .dolt-like; echo data > .dolt-like/data; git add a.txt", look: LOOK, tree: false, soak: false }),
  row("Git LFS pointers, and no git-lfs", {
    make: "printf '*.bin filter=lfs diff=lfs merge=lfs -text\\n' > .gitattributes; printf 'version https://git-lfs.github.com/spec/v1\\noid sha256:%064d\\nsize 5\\n' 7 > x.bin; git add .; git commit -qm lfs",
    readme: "Git LFS",
    look: "head -1 x.bin; git status --porcelain",
    shows: "version https://git-lfs.github.com/spec/v1\n",
  }),
  row("Git LFS in the sandbox alone", {
    make: "printf '*.bin filter=lfs diff=lfs merge=lfs -text\\n' > .gitattributes; git add .; git commit -qm lfs",
    readme: "Git LFS",
    work: `printf bytes > made.bin; ${WORK}`,
    changed: [...CHANGED, "made.bin"],
    holds: { "BRANCH:made.bin": "version https://git-lfs.github.com/spec/v1\noid sha256:277089d91c0bdf4f2e6862ba7e4a07605119431f5d13f726dd352b06f1b206a9\nsize 5\n" },
    has: { ".git/lfs/objects/27/70/277089d91c0bdf4f2e6862ba7e4a07605119431f5d13f726dd352b06f1b206a9": "bytes" },
  }),
  row("a filter of the user's own", {
    make: "printf '*.up filter=up\\n' > .gitattributes; git config filter.up.clean 'tr A-Z a-z'; git config filter.up.smudge 'tr a-z A-Z'; echo UP > x.up; touch -d '2024-01-01' x.up; git add .; git commit -qm up",
    readme: "other filters",
    look: "cat x.up; git status --porcelain",
    shows: "up\n",
  }),
  row("line ends by attributes", { make: "printf '*.crlf eol=crlf\\n*.txt text=auto\\n' > .gitattributes; printf 'a\\r\\nb\\r\\n' > x.crlf; git add .; git commit -qm ends", readme: "line ends, executable bits, links, names that are not UTF-8", look: "git status --porcelain; git ls-files --eol x.crlf | cut -c1-7", shows: "i/lf   \n" }),
  row("line ends by core.autocrlf", { make: "git config core.autocrlf true; printf 'a\\r\\nb\\r\\n' > x; git add .; git commit -qm ends", look: "git status --porcelain; cat a.txt", shows: "alpha\n" }),
  row("a file in another encoding than its attribute names", { readme: "a file in another encoding than `.gitattributes` names", make: "printf '*.u16 working-tree-encoding=UTF-16 text\\n' > .gitattributes; git add .; git commit -qm rule; printf plain > x.u16", look: "tr -cd a-z < x.u16", shows: "plain", tree: false, soak: false }),
  row("an encoding by attributes", { make: "printf '*.u16 working-tree-encoding=UTF-16LE-BOM text\\n' > .gitattributes; printf '\\377\\376h\\000i\\000\\n\\000' > x.u16; git add .; git commit -qm u16", look: "git status --porcelain; git show HEAD:x.u16", shows: "hi\n" }),
  row("keywords ($Id$)", { make: "printf '*.id ident\\n' > .gitattributes; echo '$Id$' > x.id; git add .; git commit -qm id; rm x.id; git checkout -q x.id", look: "git status --porcelain; git show HEAD:x.id", shows: "$Id$\n" }),
  row("executable bits and links", { make: "echo '#!/bin/sh' > run; chmod +x run; ln -s a.txt link; ln -s nowhere broken; ln -s .. up; git add .; git commit -qm modes", readme: "line ends, executable bits, links, names that are not UTF-8", look: "git status --porcelain; test -x run && readlink link broken up", shows: "a.txt\nnowhere\n..\n" }),
  row("core.fileMode is off", { make: "git config core.fileMode false; chmod +x a.txt", look: "git status --porcelain; git ls-files -s a.txt | cut -c1-6", shows: "100644\n" }),
  row("names that are not UTF-8, and with every sign", {
    make: "printf x > \"$(printf 'caf\\351')\"; printf x > \"$(printf 'a\\nb')\"; printf x > '--dash'; printf x > ' space '; printf x > 'quote\"'; printf x > 'back\\slash'; printf x > '😀'; git add .; git commit -qm names",
    readme: "line ends, executable bits, links, names that are not UTF-8",
    look: "git status --porcelain; ls -b | wc -l",
    shows: "8\n",
  }),
  row("names that differ in case, and in composition", { make: "printf 1 > Read; printf 2 > READ; printf 3 > \"$(printf 'e\\314\\201')\"; printf 4 > \"$(printf '\\303\\251')\"; git add .; git commit -qm names", look: "git status --porcelain; cat Read READ; ls | wc -l", shows: "125\n" }),
  row("rules to ignore in .git/info/exclude", { make: "mkdir -p node_modules/x; echo dep > node_modules/x/f; echo node_modules > .git/info/exclude", look: "ls node_modules 2>&1; git status --porcelain", shows: /cannot access/, work: `mkdir -p node_modules; echo dep > node_modules/new; ${WORK}` }),
  row("rules to ignore in core.excludesFile", { make: "echo secret > ../rules; echo mine > secret; git config core.excludesFile \"$(cd ..; pwd)/rules\"", look: "cat secret 2>&1; git status --porcelain", shows: /No such file/, work: `echo agent > secret; ${WORK}` }),
  row("rules to ignore in the home directory", { make: "echo x > build.everywhere", look: "cat build.everywhere 2>&1; git status --porcelain", shows: /No such file/, work: `echo agent > other.everywhere; ${WORK}` }),
  row("rules to ignore with exceptions", { make: "printf '*.log\\n!keep.log\\n/d/*\\n!/d/x\\n' > .gitignore; mkdir d; echo 1 > a.log; echo 2 > keep.log; echo 3 > d/x; echo 4 > d/y; git add .; git commit -qm ignore", look: "ls; ls d", shows: "a.txt\nd\nkeep.log\nx\n", work: `echo 5 > b.log; ${WORK}` }),
  row("an ignored file that is tracked", { make: "echo '*.gen' > .gitignore; echo 1 > x.gen; git add -f x.gen .gitignore; git commit -qm gen; echo 2 > y.gen", look: "cat x.gen; ls y.gen 2>&1; git status --porcelain", shows: /^1\nls: .*y\.gen/, work: `echo agent > x.gen; ${WORK}`, changed: [...CHANGED, "x.gen"] }),
  row("a file of keys that is not ignored", { make: "echo 'DAYTONA_API_KEY=dtn_kept_at_home' > .env.local", look: LOOK, soak: false }),
  row("a key in the history behind a graft", {
    make: "echo 'DAYTONA_API_KEY=dtn_0123456789abcdef' > .env; git add .; git commit -qm key; git rm -q .env; git commit -qm gone; git commit -q --allow-empty -m last; git replace --graft HEAD; echo 'DAYTONA_API_KEY=dtn_0123456789abcdef' > .env; echo .env > .git/info/exclude",
    readme: "a partial clone, or a history with a `.env` or a key that must stay with you",
    look: "git log --format=%s; git log --all -p | grep -c dtn_; true",
    shows: "last\n0\n",
    soak: false,
  }),
  row("commits that replace others", { readme: "replaced commits (`git replace`) and grafts", make: "git commit -q --allow-empty -m second; git commit -q --allow-empty -m third; git replace --graft HEAD HEAD~2", look: "git log --format=%s", shows: "third\nsecond\nfirst\n" }),
  row("a feature branch, its base, an upstream and tags", {
    make: `git tag -a v1 -m one; ${CLONE} origin project && cd project && git checkout -q -b feature && echo f > f && git add f && git commit -qm feature`,
    look: "git diff --name-only main...HEAD; git log --format=%s origin/main..; git describe --tags | cut -d- -f1,2",
    shows: "f\nfeature\nv1-1\n",
  }),
  row("a tag with the name of the branch", { make: "git tag main", look: "git branch --show-current; git status --porcelain", shows: "main\n" }),
  row("a remote with a token in its address", { make: "git remote add origin https://user:ghp_token0123456789@example.org/x.git; git config url.https://x:ghp_token0123456789@example.org/.insteadOf gh:", look: "grep -rc ghp_token .git/config; git status --porcelain", shows: "0\n" }),
  row("a merge in progress", {
    readme: "a merge, cherry-pick or revert that has not ended",
    make: `${DIVERGED}; git merge -q other || true`,
    look: "git status --porcelain; test -e .git/MERGE_HEAD && echo merging",
    shows: "UU a.txt\nmerging\n",
    work: "printf 'both\\n' > a.txt; git add a.txt; git commit -qm merged; echo made > made.txt",
    holds: { "BRANCH:a.txt": "both\n" },
    tree: false,
    soak: false,
  }),
  ...[
    ["a rebase in progress", "git rebase -q other", { readme: "a rebase or `git am` that has not ended" }],
    ["a cherry-pick in progress", "git cherry-pick other", {}],
  ].map(([name, command, more]) =>
    row(name, {
      make: `${DIVERGED}; ${command} >/dev/null 2>&1 || true`,
      look: "cat a.txt | head -1",
      shows: /^<<<<<<< /,
      work: "printf 'both\\n' > a.txt; echo made > made.txt",
      holds: { "BRANCH:a.txt": "both\n" },
      tree: false,
      soak: false,
      ...more,
    }),
  ),
  row("edits behind skip-worktree", { readme: "edits behind `skip-worktree` or `assume-unchanged`", make: "echo local > conf; git add conf; git commit -qm conf; echo mine > conf; git update-index --skip-worktree conf", look: "cat conf", shows: "local\n", tree: false, soak: false }),
  row("edits behind assume-unchanged", { make: "echo local > conf; git add conf; git commit -qm conf; echo mine > conf; git update-index --assume-unchanged conf", look: "cat conf", shows: "local\n", tree: false, soak: false }),
  row("an identity, and commits that sign off", { readme: "your name in git, hooks in the project (`core.hooksPath`)", look: "git log -1 --format=%s", shows: "first\n", work: "echo agent >> a.txt; echo made > made.txt; git add made.txt; git commit -qsm 'Add made.txt'; git log -1 --format='%an %ae %B'", says: /^Ada ada@example\.org Add made\.txt\n\nSigned-off-by: Ada <ada@example\.org>/ }),
  row("an identity of the repository's own", { make: "git config user.email ada@work.example", look: "git config user.email", shows: "ada@work.example\n" }),
  row("tracked hooks", { readme: "your name in git, hooks in the project (`core.hooksPath`)", make: "mkdir .hooks; printf '#!/bin/sh\\necho hooked >> .hooked\\n' > .hooks/pre-commit; chmod +x .hooks/pre-commit; echo .hooked > .gitignore; git add .; git -c core.hooksPath=/dev/null commit -qm hooks; git config core.hooksPath .hooks", look: "git status --porcelain; git config core.hooksPath", shows: ".hooks\n", work: `${WORK}; cat .hooked`, says: "hooked\n" }),
  row("hooks that are not tracked", { make: "printf '#!/bin/sh\\nexit 1\\n' > .git/hooks/pre-commit; chmod +x .git/hooks/pre-commit", look: LOOK }),
  row("signed commits by configuration", { make: "git config commit.gpgSign true; git config gpg.program /nonexistent; git config tag.gpgSign true", look: LOOK }),
  row("a line of 2,400 bytes in .gitattributes", { make: "printf '*.x %s\\n' \"$(printf 'a%.0s ' $(seq 1200))\" > .gitattributes; git add .; git commit -qm long", look: "git status --porcelain 2> /dev/null; wc -c < .gitattributes", shows: "2405\n" }),
  row("commits of a clock with an odd zone", { make: "git cat-file commit HEAD | sed 's/ +0000$/ +051800/' > ../odd; git update-ref refs/heads/main $(git hash-object -t commit -w --stdin --literally < ../odd)", look: "git log --format=%s; git status --porcelain", shows: "first\n" }),
  row("trees with modes of old tools", { make: "f=$(git rev-parse HEAD:a.txt); python3 -c 'import sys; sys.stdout.buffer.write(b\"0100644 a.txt\\0\" + bytes.fromhex(sys.argv[1]))' $f > ../tree; t=$(git hash-object -t tree -w --stdin --literally < ../tree); c=$(git commit-tree -p HEAD -m old $t); c=$(git commit-tree -p $c -m now HEAD^{tree}); git update-ref refs/heads/main $c", look: "git log --format=%s; git status --porcelain", shows: "now\nold\nfirst\n" }),
  row("messages in another encoding", { make: "git config i18n.commitEncoding ISO-8859-1; printf 'caf\\351' > ../m; git commit -q --allow-empty -F ../m", look: "git log -1 --format=%s | head -c 3; git status --porcelain", shows: "caf" }),
  row("two roots and an octopus", { make: "git checkout -q --orphan r2; git commit -q --allow-empty -m r2; git checkout -q main; for b in x y; do git branch $b; git checkout -q $b; echo $b > $b; git add $b; git commit -qm $b; git checkout -q main; done; git merge -q --allow-unrelated-histories -m two r2; git merge -q -m octopus x y", look: "git log -1 --format=%s; git status --porcelain; git rev-list --count HEAD", shows: "octopus\n6\n" }),
  row("SHA-256", { base: "none", make: "git init -q -b main --object-format=sha256; echo alpha > a.txt; git add .; git commit -qm first", look: "git rev-parse HEAD | tr -d '\\n' | wc -c; git status --porcelain", shows: "64\n" }),
  row("an index in parts, with caches", { make: "git config core.splitIndex true; git config core.untrackedCache true; git update-index --split-index --untracked-cache; echo x > x; git add x", look: "git status --porcelain; cat x", shows: "x\n" }),
  row("configuration per worktree", { make: "git config extensions.worktreeConfig true; git config --worktree user.email per@worktree.example", look: LOOK }),
  row("empty directories, a pipe and a socket", { make: "mkdir empty; mkfifo pipe; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"sock\")'", look: LOOK }),
  row("notes", { make: "git notes add -m note", look: LOOK }),
  row("a start in a directory below", { make: "mkdir -p sub/dir; echo s > sub/dir/s; git add .; git commit -qm sub", dir: "sub/dir", look: "cat s; pwd | sed 's,.*/project,project,'", shows: "s\nproject/sub/dir\n", work: "cd ../..; " + WORK }),
  row("a start in an empty directory", { make: "mkdir -p new/place", dir: "new/place", look: "pwd | sed 's,.*/project,project,'", shows: "project/new/place\n", work: `cd ../..; ${WORK}` }),
  row("a start in an ignored directory", { make: "mkdir out; echo built > out/f; echo /out > .gitignore; git add .; git commit -qm ignore", dir: "out", plain: true, readme: "no git at all, a directory that its repository ignores, or one below a home directory that is a repository", look: "pwd; cat f; git log --format=%s", shows: "/home/daytona/project\nbuilt\nProject as it was on the host\n", work: "echo agent >> f; echo made > made.txt", changed: ["f", "made.txt"], tree: false, soak: false }),
  row("a project that is reached by a link", { readme: "reached through a link", make: "ln -s project ../link", dir: "../link", look: LOOK }),
  row("a container of worktrees", { readme: PLACES, make: "cd ..; git clone -q --bare project project2/.bare; echo 'gitdir: ./.bare' > project2/.git; git -C project2/.bare config remote.origin.url https://u:ghp_token0123456789@example.org/x; git -C project2 worktree add -q main main; rm -rf project; mv project2 project; git -C project worktree repair main 2>/dev/null || true", refused: /worktree/, soak: false }),
  row("a bare repository", { readme: PLACES, make: "cd ..; git clone -q --bare project bare; rm -rf project; mv bare project", refused: /bare/, soak: false }),
  row("a .git that leads nowhere", { readme: PLACES, base: "none", make: "echo alpha > a.txt; echo 'gitdir: /nowhere/at/all' > .git", refused: /\.git/, soak: false }),
  row("a branch of the name that ours begin with", { make: "git branch opencode", look: LOOK, notHome: /cannot write branch|branchPrefix/, soak: false }),
  row("branches of the names that ours have", { make: "git branch opencode/1; git branch opencode/7", look: LOOK }),
  row("an agent that rewrites its history", { work: "echo 1 > made.txt; git add made.txt; git commit -qm one; echo made > made.txt; git commit -qa --amend -m 'Add made.txt'; echo agent >> a.txt", look: LOOK }),
  row("an agent that goes back behind the start", { make: "echo b > b; git add b; git commit -qm second", work: "git reset -q --hard HEAD~1; echo agent >> a.txt; echo made > made.txt", changed: [...CHANGED, "b"], look: LOOK }),
  row("an agent with branches and tags", { work: `git checkout -q -b own; echo own > own; git add own; git commit -qm own; git tag t1; git checkout -q -; ${WORK}`, look: LOOK, holds: { "BRANCH-own:own": "own\n" } }),
  row("an agent that clones into the project", { work: `git init -q tool; (cd tool; echo t > t; git add t; git -c user.name=x -c user.email=x@y commit -qm t); ${WORK}`, changed: [...CHANGED, "tool/t"], look: LOOK }),
  row("an agent that makes names like .git", { work: `mkdir -p fix/.GIT; echo x > fix/.GIT/HEAD; echo x > 'git~1'; ${WORK}`, look: LOOK, left: [/fix\/\.GIT/, /git~1/] }),
  row("an agent that removes the repository", { work: "rm -rf .git; echo agent >> a.txt; echo made > made.txt", look: LOOK }),
]

/** Those that every turn of a soak can work in. */
export const plainKinds = kinds.filter((kind) => kind.soak !== false && kind.tree !== false && kind.work === WORK && !kind.refused)
