//! Carrying the worktree into the sandbox and the work back, with git.
//!
//! The middle of both ways is the *depot*: a bare repository of our own beside the store, one per
//! worktree, which borrows the user's objects. [`Project::pack`] puts a commit of the worktree as it
//! is there, and packs it for the sandbox with some history. [`Project::receive`] takes a bundle from
//! the sandbox into the depot, checked; [`Project::land`] hands checked commits to the user's
//! repository and moves a branch there; [`Project::apply`] puts them onto the worktree, if the user
//! wants that. A project without git has its branches in the depot itself.
//!
//! Never: write to the user's index, HEAD, stash, configuration or checked-out branch; run a program
//! that the user's repository or a bundle names (`settings.rs` has the ways); write to the worktree, but for [`Project::apply`].
//!
//! Surprise: git runs on the user's own git directory while the worktree is read, so that its ignore
//! rules, attributes, line ends and sparse checkouts are what they are; new objects go to the depot
//! and the index is a copy.

mod agents;
mod along;
mod apply;
mod bases;
mod behind;
mod depth;
mod encoding;
mod error;
mod exclude;
mod fsck;
mod git;
mod ground;
mod header;
mod hidden;
mod home;
mod layout;
mod lfs;
mod listing;
mod moved;
mod names;
mod objects;
mod pack;
mod project;
mod project_id;
mod refs;
mod secret;
mod settings;
mod snapshot;
mod sparse;
mod spelling;
mod start;
mod steps;
mod temporary;
mod uncommitted;
mod under_way;
mod untouched;
mod version;

pub use agents::Agents;
pub use apply::Applied;
pub use bases::PackFile;
pub use error::Error;
pub use ground::{Ground, ground};
pub use home::{BranchUpdate, Incoming, Take, Tip};
pub use moved::Origin;
pub use names::{depot_path, is_hash};
pub use pack::{Packed, is_no_project};
pub use project::{MAX_PACK, Project};
pub use project_id::{NO_PROJECT, project_id};
pub use refs::{Ref, Refs, Upstream};
pub use secret::Secrets;
pub use start::Start;
pub use steps::{Step, Tell};
pub use under_way::{UnderWay, UnmergedEntry};
pub use version::git_version;
