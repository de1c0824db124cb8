//! CPU time of processes, as the kernel counts it (proc(5)).

use std::{fs, time::Duration};

use anyhow::Context;

/// The kernel tells times in hundredths of a second (`USER_HZ`) on every machine we build for.
const TICK: Duration = Duration::from_millis(10);

/// What a process has used up: its threads, its children, those that ended as well.
pub(crate) fn of(process: u32) -> anyhow::Result<Duration> {
    let own = ticks(process).with_context(|| format!("no process {process}"))?;
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children"))?;
    // One that ends meanwhile counts with its parent the next time.
    let children = children
        .split_whitespace()
        .filter_map(|child| ticks(child.parse().ok()?).ok());
    let ticks: u32 = own + children.sum::<u32>();
    Ok(TICK * ticks)
}

fn ticks(process: u32) -> anyhow::Result<u32> {
    parse(&fs::read_to_string(format!("/proc/{process}/stat"))?).context("no process status")
}

/// `utime`, `stime`, `cutime` and `cstime`: fields 14 to 17. The second field is the name,
/// which may hold blanks and parentheses.
fn parse(stat: &str) -> Option<u32> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split(' ').skip(11);
    let mut time = || fields.next()?.parse::<u32>().ok();
    Some(time()? + time()? + time()? + time()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_look_like_fields() {
        let stat = "77 (a) S 1 (b) S 1 77 77 0 -1 4194560 1 2 3 4 10 20 300 4000 20 0 1 0";
        assert_eq!(parse(stat), Some(4330));
        assert_eq!(
            parse("77 (a) S 1 77 77 0 -1 4194560 1 2 3 4 10 20 300"),
            None
        );
    }
}
