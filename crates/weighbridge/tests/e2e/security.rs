//! What the daemon may do, who may talk to it, and where it listens.

use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};
use lab::{Configuration, Role};

use crate::support::{UNSHAPED, with_daemon};

/// Bits of capability.h: `NET_ADMIN`, `NET_RAW`, `PERFMON`, `BPF`.
const ALLOWED: u64 = 1 << 12 | 1 << 13 | 1 << 38 | 1 << 39;

#[test]
fn the_control_socket_is_its_owner_s_alone() -> Result<()> {
    with_daemon(
        "socket mode",
        UNSHAPED,
        &Configuration::article(true),
        |bench| {
            let mode = std::fs::metadata(bench.daemon.socket())?
                .permissions()
                .mode();
            assert_eq!(mode & 0o7777, 0o600);
            Ok(())
        },
    )
}

#[test]
fn the_daemon_keeps_no_more_capabilities_than_the_data_path_needs() -> Result<()> {
    with_daemon(
        "capabilities",
        UNSHAPED,
        &Configuration::article(true),
        |bench| {
            let status = std::fs::read_to_string(format!("/proc/{}/status", bench.daemon.pid()))?;
            for set in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
                let line = status
                    .lines()
                    .find_map(|line| line.strip_prefix(&format!("{set}:")));
                let bits = u64::from_str_radix(line.context("no such line")?.trim(), 16)?;
                assert_eq!(bits & !ALLOWED, 0, "{set} {bits:016x}");
            }
            Ok(())
        },
    )
}

#[test]
fn nothing_listens_on_the_network() -> Result<()> {
    with_daemon(
        "listeners",
        UNSHAPED,
        &Configuration::article(true),
        |bench| {
            let inside = bench.lab.namespace(Role::Box);
            for table in ["tcp", "tcp6", "udp", "udp6"] {
                let text = inside.read(&format!("/proc/thread-self/net/{table}"))?;
                assert_eq!(text.lines().count(), 1, "{table}: {text}");
            }
            Ok(())
        },
    )
}
