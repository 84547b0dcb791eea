//! `GET /system/metrics`: what the sandbox's machine has and uses, in bytes. That is this machine, as nothing limits a sandbox.

use std::fs;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use rustix::fs::statvfs;
use serde_json::json;

use super::daemon::{Reply, Toolbox};
use crate::clock::{now_ms, rfc3339};
use crate::problem::Problem;

pub(super) async fn metrics(State(toolbox): State<Arc<Toolbox>>) -> Reply {
    let memory = fs::read_to_string("/proc/meminfo").map_err(Problem::internal)?;
    let (total, free) = (field(&memory, "MemTotal"), field(&memory, "MemFree"));
    let cached = field(&memory, "Cached") + field(&memory, "Buffers");
    let disk = statvfs(&toolbox.home).map_err(Problem::internal)?;
    let (disk_total, disk_free) = (disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize);
    let now = now_ms();
    Ok(Json(json!({
        "cpuCount": std::thread::available_parallelism().map_or(1, usize::from),
        "cpuUsedPct": cpu_used_percent().unwrap_or_default(),
        "memTotal": total,
        "memUsed": total.saturating_sub(free + cached),
        "memCache": cached,
        "diskTotal": disk_total,
        "diskFree": disk_free,
        "diskUsed": disk_total - disk.f_bfree * disk.f_frsize,
        "timestamp": rfc3339(now),
        "timestampUnix": now / 1000,
    })))
}

/// A field of `/proc/meminfo`, which counts in KiB.
fn field(text: &str, name: &str) -> u64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|rest| {
        rest.trim()
            .trim_end_matches("kB")
            .trim()
            .parse::<u64>()
            .ok()
    });
    number.unwrap_or_default() * 1024
}

/// Per cent of all processors that was used since the machine started.
fn cpu_used_percent() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().next()?;
    let times: Vec<f64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|time| time.parse().ok())
        .collect();
    let (all, idle) = (times.iter().sum::<f64>(), times.get(3)? + times.get(4)?);
    (all > 0.0).then(|| (100.0 * (all - idle) / all * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_the_memory_is_in_bytes_and_absent_ones_are_nothing() {
        let text = "MemTotal:       24683620 kB\nMemFree:         100 kB\nCached: 7 kB\n";
        for (name, want) in [
            ("MemTotal", 24_683_620 * 1024),
            ("MemFree", 102_400),
            ("Cached", 7_168),
            ("Buffers", 0),
        ] {
            assert_eq!(field(text, name), want, "{name}");
        }
    }
}
