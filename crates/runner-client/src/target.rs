//! Where a request goes: a sandbox that somebody else keeps, who can wake it or put another in its place.
//!
//! A native program runs requests on many threads and a plugin on one, so the futures of a target are as its
//! implementation makes them, and those of the client are `Send` where the target's are.

use daytona::Toolbox;

/// The sandbox of a conversation, whatever that is.
pub trait Target {
    /// Why there is no sandbox.
    type Error: TargetError;

    /// The sandbox that there is now, for a request that goes to another one than before.
    fn enter(&self) -> impl Future<Output = Result<Toolbox, Self::Error>>;

    /// The toolbox of `failed` gave no answer: the service is asked about the sandbox, which is started if it
    /// is stopped, and replaced, where that is allowed, if it is gone.
    fn look(&self, failed: &Toolbox) -> impl Future<Output = Result<Looked, Self::Error>>;

    /// Something of the service answered.
    fn reached(&self) {}

    /// Nothing of the service answers.
    fn unreachable(&self) {}
}

/// What a target's errors must say.
pub trait TargetError: std::error::Error + Clone + 'static {
    /// What the service said or did not say, if that is the reason.
    fn of_service(&self) -> Option<&daytona::Error>;
}

/// What a look at a sandbox found.
#[derive(Clone, Debug)]
pub struct Looked {
    /// The sandbox, running.
    pub toolbox: Toolbox,
    /// It was running all along: its toolbox failed for another reason.
    pub was_running: bool,
}
