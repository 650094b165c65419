//! `-s states`.

use std::fmt::Write;

use pf_engine::addr::{Family, Protocol};
use pf_engine::decision::StateId;
use pf_engine::rule::{Direction, RouteKind};
use pf_engine::ruleset::Dialect;
use pf_engine::view::{HostPort, PeerView, StateView};

use super::{ITEMS_PER_PAGE, Section, View, time, whole};
use crate::text::protocol_name;

/// Names of PF's TCP states, by number (`TCPS_*`).
const TCP_STATES: [&str; 11] = [
    "CLOSED",
    "LISTEN",
    "SYN_SENT",
    "SYN_RCVD",
    "ESTABLISHED",
    "CLOSE_WAIT",
    "FIN_WAIT_1",
    "CLOSING",
    "LAST_ACK",
    "FIN_WAIT_2",
    "TIME_WAIT",
];
/// PF's number of a peer whose handshake the proxy answers (`PF_TCPS_PROXY_SRC`).
const PROXY_SRC: u8 = 11;
/// PF's number of a peer with which the proxy shakes hands (`PF_TCPS_PROXY_DST`).
const PROXY_DST: u8 = 12;
/// Names of the states of UDP and of all but ICMP, by number (`PFUDPS_*`, `PFOTHERS_*`).
const OTHER_STATES: [&str; 3] = ["NO_TRAFFIC", "SINGLE", "MULTIPLE"];

/// Names of the states of SCTP, by the engine's numbers; the last is an association that its peer
/// has ended.
const SCTP_STATES: [&str; 5] = [
    "CLOSED",
    "COOKIE_WAIT",
    "ESTABLISHED",
    "SHUTDOWN_PENDING",
    "CLOSED",
];

/// `-s states`.
#[must_use]
pub fn states(view: &View<'_>) -> String {
    whole(view, &[Section::States], false)
}

/// Position: one above the number of the last state shown.
pub(super) fn page(view: &View<'_>, position: u64) -> (String, Option<u64>) {
    let mut text = String::new();
    let mut states = view.engine.states_from(StateId(position), view.now);
    for state in states.by_ref().take(ITEMS_PER_PAGE) {
        if is_of(&state, view.interface) {
            write_state(&mut text, &state, view.style.verbose, view.dialect);
        }
    }
    let next = states.next().map(|state| state.id.0);
    (text, next)
}

/// `-s creatorids`.
#[must_use]
pub fn creator_ids(view: &View<'_>) -> String {
    let made = view.engine.state_count() > 0;
    let own = made.then(|| format!("{:08x}\n", view.engine.status().host_id));
    format!("Creator IDs:\n{}", own.unwrap_or_default())
}

/// Whether `-i` means the state: by the interface it is bound to, or, when it floats, by the one
/// that made it.
fn is_of(state: &StateView<'_>, interface: Option<&str>) -> bool {
    let own = if state.interface == "all" {
        state.original_interface
    } else {
        state.interface
    };
    interface.is_none_or(|interface| interface == own || interface == state.interface)
}

fn write_state(text: &mut String, state: &StateView<'_>, verbose: u8, dialect: Dialect) {
    write_summary(text, state, dialect);
    if verbose >= 1 {
        write_tracking(text, state);
        write_usage(text, state, dialect);
    }
    if verbose >= 2 {
        write_identity(text, state);
    }
}

/// Seen from the box: outbound by the wire key and `->`, inbound by the stack key and `<-`, with
/// the other key in parentheses where translation made it differ. Before `OpenBSD` 4.1 (3.9, to be
/// exact) a floating state was one of `self`.
fn write_summary(text: &mut String, state: &StateView<'_>, dialect: Dialect) {
    let old = dialect == Dialect::OpenBsd3;
    let interface = match state.interface {
        "all" if old => "self",
        other => other,
    };
    let _ = write!(text, "{interface} ");
    match protocol_name(state.protocol.0) {
        Some(name) => text.push_str(name),
        None => {
            let _ = write!(text, "{}", state.protocol.0);
        }
    }
    text.push(' ');
    if changes_family(state) {
        write_ends_of_two_families(text, state);
    } else if old && !far_is_translated(state) {
        write_chain(text, state);
    } else {
        write_ends(text, state);
    }
    text.push_str("       ");
    write_states(text, state);
    text.push('\n');
}

fn changes_family(state: &StateView<'_>) -> bool {
    Family::of(state.wire[0].address) != Family::of(state.stack[0].address)
}

/// Of `af-to`: as packets of the opener leave, in parentheses what they come as. As PF prints it,
/// the parentheses of outbound states have changed places, and of the ports of a ping only the
/// identifier outside and the type of the request tell anything.
fn write_ends_of_two_families(text: &mut String, state: &StateView<'_>) {
    let (source, destination, first, mut second) = match state.direction {
        Direction::In => (state.stack[0], state.stack[1], state.wire[0], state.wire[1]),
        Direction::Out => (state.wire[1], state.wire[0], state.stack[0], state.stack[1]),
    };
    if is_icmp(state.protocol) && state.direction == Direction::In {
        second.port = source.port;
    }
    write_end(text, source, first);
    text.push_str(" -> ");
    write_end(text, destination, second);
}

fn write_ends(text: &mut String, state: &StateView<'_>) {
    let (near, mut far, arrow) = match state.direction {
        Direction::Out => (state.wire, state.stack, "->"),
        Direction::In => (state.stack, state.wire, "<-"),
    };
    if is_icmp(state.protocol) {
        // The second port of an ICMP key carries no meaning of its own.
        let own = match state.direction {
            Direction::Out => 0,
            Direction::In => 1,
        };
        far[own].port = near[own].port;
    }
    write_end(text, near[1], far[1]);
    let _ = write!(text, " {arrow} ");
    write_end(text, near[0], far[0]);
}

/// As it was before `OpenBSD` 4.4: the host inside, what it is outside if that differs, the host
/// outside, which had no identifier of a ping.
fn write_chain(text: &mut String, state: &StateView<'_>) {
    let (inside, outside, mut far) = (state.stack[1], state.wire[1], state.wire[0]);
    let arrow = match state.direction {
        Direction::Out => "->",
        Direction::In => "<-",
    };
    if is_icmp(state.protocol) {
        far.port = 0;
    }
    if inside != outside {
        write_host(text, inside);
        let _ = write!(text, " {arrow} ");
    }
    write_host(text, outside);
    let _ = write!(text, " {arrow} ");
    write_host(text, far);
}

/// Whether the host outside is translated, which the old form cannot tell.
fn far_is_translated(state: &StateView<'_>) -> bool {
    let (wire, stack) = (state.wire[0], state.stack[0]);
    wire.address != stack.address || (wire.port != stack.port && !is_icmp(state.protocol))
}

fn is_icmp(protocol: Protocol) -> bool {
    protocol == Protocol::ICMP || protocol == Protocol::ICMPV6
}

fn write_end(text: &mut String, near: HostPort, far: HostPort) {
    write_host(text, near);
    if near != far {
        text.push_str(" (");
        write_host(text, far);
        text.push(')');
    }
}

pub(crate) fn write_host(text: &mut String, host: HostPort) {
    let _ = match (Family::of(host.address), host.port) {
        (_, 0) => write!(text, "{}", host.address),
        (Family::Inet, port) => write!(text, "{}:{port}", host.address),
        (Family::Inet6, port) => write!(text, "{}[{port}]", host.address),
    };
}

fn write_states(text: &mut String, state: &StateView<'_>) {
    let (left, right) = peers(state);
    text.push_str(&level_names(state.protocol, left.state, right.state));
}

/// The names of the states of two peers.
pub(crate) fn level_names(protocol: Protocol, left: u8, right: u8) -> String {
    let names = match protocol {
        Protocol::TCP => return tcp_names(left, right),
        Protocol::ICMP => (None, None),
        Protocol::SCTP => (sctp_name(left), sctp_name(right)),
        _ => (other_name(left), other_name(right)),
    };
    match names {
        (Some(left), Some(right)) => format!("{left}:{right}"),
        _ => format!("{left}:{right}"),
    }
}

fn sctp_name(number: u8) -> Option<&'static str> {
    SCTP_STATES.get(usize::from(number)).copied()
}

fn other_name(number: u8) -> Option<&'static str> {
    OTHER_STATES.get(usize::from(number)).copied()
}

fn tcp_names(left: u8, right: u8) -> String {
    let name = |number: u8| TCP_STATES.get(usize::from(number));
    match (name(left), name(right)) {
        (Some(left), Some(right)) => format!("{left}:{right}"),
        _ if left == PROXY_SRC || right == PROXY_SRC => "PROXY:SRC".into(),
        _ if left == PROXY_DST || right == PROXY_DST => "PROXY:DST".into(),
        _ => format!("<BAD STATE LEVELS {left}:{right}>"),
    }
}

/// The peers in the order in which their hosts stand in the line.
pub(super) fn peers<'a>(state: &'a StateView<'_>) -> (&'a PeerView, &'a PeerView) {
    match state.direction {
        _ if changes_family(state) => (&state.source, &state.destination),
        Direction::Out => (&state.source, &state.destination),
        Direction::In => (&state.destination, &state.source),
    }
}

fn write_tracking(text: &mut String, state: &StateView<'_>) {
    if state.protocol != Protocol::TCP {
        return;
    }
    let (left, right) = peers(state);
    let scaled = left.window_scale.is_some() && right.window_scale.is_some();
    text.push_str("   ");
    write_peer(text, left, scaled);
    text.push_str("  ");
    write_peer(text, right, scaled);
    text.push('\n');
}

fn write_peer(text: &mut String, peer: &PeerView, scaled: bool) {
    let window = peer.seq_hi.wrapping_sub(peer.seq_lo);
    let _ = write!(text, "[{} + {window}]", peer.seq_lo);
    if peer.seq_diff != 0 {
        let _ = write!(text, "(+{})", peer.seq_diff);
    }
    if let (true, Some(scale)) = (scaled, peer.window_scale) {
        let _ = write!(text, " wscale {scale}");
    }
}

fn write_usage(text: &mut String, state: &StateView<'_>, dialect: Dialect) {
    let traffic = &state.traffic;
    let _ = write!(
        text,
        "   age {}, expires in {}, {}:{} pkts, {}:{} bytes",
        time::hours(state.age),
        time::hours(state.expires_in),
        traffic.packets_in,
        traffic.packets_out,
        traffic.bytes_in,
        traffic.bytes_out,
    );
    if let Some(anchor) = state.anchor {
        let _ = write!(text, ", anchor {anchor}");
    }
    if let Some(rule) = state.rule {
        let _ = write!(text, ", rule {rule}");
    }
    for word in options(state, dialect).into_iter().flatten() {
        let _ = write!(text, ", {word}");
    }
    text.push('\n');
}

/// What the rules have asked for, in the order and words of FreeBSD's pfctl; `OpenBSD`'s tells less
/// of it.
fn options(state: &StateView<'_>, dialect: Dialect) -> [Option<String>; 14] {
    let (scrub, asked) = (&state.scrub, &state.asked);
    let word = |wanted: bool, word: &str| wanted.then(|| word.to_owned());
    let is_freebsd = dialect == Dialect::FreeBsd;
    let freebsd = |wanted: bool, name: &str| word(wanted && is_freebsd, name);
    let other = |wanted: bool, name: &str| word(wanted && !is_freebsd, name);
    let number = |number: Option<String>| number.filter(|_| is_freebsd);
    let track = if is_freebsd {
        "limit source-track"
    } else {
        "source-track"
    };
    let priorities = asked
        .priority
        .map(|(all, hasty)| format!("set-prio (0x{all:02x} 0x{hasty:02x})"));
    [
        freebsd(asked.allow_options, "allow-opts"),
        word(asked.sloppy, "sloppy"),
        freebsd(scrub.no_df, "no-df"),
        number(scrub.set_tos.map(|tos| format!("set-tos 0x{tos:02x}"))),
        freebsd(scrub.random_id, "random-id"),
        freebsd(scrub.reassemble_tcp, "reassemble-tcp"),
        number(priorities),
        word(asked.source_track, track),
        other(
            asked.sticky_translation || asked.sticky_route,
            "sticky-address",
        ),
        freebsd(asked.sticky_translation, "NAT/RDR sticky-address"),
        freebsd(asked.sticky_route, "route sticky-address"),
        freebsd(asked.log_all, "log (all)"),
        number(scrub.min_ttl.map(|ttl| format!("min-ttl {ttl}"))),
        number(scrub.max_mss.map(|mss| format!("max-mss {mss}"))),
    ]
}

fn write_identity(text: &mut String, state: &StateView<'_>) {
    let (id, creator) = (state.id.0, state.creator_id);
    let _ = write!(text, "   id: {id:016x} creatorid: {creator:08x}");
    if let Some((kind, next_hop, interface)) = state.route {
        let keyword = match kind {
            RouteKind::RouteTo => "route-to",
            RouteKind::ReplyTo => "reply-to",
            RouteKind::DupTo => "dup-to",
        };
        let _ = write!(text, " {keyword}: {next_hop}@{interface}");
    }
    if let Some(table) = state.asked.routing_table {
        let _ = write!(text, " rtable: {table}");
    }
    text.push('\n');
    if state.interface != state.original_interface {
        let _ = writeln!(text, "   origif: {}", state.original_interface);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pf_engine::counters::Traffic;
    use pf_engine::rule::Scrub;
    use pf_engine::view::StateOptions;

    use super::*;

    fn host(text: &str, port: u16) -> HostPort {
        HostPort {
            address: text.parse().expect("address"),
            port,
        }
    }

    /// The state of a connection from outside to a redirected server.
    fn redirected() -> StateView<'static> {
        let client = host("178.213.45.35", 55_192);
        StateView {
            id: StateId(0x7d02_9a69_0000_0000),
            creator_id: 0x5807_5cf3,
            interface: "all",
            original_interface: "igc4",
            direction: Direction::In,
            family: Family::Inet,
            protocol: Protocol::TCP,
            wire: [client, host("192.168.1.202", 443)],
            stack: [client, host("192.168.20.98", 443)],
            source: PeerView {
                state: 10,
                seq_lo: 243_510_668,
                seq_hi: 243_510_668_u32.wrapping_add(3_556_835_840),
                seq_diff: 0,
                window_scale: Some(8),
            },
            destination: PeerView {
                state: 10,
                seq_lo: 3_990_052_285,
                seq_hi: 3_990_052_285_u32.wrapping_add(3_992_912_384),
                seq_diff: 0,
                window_scale: Some(7),
            },
            age: Duration::from_secs(23 * 60 + 35),
            expires_in: Duration::from_secs(6 * 60 + 23),
            traffic: Traffic {
                packets_in: 761,
                bytes_in: 127_015,
                packets_out: 779,
                bytes_out: 150_057,
            },
            rule: Some(84),
            anchor: None,
            route: Some((
                RouteKind::ReplyTo,
                "192.168.1.1".parse().expect("address"),
                "igc4",
            )),
            ether: None,
            scrub: Scrub::NONE,
            asked: StateOptions::default(),
        }
    }

    fn text(state: &StateView<'_>, verbose: u8) -> String {
        let mut text = String::new();
        write_state(&mut text, state, verbose, Dialect::FreeBsd);
        text
    }

    #[test]
    fn a_redirected_connection_prints_as_freebsd_14_printed_it() {
        assert_eq!(
            text(&redirected(), 2),
            "all tcp 192.168.20.98:443 (192.168.1.202:443) <- 178.213.45.35:55192       TIME_WAIT:TIME_WAIT\n   \
             [3990052285 + 3992912384] wscale 7  [243510668 + 3556835840] wscale 8\n   \
             age 00:23:35, expires in 00:06:23, 761:779 pkts, 127015:150057 bytes, rule 84\n   \
             id: 7d029a6900000000 creatorid: 58075cf3 reply-to: 192.168.1.1@igc4\n   \
             origif: igc4\n"
        );
        assert_eq!(text(&redirected(), 1).lines().count(), 3);
        assert_eq!(text(&redirected(), 0).lines().count(), 1);
    }

    #[test]
    fn what_packets_are_normalised_to_stands_behind_the_rule() {
        let mut state = redirected();
        state.scrub = Scrub {
            no_df: true,
            random_id: true,
            min_ttl: Some(64),
            max_mss: Some(1400),
            set_tos: Some(0x8),
            reassemble_tcp: true,
        };
        assert!(text(&state, 1).ends_with(
            ", rule 84, no-df, set-tos 0x08, random-id, reassemble-tcp, min-ttl 64, max-mss 1400\n"
        ));
        state.asked = StateOptions {
            allow_options: true,
            sloppy: true,
            priority: Some((2, 5)),
            source_track: true,
            sticky_translation: true,
            sticky_route: true,
            log_all: true,
            routing_table: Some(3),
        };
        let told = text(&state, 2);
        assert!(
            told.contains(
                ", rule 84, allow-opts, sloppy, no-df, set-tos 0x08, random-id, reassemble-tcp, \
                 set-prio (0x02 0x05), limit source-track, NAT/RDR sticky-address, route \
                 sticky-address, log (all), min-ttl 64, max-mss 1400\n"
            ),
            "{told}"
        );
        assert!(
            told.contains(" reply-to: 192.168.1.1@igc4 rtable: 3\n"),
            "{told}"
        );
        let mut old = String::new();
        write_state(&mut old, &state, 1, Dialect::OpenBsd);
        assert!(
            old.ends_with(", rule 84, sloppy, source-track, sticky-address\n"),
            "{old}"
        );
        state.asked = StateOptions {
            sticky_route: true,
            ..StateOptions::default()
        };
        assert!(text(&state, 1).ends_with(
            ", rule 84, no-df, set-tos 0x08, random-id, \
             reassemble-tcp, route sticky-address, min-ttl 64, max-mss 1400\n"
        ));
    }

    #[test]
    fn before_openbsd_4_1_states_were_chains_of_hosts_and_floating_ones_selfs() {
        let told = |state: &StateView<'_>| {
            let mut text = String::new();
            write_state(&mut text, state, 0, Dialect::OpenBsd3);
            text
        };
        let mut state = redirected();
        assert_eq!(
            told(&state),
            "self tcp 192.168.20.98:443 <- 192.168.1.202:443 <- 178.213.45.35:55192       \
             TIME_WAIT:TIME_WAIT\n"
        );
        state.stack = state.wire;
        assert_eq!(
            told(&state),
            "self tcp 192.168.1.202:443 <- 178.213.45.35:55192       TIME_WAIT:TIME_WAIT\n"
        );
        let server = host("198.51.100.1", 80);
        state.direction = Direction::Out;
        state.interface = "em0";
        state.wire = [server, host("192.168.1.64", 50_001)];
        state.stack = [server, host("216.28.123.99", 4000)];
        assert_eq!(
            told(&state),
            "em0 tcp 216.28.123.99:4000 -> 192.168.1.64:50001 -> 198.51.100.1:80       \
             TIME_WAIT:TIME_WAIT\n"
        );
    }

    #[test]
    fn an_outbound_translated_connection_prints_the_wire_side_first() {
        let mut state = redirected();
        let server = host("198.51.100.1", 80);
        state.direction = Direction::Out;
        state.interface = "em0";
        state.wire = [server, host("192.168.1.64", 50_001)];
        state.stack = [server, host("216.28.123.99", 4000)];
        state.source.state = 4;
        state.source.seq_diff = 77;
        state.destination.state = 2;
        state.destination.window_scale = None;
        assert_eq!(
            text(&state, 1).lines().take(2).collect::<Vec<_>>(),
            [
                "em0 tcp 192.168.1.64:50001 (216.28.123.99:4000) -> 198.51.100.1:80       \
                 ESTABLISHED:SYN_SENT",
                "   [243510668 + 3556835840](+77)  [3990052285 + 3992912384]",
            ]
        );
    }

    #[test]
    fn a_state_of_two_families_prints_as_freebsd_tests_it() {
        let mut state = redirected();
        state.interface = "epair1a";
        state.original_interface = "epair0b";
        state.family = Family::Inet6;
        state.wire = [host("2001:db8::2", 4000), host("64:ff9b::c000:202", 1234)];
        state.stack = [host("192.0.2.1", 50_001), host("192.0.2.2", 1234)];
        state.source.state = 4;
        assert_eq!(
            text(&state, 0),
            "epair1a tcp 192.0.2.1:50001 (2001:db8::2[4000]) -> 192.0.2.2:1234 \
             (64:ff9b::c000:202[1234])       ESTABLISHED:TIME_WAIT\n"
        );
        state.protocol = Protocol::ICMPV6;
        state.wire = [host("2001:db8::2", 7), host("64:ff9b::c000:202", 128)];
        state.stack = [host("192.0.2.1", 9), host("192.0.2.2", 8)];
        (state.source.state, state.destination.state) = (0, 0);
        assert_eq!(
            text(&state, 0),
            "epair1a ipv6-icmp 192.0.2.1:9 (2001:db8::2[7]) -> 192.0.2.2:8 \
             (64:ff9b::c000:202[9])       NO_TRAFFIC:NO_TRAFFIC\n"
        );
        state.protocol = Protocol::TCP;
        state.direction = Direction::Out;
        (state.source.state, state.destination.state) = (4, 4);
        state.wire = [host("192.0.2.2", 1234), host("192.0.2.1", 50_001)];
        state.stack = [host("64:ff9b::c000:202", 1234), host("2001:db8::2", 4000)];
        assert_eq!(
            text(&state, 0),
            "epair1a tcp 192.0.2.1:50001 (64:ff9b::c000:202[1234]) -> 192.0.2.2:1234 \
             (2001:db8::2[4000])       ESTABLISHED:ESTABLISHED\n"
        );
    }

    #[test]
    fn states_of_sctp_have_names_of_their_own() {
        let mut state = redirected();
        state.protocol = Protocol::SCTP;
        state.direction = Direction::Out;
        state.wire = [host("192.0.2.3", 1234), host("192.0.2.1", 5000)];
        state.stack = state.wire;
        (state.source.state, state.destination.state) = (2, 3);
        assert_eq!(
            text(&state, 1).lines().next(),
            Some(
                "all sctp 192.0.2.1:5000 -> 192.0.2.3:1234       \
                 ESTABLISHED:SHUTDOWN_PENDING"
            )
        );
    }

    #[test]
    fn ipv6_ports_stand_in_brackets_and_icmp_states_are_numbers() {
        let mut state = redirected();
        state.family = Family::Inet6;
        state.protocol = Protocol::UDP;
        state.wire = [host("2001:db8::1", 53), host("2001:db8::2", 4000)];
        state.stack = state.wire;
        (state.source.state, state.destination.state) = (2, 1);
        assert_eq!(
            text(&state, 0),
            "all udp 2001:db8::2[4000] <- 2001:db8::1[53]       SINGLE:MULTIPLE\n"
        );
        state.family = Family::Inet;
        state.protocol = Protocol::ICMP;
        state.wire = [host("192.0.2.1", 7), host("192.0.2.2", 7)];
        state.stack = [host("192.0.2.1", 7), host("192.0.2.2", 8)];
        (state.source.state, state.destination.state) = (0, 0);
        assert_eq!(
            text(&state, 0),
            "all icmp 192.0.2.2:8 <- 192.0.2.1:7       0:0\n"
        );
    }

    #[test]
    fn a_protocol_without_name_and_ports_prints_its_number() {
        let mut state = redirected();
        state.protocol = Protocol(253);
        state.wire = [host("192.0.2.1", 0), host("192.0.2.2", 0)];
        state.stack = state.wire;
        (state.source.state, state.destination.state) = (1, 0);
        assert_eq!(
            text(&state, 0),
            "all 253 192.0.2.2 <- 192.0.2.1       NO_TRAFFIC:SINGLE\n"
        );
    }
}
