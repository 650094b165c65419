//! `-s info`.

use std::fmt::Write;
use std::time::Duration;

use pf_conf::{PrintOptions, print_rule};
use pf_engine::counters::Traffic;
use pf_engine::decision::DropReason;
use pf_engine::engine::{Engine, RuleList};
use pf_engine::env::Interface;
use pf_engine::limits::LimitCounter;
use pf_engine::rule::Direction;
use pf_engine::ruleset::{DebugLevel, Dialect, Limit, Syncookies};
use pf_engine::time::Instant;
use pf_engine::view::{AddressCounters, InterfaceCounters, Status, SyncookieStatus};
use sha2::{Digest, Sha256};

use super::{View, time};

/// Bytes of the checksum that are shown: as many as PF's MD5 has.
const CHECKSUM_BYTES: usize = 16;
/// Percent of the state limit at which adaptive syncookies begin and end where nothing was set
/// (pf.conf(5), `set syncookies`).
const SYNCOOKIE_MARKS: (u8, u8) = (25, 12);

/// `-s info`.
#[must_use]
pub fn info(view: &View<'_>) -> String {
    let extra = Extra {
        limit: view.engine.limit(Limit::States),
        checksum: (view.style.verbose >= 1).then(|| checksum(view.engine)),
        debug: view.engine.debug(),
        interface: log_interface(view),
    };
    let mut status = view.engine.status();
    let congestion = &mut status.reasons[DropReason::Congestion as usize];
    *congestion = congestion.saturating_add(view.lost.congested);
    status.reasons[DropReason::UpcallShare as usize] = view.lost.held_back;
    format(&status, view.now, view.dialect, &extra)
}

/// The interface of `set loginterface`, or the sum of a group's.
fn log_interface(view: &View<'_>) -> Option<(String, InterfaceCounters)> {
    let name = view.engine.options().log_interface.clone()?;
    let belongs = |i: &&Interface| name == "all" || i.name == name || i.groups.contains(&name);
    let members = view.interfaces.iter().filter(belongs);
    let sum = members.fold(InterfaceCounters::default(), |sum, interface| {
        sum.plus(view.engine.interface_counters(&interface.name))
    });
    Some((name, sum))
}

/// What is not in [`Status`].
struct Extra {
    /// `set limit states`.
    limit: u32,
    checksum: Option<String>,
    debug: DebugLevel,
    interface: Option<(String, InterfaceCounters)>,
}

/// A digest of the rules as they print: equal rules have equal digests on every box. PF's own is
/// an MD5 over structures of its kernel.
fn checksum(engine: &Engine) -> String {
    let mut digest = Sha256::new();
    for list in RuleList::ALL {
        for rule in engine.rules(list) {
            digest.update(print_rule(rule.rule, PrintOptions::default()));
            digest.update("\n");
        }
    }
    let bytes = digest.finalize();
    bytes
        .iter()
        .take(CHECKSUM_BYTES)
        .fold("0x".to_owned(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn format(status: &Status, now: Instant, dialect: Dialect, extra: &Extra) -> String {
    let mut text = String::new();
    let runtime = write_title(&mut text, status, now, dialect, extra.debug);
    write_identity(&mut text, status, dialect, extra);
    if let Some((name, counters)) = &extra.interface {
        write_interface(&mut text, name, counters);
    }
    write_state_table(&mut text, status, runtime, dialect);
    let verbose = extra.checksum.is_some();
    if verbose {
        write_source_tracking(&mut text, status, runtime);
        write_heading(&mut text, "Fragments");
        write_plain(&mut text, "current entries", status.fragments);
    }
    text.push_str("Counters\n");
    for (name, reason) in counters(dialect) {
        write_rate(&mut text, name, status.reasons[reason as usize], runtime);
    }
    if verbose {
        write_limits(&mut text, status, runtime);
        write_syncookies(&mut text, &status.syncookies, dialect, extra.limit);
    }
    text
}

/// What was not done, or was done otherwise, because there was too much of it: PF's counters, then
/// ours.
fn write_limits(text: &mut String, status: &Status, runtime: Duration) {
    text.push_str("Limit Counters\n");
    for limit in LimitCounter::ALL {
        write_rate(text, limit.name(), status.limits[limit as usize], runtime);
    }
    for (name, value) in [
        ("synfloods detected", status.syncookies.floods),
        ("syncookies sent", status.syncookies.sent),
        ("syncookies validated", status.syncookies.validated),
        ("resets not sent", status.resets_refused),
        ("icmp errors not sent", status.errors_refused),
        ("sctp addresses left out", status.addresses_refused),
    ] {
        write_rate(text, name, value, runtime);
    }
}

/// FreeBSD tells the percentages that were set, OpenBSD the states that they stand for.
fn write_syncookies(text: &mut String, status: &SyncookieStatus, dialect: Dialect, limit: u32) {
    let (mode, marks) = match status.mode {
        Syncookies::Never => ("never", SYNCOOKIE_MARKS),
        Syncookies::Always => ("always", SYNCOOKIE_MARKS),
        Syncookies::Adaptive { start, end } => ("adaptive", (start, end)),
    };
    let share = |percent: u8| u64::from(limit) * u64::from(percent) / 100;
    let _ = match dialect {
        Dialect::FreeBsd => writeln!(
            text,
            "Syncookies\n  {:<25} {mode}\n  {:<25} {}\n  {:<25} {} %\n  {:<25} {} %\n  {:<25} {}",
            "mode",
            "active",
            if status.active { "active" } else { "inactive" },
            "highwater",
            marks.0,
            "lowwater",
            marks.1,
            "halfopen states",
            status.half_open,
        ),
        Dialect::OpenBsd => writeln!(
            text,
            "Adaptive Syncookies Watermarks\n  {:<25} {:>14} states\n  {:<25} {:>14} states",
            "start",
            share(marks.0),
            "end",
            share(marks.1),
        ),
        Dialect::OpenBsd3 => return,
    };
}

fn write_source_tracking(text: &mut String, status: &Status, runtime: Duration) {
    let sources = &status.sources;
    text.push_str("Source Tracking Table\n");
    write_plain(text, "current entries", sources.entries);
    write_rate(text, "searches", sources.searches, runtime);
    write_rate(text, "inserts", sources.inserts, runtime);
    write_rate(text, "removals", sources.removals, runtime);
}

/// Writes the first line; returns the time that rates refer to.
fn write_title(
    text: &mut String,
    status: &Status,
    now: Instant,
    dialect: Dialect,
    debug: DebugLevel,
) -> Duration {
    let (word, since) = match (status.enabled_since, status.disabled_since) {
        (Some(since), _) => ("Enabled", Some(since)),
        (None, since) => ("Disabled", since),
    };
    let runtime = since.map_or(Duration::ZERO, |since| now.saturating_since(since));
    let title = match since {
        Some(_) => format!("Status: {word} for {}", time::days(runtime)),
        None => format!("Status: {word}"),
    };
    let debug = match dialect {
        Dialect::OpenBsd => format!("Debug: {}", debug.name()),
        Dialect::FreeBsd | Dialect::OpenBsd3 => format!("Debug: {}", capitalized(debug.name())),
    };
    let _ = write!(text, "{title:<44}{debug:>15}\n\n");
    runtime
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

fn write_interface(text: &mut String, name: &str, counters: &InterfaceCounters) {
    let _ = writeln!(
        text,
        "Interface Stats for {name:<16} {:>5} {:>16}",
        "IPv4", "IPv6"
    );
    let (v4, v6) = (&counters.inet, &counters.inet6);
    let mut row = |name: &str, of: &dyn Fn(&AddressCounters) -> u64| {
        let _ = writeln!(text, "  {name:<25} {:>14} {:>16}", of(v4), of(v6));
    };
    row("Bytes In", &|c| {
        c.passed.bytes_in.wrapping_add(c.blocked.bytes_in)
    });
    row("Bytes Out", &|c| {
        c.passed.bytes_out.wrapping_add(c.blocked.bytes_out)
    });
    for (title, direction) in [
        ("Packets In", Direction::In),
        ("Packets Out", Direction::Out),
    ] {
        let of = |traffic: &Traffic| match direction {
            Direction::In => traffic.packets_in,
            Direction::Out => traffic.packets_out,
        };
        let _ = writeln!(text, "  {title}");
        let (passed, blocked) = (of(&v4.passed), of(&v4.blocked));
        let _ = writeln!(
            text,
            "    {:<23} {passed:>14} {:>16}",
            "Passed",
            of(&v6.passed)
        );
        let _ = writeln!(
            text,
            "    {:<23} {blocked:>14} {:>16}",
            "Blocked",
            of(&v6.blocked)
        );
    }
    text.push('\n');
}

fn write_identity(text: &mut String, status: &Status, dialect: Dialect, extra: &Extra) {
    let host_id = status.host_id;
    if let Some(checksum) = &extra.checksum {
        let _ = write!(text, "Hostid:   0x{host_id:08x}\nChecksum: {checksum}\n\n");
    } else if dialect == Dialect::OpenBsd3 {
        let _ = write!(text, "Hostid: 0x{host_id:08x}\n\n");
    }
}

fn write_state_table(text: &mut String, status: &Status, runtime: Duration, dialect: Dialect) {
    write_heading(text, "State Table");
    write_plain(text, "current entries", status.states);
    if dialect == Dialect::OpenBsd {
        write_plain(text, "half-open tcp", status.syncookies.half_open);
    }
    write_rate(text, "searches", status.searches, runtime);
    write_rate(text, "inserts", status.inserts, runtime);
    write_rate(text, "removals", status.removals, runtime);
}

fn write_heading(text: &mut String, title: &str) {
    let _ = writeln!(text, "{title:<27} {:>14} {:>16}", "Total", "Rate");
}

fn write_plain(text: &mut String, name: &str, value: usize) {
    let _ = writeln!(text, "  {name:<25} {value:>14} {:>14}", "");
}

fn write_rate(text: &mut String, name: &str, value: u64, runtime: Duration) {
    let _ = write!(text, "  {name:<25} {value:>14} ");
    let _ = match runtime.as_secs() {
        0 => writeln!(text, "{:>14}", ""),
        seconds => writeln!(text, "{:>14.1}/s", per_second(value, seconds)),
    };
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a rate with one decimal: 53 bits are plenty"
)]
fn per_second(value: u64, seconds: u64) -> f64 {
    value as f64 / seconds as f64
}

/// The counters of a dialect in its order and words, then those that its PF does not have.
fn counters(dialect: Dialect) -> impl Iterator<Item = (&'static str, DropReason)> {
    DropReason::ALL.into_iter().map(move |reason| {
        let name = match (dialect, reason) {
            (Dialect::OpenBsd, DropReason::MapFailed) => "translate",
            (_, reason) => reason.name(),
        };
        (name, reason)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pf_engine::view::SourceStatus;

    fn status() -> Status {
        let mut reasons = [0; DropReason::ALL.len()];
        reasons[DropReason::Match as usize] = 1_203_344;
        reasons[DropReason::Fragment as usize] = 3;
        Status {
            enabled_since: Some(Instant::from_secs(10)),
            disabled_since: None,
            host_id: 0x5807_5cf3,
            states: 142,
            searches: 33_019_284,
            inserts: 901_122,
            removals: 900_980,
            fragments: 5,
            syncookies: SyncookieStatus {
                half_open: 7,
                sent: 40,
                ..SyncookieStatus::default()
            },
            resets_refused: 3,
            errors_refused: 0,
            addresses_refused: 0,
            reasons,
            sources: SourceStatus {
                entries: 2,
                searches: 901_122,
                inserts: 3,
                removals: 1,
            },
            limits: [0, 0, 0, 7, 901_122, 6, 5],
        }
    }

    const PLAIN: Extra = Extra {
        limit: 100_000,
        checksum: None,
        debug: DebugLevel::default_of(Dialect::FreeBsd),
        interface: None,
    };

    fn now() -> Instant {
        Instant::from_secs(10 + 12 * 86_400 + 3 * 3600 + 14 * 60 + 7)
    }

    #[test]
    fn the_counters_have_pfs_columns_and_words() {
        let text = format(&status(), now(), Dialect::FreeBsd, &PLAIN);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[..10],
            [
                "Status: Enabled for 12 days 03:14:07          Debug: Urgent",
                "",
                "State Table                          Total             Rate",
                "  current entries                      142               ",
                "  searches                        33019284           31.5/s",
                "  inserts                           901122            0.9/s",
                "  removals                          900980            0.9/s",
                "Counters",
                "  match                            1203344            1.1/s",
                "  bad-offset                             0            0.0/s",
            ]
        );
        assert_eq!(
            lines[23],
            "  map-failed                             0            0.0/s"
        );
        assert_eq!(lines.len(), 8 + DropReason::ALL.len());
    }

    #[test]
    fn a_filter_that_was_never_enabled_has_no_time_and_no_rates() {
        let mut status = status();
        status.enabled_since = None;
        let text = format(&status, now(), Dialect::FreeBsd, &PLAIN);
        assert!(text.starts_with(&format!(
            "{:<44}{:>15}\n",
            "Status: Disabled", "Debug: Urgent"
        )));
        assert!(text.contains("  searches                        33019284               \n"));
    }

    #[test]
    fn the_interface_of_loginterface_has_its_block_and_the_level_its_capital() {
        let mut counters = InterfaceCounters::default();
        counters.inet.passed.packets_in = 8_827_311;
        counters.inet.passed.bytes_in = 9_182_736_000;
        counters.inet.blocked.packets_in = 10_233;
        counters.inet.blocked.bytes_in = 455;
        counters.inet6.passed.packets_out = 870;
        counters.inet6.passed.bytes_out = 55_021;
        let extra = Extra {
            debug: DebugLevel::named("loud").expect("a level"),
            interface: Some(("em0".into(), counters)),
            ..PLAIN
        };
        let text = format(&status(), now(), Dialect::FreeBsd, &extra);
        let lines: Vec<_> = text.lines().take(12).collect();
        assert_eq!(
            lines,
            [
                "Status: Enabled for 12 days 03:14:07            Debug: Loud",
                "",
                "Interface Stats for em0               IPv4             IPv6",
                "  Bytes In                      9182736455                0",
                "  Bytes Out                              0            55021",
                "  Packets In",
                "    Passed                         8827311                0",
                "    Blocked                          10233                0",
                "  Packets Out",
                "    Passed                               0              870",
                "    Blocked                              0                0",
                "",
            ]
        );
    }

    #[test]
    fn dialects_differ_in_words() {
        let text = format(&status(), now(), Dialect::OpenBsd, &PLAIN);
        assert!(text.contains("  half-open tcp                          7"));
        assert!(text.contains("  translate ") && !text.contains("map-failed"));
        let text = format(&status(), now(), Dialect::OpenBsd3, &PLAIN);
        assert!(text.contains("\n\nHostid: 0x58075cf3\n\nState Table"));
    }

    #[test]
    fn verbose_adds_identity_and_fragments() {
        let extra = Extra {
            limit: 100_000,
            checksum: Some("0x00ff".into()),
            ..PLAIN
        };
        let text = format(&status(), now(), Dialect::FreeBsd, &extra);
        assert!(text.contains("\n\nHostid:   0x58075cf3\nChecksum: 0x00ff\n\nState Table"));
        assert!(text.contains("Fragments                            Total             Rate\n"));
        assert!(text.contains(
            "Source Tracking Table
  current entries                        2               
  searches                          901122            0.9/s
  inserts                                3            0.0/s
  removals                               1            0.0/s
"
        ));
        assert!(text.ends_with(
            "\
Limit Counters
  max states per rule                    0            0.0/s
  max-src-states                         0            0.0/s
  max-src-nodes                          0            0.0/s
  max-src-conn                           7            0.0/s
  max-src-conn-rate                 901122            0.9/s
  overload table insertion               6            0.0/s
  overload flush states                  5            0.0/s
  synfloods detected                     0            0.0/s
  syncookies sent                       40            0.0/s
  syncookies validated                   0            0.0/s
  resets not sent                        3            0.0/s
  icmp errors not sent                   0            0.0/s
  sctp addresses left out                0            0.0/s
Syncookies
  mode                      never
  active                    inactive
  highwater                 25 %
  lowwater                  12 %
  halfopen states           7
"
        ));
        let text = format(&status(), now(), Dialect::OpenBsd, &extra);
        assert!(text.ends_with(
            "\
Adaptive Syncookies Watermarks
  start                              25000 states
  end                                12000 states
"
        ));
    }
}
