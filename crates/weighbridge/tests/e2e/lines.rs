//! More than one DSL line.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Result, anyhow};
use lab::service::{HTTP, sha256_of_bytes};
use lab::{Configuration, LabConfig, Role};

use crate::support::{Bench, with_daemon};

/// About four seconds of one line.
const BYTES: u64 = 2_600_000;
/// Of 6 Mbit/s, what a download of this length reaches at least.
const LEAST_RATE: f64 = 4.6e6;

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
        let downloads: Vec<_> = roles
            .iter()
            .map(|role| {
                bench
                    .lab
                    .host(*role)
                    .download_in_background(Bench::server(HTTP), BYTES)
            })
            .collect();
        let mut used = BTreeSet::<IpAddr>::new();
        let mut sum = 0.0;
        for download in downloads {
            let download = download.join().map_err(|_| anyhow!("panicked"))??;
            assert_eq!(download.sha256, sha256_of_bytes(BYTES));
            used.insert(download.server_saw.ip());
            sum += download.rate();
        }
        let all: BTreeSet<_> = (1..=usize::from(lines))
            .map(|line| bench.dsl(line))
            .collect();
        assert_eq!(used, all, "each line carries one host");
        assert!(
            sum >= f64::from(lines) * LEAST_RATE,
            "{sum} bit/s over {lines} lines"
        );

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
