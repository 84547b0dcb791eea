//! OpenCode in a sandbox: what is there already, if it fits, or else the program from npm, uploaded.
//!
//! What a sandbox says is read by its keys and bounded; what it says of a program is only where it is, and the digest of
//! what was uploaded is compared in the same script that puts it in its place, in one step.

use crate::package::{
    Arch, Libc, OPENCODE_FLOOR, OPENCODE_VERSION, PackageError, Packages, Packed, Platform, Program,
};
use daytona::{Client, Execute, ExecuteResult, Toolbox, Upload, UploadSource};
use host::Host;
use runner_client::UNPACK;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The most of a script's output that is read.
const MAX_OUTPUT: usize = 64 * 1024;
/// Bytes of one request that uploads a part of a file.
const PART: u64 = 16 << 20;
/// Uploads whose digest differs are repeated once.
const TRIES: usize = 2;
const LOOK_SECONDS: u64 = 60;
const PUT_SECONDS: u64 = 300;
/// The longest path that is believed.
const MAX_PATH: usize = 1024;

/// Where the programs are, in a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Absolute path of `opencode`.
    pub opencode: String,
    /// Its version.
    pub version: String,
    /// Absolute path of `rg`.
    pub ripgrep: String,
    /// The user's home.
    pub home: String,
    /// Where the sandbox's own programs are found.
    pub path: String,
}

/// Why there is no OpenCode in a sandbox.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The service, or the sandbox, did not answer.
    #[error(transparent)]
    Service(#[from] daytona::Error),
    /// The program is not to be had.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// It runs nowhere on such a machine.
    #[error(
        "OpenCode does not run on this sandbox's processor ({0}). Use a snapshot for x86_64 or aarch64"
    )]
    Arch(String),
    /// What the sandbox said cannot be understood.
    #[error(
        "the sandbox did not say what it is ({0}). Look whether its shell works, or use another snapshot"
    )]
    Unclear(String),
    /// A program that has to be there is not.
    #[error(
        "the sandbox has no {program} and it could not be installed: {why}. Use a snapshot that has it"
    )]
    Missing {
        /// Its name.
        program: &'static str,
        /// What the installation said.
        why: String,
    },
    /// An upload could not be put in its place.
    #[error("{program} could not be put into the sandbox: {why}")]
    Put {
        /// Its name.
        program: &'static str,
        /// What the sandbox said.
        why: String,
    },
}

/// Says what the machine is, in lines of a key and a value. Plain POSIX shell, fit for zsh.
fn look_script() -> String {
    format!(
        r#"echo "arch=$(uname -m)"
if ls /lib/ | grep -q '^ld-musl-'; then echo libc=musl; else echo libc=glibc; fi
echo "home=$HOME"
echo "path=$PATH"
if ! command -v git >/dev/null 2>&1; then
  s=; [ "$(id -u)" = 0 ] || s="sudo -n"
  if command -v apt-get >/dev/null 2>&1; then w="$( ($s apt-get update && $s apt-get install -y --no-install-recommends git) 2>&1 | tail -n 1)"
  elif command -v apk >/dev/null 2>&1; then w="$($s apk add git 2>&1 | tail -n 1)"
  else w="there is neither apt nor apk"; fi
  command -v git >/dev/null 2>&1 || echo "nogit=$w"
fi
b="$HOME/.opencode-daytona/bin"
for r in "$(command -v rg)" "$b/rg"; do [ -n "$r" ] && [ -x "$r" ] && "$r" --version >/dev/null 2>&1 </dev/null && echo "rg=$r" && break; done
for o in "$(command -v opencode)" "$b/opencode-{OPENCODE_VERSION}"; do
  [ -n "$o" ] && [ -x "$o" ] && v="$("$o" --version 2>/dev/null </dev/null | tail -n 1)" && echo "opencode=$v $o"
done
true
"#
    )
}

/// Puts an upload in its place and says so, or says what is wrong. Parts are words of a shell.
fn put_script(parts: &str, name: &str, sha256: &str) -> String {
    format!(
        r#"d="$HOME/.opencode-daytona/bin" n="$d/.{name}.$$"
umask 077
{UNPACK}
else echo "failed=there is no gzip, busybox or python3 to unpack it"; exit 0; fi
w="$( (mkdir -p "$d" && cat {parts} | unpack > "$n" && chmod 755 "$n") 2>&1 | tail -n 1)"
if [ "$(sha256sum < "$n" | cut -d' ' -f1)" = {sha256} ]; then mv -f "$n" "$d/{name}" && echo "placed=$d/{name}"
else rm -f "$n"; if [ -n "$w" ]; then echo "failed=$w"; else echo damaged=; fi; fi
rm -f {parts}
"#
    )
}

/// What a script said, by its keys; the last of several with one key counts.
fn lines(result: &ExecuteResult) -> BTreeMap<&str, &str> {
    let lines = result.result.lines();
    lines
        .filter_map(|line| line.trim_end().split_once('='))
        .collect()
}

/// A path that a sandbox names, if it can be one.
fn path(text: &str) -> Option<String> {
    let is_one =
        text.starts_with('/') && text.len() <= MAX_PATH && !text.chars().any(char::is_control);
    is_one.then(|| text.to_owned())
}

/// True for a release of OpenCode that this program speaks with.
pub fn is_supported(version: &str) -> bool {
    let mut numbers = version.split('.').map(str::parse::<u32>);
    match (
        numbers.next(),
        numbers.next(),
        numbers.next(),
        numbers.next(),
    ) {
        (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch)), None) => {
            major == OPENCODE_FLOOR.0 && (major, minor, patch) >= OPENCODE_FLOOR
        }
        _ => false,
    }
}

/// What a look has found.
struct Found {
    platform: Platform,
    home: String,
    path: String,
    opencode: Option<(String, String)>,
    ripgrep: Option<String>,
}

impl Found {
    fn read(result: &ExecuteResult) -> Result<Found, PlaceError> {
        let said = lines(result);
        let shown = || PlaceError::Unclear(result.result.chars().take(200).collect());
        let arch = match said.get("arch").copied() {
            Some("x86_64" | "amd64") => Arch::X64,
            Some("aarch64" | "arm64") => Arch::Arm64,
            Some(other) => return Err(PlaceError::Arch(other.chars().take(40).collect())),
            None => return Err(shown()),
        };
        let libc = match said.get("libc").copied() {
            Some("musl") => Libc::Musl,
            Some("glibc") => Libc::Glibc,
            _ => return Err(shown()),
        };
        if let Some(why) = said.get("nogit") {
            let why = why.chars().take(200).collect();
            return Err(PlaceError::Missing {
                program: "git",
                why,
            });
        }
        // The last one that is there is ours, but one of the image that fits comes before it.
        let all = result
            .result
            .lines()
            .filter_map(|line| line.strip_prefix("opencode="));
        let all = all.filter_map(|line| line.trim_end().split_once(' '));
        let mut fitting = all.filter(|(version, _)| is_supported(version));
        Ok(Found {
            platform: Platform { arch, libc },
            home: said
                .get("home")
                .and_then(|home| path(home))
                .ok_or_else(shown)?,
            path: said
                .get("path")
                .and_then(|all| path(all))
                .ok_or_else(shown)?,
            opencode: fitting.find_map(|(version, at)| Some((version.to_owned(), path(at)?))),
            ripgrep: said.get("rg").and_then(|at| path(at)),
        })
    }
}

/// Brings OpenCode and what it needs into sandboxes.
pub struct Placer {
    host: Arc<dyn Host>,
    client: Client,
    packages: Packages,
}

impl Placer {
    /// One that takes from `packages` what a sandbox lacks.
    pub fn new(host: Arc<dyn Host>, client: Client, packages: Packages) -> Self {
        Self {
            host,
            client,
            packages,
        }
    }

    /// OpenCode and `rg` are in the sandbox when this comes back. Repeating it costs one request where they are.
    pub async fn place(&self, toolbox: &Toolbox) -> Result<Placed, PlaceError> {
        let found = Found::read(&self.run(toolbox, look_script(), LOOK_SECONDS).await?)?;
        let (version, opencode) = match found.opencode {
            Some(found) => found,
            None => {
                let name = format!("opencode-{OPENCODE_VERSION}");
                let at = self
                    .put(toolbox, Program::OpenCode, found.platform, &name)
                    .await?;
                (OPENCODE_VERSION.to_owned(), at)
            }
        };
        let ripgrep = match found.ripgrep {
            Some(found) => found,
            None => {
                self.put(toolbox, Program::Ripgrep, found.platform, "rg")
                    .await?
            }
        };
        Ok(Placed {
            opencode,
            version,
            ripgrep,
            home: found.home,
            path: found.path,
        })
    }

    /// Uploads a program; gives where it is.
    async fn put(
        &self,
        toolbox: &Toolbox,
        program: Program,
        platform: Platform,
        name: &str,
    ) -> Result<String, PlaceError> {
        let packed = self.packages.get(program, platform).await?;
        let called = match program {
            Program::OpenCode => "opencode",
            Program::Ripgrep => "rg",
        };
        let failed = |why: &str| PlaceError::Put {
            program: called,
            why: why.chars().take(200).collect(),
        };
        for _ in 0..TRIES {
            let parts = self.upload(toolbox, &packed).await?;
            let script = put_script(&parts.join(" "), name, &packed.sha256);
            let result = self.run(toolbox, script, PUT_SECONDS).await?;
            let said = lines(&result);
            if let Some(at) = said.get("placed").and_then(|at| path(at)) {
                return Ok(at);
            }
            if let Some(why) = said.get("failed") {
                return Err(failed(why));
            }
            if !said.contains_key("damaged") {
                return Err(failed(result.result.trim()));
            }
        }
        Err(failed("it was damaged on the way each time"))
    }

    /// Uploads a file in parts; gives their paths, which are words of a shell.
    async fn upload(&self, toolbox: &Toolbox, packed: &Packed) -> Result<Vec<String>, PlaceError> {
        let file = packed.path.to_string_lossy().into_owned();
        let size = self
            .host
            .file_size(&file)
            .await
            .map_err(|error| PackageError::Cache {
                path: packed.path.clone(),
                error: std::io::Error::other(error.to_string()),
            })?;
        let id = self.host.random();
        let mut paths = Vec::new();
        for n in 0..size.div_ceil(PART) {
            let path = format!("/tmp/.opencode-upload-{id:016x}-{n}");
            let part = Upload {
                path: path.clone(),
                source: UploadSource::Slice {
                    path: file.clone(),
                    offset: n * PART,
                    length: PART,
                },
            };
            paths.push(path);
            if let Err(error) = self.client.upload(toolbox, &[part]).await {
                // A part that is not whole is in nobody's way, and yet in that of a disk that is full.
                let remove = format!("rm -f {}", paths.join(" "));
                let _ = self.run(toolbox, remove, LOOK_SECONDS).await;
                return Err(error.into());
            }
        }
        Ok(paths)
    }

    async fn run(
        &self,
        toolbox: &Toolbox,
        command: String,
        timeout: u64,
    ) -> Result<ExecuteResult, PlaceError> {
        let execute = Execute {
            command,
            envs: BTreeMap::new(),
            timeout,
        };
        Ok(self.client.execute(toolbox, &execute, MAX_OUTPUT).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_that_answer_a_prompt_once_are_supported_and_others_are_not() {
        for (version, want) in [
            ("1.18.33", true),
            ("1.18.15", true),
            ("1.18.14", false),
            ("1.17.99", false),
            ("1.19.0", true),
            ("2.0.12", false),
            ("1.18", false),
            ("1.18.33-beta", false),
            ("1.18.33.1", false),
            ("", false),
            ("opencode", false),
        ] {
            assert_eq!(is_supported(version), want, "{version}");
        }
    }

    #[test]
    fn what_a_sandbox_says_of_itself_is_read_by_its_keys_and_bounded() {
        let read = |text: &str| {
            Found::read(&ExecuteResult {
                exit_code: 0,
                result: text.to_owned(),
            })
        };
        let fine = "noise\narch=x86_64\nlibc=glibc\nhome=/home/me\npath=/bin:/usr/bin\n";
        let found = read(fine).expect("it is clear");
        assert_eq!(
            (found.home.as_str(), found.opencode, found.ripgrep),
            ("/home/me", None, None)
        );
        let found = read(&format!(
            "{fine}opencode=1.1.1 /old\nopencode=1.18.20 /usr/bin/opencode\nopencode=1.18.33 /ours\nrg=/bin/rg\r\n"
        ));
        let found = found.expect("it is clear");
        let theirs = ("1.18.20".to_owned(), "/usr/bin/opencode".to_owned());
        assert_eq!(
            found.opencode,
            Some(theirs),
            "what the image has, if it fits"
        );
        assert_eq!(found.ripgrep.as_deref(), Some("/bin/rg"));
        for (text, part) in [
            ("", "did not say"),
            ("arch=x86_64\nlibc=other\nhome=/h\n", "did not say"),
            ("arch=x86_64\nlibc=glibc\nhome=h\n", "did not say"),
            ("arch=riscv64\nlibc=glibc\nhome=/h\n", "(riscv64)"),
            (
                "arch=x86_64\nlibc=glibc\nhome=/h\nnogit=there is neither apt nor apk\n",
                "no git and it could not be installed: there is neither",
            ),
        ] {
            let error = read(text).err().expect(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        // A path that is no path is as if nothing had been said.
        for at in ["bin/rg", "/a\u{1b}b", &format!("/{}", "x".repeat(2000))] {
            assert_eq!(
                read(&format!("{fine}rg={at}\n"))
                    .expect("it is clear")
                    .ripgrep,
                None
            );
        }
    }
}
