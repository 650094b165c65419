//! Tests of this program in a guest with Debian's kernel, which is older than TCX and has queueing
//! disciplines that others have not.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::guest::{Guest, Machine};
use lab::identity::RunId;
use lab::namespace::Namespace;
use lab::requirements;

use crate::packages::unpacked;
use crate::support::{BINARY, IN_GUEST, shared_machine};

const NAME: &str = "the_same_tests_pass_on_debians_kernel";
/// Another kernel, as `scripts/unpack-kernel.sh` unpacks it.
const KERNEL: &str = "WEIGHBRIDGE_TEST_KERNEL";
/// Other tests, separated by blanks.
const OTHERS: &str = "WEIGHBRIDGE_TEST_IN_GUEST";
const TESTS: [&str; 4] = [
    "fast_path::nothing_passes_in_the_kernel_once_its_state_is_killed_and_rules_block",
    "fast_path::datagrams_pass_at_the_driver_and_are_counted",
    "queues::queues_of_each_kind_carry_and_count",
    "vlans::flows_of_a_vlan_s_device_are_cached_and_fused_and_its_tags_are_the_kernel_s",
];
/// How long a test may take; 10 s on a machine at rest.
const LIMIT: Duration = Duration::from_secs(150);

/// Where the shell finds a program.
fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let places = path.split(':').chain(["/usr/sbin", "/sbin"]);
    let mut found = places
        .map(|place| Path::new(place).join(name))
        .filter(|path| path.is_file());
    found.next().with_context(|| name.to_owned())
}

fn boot(qemu: &Path, kernel: &Path, run: &RunId, inside: &Namespace) -> Result<Guest> {
    let mut machine = Machine::new(qemu, kernel)?
        .processors(2)
        .program(Path::new(BINARY))?
        .program(&std::env::current_exe()?)?;
    for name in ["ip", "tc", "nft", "ethtool"] {
        machine = machine.program(&program(name)?)?;
    }
    machine.boot(inside, run.directory())
}

#[test]
fn the_same_tests_pass_on_debians_kernel() -> Result<()> {
    if requirements::skip_test(NAME) {
        return Ok(());
    }
    let Some(qemu) = unpacked(NAME, "qemu") else {
        return Ok(());
    };
    let named = std::env::var_os(KERNEL).map(PathBuf::from);
    let Some(kernel) = named.or_else(|| unpacked(NAME, "kernel")) else {
        return Ok(());
    };
    let _machine = shared_machine()?;
    let run = RunId::new()?;
    let inside = Namespace::create(&run.namespace("guest"))?;
    let mut guest = boot(&qemu, &kernel, &run, &inside)?;
    println!("Linux {}", guest.run("uname -r")?);
    let others = std::env::var(OTHERS).unwrap_or_else(|_| TESTS.join(" "));
    let this = std::env::current_exe()?;
    let mut failed = Vec::new();
    for test in others.split_whitespace() {
        let command = format!(
            "{IN_GUEST}=1 {} {test} --nocapture --test-threads 1",
            this.display()
        );
        let answer = guest.try_run_within(LIMIT, &command)?;
        let ran = answer.text.contains("test result: ok. ") && !answer.text.contains(" 0 passed");
        if answer.status != 0 || !ran || answer.text.contains("skipped") {
            failed.push(answer.text);
        } else {
            println!("{}", answer.text);
        }
    }
    ensure!(
        failed.is_empty(),
        "{}\nconsole: {}",
        failed.join("\n"),
        guest.console()
    );
    Ok(())
}
