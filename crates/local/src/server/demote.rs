//! A server run as root starts sandboxes as a user that owns nothing on the machine.
//!
//! That user may reach neither the data directory (0700, perhaps below `/root`) nor this program.
//! So each sandbox gets a mount namespace of its own first, in which root puts a small file system
//! over a place that no sandbox sees and binds there exactly what the sandbox will see: its home, its `/tmp`, the
//! shared files and the program. Then it stops being root, for good, and runs bubblewrap.
//!
//! All sandboxes are the same user; what separates them is still the wall.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, lchown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr;

use anyhow::{Context as _, Result};

/// Above people and services, below what systemd hands out.
pub(super) const USER: u32 = 61_000;

/// Directories that every Linux has and of which nothing is in a sandbox. The new file system
/// covers one of them, in the sandbox's own mount namespace only.
const PLACES: &[&str] = &["/mnt", "/media", "/srv", "/opt"];

const TUN: &str = "/dev/net/tun";

pub(super) fn is_root() -> bool {
    // SAFETY: cannot fail and touches no memory.
    unsafe { libc::geteuid() == 0 }
}

/// Makes `user` the owner of a tree, unless it is already.
pub(super) fn give(tree: &Path, user: u32) -> io::Result<()> {
    let meta = fs::symlink_metadata(tree)?;
    if meta.uid() == user {
        return Ok(());
    }
    if meta.is_dir() {
        give_all_below(tree, user)?;
    }
    // Last, so that a crash half-way is made good by the next start.
    lchown(tree, Some(user), Some(user))
}

fn give_all_below(dir: &Path, user: u32) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            give_all_below(&entry.path(), user)?;
        }
        // Never what a link points to.
        lchown(entry.path(), Some(user), Some(user))?;
    }
    Ok(())
}

/// What a sandbox's processes will find in the place that covers one of [`PLACES`].
pub(super) struct Stage {
    place: PathBuf,
    items: Vec<Item>,
}

enum Item {
    Bind(Bind),
    Layers(Layers),
}

struct Bind {
    source: CString,
    target: CString,
    is_dir: bool,
}

/// A directory that is made of others, the lowest of which nobody writes to (overlayfs).
struct Layers {
    /// Where it finds them. What the mount is told stays short by that, and has no character of theirs.
    parts: Vec<Bind>,
    options: CString,
    target: CString,
}

impl Stage {
    /// A stage that covers none of `needed`.
    pub(super) fn new(needed: &[&Path]) -> Result<Self> {
        let is_free = |place: &&&str| {
            Path::new(place).is_dir() && !needed.iter().any(|path| path.starts_with(place))
        };
        let place = PLACES.iter().find(is_free);
        Ok(Self {
            place: PathBuf::from(place.context("none of /mnt, /media, /srv, /opt is free")?),
            items: Vec::new(),
        })
    }

    /// Adds a directory and returns where it will be.
    pub(super) fn dir(&mut self, source: &Path) -> Result<PathBuf> {
        self.add(source, true)
    }

    /// Adds a file and returns where it will be.
    pub(super) fn file(&mut self, source: &Path) -> Result<PathBuf> {
        self.add(source, false)
    }

    fn add(&mut self, source: &Path, is_dir: bool) -> Result<PathBuf> {
        let target = self.next();
        self.items
            .push(Item::Bind(Bind::new(source, &target, is_dir)?));
        Ok(target)
    }

    /// Adds the directory `name` of the sandbox in `dir` on top of that of `lower` ones, the lowest
    /// first, and returns where it will be. Only what is changed is in `dir`.
    pub(super) fn layers(&mut self, lower: &[PathBuf], dir: &Path, name: &str) -> Result<PathBuf> {
        let target = self.next();
        let part = |n: usize| PathBuf::from(format!("{}-{n}", target.display()));
        let work = dir.join("work").join(name);
        fs::create_dir_all(&work).with_context(|| format!("create {}", work.display()))?;
        // Both directories that it writes to have to be in one mount.
        let mut parts = vec![Bind::new(dir, &part(0), true)?];
        let mut paths = Vec::new();
        for (n, layer) in lower.iter().rev().enumerate() {
            parts.push(Bind::new(&layer.join(name), &part(n + 1), true)?);
            paths.push(part(n + 1).display().to_string());
        }
        let top = part(0);
        let options = format!(
            "lowerdir={},upperdir={top}/{name},workdir={top}/work/{name},redirect_dir=on,metacopy=off,index=off",
            paths.join(":"),
            top = top.display(),
        );
        self.items.push(Item::Layers(Layers {
            parts,
            options: CString::new(options)?,
            target: c_string(&target)?,
        }));
        Ok(target)
    }

    fn next(&self) -> PathBuf {
        self.place.join(self.items.len().to_string())
    }

    /// Makes `command` start on this stage, as `user`.
    pub(super) fn enter(self, command: &mut Command, user: u32) {
        let place = c_string(&self.place).expect("a constant without NUL");
        // SAFETY: between fork and exec only system calls are made, with memory of before.
        unsafe {
            command.pre_exec(move || {
                build(&place, &self.items)?;
                drop_to(user)
            });
        }
    }
}

impl Bind {
    fn new(source: &Path, target: &Path, is_dir: bool) -> Result<Self> {
        Ok(Self {
            source: c_string(source)?,
            target: c_string(target)?,
            is_dir,
        })
    }
}

fn c_string(path: &Path) -> Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

pub(super) fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Makes `command` run as `user`, with a device for network interfaces that this user may open.
pub(super) fn tunnel(command: &mut Command, user: u32) {
    let for_all = fs::metadata(TUN).is_ok_and(|tun| tun.mode() & 0o006 == 0o006);
    // SAFETY: between fork and exec only system calls are made, with memory of before.
    unsafe {
        command.pre_exec(move || {
            if !for_all {
                own_tunnel()?;
            }
            drop_to(user)
        });
    }
}

/// Puts the device where it is on other machines, in a mount namespace of this process. A process
/// needs capabilities to make an interface with it, which it has in a sandbox's namespace only.
fn own_tunnel() -> io::Result<()> {
    // SAFETY: every pointer is a C string that outlives its call, or null where that is allowed.
    unsafe {
        check(libc::unshare(libc::CLONE_NEWNS))?;
        let (none, slave) = (ptr::null(), libc::MS_REC | libc::MS_SLAVE);
        check(libc::mount(none, c"/".as_ptr(), none, slave, ptr::null()))?;
        let (kind, mode) = (c"tmpfs".as_ptr(), c"mode=0755".as_ptr());
        let flags = libc::MS_NOSUID;
        check(libc::mount(
            kind,
            c"/dev/net".as_ptr(),
            kind,
            flags,
            mode.cast(),
        ))?;
        let device = libc::makedev(10, 200);
        let tun = c"/dev/net/tun".as_ptr();
        check(libc::mknod(tun, libc::S_IFCHR | 0o666, device))?;
        check(libc::chmod(tun, 0o666))
    }
}

/// Makes the mount namespace. Allocates nothing.
fn build(place: &CString, items: &[Item]) -> io::Result<()> {
    // SAFETY: every pointer is a C string that outlives its call, or null where that is allowed.
    unsafe {
        check(libc::unshare(libc::CLONE_NEWNS))?;
        let mount = |source, target, kind, flags, data: *const libc::c_char| {
            check(libc::mount(source, target, kind, flags, data.cast()))
        };
        // Nothing that follows may show outside.
        let (slave, none) = (libc::MS_REC | libc::MS_SLAVE, ptr::null());
        mount(none, c"/".as_ptr(), none, slave, none)?;
        let (tmpfs, flags) = (c"tmpfs".as_ptr(), libc::MS_NOSUID | libc::MS_NODEV);
        mount(tmpfs, place.as_ptr(), tmpfs, flags, c"mode=0755".as_ptr())?;
        for item in items {
            match item {
                Item::Bind(bind) => bind.mount()?,
                Item::Layers(layers) => layers.mount()?,
            }
        }
    }
    Ok(())
}

impl Bind {
    /// Allocates nothing.
    fn mount(&self) -> io::Result<()> {
        let (source, target, none) = (self.source.as_ptr(), self.target.as_ptr(), ptr::null());
        // SAFETY: every pointer is a C string that outlives its call, or null where that is allowed.
        unsafe {
            if self.is_dir {
                check(libc::mkdir(target, 0o755))?;
            } else {
                check(libc::mknod(target, libc::S_IFREG | 0o644, 0))?;
            }
            check(libc::mount(
                source,
                target,
                none,
                libc::MS_BIND,
                ptr::null(),
            ))
        }
    }
}

impl Layers {
    /// Allocates nothing.
    fn mount(&self) -> io::Result<()> {
        for part in &self.parts {
            part.mount()?;
        }
        let (kind, flags) = (c"overlay".as_ptr(), libc::MS_NOSUID | libc::MS_NODEV);
        let (target, options) = (self.target.as_ptr(), self.options.as_ptr());
        // SAFETY: every pointer is a C string that outlives its call.
        unsafe {
            check(libc::mkdir(target, 0o755))?;
            check(libc::mount(kind, target, kind, flags, options.cast()))?;
            // It holds them itself now.
            for part in &self.parts {
                check(libc::umount2(part.target.as_ptr(), libc::MNT_DETACH))?;
            }
        }
        Ok(())
    }
}

/// Stops being root. With every user id changed, the kernel takes the capabilities too.
fn drop_to(user: u32) -> io::Result<()> {
    // SAFETY: no memory is involved but an empty list. These are the C library's functions, which
    // would tell other threads, but this process has none.
    unsafe {
        check(libc::setgroups(0, ptr::null()))?;
        check(libc::setresgid(user, user, user))?;
        check(libc::setresuid(user, user, user))
    }
}
