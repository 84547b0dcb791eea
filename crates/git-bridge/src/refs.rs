//! What goes into the sandbox beside the branch that the user is on: the default branch, the branch's
//! upstream, and tags of commits that go along. With them `git diff main...HEAD`, `git log @{u}..` and
//! `git describe` do what they do on the host, as far as the history goes.
//!
//! Never: a remote's address, which may hold a token.

use crate::error::Error;
use crate::git::{Git, text};
use crate::project::Project;
use crate::secret::Secrets;
use std::collections::BTreeSet;

/// Most tags that go along, the newest first.
const MAX_TAGS: usize = 500;

/// A ref and its object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ref {
    /// Full name.
    pub name: String,
    /// Full hash.
    pub object: String,
}

/// What the branch that the user is on follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Name of the remote, or `.`.
    pub remote: String,
    /// The ref there.
    pub merge: String,
    /// The ref here that follows it.
    pub tracking: String,
}

/// Refs that go along.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refs {
    /// Branches, then tags.
    pub refs: Vec<Ref>,
    /// `refs/remotes/NAME/HEAD`, and what it stands for.
    pub default: Option<(String, String)>,
    /// Of the branch that is checked out.
    pub upstream: Option<Upstream>,
}

impl Refs {
    /// Commits whose history goes along.
    pub(crate) fn tips(&self) -> Vec<String> {
        let branches = self.refs.iter();
        let branches = branches.filter(|found| !found.name.starts_with("refs/tags/"));
        let tips: BTreeSet<&String> = branches.map(|found| &found.object).collect();
        tips.into_iter().cloned().collect()
    }
}

/// A branch as git lists it.
struct Branch<'a> {
    name: &'a str,
    object: &'a str,
    stands_for: &'a str,
    upstream: [&'a str; 3],
}

impl Project {
    /// The default branch and the upstream of `branch`, which is the one that is checked out, unless
    /// there is none.
    pub(crate) async fn branches_along(
        &self,
        git: &Git<'_>,
        branch: &str,
        secrets: &Secrets,
    ) -> Result<Refs, Error> {
        let format = "--format=%(refname)%00%(objectname)%00%(symref)%00%(upstream:remotename)%00%(upstream:remoteref)%00%(upstream)";
        let listed = ["for-each-ref", format, "refs/heads", "refs/remotes"];
        let listed = git.checked(&listed, "").await?.stdout;
        // A name that is no text stays here.
        let listed: Vec<&str> = listed
            .split(|byte| *byte == b'\n')
            .filter_map(|line| std::str::from_utf8(line).ok())
            .collect();
        let all: Vec<Branch<'_>> = listed.iter().filter_map(|line| read(line)).collect();
        let find = |name: &str| all.iter().find(|branch| branch.name == name);
        let own = format!("refs/heads/{branch}");
        let mut found = Refs::default();
        if let Some(&Branch {
            upstream: [remote, merge, tracking],
            ..
        }) = find(&own)
            && find(tracking).is_some()
        {
            found.upstream = Some(Upstream {
                remote: remote.into(),
                merge: merge.into(),
                tracking: tracking.into(),
            });
        }
        let remote = found.upstream.as_ref().map(|upstream| &*upstream.remote);
        let remote = remote.filter(|remote| *remote != ".").unwrap_or("origin");
        let remotes = format!("refs/remotes/{remote}/");
        let head = format!("{remotes}HEAD");
        let mut default = find(&head).map(|head| head.stands_for.to_string());
        if default.is_none() {
            let configured = git
                .run(&["config", "--get", "init.defaultBranch"], "")
                .await?;
            let configured = text(&configured.stdout);
            let names = [configured.as_str(), "main", "master"];
            let known = |name: &&&str| {
                let names = [format!("refs/heads/{name}"), format!("{remotes}{name}")];
                !name.is_empty() && names.iter().any(|name| find(name).is_some())
            };
            default = names
                .iter()
                .find(known)
                .map(|name| format!("{remotes}{name}"));
        } else {
            found.default = default.clone().map(|default| (head, default));
        }
        let local = default
            .as_deref()
            .and_then(|name| name.strip_prefix(&remotes));
        let local = local.map(|name| format!("refs/heads/{name}"));
        let tracking = found.upstream.as_ref().map(|upstream| &upstream.tracking);
        let names: BTreeSet<&String> = [default.as_ref(), local.as_ref(), tracking]
            .into_iter()
            .flatten()
            .filter(|name| **name != own && !secrets.are_in(name.as_bytes()))
            .collect();
        found.refs = names
            .into_iter()
            .filter_map(|name| {
                let object = find(name)?.object.to_string();
                let name = name.clone();
                Some(Ref { name, object })
            })
            .collect();
        let goes = |name: &str| found.refs.iter().any(|other| other.name == name);
        found.default = found.default.filter(|(_, name)| goes(name));
        found.upstream = found.upstream.filter(|up| goes(&up.tracking));
        Ok(found)
    }

    /// Tags of the commits, without those that hold a secret.
    pub(crate) async fn tags_along(
        &self,
        git: &Git<'_>,
        commits: &BTreeSet<String>,
        secrets: &Secrets,
    ) -> Result<Vec<Ref>, Error> {
        let format =
            "--format=%(refname)%00%(objectname)%00%(*objectname)%00%(objecttype)%00%(*objecttype)";
        let listed = ["for-each-ref", "--sort=-creatordate", format, "refs/tags"];
        let listed = git.checked(&listed, "").await?.stdout;
        let (mut tags, mut texts) = (Vec::new(), Vec::new());
        for line in listed.split(|byte| *byte == b'\n') {
            let fields: Option<Vec<&str>> = std::str::from_utf8(line)
                .ok()
                .map(|line| line.split('\0').collect());
            let Some(&[name, object, commit, kind, of]) = fields.as_deref() else {
                continue;
            };
            let is_annotated = kind == "tag" && of == "commit";
            let commit = if is_annotated { commit } else { object };
            if !commits.contains(commit) || secrets.are_in(name.as_bytes()) {
                continue;
            }
            if is_annotated {
                texts.push(object.to_string());
            }
            tags.push(Ref {
                name: name.into(),
                object: object.into(),
            });
            if tags.len() == MAX_TAGS {
                break;
            }
        }
        // Nearly always none of them says one.
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        if !secrets.is_empty() && self.said_in(git, secrets, &texts).await?.is_some() {
            for text in texts {
                if self.says(git, secrets, text).await? {
                    tags.retain(|tag| tag.object != text);
                }
            }
        }
        Ok(tags)
    }
}

fn read(line: &str) -> Option<Branch<'_>> {
    let mut fields = line.split('\0');
    Some(Branch {
        name: fields.next()?,
        object: fields.next()?,
        stands_for: fields.next()?,
        upstream: [fields.next()?, fields.next()?, fields.next()?],
    })
}
