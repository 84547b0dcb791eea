//! What was left when OpenCode ended goes out from a process of its own, which OpenCode's end leaves
//! behind. One at a time: whoever finds another one at work leaves it to that one.

use crate::send::{SendError, Sender};
use crate::spool::Spool;
use crate::store::Failure;
use host::{FileError, Host};

/// After this what is left waits for the next start of OpenCode.
const LIMIT_MS: u64 = 600_000;
/// The first pause while the store does not answer, and the longest.
const PAUSE_MS: (u64, u64) = (5_000, 60_000);

/// Sends what waits until nothing does, or the time is up. Gives how many sessions are left; none if another
/// process does this already.
pub async fn drain(
    host: &dyn Host,
    spool: &Spool,
    sender: &Sender,
    mark: &str,
) -> Result<Option<usize>, FileError> {
    if is_at_work(host, mark).await {
        return Ok(None);
    }
    let own = host.pid().to_string();
    host.replace_file(mark, own.as_bytes()).await?;
    let end = host.now_ms() + LIMIT_MS;
    let mut pause = PAUSE_MS.0;
    let left = loop {
        let (mut left, mut is_refused) = (0, false);
        for session in spool.sessions().await? {
            if spool.entry(&session).await?.is_due() {
                match sender.session(&session).await {
                    Ok(pass) if pass.left == 0 => {}
                    Err(SendError::Store(Failure::Key(_))) => (left, is_refused) = (left + 1, true),
                    _ => left += 1,
                }
            }
        }
        if left == 0 || is_refused || host.now_ms() + pause > end {
            break left;
        }
        host.sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MS.1);
    };
    host.remove_file(mark).await?;
    Ok(Some(left))
}

/// True if the process that `mark` names lives, and has not had its time.
async fn is_at_work(host: &dyn Host, mark: &str) -> bool {
    let Ok(bytes) = host.read_file(mark).await else {
        return false;
    };
    let pid = String::from_utf8_lossy(&bytes).trim().parse::<u32>();
    let since = host.modified_ms(mark).await.unwrap_or_default();
    pid.is_ok_and(|pid| host.pid_alive(pid)) && host.now_ms() < since + 2 * LIMIT_MS
}
