//! Lines and the connections that share them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Result, anyhow};
use lab::frame::IpPacket;
use lab::service::{HTTP, sha256_of_bytes};
use lab::{Capture, Configuration, LabConfig, Role};

use crate::support::{Bench, SILENCE, UNSHAPED, with_daemon};

/// About four seconds of one line.
const BYTES: u64 = 2_600_000;
/// Of 6 Mbit/s, what a download of this length reaches at least.
const LEAST_RATE: f64 = 4.6e6;
const TRIES: usize = 5;

/// The article's configuration with more lines, as its conclusion suggests. The hosts are in a
/// table: a list would make a rule, and a pool, of each of them, and all would start with `em0`.
fn files(lines: u8) -> Configuration {
    let ports = ["em0", "em3", "em4"];
    let gateways = ["192.168.0.1", "172.16.0.1", "172.17.0.1"];
    let lines = usize::from(lines);
    let pool: Vec<_> = ports
        .iter()
        .zip(gateways)
        .take(lines)
        .map(|(p, gw)| format!("({p} {gw})"))
        .collect();
    let nat = ports[..lines].iter().fold(String::new(), |rules, port| {
        rules + &format!("nat on {port} from <dslnet> to any port $dslports -> ({port})\n")
    });
    let rules = format!(
        "table <localnet> persist {{ 216.28.123.0/24 }}\n\
         dslports = \"{{ 22 80 443 }}\"\n\
         table <dslnet> {{ 216.28.123.34 216.28.123.99 216.28.123.10 }}\n\
         {nat}\
         pass quick on {{ fxp0 em1 }} from <localnet> to <localnet>\n\
         pass in quick on em1 route-to {{ {} }} round-robin sticky-address proto {{ tcp udp }} \
         from <dslnet> to !<localnet> port $dslports keep state label \"DSL\"\n\
         pass on fxp0 keep state\n",
        pool.join(", ")
    );
    Configuration::article(true)
        .with("pf.conf", &rules)
        .with("hostname.em3", "inet 172.16.1.64 255.255.0.0 NONE\n")
        .with("hostname.em4", "inet 172.17.1.64 255.255.0.0 NONE\n")
}

/// Downloads of these hosts at the same time: whom the server saw, and the sum of their rates.
fn download_by_all(bench: &Bench, roles: &[Role]) -> Result<(BTreeSet<IpAddr>, f64)> {
    let start = |role: &Role| {
        let host = bench.lab.host(*role);
        host.download_in_background(Bench::server(HTTP), BYTES)
    };
    let downloads: Vec<_> = roles.iter().map(start).collect();
    let (mut used, mut sum) = (BTreeSet::new(), 0.0);
    for download in downloads {
        let download = download.join().map_err(|_| anyhow!("panicked"))??;
        assert_eq!(download.sha256, sha256_of_bytes(BYTES));
        used.insert(download.server_saw.ip());
        sum += download.rate();
    }
    Ok((used, sum))
}

fn lines_add_up(lines: u8, roles: &[Role]) -> Result<()> {
    let mut files = files(lines);
    if lines < 3 {
        files = files.without("hostname.em4");
    }
    let config = LabConfig {
        dsl_lines: lines,
        shaped: true,
    };
    with_daemon("lines", config, &files, |bench| {
        let least = f64::from(lines) * LEAST_RATE;
        let mut sum = 0.0_f64;
        // A busy machine carries less than the lines could.
        for _ in 0..TRIES {
            let (used, rates) = download_by_all(bench, roles)?;
            let all: BTreeSet<_> = (1..=usize::from(lines))
                .map(|line| bench.dsl(line))
                .collect();
            assert_eq!(used, all, "each line carries one host");
            sum = sum.max(rates);
            if sum >= least {
                break;
            }
        }
        assert!(sum >= least, "{sum} bit/s over {lines} lines");

        for role in roles {
            let first = bench.way_of(*role, 22)?;
            for _ in 0..3 {
                assert_eq!(
                    bench.way_of(*role, 22)?,
                    first,
                    "{role:?} sticks to its line"
                );
                assert_eq!(
                    bench.way_of(*role, 443)?,
                    first,
                    "{role:?} sticks to its line"
                );
            }
        }
        Ok(())
    })
}

#[test]
fn two_lines_carry_twice_as_much_and_a_host_sticks_to_its_line() -> Result<()> {
    lines_add_up(2, &[Role::H34, Role::H99])
}

#[test]
fn three_lines_carry_three_times_as_much_and_a_host_sticks_to_its_line() -> Result<()> {
    lines_add_up(3, &[Role::H34, Role::H99, Role::H10])
}

/// A server on the box, reached by the DSL line: its answers must leave by that line too, although
/// the box's default route is the T1.
#[test]
fn answers_to_what_came_by_dsl_leave_by_dsl_with_reply_to() -> Result<()> {
    let rules =
        "pass in on em0 reply-to (em0 192.168.0.1) proto tcp to em0 port 22\npass on fxp0\n";
    let files = Configuration::modern(rules);
    with_daemon("reply-to", UNSHAPED, &files, |bench| {
        bench.lab.serve(Role::Box)?;
        bench.lab.namespace(Role::Modem1).nft(
            "add chain ip nat inward { type nat hook prerouting priority -100; }\n\
             add rule ip nat inward iifname \"wan\" tcp dport 22 dnat to 192.168.1.64\n",
        )?;
        let t1 = Capture::headers(bench.lab.namespace(Role::Cisco), "t1")?;
        let mut session = bench
            .lab
            .host(Role::Internet)
            .line_client((bench.dsl(1), 22))?;
        session.exchange("in and out by DSL")?;
        let frames = t1.finish();
        let packets = frames.iter().filter_map(|frame| IpPacket::of_frame(frame));
        let strays = packets.filter(|packet| packet.source.to_string().starts_with("192.168."));
        assert_eq!(strays.count(), 0, "nothing of it over the T1");
        Ok(())
    })
}

#[test]
fn many_connections_at_once_share_the_one_address_of_a_line() -> Result<()> {
    const EACH: usize = 60;
    with_daemon("many", UNSHAPED, &Configuration::article(true), |bench| {
        let mut sessions = Vec::new();
        for number in 0..EACH {
            for role in [Role::H34, Role::H99, Role::H10] {
                let mut session = bench.lab.host(role).line_client(Bench::server(443))?;
                session.exchange(&format!("{role:?} {number}"))?;
                sessions.push(session);
            }
        }
        let seen: BTreeSet<_> = sessions.iter().map(lab::LineClient::server_saw).collect();
        assert_eq!(seen.len(), 3 * EACH, "each has its own port");
        assert!(seen.iter().all(|address| address.ip() == bench.dsl(1)));
        for (number, session) in sessions.iter_mut().enumerate() {
            session.exchange(&format!("{number} is still itself"))?;
        }
        Ok(())
    })
}

#[test]
fn beyond_the_limit_of_states_new_connections_are_refused_and_counted() -> Result<()> {
    let rules = "set limit states 3\npass in on em1 inet proto tcp\n";
    with_daemon("limit", UNSHAPED, &Configuration::modern(rules), |bench| {
        let host = bench.lab.host(Role::H99);
        let connect = || host.line_client(Bench::server(22));
        let mut sessions = [connect()?, connect()?, connect()?];
        let refused = host
            .tcp_connect_within(SILENCE, Bench::server(22))
            .unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::TimedOut);
        for session in &mut sessions {
            session.exchange("within the limit")?;
        }
        let info = bench.daemon.pfctl_ok(&["-si"])?;
        let line = info
            .lines()
            .find(|line| line.trim_start().starts_with("memory"));
        let count = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        assert!(count.is_some_and(|count| count > 0), "{info}");
        Ok(())
    })
}
