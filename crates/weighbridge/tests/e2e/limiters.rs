//! Limiters on real traffic: what they say they let through against what the router outside has
//! counted, and what pfctl prints of them.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use lab::counters::named;
use lab::roles::{SERVICES_V4, SERVICES_V6};
use lab::{Configuration, Role};

use crate::support::{Bench, SILENCE, UNSHAPED, with_daemon};

const RULES: &str = "\
state limiter \"flows\" id 1 limit 3
source limiter \"hosts\" id 2 entries 10 limit 2 inet mask 32 inet6 mask 128
pass no state
pass in on em1 inet proto udp to port 53 state limiter \"flows\" (block) keep state
pass in on em1 proto udp to port 443 source limiter \"hosts\" (block) keep state
";

const COUNTERS: &str = "table inet limited {
 counter flows { }
 counter hosts { }
 chain through { type filter hook prerouting priority -300;
  iifname \"lan\" udp dport 53 counter name flows
  iifname \"lan\" udp dport 443 counter name hosts
 }
}
";

/// Datagrams from sockets of their own, of which the first are answered and the others not.
fn exchange(
    bench: &Bench,
    role: Role,
    server: IpAddr,
    port: u16,
    (admitted, refused): (usize, usize),
) -> Result<()> {
    let host = bench.lab.host(role);
    let to = SocketAddr::new(server, port);
    for _ in 0..admitted {
        host.udp_exchange(to, b"limited")?;
    }
    let impatient = host.with_patience(SILENCE);
    let answered = (0..refused).filter(|_| impatient.udp_exchange(to, b"limited").is_ok());
    assert_eq!(answered.count(), 0, "{role:?} {to}");
    Ok(())
}

fn crossed(bench: &Bench, name: &str) -> Result<usize> {
    let count = named(bench.lab.namespace(Role::Cisco), "inet limited", name)?;
    Ok(usize::try_from(count.packets)?)
}

/// Use, admitted, and refused for the limit and for the rate, of the limiter with this number.
fn limiter(text: &str, id: &str) -> Result<(String, [usize; 3])> {
    let mut lines = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let words = lines.find(|words| words.first() == Some(&id));
    let words = words.with_context(|| format!("no limiter {id} in {text}"))?;
    let number = |at: usize| {
        words
            .get(at)
            .context("a column")?
            .parse()
            .context("a number")
    };
    Ok((words[1].to_owned(), [number(3)?, number(4)?, number(5)?]))
}

#[test]
fn limiters_admit_what_crosses_and_refuse_the_rest_and_a_source_can_be_forgotten() -> Result<()> {
    let files = Configuration::modern(RULES);
    with_daemon("limiters", UNSHAPED, &files, |bench| {
        bench.lab.namespace(Role::Cisco).nft(COUNTERS)?;
        let (four, six) = (SERVICES_V4[0].into(), SERVICES_V6[0].into());
        exchange(bench, Role::H99, four, 53, (3, 2))?;
        let text = bench.daemon.pfctl_ok(&["-s", "LimiterStates"])?;
        let crossed_flows = crossed(bench, "flows")?;
        assert_eq!(
            limiter(&text, "1")?,
            ("3/3".to_owned(), [crossed_flows, 5 - crossed_flows, 0]),
            "{text}"
        );

        exchange(bench, Role::H99, four, 443, (2, 1))?;
        exchange(bench, Role::H50, four, 443, (1, 0))?;
        exchange(bench, Role::H99, six, 443, (2, 1))?;
        let text = bench.daemon.pfctl_ok(&["-v", "-s", "LimiterSrcs"])?;
        let crossed_hosts = crossed(bench, "hosts")?;
        assert_eq!(
            limiter(&text, "2")?,
            ("3/10".to_owned(), [crossed_hosts, 7 - crossed_hosts, 0]),
            "{text}"
        );
        for line in [
            "    216.28.123.50/32 states 1/2 admit 1 hardlim 0 ratelim 0",
            "    216.28.123.99/32 states 2/2 admit 2 hardlim 1 ratelim 0",
            "    2001:db8:28:123::99/128 states 2/2 admit 2 hardlim 1 ratelim 0",
        ] {
            ensure!(text.lines().any(|shown| shown == line), "{line}: {text}");
        }

        let forget = ["-I", "2", "-k", "source", "-k", "216.28.123.99"];
        bench.daemon.pfctl_ok(&forget)?;
        let text = bench.daemon.pfctl_ok(&["-v", "-s", "LimiterSrcs"])?;
        ensure!(!text.contains("216.28.123.99"), "{text}");
        exchange(bench, Role::H99, four, 443, (1, 0))
    })
}
