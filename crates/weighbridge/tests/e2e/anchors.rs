//! Anchors that are filled while packets cross.

use std::fs;

use anyhow::{Result, ensure};
use lab::{Configuration, Role};

use crate::support::{Bench, SILENCE, UNSHAPED, with_daemon};

const RULES: &str = "\
rdr-anchor \"ftp-proxy/*\"
nat-anchor \"ftp-proxy/*\"
pass
block in on em1 inet proto tcp to port 22
anchor \"ftp-proxy/*\"
";

const SESSION: &str = "pass in quick on em1 inet proto tcp to port 22 label session\n";

fn load(bench: &Bench, anchor: &str, rules: &str) -> Result<()> {
    let file = bench.lab.directory().join("session.conf");
    fs::write(&file, rules)?;
    let file = file.display().to_string();
    let said = bench.daemon.pfctl_ok(&["-a", anchor, "-f", &file])?;
    ensure!(said.is_empty(), "{said}");
    Ok(())
}

fn is_blocked(bench: &Bench, port: u16) -> bool {
    let host = bench.lab.host(Role::H99);
    host.tcp_connect_within(SILENCE, Bench::server(port))
        .is_err()
}

#[test]
fn a_wildcard_passes_what_is_loaded_under_it_and_a_reload_of_main_keeps_it() -> Result<()> {
    let files = Configuration::modern(RULES);
    with_daemon("anchors_live", UNSHAPED, &files, |bench| {
        ensure!(is_blocked(bench, 22), "nothing is loaded yet");
        load(bench, "ftp-proxy/7.1", SESSION)?;
        let host = bench.lab.host(Role::H99);
        let mut session = host.line_client(Bench::server(22))?;
        session.exchange("by the anchor")?;
        let states = bench.daemon.pfctl_ok(&["-vvss"])?;
        ensure!(states.contains(", anchor 2, rule 0"), "{states}");
        bench.daemon.load(RULES)?;
        session.exchange("after a reload of main")?;
        let _again = host.line_client(Bench::server(22))?;
        let listed = bench.daemon.pfctl_ok(&["-vsA"])?;
        assert_eq!(listed, "  ftp-proxy\n  ftp-proxy/7.1\n");
        bench.daemon.pfctl_ok(&["-a", "ftp-proxy/7.1", "-qFr"])?;
        ensure!(is_blocked(bench, 22), "the anchor is empty");
        session.exchange("states outlive it")?;
        Ok(())
    })
}

#[test]
fn a_proxy_redirects_by_an_anchor_of_its_own() -> Result<()> {
    let files = Configuration::modern(RULES);
    with_daemon("anchors_proxy", UNSHAPED, &files, |bench| {
        let server = Bench::server(22).ip();
        let rdr = format!(
            "rdr on em1 inet proto tcp from any to {server} port 2121 -> {server} port 22\n"
        );
        load(bench, "ftp-proxy/7.2", &(rdr + SESSION))?;
        let host = bench.lab.host(Role::H99);
        let mut session = host.line_client(Bench::server(2121))?;
        session.exchange("redirected")?;
        bench.daemon.pfctl_ok(&["-a", "ftp-proxy/7.2", "-qFn"])?;
        bench.daemon.pfctl_ok(&["-a", "ftp-proxy/7.2", "-qFr"])?;
        assert_eq!(bench.daemon.pfctl_ok(&["-sA"])?, "  ftp-proxy\n");
        session.exchange("its state goes on")?;
        Ok(())
    })
}
