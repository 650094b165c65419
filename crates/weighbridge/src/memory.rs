//! How much memory there is for this process.

use std::fs;
use std::path::Path;

/// Bytes of memory that this process may use: those of the machine, or fewer if its control
/// group, or one around it, has a limit (`memory.max`, cgroup v2). Nothing where the kernel does
/// not tell.
#[must_use]
pub(crate) fn of_machine() -> Option<u64> {
    let machine = total(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let group = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = own_group(&group).into_iter().flat_map(|path| {
        let root = Path::new("/sys/fs/cgroup");
        let path = root.join(path.trim_start_matches('/'));
        let groups = path.ancestors().take_while(|path| path.starts_with(root));
        let limits = groups.filter_map(|path| group_limit(&path.join("memory.max")));
        limits.collect::<Vec<u64>>()
    });
    limits.chain([machine]).min()
}

/// `MemTotal:   16384 kB`.
fn total(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// `0::/path`.
fn own_group(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::"))
}

/// A number of bytes, or `max`.
fn group_limit(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_read() {
        let text = "MemTotal:       24576000 kB\nMemFree:        1 kB\n";
        assert_eq!(total(text), Some(24_576_000 * 1024));
        assert_eq!(total("MemFree: 1 kB\n"), None);
        assert_eq!(own_group("1:cpu:/x\n0::/a/b\n"), Some("/a/b"));
        assert_eq!(own_group("1:cpu:/x\n"), None);
    }

    #[test]
    fn this_machine_has_some() {
        let bytes = of_machine().expect("known");
        assert!(bytes > 16 << 20, "{bytes}");
    }
}
