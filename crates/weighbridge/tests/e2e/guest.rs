//! Tests of this program and of its data path in guests with other kernels: Debian's, which is older than
//! TCX and has queueing disciplines that others have not, and those from the oldest that is promised to the
//! newest.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::guest::{Guest, Machine};
use lab::identity::RunId;
use lab::namespace::Namespace;
use lab::requirements;

use crate::packages::unpacked;
use crate::support::{BINARY, IN_GUEST, shared_machine};

const NAME: &str = "the_same_tests_pass_on_debians_kernel";
const NAME_OF_ALL: &str = "the_same_tests_pass_on_each_kernel_from_the_oldest_to_the_newest";
/// Another kernel, as `scripts/unpack-kernel.sh` unpacks it.
const KERNEL: &str = "WEIGHBRIDGE_TEST_KERNEL";
/// Those of `make test-kernels`, oldest first, as `scripts/packages.sh kernels` unpacks them.
const KERNELS: [&str; 4] = ["kernel-5.15", "kernel", "kernel-6.12", "kernel-newest"];
/// Some of them alone, separated by blanks.
const SOME_KERNELS: &str = "WEIGHBRIDGE_TEST_KERNELS";
/// Other tests, separated by blanks.
const OTHERS: &str = "WEIGHBRIDGE_TEST_IN_GUEST";
const TESTS: [&str; 4] = [
    "fast_path::nothing_passes_in_the_kernel_once_its_state_is_killed_and_rules_block",
    "fast_path::datagrams_pass_at_the_driver_and_are_counted",
    "queues::queues_of_each_kind_carry_and_count",
    "vlans::flows_of_a_vlan_s_device_are_cached_and_fused_and_its_tags_are_the_kernel_s",
];
/// How long a test may take; 10 s on a machine at rest.
const LIMIT: Duration = Duration::from_mins(5);
/// How long all tests of the data path may take; 60 s on a machine at rest.
const DATAPATH_LIMIT: Duration = Duration::from_mins(15);

/// Where the shell finds a program.
fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let places = path.split(':').chain(["/usr/sbin", "/sbin"]);
    let mut found = places
        .map(|place| Path::new(place).join(name))
        .filter(|path| path.is_file());
    found.next().with_context(|| name.to_owned())
}

/// Boots a kernel with this program, these tests, and more programs.
fn boot(kernel: &Path, run: &RunId, inside: &Namespace, more: &[PathBuf]) -> Result<Option<Guest>> {
    let Some(qemu) = unpacked(NAME, "qemu") else {
        return Ok(None);
    };
    let mut machine = Machine::new(&qemu, kernel)?
        .processors(2)
        .program(Path::new(BINARY))?
        .program(&std::env::current_exe()?)?;
    for name in ["ip", "tc", "nft", "ethtool"] {
        machine = machine.program(&program(name)?)?;
    }
    for path in more {
        machine = machine.program(path)?;
    }
    machine.boot(inside, run.directory()).map(Some)
}

/// What a test program says of the tests with that in their names, all of which are to run and pass; an
/// error tells it otherwise.
fn pass_in(guest: &mut Guest, limit: Duration, program: &Path, test: &str) -> Result<String> {
    let command = format!(
        "{IN_GUEST}=1 {} {test} --nocapture --test-threads 1",
        program.display()
    );
    let answer = guest.try_run_within(limit, &command)?;
    let ran = answer.text.contains("test result: ok. ") && !answer.text.contains(" 0 passed");
    ensure!(
        answer.status == 0 && ran && !answer.text.contains("skipped"),
        "{}",
        answer.text
    );
    Ok(answer.text)
}

/// Runs tests one after the other; returns what is said of those that fail.
#[expect(clippy::print_stdout, reason = "figures of each kernel, for docs")]
fn failures(guest: &mut Guest) -> Result<Vec<String>> {
    let others = std::env::var(OTHERS).unwrap_or_else(|_| TESTS.join(" "));
    let this = std::env::current_exe()?;
    let mut failed = Vec::new();
    for test in others.split_whitespace() {
        match pass_in(guest, LIMIT, &this, test) {
            Ok(said) => println!("{said}"),
            Err(error) => failed.push(error.to_string()),
        }
    }
    Ok(failed)
}

fn report(guest: &Guest, failed: &[String]) -> Result<()> {
    ensure!(
        failed.is_empty(),
        "{}\nconsole: {}",
        failed.join("\n"),
        guest.console()
    );
    Ok(())
}

#[test]
fn the_same_tests_pass_on_debians_kernel() -> Result<()> {
    if requirements::skip_test(NAME) {
        return Ok(());
    }
    let named = std::env::var_os(KERNEL).map(PathBuf::from);
    let Some(kernel) = named.or_else(|| unpacked(NAME, "kernel")) else {
        return Ok(());
    };
    let _machine = shared_machine()?;
    let run = RunId::new()?;
    let inside = Namespace::create(&run.namespace("guest"))?;
    let Some(mut guest) = boot(&kernel, &run, &inside, &[])? else {
        return Ok(());
    };
    println!("Linux {}", guest.run("uname -r")?);
    let failed = failures(&mut guest)?;
    report(&guest, &failed)
}

/// The test programs of the data path, which cargo builds if they are not there.
fn datapath_tests() -> Result<Vec<PathBuf>> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["test", "--locked", "--no-run", "--message-format", "json"])
        .args(["-p", "datapath"]);
    let output = cargo.output().with_context(|| format!("{cargo:?}"))?;
    ensure!(output.status.success(), "{cargo:?}: {output:?}");
    let messages = String::from_utf8(output.stdout)?;
    let paths = messages.lines().filter_map(|message| {
        let message: serde_json::Value = serde_json::from_str(message).ok()?;
        message.get("executable")?.as_str().map(PathBuf::from)
    });
    Ok(paths.collect())
}

/// All tests on one kernel, and what the data path's say.
#[expect(clippy::print_stdout, reason = "figures of each kernel, for docs")]
fn pass_on(kernel: &Path, datapath: &[PathBuf]) -> Result<()> {
    let run = RunId::new()?;
    let inside = Namespace::create(&run.namespace("guest"))?;
    let mut more = vec![program("ping")?];
    more.extend_from_slice(datapath);
    let Some(mut guest) = boot(kernel, &run, &inside, &more)? else {
        return Ok(());
    };
    println!("==> Linux {}", guest.run("uname -r")?);
    let mut failed = Vec::new();
    for program in datapath {
        match pass_in(&mut guest, DATAPATH_LIMIT, program, "") {
            Ok(said) => println!("{said}"),
            Err(error) => failed.push(error.to_string()),
        }
    }
    failed.extend(failures(&mut guest)?);
    report(&guest, &failed)
}

#[test]
#[ignore = "minutes for each kernel: make test-kernels"]
fn the_same_tests_pass_on_each_kernel_from_the_oldest_to_the_newest() -> Result<()> {
    if requirements::skip_test(NAME_OF_ALL) {
        return Ok(());
    }
    let _machine = shared_machine()?;
    let datapath = datapath_tests()?;
    let some = std::env::var(SOME_KERNELS).unwrap_or_else(|_| KERNELS.join(" "));
    let mut failed = Vec::new();
    for name in some.split_whitespace() {
        let Some(kernel) = unpacked(NAME_OF_ALL, name) else {
            continue;
        };
        if let Err(error) = pass_on(&kernel, &datapath) {
            failed.push(format!("{name}: {error:#}"));
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}
