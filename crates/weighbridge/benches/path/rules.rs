//! The rulesets: as many rules that match nothing of the traffic as are wanted, then one that lets
//! everything pass with state.

use std::fmt::Write as _;

use super::packets::BLOCKED;

/// What the rules are to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// How many, the last one included.
    pub(crate) rules: u32,
    /// How many flows there may be.
    pub(crate) flows: u32,
    /// With NAT and, in pf.conf, `route-to`.
    pub(crate) nat: bool,
}

/// Room for what comes besides.
const STATES_SPARE: u32 = 97_152;

impl Wanted {
    /// States for which there is to be room: PF has two of a flow, one where its packets come in and one where
    /// they leave.
    pub(crate) const fn states(self) -> u32 {
        self.flows * 2 + STATES_SPARE
    }
}

/// Source address and port of a rule that matches nothing.
fn unmatched(rules: u32) -> impl Iterator<Item = (String, u32)> {
    (1..rules.saturating_sub(1)).map(|rule| {
        let (high, low) = (rule / 250, rule % 250 + 1);
        (format!("10.77.{high}.{low}"), rule % 60_000 + 1)
    })
}

pub(crate) fn pf_conf(wanted: Wanted) -> String {
    let states = wanted.states();
    let mut text = format!(
        "set limit states {states}\n\
         set timeout {{ udp.first 600, udp.single 600, udp.multiple 600 }}\n"
    );
    if wanted.nat {
        text.push_str("match out on mb inet from 10.8.0.0/24 nat-to (mb)\n");
    }
    for (address, port) in unmatched(wanted.rules) {
        let _ = writeln!(
            text,
            "block drop quick inet proto udp from {address} to any port {port}"
        );
    }
    if wanted.rules > 1 {
        let _ = writeln!(
            text,
            "block drop quick inet proto udp to any port {BLOCKED}"
        );
    }
    text.push_str("pass keep state\n");
    if wanted.nat {
        text.push_str("pass in on ma route-to (mb 10.9.0.2) inet from 10.8.0.0/24 keep state\n");
    }
    text
}

pub(crate) fn nftables(wanted: Wanted) -> String {
    let mut text =
        "table inet bench {\n chain through {\n  type filter hook forward priority 0;\n  \
         ct state established,related accept\n  ct status confirmed accept\n"
            .to_owned();
    for (address, port) in unmatched(wanted.rules) {
        let _ = writeln!(text, "  ip saddr {address} udp dport {port} drop");
    }
    if wanted.rules > 1 {
        let _ = writeln!(text, "  udp dport {BLOCKED} drop");
    }
    text.push_str("  accept\n }\n");
    if wanted.nat {
        text.push_str(
            " chain nat {\n  type nat hook postrouting priority 100;\n  oifname \"mb\" masquerade\n }\n",
        );
    }
    text + "}\n"
}
