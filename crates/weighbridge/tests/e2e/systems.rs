//! "Passively OS Fingerprinting Email with PF": its pipeline and its script, on real handshakes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use lab::roles::BOX_FXP0;
use lab::{Configuration, Role};

use crate::support::{Bench, UNSHAPED, with_daemon};

/// The article's, with its two paths and BSD's `tail -r` to be replaced.
const PIPELINE: &str = include_str!("os_rules.sh");
/// The article's, to the letter.
const GET_OS: &str = include_str!("get_os.sh");
/// The article's, with the name of our interface.
const MINIMAL: &str = "ext_if=\"fxp0\" \nset fingerprints \"/etc/pf.os\" \n";

/// Where the box has its mail server.
const MAIL: (std::net::Ipv4Addr, u16) = (BOX_FXP0, 25);

/// A directory with `pfctl` and the article's script, as an administrator would have them.
struct MailServer<'a> {
    bench: &'a Bench,
    directory: PathBuf,
}

impl<'a> MailServer<'a> {
    fn new(bench: &'a Bench) -> Result<Self> {
        let directory = bench.lab.directory().join("mail");
        std::fs::create_dir_all(&directory)?;
        let pfctl = format!("#!/bin/sh\nexec {} \"$@\"\n", bench.daemon.pfctl_command());
        for (name, text) in [("pfctl", pfctl.as_str()), ("get_os.sh", GET_OS)] {
            lab::command::write_program(&directory.join(name), text)?;
        }
        Ok(Self { bench, directory })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// What a command prints that finds `pfctl` in its path.
    fn run(&self, program: &Path, arguments: &[&str]) -> Result<String> {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("PATH", format!("{}:{path}", self.directory.display()))
            .stdin(Stdio::null());
        let inside = self.bench.lab.namespace(Role::Box);
        let output = inside.run(|| command.output())?;
        ensure!(
            output.status.success(),
            "{}: {}",
            program.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// What the article's script says of the host, once it has connected.
    fn system_of(&self, role: Role) -> Result<String> {
        let host = self.bench.lab.host(role);
        let stream = host.tcp_connect(SocketAddr::from(MAIL));
        let stream = stream.with_context(|| format!("{role:?} connects"))?;
        let address = stream.local_addr()?.ip().to_string();
        let said = self.run(&self.file("get_os.sh"), &[&address])?;
        Ok(said.trim_end().to_owned())
    }
}

/// Settings of a host's TCP under /proc/sys/net/ipv4.
fn set(bench: &Bench, role: Role, settings: &[(&str, &str)]) -> Result<()> {
    let host = bench.lab.namespace(role);
    for (name, value) in settings {
        host.sysctl(&format!("net/ipv4/{name}"), value)?;
    }
    Ok(())
}

/// Half of six megabytes fits into sixteen bits shifted by seven.
const SCALE_OF_SEVEN: (&str, &str) = ("tcp_rmem", "4096 131072 6291456");
/// Linux' own since 6.16.
const SCALE_OF_TEN: (&str, &str) = ("tcp_rmem", "4096 131072 33554432");

#[test]
fn the_article_s_pipeline_and_script_name_the_system_of_each_host() -> Result<()> {
    with_daemon(
        "get_os.sh",
        UNSHAPED,
        &Configuration::modern("pass\n"),
        |bench| {
            let _listener = bench
                .lab
                .host(Role::Box)
                .tcp_listen(SocketAddr::from(MAIL))?;
            let server = MailServer::new(bench)?;
            let rules = server.file("pf.conf");
            std::fs::write(&rules, MINIMAL)?;
            let pipeline = PIPELINE
                .replace("/sbin/pfctl", "pfctl")
                .replace("tail -r", "tac")
                .replace("/etc/pf.conf", &rules.to_string_lossy());
            server.run(Path::new("sh"), &["-c", &pipeline])?;
            server.run(&server.file("pfctl"), &["-f", &rules.to_string_lossy()])?;
            let count = bench.daemon.pfctl_ok(&["-qsr"])?.lines().count();
            ensure!(count > 300, "a rule for each name: {count}");

            set(bench, Role::Cisco, &[SCALE_OF_SEVEN])?;
            ensure!(server.system_of(Role::Cisco)? == "Linux 4.20");
            bench.daemon.pfctl_ok(&["-F", "states"])?;
            set(bench, Role::Cisco, &[SCALE_OF_TEN])?;
            let found = server.system_of(Role::Cisco)?;
            ensure!(found == "Linux 6.16", "{found}");
            set(bench, Role::Cisco, &[SCALE_OF_SEVEN])?;

            let windows = [
                ("ip_default_ttl", "128"),
                ("tcp_timestamps", "0"),
                ("tcp_window_scaling", "0"),
            ];
            set(bench, Role::Internet, &windows)?;
            let found = server.system_of(Role::Internet)?;
            ensure!(found == "Windows XP SP1", "{found}");

            // Behind a router, with the window of an older kernel.
            set(bench, Role::H50, &[SCALE_OF_SEVEN])?;
            let h50 = bench.lab.namespace(Role::H50);
            let route = h50.ip("route show default")?;
            h50.ip(&format!("route change {} initrwnd 20", route.trim()))?;
            let found = server.system_of(Role::H50)?;
            ensure!(found == "Linux 3.11-4.19", "{found}");

            // Nobody has a signature of this one; the state of before is gone.
            bench.daemon.pfctl_ok(&["-F", "states"])?;
            set(
                bench,
                Role::Cisco,
                &[("tcp_sack", "0"), ("ip_default_ttl", "200")],
            )?;
            let found = server.system_of(Role::Cisco)?;
            ensure!(found == "Unknown", "{found}");
            Ok(())
        },
    )
}

#[test]
fn a_rule_blocks_one_system_on_live_traffic_in_every_dialect() -> Result<()> {
    for dialect in ["freebsd", "openbsd", "openbsd3"] {
        let toml = format!("dialect = \"{dialect}\"\n");
        let files = Configuration::modern("pass\n").with("weighbridge.toml", &toml);
        with_daemon("os", UNSHAPED, &files, |bench| {
            let _listener = bench
                .lab
                .host(Role::Box)
                .tcp_listen(SocketAddr::from(MAIL))?;
            bench.daemon.load(
                "pass in proto tcp from any to any port 25 flags S/SA keep state\n\
                 block return in quick proto tcp from any os \"Windows\" to any port 25\n",
            )?;
            let windows = [
                ("ip_default_ttl", "128"),
                ("tcp_timestamps", "0"),
                ("tcp_window_scaling", "0"),
            ];
            let to = SocketAddr::from(MAIL);
            let host = bench.lab.host(Role::Cisco);
            ensure!(host.tcp_connect(to).is_ok(), "Linux connects");
            set(bench, Role::Cisco, &windows)?;
            ensure!(host.tcp_connect(to).is_err(), "Windows is refused");
            bench.daemon.pfctl_ok(&["-F", "osfp"])?;
            ensure!(bench.daemon.pfctl_ok(&["-s", "osfp"])?.is_empty());
            ensure!(host.tcp_connect(to).is_ok(), "and unknown without a list");
            Ok(())
        })?;
    }
    Ok(())
}
