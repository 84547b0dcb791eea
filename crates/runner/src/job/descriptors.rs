//! Closes what was inherited, so that whoever started the request sees its pipes close although
//! the command goes on.

use std::os::fd::BorrowedFd;

/// Closes every descriptor from 3 up. To be called before anything else is opened.
#[expect(
    unsafe_code,
    reason = "closing descriptors nobody in this process knows of"
)]
pub(super) fn close_inherited() {
    let known: Vec<i32> = match std::fs::read_dir("/proc/self/fd") {
        Ok(entries) => entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect(),
        Err(_) => (0..1024).collect(),
    };
    for fd in known.into_iter().filter(|fd| *fd > 2) {
        // SAFETY: this is the first thing that the supervisor does: it has opened nothing, so no
        // value in this process owns a descriptor above 2. The directory that listed them is
        // closed already, and its stale number is skipped.
        unsafe {
            if rustix::io::fcntl_getfd(BorrowedFd::borrow_raw(fd)).is_ok() {
                rustix::io::close(fd);
            }
        }
    }
}
