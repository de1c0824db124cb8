//! What the edge's process uses, as Linux counts it.

use std::fs;

use super::Edge;

/// Clock ticks a second in `/proc/PID/stat`: 100 on every Linux that we run on (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

impl Edge {
    /// CPU time of all threads so far, in the kernel too.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let stat = self.proc("stat");
        // The second field is the name, in parentheses, and may hold anything.
        let (_, after_name) = stat.rsplit_once(')').expect("a name");
        let ticks: f64 = after_name
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse::<f64>().expect("a number"))
            .sum();
        ticks / TICKS_PER_SECOND
    }

    /// Resident memory now.
    pub(crate) fn rss_bytes(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    /// The most that was resident since the process began.
    pub(crate) fn peak_rss_bytes(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    fn status_bytes(&self, name: &str) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        1024 * kib.and_then(|kib| kib.parse::<u64>().ok()).expect("a size")
    }

    fn proc(&self, file: &str) -> String {
        let id = self.process_id();
        fs::read_to_string(format!("/proc/{id}/{file}")).expect("the process can be looked at")
    }
}
