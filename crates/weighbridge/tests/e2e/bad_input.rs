//! Bad input: one clear message, and everything as it was.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use lab::article::pf_conf;
use lab::{Configuration, Lab, Role, Weighbridge, requirements};

use crate::support::{BINARY, Bench, UNSHAPED, at_rest, until_is, with_daemon, with_lab};

/// Links, addresses, routes and rules of the box, without what changes by itself.
fn network(lab: &Lab) -> Result<String> {
    let inside = lab.namespace(Role::Box);
    let commands = [
        "-o link",
        "-o address",
        "route show table all",
        "-6 route show table all",
    ];
    let texts = commands.map(|command| inside.ip(command));
    Ok(texts.into_iter().collect::<Result<Vec<_>, _>>()?.join("\n"))
}

/// Starts with these files, expects failure, and returns what it said.
fn refused(name: &str, files: &Configuration, arguments: &[&str]) -> Result<String> {
    let mut said = String::new();
    with_lab(name, UNSHAPED, |lab| {
        let before = at_rest(|| network(&lab))?;
        let (status, log) = Weighbridge::fail(&lab, Path::new(BINARY), files, arguments)?;
        assert!(!status.success(), "{log}");
        assert!(!log.contains("panicked"), "{log}");
        until_is(&before, || network(&lab)).context("the network is as it was")?;
        said = log;
        Ok(())
    })?;
    Ok(said)
}

fn skipped() -> bool {
    requirements::skip_test("bad input")
}

#[test]
fn an_interface_that_is_not_there_is_named() -> Result<()> {
    let files = Configuration::article(true).with("hostname.em9", "up\n");
    let said = refused("unknown interface", &files, &[])?;
    assert!(skipped() || said.contains("em9"), "{said}");
    let files = Configuration::article(true).with("bridgename.bridge0", "add em1\nadd em7\nup\n");
    let said = refused("unknown member", &files, &[])?;
    assert!(skipped() || said.contains("em7"), "{said}");
    Ok(())
}

#[test]
fn every_error_of_a_rule_set_is_told_with_its_line_before_anything_is_done() -> Result<()> {
    let rules = "pass in on em1 frobnicate\npass\nblock in proto nonsense from any to any\n";
    let said = refused(
        "rules",
        &Configuration::article(true).with("pf.conf", rules),
        &[],
    )?;
    assert!(skipped() || said.contains("pf.conf:1:"), "{said}");
    assert!(skipped() || said.contains("pf.conf:3:"), "{said}");
    Ok(())
}

#[test]
fn a_wrong_start_up_file_and_a_wrong_setting_are_told_with_their_place() -> Result<()> {
    let files = Configuration::article(true)
        .with("hostname.em0", "inet 192.168.1.640 255.255.0.0 NONE\n")
        .with("weighbridge.toml", "dialekt = \"openbsd3\"\n");
    let said = refused("start-up files", &files, &[])?;
    assert!(skipped() || said.contains("hostname.em0:1:"), "{said}");
    assert!(skipped() || said.contains("weighbridge.toml:1:"), "{said}");
    Ok(())
}

#[test]
fn a_configuration_directory_that_is_not_there_is_named() -> Result<()> {
    let files = Configuration::article(true);
    let said = refused("directory", &files, &["--rules", "/nowhere/pf.conf"])?;
    assert!(skipped() || said.contains("/nowhere/pf.conf"), "{said}");
    Ok(())
}

#[test]
fn without_root_it_says_so_and_does_nothing() -> Result<()> {
    with_lab("not root", UNSHAPED, |lab| {
        let before = at_rest(|| network(&lab))?;
        let public = tempfile::Builder::new()
            .prefix("weighbridge-e2e-")
            .tempdir()?;
        let binary = public.path().join("weighbridge");
        lab::command::copy_program(Path::new(BINARY), &binary)?;
        let config = public.path().join("config");
        Configuration::article(true).write_to(&config)?;
        open_to_all(public.path())?;
        let socket = public.path().join("control.sock");
        let mut command = Command::new(&binary);
        command
            .arg("run")
            .arg("--config")
            .arg(&config)
            .arg("--socket")
            .arg(&socket);
        let output = lab
            .namespace(Role::Box)
            .run(|| command.uid(65534).gid(65534).output())?;
        let said = String::from_utf8(output.stderr)?;
        assert!(!output.status.success(), "{said}");
        assert!(said.contains("root"), "{said}");
        until_is(&before, || network(&lab)).context("the network is as it was")?;
        Ok(())
    })
}

fn open_to_all(directory: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755))
}

#[test]
fn a_failing_reload_changes_nothing() -> Result<()> {
    with_daemon(
        "failing reload",
        UNSHAPED,
        &Configuration::article(true),
        |bench| {
            let mut open = bench.lab.host(Role::H99).line_client(Bench::server(22))?;
            let rules = bench.daemon.pfctl_ok(&["-sr"])?;
            let states = bench.states()?.len();
            let file = bench.daemon.config().join("bad.conf");
            std::fs::write(
                &file,
                pf_conf(false) + "pass in on em1 frobnicate\nblock on\n",
            )?;
            let output = bench.daemon.pfctl(&["-f", &file.to_string_lossy()])?;
            let said = String::from_utf8(output.stderr)?;
            assert!(!output.status.success(), "{said}");
            let lines = pf_conf(false).lines().count();
            assert!(said.contains(&format!("bad.conf:{}:", lines + 1)), "{said}");
            assert!(said.contains(&format!("bad.conf:{}:", lines + 2)), "{said}");
            assert_eq!(bench.daemon.pfctl_ok(&["-sr"])?, rules);
            assert_eq!(bench.states()?.len(), states);
            open.exchange("still there")?;
            assert_eq!(bench.way_of(Role::H99, 22)?, bench.dsl(1));
            Ok(())
        },
    )
}

#[test]
fn pfctl_without_a_daemon_names_the_socket_and_fails() -> Result<()> {
    let output = Command::new(BINARY)
        .args(["pfctl", "--socket", "/nowhere/control.sock", "-sr"])
        .output()?;
    let said = String::from_utf8(output.stderr)?;
    assert!(!output.status.success());
    assert!(said.contains("/nowhere/control.sock"), "{said}");
    Ok(())
}
