//! What an attack may cost the edge's process.

use super::Edge;

pub(crate) struct Usage {
    cpu_seconds: f64,
    rss_bytes: u64,
}

impl Usage {
    pub(crate) fn of(edge: &Edge) -> Self {
        Self {
            cpu_seconds: edge.cpu_seconds(),
            rss_bytes: edge.rss_bytes(),
        }
    }

    /// Bounds on what was used since.
    #[track_caller]
    pub(crate) fn grew_by_at_most(&self, edge: &Edge, cpu_seconds: f64, bytes: u64) {
        let now = Self::of(edge);
        let used = now.cpu_seconds - self.cpu_seconds;
        assert!(used <= cpu_seconds, "{used} seconds of CPU");
        let grown = now.rss_bytes.saturating_sub(self.rss_bytes);
        assert!(grown <= bytes, "{grown} more bytes resident");
    }
}
