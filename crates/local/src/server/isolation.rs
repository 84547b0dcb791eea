//! The wall around a sandbox: which files it sees, which it can write, what environment it has.
//!
//! With bubblewrap a sandbox has its own user, pid, ipc, uts and (unless it is the host's) network
//! namespace; what is done for that to lead outward is in [`super::network`]. It sees the host's programs and libraries read-only, a handful of harmless files from `/etc`, and
//! two writable directories: its home and `/tmp`. It never sees the host's home directories, the
//! data directory, the key, or the server's environment. The only part of this server inside it is
//! the program itself, read-only.
//!
//! A server that runs as root gives sandboxes a user of the machine that is nobody's, so that not
//! even a hole in the wall lets them be root: see [`demote`]. Where the machine does not allow
//! that, a warning says so and they are root outside, behind the mounts alone.
//!
//! What surprises: with `--isolation none` there is no wall and no `/home/daytona` either; the
//! sandbox's home is its directory in the data directory.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{Seek as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::process::Command;

use super::demote::{self, Stage};
use super::network::policy::Policy;
use super::network::{Gate, GateOfBwrap, Outbound, RESOLVER};
use super::programs;
use super::sandbox::Record;
use super::snapshots::{self, Quirk};
use crate::ids;
use crate::installation::ORGANIZATION;
use crate::options::{Daemon, Isolation, Network};

const HOME: &str = "/home/daytona";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const TOOLBOX: &str = "/opt/daytona/toolbox";
const EXTRAS: &str = "/opt/daytona/extras";
const PROGRAMS: &str = "/opt/daytona/programs";
/// Files of a snapshot are in several directories, and this server cannot put them together.
pub(super) const NO_LAYERS: &str = "the files of this snapshot lie in layers, which needs a server that runs as root, with bubblewrap, on a machine with overlayfs, as when it was made";
const SMALL_DISK: &str = "8388608";

/// Host files in `/etc` that programs need and that tell nothing about the user.
const ETC: &[&str] = &[
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "pki/tls/certs",
    "pki/ca-trust",
    "resolv.conf",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
];

/// Parts of `/proc` that change the whole machine. A server run as root makes sandboxes whose
/// user 1000 is the machine's user 0, which owns these files, capabilities or not; bubblewrap
/// covers only the directories that it could write to itself.
const READ_ONLY_PROC: &[&str] = &[
    "sys",
    "sysrq-trigger",
    "irq",
    "bus",
    "fs",
    "acpi",
    "scsi",
    "driver",
    "mtrr",
    "asound",
];

/// Parts of `/proc` that tell of the whole machine and that only root may read.
const HIDDEN_PROC: &[&str] = &[
    "kcore",
    "keys",
    "kmsg",
    "kpagecount",
    "kpageflags",
    "sched_debug",
    "timer_list",
];

/// How sandboxes are started on this machine.
pub(crate) struct Walls {
    isolation: Isolation,
    network: Network,
    outbound: Option<Outbound>,
    program: PathBuf,
    /// By its full path, so that the search path of this process stays out of the sandbox's init.
    bwrap: PathBuf,
    /// The user that sandboxes are on this machine, if it is not the server's own.
    user: Option<u32>,
    /// See [`Walls::has_layers`].
    has_layers: OnceLock<bool>,
    /// Generated files that all sandboxes share, read-only to them.
    shared: PathBuf,
    /// The directory whose programs sandboxes find, if it is not those of this machine.
    programs: Option<PathBuf>,
}

impl Walls {
    /// Checks that the wall can be built and prepares what all sandboxes share.
    pub(crate) fn new(
        isolation: Isolation,
        network: Network,
        programs: Option<PathBuf>,
        data: &Path,
    ) -> Result<Self> {
        let program = std::env::current_exe().context("find this program's file")?;
        let bwrap = programs::find("bwrap").unwrap_or_else(|| "bwrap".into());
        let mut walls = Self {
            isolation,
            network,
            outbound: None,
            program,
            bwrap,
            user: None,
            has_layers: OnceLock::new(),
            shared: data.join("shared"),
            programs,
        };
        walls.write_shared()?;
        match isolation {
            Isolation::Bwrap => {
                check_bwrap()?;
                walls.user = walls.choose_user();
            }
            Isolation::None => eprintln!(
                "daytona-local: WARNING: --isolation none: sandboxes run as you and can read and \
                 change your files. Their home is a directory in {}, not {HOME}.",
                data.display()
            ),
        }
        Ok(walls)
    }

    /// A user for sandboxes that is not root, if this server is and the machine can do it.
    fn choose_user(&mut self) -> Option<u32> {
        if !demote::is_root() {
            return None;
        }
        let tried = (|| -> Result<()> {
            if fs::metadata(&self.program)?.permissions().mode() & 0o005 != 0o005 {
                let copy = self.shared.join("toolbox");
                fs::copy(&self.program, &copy)?;
                fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
                self.program = copy;
            }
            let mut stage = Stage::new(&[&self.program, &self.shared, &self.bwrap])?;
            let program = stage.file(&self.program)?;
            let mut command = std::process::Command::new(&self.bwrap);
            command.env_clear().current_dir("/");
            stage.enter(&mut command, demote::USER);
            let output = smallest(&mut command, &program)?;
            let why = String::from_utf8_lossy(&output.stderr);
            anyhow::ensure!(output.status.success(), "{}", why.trim());
            Ok(())
        })();
        match tried {
            Ok(()) => Some(demote::USER),
            Err(error) => {
                eprintln!(
                    "daytona-local: WARNING: sandboxes run as root, behind bubblewrap's mounts, \
                     because this machine does not let user {} make a sandbox: {error:#}",
                    demote::USER
                );
                None
            }
        }
    }

    /// Gets ready to give sandboxes networks of their own, and makes one to see that it works.
    pub(crate) async fn connect(&mut self, allowed: Vec<SocketAddr>) -> Result<()> {
        if self.network != Network::Outbound {
            ensure!(
                allowed.is_empty(),
                "--allow-host is for sandboxes that have a network of their own: give --network outbound"
            );
            return Ok(());
        }
        ensure!(
            self.isolation == Isolation::Bwrap,
            "--network outbound needs --isolation bwrap: without a wall there is no other network"
        );
        let outbound = Outbound::new(allowed, self.user).await?;
        let (mut gate, ends) = Gate::new()?;
        let mut command = std::process::Command::new(&self.bwrap);
        command.env_clear().current_dir("/").stdin(Stdio::null());
        let mut args = Args::default();
        args.words("--unshare-user --uid 1000 --gid 1000 --unshare-pid --unshare-net");
        args.words("--die-with-parent");
        args.gate(&ends);
        command.args(args.0);
        let mut program = self.program.clone();
        if let Some(user) = self.user {
            let mut stage = Stage::new(&[&self.program, &self.shared, &self.bwrap])?;
            program = stage.file(&self.program)?;
            stage.enter(&mut command, user);
        }
        command.args("--ro-bind / / --proc /proc --dev /dev".split(' '));
        command.arg(program).arg("--version").stdout(Stdio::null());
        inherit(&mut command, ends);
        let mut command = Command::from(command);
        let _trial = command
            .kill_on_drop(true)
            .spawn()
            .context("start bubblewrap")?;
        drop(command);
        let made = outbound.attach(&mut gate, Policy::default()).await;
        made.context("--network outbound does not work on this machine")?;
        self.outbound = Some(outbound);
        Ok(())
    }

    /// What kind of network sandboxes have.
    pub(crate) fn network(&self) -> Network {
        self.network
    }

    /// What gives them networks of their own.
    pub(crate) fn outbound(&self) -> Option<&Outbound> {
        self.outbound.as_ref()
    }

    /// Whether a sandbox's files can lie on those of a snapshot, so that nothing is copied. It is tried once,
    /// in the data directory, because file systems differ.
    pub(crate) fn has_layers(&self, data: &Path) -> bool {
        *self.has_layers.get_or_init(|| match self.try_layers(data) {
            Ok(can) => can,
            Err(error) => {
                eprintln!(
                    "daytona-local: snapshots are copied for each sandbox, because overlayfs does not work here: {error:#}"
                );
                false
            }
        })
    }

    fn try_layers(&self, data: &Path) -> Result<bool> {
        let Some(user) = self.user else {
            return Ok(false);
        };
        let dir = data.join("trash").join(format!("layers-{}", ids::uuid()));
        let lower = dir.join("lower");
        for name in ["home", "lower/home"] {
            fs::create_dir_all(dir.join(name))?;
        }
        let mut stage = Stage::new(&[&self.program, &self.shared, &self.bwrap])?;
        stage.layers(&[lower], &dir, "home")?;
        let program = stage.file(&self.program)?;
        let mut command = std::process::Command::new(&self.bwrap);
        command.env_clear().current_dir("/");
        stage.enter(&mut command, user);
        let output = smallest(&mut command, &program);
        let _ = fs::remove_dir_all(&dir);
        let output = output?;
        let why = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}", why.trim());
        Ok(true)
    }

    /// The command that runs the toolbox of `record`, whose directory is `dir` and whose files lie on
    /// those of `layers`, and the gate at which it waits for its network.
    pub(crate) fn command(
        &self,
        record: &Record,
        dir: &Path,
        layers: &[PathBuf],
    ) -> Result<(Command, Option<Gate>)> {
        ensure!(layers.is_empty() || self.user.is_some(), NO_LAYERS);
        for layer in layers {
            ensure!(
                layer.is_dir(),
                "the snapshot that this sandbox was made from is not there any more: {}",
                layer.display()
            );
        }
        let quirk = record.snapshot.as_deref().and_then(snapshots::quirk);
        let mut gate = None;
        let mut command = match self.isolation {
            Isolation::Bwrap => {
                let (waits, ends) = match self.outbound {
                    Some(_) => Gate::new().map(|(gate, ends)| (Some(gate), Some(ends)))?,
                    None => (None, None),
                };
                gate = waits;
                self.bwrap(record, dir, layers, quirk, ends)?
            }
            Isolation::None => {
                let home = dir.join("home");
                let mut command = Command::new(&self.program);
                let path = self.search_path(&self.shared.join("programs"));
                let all = environment(record, quirk, &home, &self.shared, path);
                command.env_clear().envs(all);
                command
                    .arg("toolbox")
                    .arg("--home")
                    .arg(&home)
                    .args(imitating(record, quirk))
                    .current_dir(&home);
                command
            }
        };
        command.kill_on_drop(true);
        Ok((command, gate))
    }

    fn bwrap(
        &self,
        record: &Record,
        dir: &Path,
        layers: &[PathBuf],
        quirk: Option<Quirk>,
        gate: Option<GateOfBwrap>,
    ) -> Result<Command> {
        let (mut home, mut tmp) = (dir.join("home"), dir.join("tmp"));
        let (mut program, mut shared) = (self.program.clone(), self.shared.clone());
        let mut stage = None;
        if demote::is_root() {
            // Also back to root, where the machine stopped allowing another user.
            for tree in [&home, &tmp] {
                demote::give(tree, self.user.unwrap_or(0))
                    .with_context(|| format!("give {} to the sandbox", tree.display()))?;
            }
        }
        if let Some(user) = self.user {
            let mut new = Stage::new(&[&program, &shared, &self.bwrap])?;
            for (path, name) in [(&mut home, "home"), (&mut tmp, "tmp")] {
                *path = match layers {
                    [] => new.dir(path)?,
                    layers => new.layers(layers, dir, name)?,
                };
            }
            shared = new.dir(&shared)?;
            program = new.file(&program)?;
            stage = Some((new, user));
        }

        let mut args = Args::default();
        args.words(
            "--unshare-user --uid 1000 --gid 1000 --unshare-pid --unshare-ipc --unshare-uts",
        );
        args.words(
            "--unshare-cgroup-try --die-with-parent --new-session --cap-drop ALL --clearenv",
        );
        if self.network != Network::Host {
            args.words("--unshare-net");
        }
        if let Some(gate) = &gate {
            args.gate(gate);
        }
        args.words("--hostname").words(&record.id[..12]);

        args.words("--ro-bind /usr /usr");
        for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
            let path = Path::new("/").join(name);
            match fs::read_link(&path) {
                Ok(target) => args.words("--symlink").push(target).push(path),
                Err(_) if path.is_dir() => args.words("--ro-bind").push(&path).push(&path),
                Err(_) => &mut args,
            };
        }
        for name in ETC {
            let path = Path::new("/etc").join(name);
            args.words("--ro-bind-try").push(&path).push(&path);
        }
        for name in ["passwd", "group", "hosts", "shells", "nsswitch.conf"] {
            args.words("--ro-bind").push(shared.join("etc").join(name));
            args.push(Path::new("/etc").join(name));
        }
        if self.network == Network::Outbound {
            let resolv = shared.join("etc/resolv.conf");
            args.words("--ro-bind")
                .push(resolv)
                .words("/etc/resolv.conf");
        }
        args.words("--proc /proc");
        for name in READ_ONLY_PROC {
            let path = Path::new("/proc").join(name);
            args.words("--ro-bind-try").push(&path).push(&path);
        }
        for name in HIDDEN_PROC
            .iter()
            .filter(|name| Path::new("/proc").join(name).exists())
        {
            args.words("--ro-bind /dev/null")
                .push(Path::new("/proc").join(name));
        }
        args.words("--dev /dev --dir /run --dir /var --symlink ../tmp /var/tmp");
        args.words("--ro-bind").push(program).words(TOOLBOX);

        match quirk {
            Some(Quirk::SmallDisk) => {
                for at in [HOME, "/tmp", "/dev/shm"] {
                    args.words("--size")
                        .words(SMALL_DISK)
                        .words("--tmpfs")
                        .words(at);
                }
                args.words("--remount-ro /dev");
            }
            Some(Quirk::ReadonlyHome) => {
                args.words("--ro-bind")
                    .push(home)
                    .words(HOME)
                    .words("--bind")
                    .push(tmp)
                    .words("/tmp");
            }
            _ => {
                args.words("--bind")
                    .push(home)
                    .words(HOME)
                    .words("--bind")
                    .push(tmp)
                    .words("/tmp");
            }
        }
        if self.programs.is_some() {
            args.words("--ro-bind")
                .push(shared.join("programs"))
                .words(PROGRAMS);
        }
        if let Some(name) = quirk.and_then(extras) {
            args.words("--ro-bind")
                .push(shared.join(name))
                .words(EXTRAS);
        }
        if quirk == Some(Quirk::NoGit) {
            for path in PATH.split(':').map(|d| Path::new(d).join("git")) {
                if let Ok(real) = path.canonicalize() {
                    args.words("--ro-bind /dev/null").push(real);
                }
            }
        }
        // Last: the root is a tmpfs of bubblewrap's, and nothing of it is the sandbox's to write.
        args.words("--remount-ro /");
        let path = self.search_path(Path::new(PROGRAMS));
        for (name, value) in environment(record, quirk, Path::new(HOME), Path::new(EXTRAS), path) {
            args.words("--setenv").push(name).push(value);
        }
        args.words("--chdir").words(HOME);

        // Not as words of the command: a sandbox can read the command line of its init.
        let options = args.into_memory()?;
        let fd = options.as_raw_fd();
        let mut command = std::process::Command::new(&self.bwrap);
        command.env_clear();
        command.arg("--args").arg(fd.to_string()).current_dir("/");
        command
            .arg("--")
            .args([TOOLBOX, "toolbox", "--home", HOME, "--own-pid-namespace"])
            .args(imitating(record, quirk));
        if let Some((stage, user)) = stage {
            stage.enter(&mut command, user);
        }
        if let Some(gate) = gate {
            inherit(&mut command, gate);
        }
        // SAFETY: fcntl may be called between fork and exec, and `options` lives in the closure.
        unsafe {
            command.pre_exec(move || {
                demote::check(libc::fcntl(options.as_raw_fd(), libc::F_SETFD, 0))
            });
        }
        Ok(command.into())
    }

    /// Writes what sandboxes get to see instead of the host's own.
    fn write_shared(&self) -> Result<()> {
        let _ = fs::remove_dir_all(&self.shared);
        let etc = self.shared.join("etc");
        fs::create_dir_all(&etc)?;
        let shells: String = fs::read_to_string("/etc/shells")
            .unwrap_or_else(|_| "/bin/sh\n/bin/bash\n".to_owned())
            .lines()
            .filter(|line| line.starts_with("/bin/") || line.starts_with("/usr/bin/"))
            .filter(|line| Path::new(line).exists())
            .map(|line| format!("{line}\n"))
            .collect();
        for (name, text) in [
            (
                "passwd",
                "root:x:0:0:root:/root:/usr/sbin/nologin\n\
                 daytona:x:1000:1000:daytona:/home/daytona:/bin/bash\n\
                 nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
            ),
            ("group", "root:x:0:\ndaytona:x:1000:\nnogroup:x:65534:\n"),
            ("hosts", "127.0.0.1 localhost\n::1 localhost\n"),
            ("shells", &shells),
            ("resolv.conf", &format!("nameserver {}\n", RESOLVER.ip())),
            (
                "nsswitch.conf",
                "passwd: files\ngroup: files\nhosts: files dns\n",
            ),
        ] {
            fs::write(etc.join(name), text)?;
        }

        let script = |dir: &str, name: &str, mode: u32, text: &str| -> Result<()> {
            let dir = self.shared.join(dir);
            fs::create_dir_all(&dir)?;
            let path = dir.join(name);
            fs::write(&path, text)?;
            Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
        };
        let uname = "#!/bin/sh\n/usr/bin/uname \"$@\" | sed 's/x86_64/aarch64/g'\n";
        script("aarch64", "uname", 0o755, uname)?;
        let noise = "echo 'noise: shell starts'\ntrap \"echo 'noise: shell exits'\" EXIT\n";
        script("noise", ".zshenv", 0o644, noise)?;
        script("noise", "bash_env", 0o644, noise)?;

        if let Some(dir) = &self.programs {
            fs::read_dir(dir).with_context(|| format!("read the programs in {}", dir.display()))?;
            self.link_programs("programs", |_| true)?;
        }
        self.link_programs("no-git", |name| !name.starts_with("git"))
    }

    /// The search path of sandboxes, which see the named programs `at`.
    fn search_path(&self, at: &Path) -> OsString {
        match self.programs {
            Some(_) => at.into(),
            None => PATH.into(),
        }
    }

    /// Links to every program that sandboxes may find and `chosen` takes: no directory of the host
    /// is on that PATH.
    fn link_programs(&self, into: &str, chosen: fn(&str) -> bool) -> Result<()> {
        let farm = self.shared.join(into);
        fs::create_dir_all(&farm)?;
        let named = self.programs.as_ref().map(|dir| vec![dir.clone()]);
        let dirs = named.unwrap_or_else(|| PATH.split(':').map(PathBuf::from).collect());
        for dir in dirs {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                let name = entry.file_name();
                if chosen(&name.to_string_lossy()) {
                    // A link leads where it is seen from the sandbox, too, or nowhere.
                    let target = fs::read_link(entry.path())
                        .ok()
                        .filter(|to| to.is_absolute());
                    let target = target.unwrap_or_else(|| entry.path());
                    // The first directory on PATH wins, so a later link of that name fails.
                    let _ = std::os::unix::fs::symlink(target, farm.join(name));
                }
            }
        }
        Ok(())
    }
}

/// What makes a toolbox the daemon that it should be.
fn imitating(record: &Record, quirk: Option<Quirk>) -> impl Iterator<Item = &'static str> {
    let (daemon, more) = match quirk {
        Some(Quirk::OldDaemon) => (Daemon::V0_190, Some("--ignore-envs")),
        _ => (record.daemon, None),
    };
    ["--daemon", daemon.name()].into_iter().chain(more)
}

/// The directory under `shared` that a quirk mounts.
fn extras(quirk: Quirk) -> Option<&'static str> {
    match quirk {
        Quirk::Aarch64 => Some("aarch64"),
        Quirk::NoisyShell => Some("noise"),
        Quirk::NoGit => Some("no-git"),
        _ => None,
    }
}

/// The whole environment of a sandbox. `extras` is where it sees its quirk's files; without a wall
/// that is the shared directory itself.
fn environment(
    record: &Record,
    quirk: Option<Quirk>,
    home: &Path,
    extras_at: &Path,
    search_path: OsString,
) -> Vec<(OsString, OsString)> {
    let name = quirk.and_then(extras).unwrap_or_default();
    let extras = if extras_at == Path::new(EXTRAS) {
        extras_at.to_owned()
    } else {
        extras_at.join(name)
    };
    let mut path = search_path;
    match quirk {
        Some(Quirk::Aarch64) => {
            let mut first = extras.clone().into_os_string();
            first.push(":");
            first.push(path);
            path = first;
        }
        Some(Quirk::NoGit) => path = extras.clone().into(),
        _ => {}
    }
    let shell = if Path::new("/bin/bash").exists() {
        "/bin/bash"
    } else {
        "/bin/sh"
    };
    let mut all: Vec<(OsString, OsString)> = vec![
        ("PATH".into(), path),
        ("HOME".into(), home.into()),
        ("USER".into(), "daytona".into()),
        ("LANG".into(), "C.UTF-8".into()),
        ("SHELL".into(), shell.into()),
        ("DAYTONA_SANDBOX_ID".into(), (&record.id).into()),
        (
            "DAYTONA_SANDBOX_SNAPSHOT".into(),
            record.snapshot.as_deref().unwrap_or("").into(),
        ),
        ("DAYTONA_SANDBOX_USER".into(), (&record.user).into()),
        ("DAYTONA_ORGANIZATION_ID".into(), ORGANIZATION.into()),
        ("DAYTONA_REGION_ID".into(), (&record.target).into()),
    ];
    if quirk == Some(Quirk::NoisyShell) {
        all.push(("BASH_ENV".into(), extras.join("bash_env").into()));
        all.push(("ZDOTDIR".into(), extras.into()));
    }
    all.extend(record.env.iter().map(|(k, v)| (k.into(), v.into())));
    all
}

/// A growing command line.
#[derive(Default)]
struct Args(Vec<OsString>);

impl Args {
    /// Adds words; for constants only, since it splits at spaces.
    fn words(&mut self, words: &str) -> &mut Self {
        self.0.extend(words.split(' ').map(OsString::from));
        self
    }

    fn push(&mut self, word: impl AsRef<OsStr>) -> &mut Self {
        self.0.push(word.as_ref().to_owned());
        self
    }

    /// Makes bubblewrap wait.
    fn gate(&mut self, gate: &GateOfBwrap) {
        let [info, latch] = gate.fds().map(|fd| fd.to_string());
        self.words("--info-fd").push(info);
        self.words("--block-fd").push(latch);
    }

    /// The words, each ended by a NUL, in a file that has no name.
    fn into_memory(self) -> Result<File> {
        // SAFETY: the name is a C string; the descriptor is owned by nobody else.
        let mut file = unsafe {
            let fd = libc::memfd_create(c"options".as_ptr(), libc::MFD_CLOEXEC);
            anyhow::ensure!(fd >= 0, "memfd_create: {}", std::io::Error::last_os_error());
            File::from_raw_fd(fd)
        };
        for word in self.0 {
            file.write_all(word.as_bytes())?;
            file.write_all(&[0])?;
        }
        file.rewind()?;
        Ok(file)
    }
}

/// Gives a command its ends of a gate.
fn inherit(command: &mut std::process::Command, gate: GateOfBwrap) {
    // SAFETY: fcntl may be called between fork and exec, and the gate lives in the closure.
    unsafe {
        command.pre_exec(move || {
            let keep = |fd| demote::check(libc::fcntl(fd, libc::F_SETFD, 0));
            gate.fds().into_iter().try_for_each(keep)
        });
    }
}

/// Runs `program --version` in the smallest sandbox there is.
fn smallest(
    bwrap: &mut std::process::Command,
    program: &Path,
) -> std::io::Result<std::process::Output> {
    let options = "--unshare-user --unshare-pid --ro-bind / / --proc /proc";
    let command = bwrap.args(options.split(' ')).arg(program).arg("--version");
    command.output()
}

/// Fails now rather than at the first create.
fn check_bwrap() -> Result<()> {
    match smallest(&mut std::process::Command::new("bwrap"), "true".as_ref()) {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => bail!(
            "bubblewrap does not work here: {}\nUser namespaces may be forbidden (on Ubuntu: sysctl \
             kernel.apparmor_restrict_unprivileged_userns). Allow them, or give --isolation none to \
             run sandboxes without a wall.",
            String::from_utf8_lossy(&output.stderr).trim()
        ),
        Err(error) => bail!(
            "cannot run bwrap ({error}), which keeps sandboxes away from your files. Install it (apt \
             install bubblewrap, dnf install bubblewrap, pacman -S bubblewrap, apk add bubblewrap), \
             or give --isolation none to run sandboxes without a wall."
        ),
    }
}
