//! What the edge's process has used: CPU time and memory, from `/proc`.

use std::fs;

use super::Edge;

/// USER_HZ, which Linux fixes for user space.
const TICKS_PER_SECOND: f64 = 100.0;

pub(crate) struct Usage {
    cpu_s: f64,
    resident_bytes: u64,
}

impl Usage {
    pub(crate) fn of(edge: &Edge) -> Self {
        let read = |file: &str| {
            let path = format!("/proc/{}/{file}", edge.process_id());
            fs::read_to_string(path).expect("the edge still runs")
        };
        let stat = read("stat");
        // The name in parentheses may hold anything; user and system time are the 14th and 15th.
        let after_name = stat.rsplit(") ").next().expect("a name");
        let ticks = after_name.split(' ').skip(11).take(2);
        let ticks: f64 = ticks
            .map(|ticks| ticks.parse::<f64>().expect("a number"))
            .sum();
        let status = read("status");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident =
            resident.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
        Self {
            cpu_s: ticks / TICKS_PER_SECOND,
            resident_bytes: resident.expect("a resident size") * 1024,
        }
    }

    /// Bounds on what an attack may have cost since.
    #[track_caller]
    pub(crate) fn grew_by_at_most(&self, edge: &Edge, cpu_s: f64, bytes: u64) {
        let now = Self::of(edge);
        let cpu_used = now.cpu_s - self.cpu_s;
        assert!(cpu_used <= cpu_s, "{cpu_used} seconds of CPU");
        let grown = now.resident_bytes.saturating_sub(self.resident_bytes);
        assert!(grown <= bytes, "{grown} more bytes resident");
    }
}
