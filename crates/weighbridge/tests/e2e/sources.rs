//! Source tracking on real connections.

use anyhow::{Result, ensure};
use lab::service::OTHER;
use lab::{Configuration, Role};

use crate::support::{Bench, SILENCE, UNSHAPED, until, with_daemon};

/// Rules in which a source of the inside may open three connections in a minute.
const RULES: &str = "table <bad> persist\n\
     block in quick on em1 from <bad>\n\
     pass quick on em1 inet proto tcp to port 7777 keep state (max-src-conn-rate 3/60, \
     overload <bad> flush)\n\
     pass\n";

fn rules() -> String {
    RULES.replace("7777", &OTHER.to_string())
}

#[test]
fn who_connects_too_fast_is_listed_loses_its_connections_and_comes_in_no_more() -> Result<()> {
    let files = Configuration::modern(&rules());
    with_daemon("overload", UNSHAPED, &files, |bench| {
        let host = bench.lab.host(Role::H50);
        let address = Bench::t1(Role::H50).to_string();
        let mut open = Vec::new();
        for number in 1..=3 {
            let mut client = host.line_client(Bench::server(OTHER))?;
            client.exchange("hello")?;
            open.push(client);
            let nodes = bench.daemon.pfctl_ok(&["-sS"])?;
            let wanted = format!("{address} -> 0.0.0.0 ( states {number}, connections {number},");
            ensure!(nodes.contains(&wanted), "{nodes}");
        }
        let last = host.tcp_connect(Bench::server(OTHER));
        until("it is listed", || {
            let listed = bench.daemon.pfctl_ok(&["-t", "bad", "-T", "show"]);
            listed.is_ok_and(|listed| listed.trim() == address)
        })?;
        drop(last);
        let info = bench.daemon.pfctl_ok(&["-vsi"])?;
        for counter in [
            "max-src-conn-rate",
            "overload table insertion",
            "overload flush states",
        ] {
            let line = info.lines().find(|line| line.trim().starts_with(counter));
            let count = line.and_then(|line| line[counter.len() + 2..].split_whitespace().next());
            ensure!(count == Some("1"), "{counter}: {info}");
        }
        // What the plain rule has made on the way out stays: `flush` is about its own rule.
        let left = bench.states()?;
        ensure!(!left.iter().any(|state| state.contains(" <- ")), "{left:?}");
        if let Some(client) = open.first_mut() {
            client.set_patience(SILENCE)?;
            ensure!(client.exchange("still there?").is_err(), "it was cut off");
        }
        bench
            .daemon
            .pfctl_ok(&["-t", "bad", "-T", "delete", &address])?;
        bench.daemon.pfctl_ok(&["-K", &address])?;
        host.line_client(Bench::server(OTHER))?.exchange("again")?;
        Ok(())
    })
}
