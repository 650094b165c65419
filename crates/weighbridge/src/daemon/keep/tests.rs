use std::os::unix::fs::PermissionsExt;

use pf_conf::{LoadOptions, MemoryFiles};
use pf_engine::anchor::{AnchorPath, TableRef};
use pf_engine::decision::{Hook, Packet, StateId, Verdict};
use pf_engine::engine::{EngineConfig, RuleList};
use pf_engine::env::{FixedEnv, IfIndex};
use pf_engine::rule::Direction;
use pf_engine::ruleset::{Parts, Ruleset};
use pf_engine::wire::build::{self, Ip};

use super::*;

const RULES: &str = "pass in quick on em0 proto udp to port 53 label \"dns\"\npass in on em0 all\n";

fn interfaces() -> Vec<Interface> {
    vec![Interface::new(IfIndex(1), "em0")]
}

fn ruleset(rules: &str) -> Ruleset {
    let options = LoadOptions {
        interfaces: interfaces(),
        ..LoadOptions::default()
    };
    let files = &mut MemoryFiles::default();
    let loaded = pf_conf::load("pf.conf", rules.as_bytes(), files, &options);
    loaded.expect("no errors").ruleset
}

fn engine(clock: &Clock, rules: &str) -> Engine {
    let config = EngineConfig {
        hash_key: [1, 2],
        creator_id: 3,
    };
    let mut engine = Engine::new(clock.now(), config);
    engine
        .install(clock.now(), ruleset(rules))
        .expect("installs");
    engine.set_enabled(clock.now(), true);
    engine
}

fn ask(engine: &mut Engine, clock: &Clock, port: u16) {
    let ip = Ip::new([192, 0, 2, 1].into(), [198, 51, 100, 1].into());
    let mut packet = Packet {
        bytes: build::udp(&ip, port, 53, b"?"),
        ..Packet::default()
    };
    let hook = Hook {
        interface: IfIndex(1),
        direction: Direction::In,
    };
    let mut env = FixedEnv::new(interfaces(), 7);
    let decision = engine.handle_packet(clock.now(), hook, &mut packet, &mut env);
    assert!(matches!(decision.verdict, Verdict::Pass(_)));
}

/// A directory with the states of `count` questions.
fn kept(count: u16) -> (tempfile::TempDir, Clock) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let clock = Clock::start();
    let mut engine = engine(&clock, RULES);
    for port in 0..count {
        ask(&mut engine, &clock, 1024 + port);
    }
    let mut keeper = Keeper::open(dir.path(), Dialect::FreeBsd);
    keeper.finish(&engine, &clock);
    (dir, clock)
}

/// The states that an engine with `rules` takes over.
fn restored(dir: &Path, clock: &Clock, rules: &str) -> Engine {
    let mut engine = engine(clock, rules);
    let mut keeper = Keeper::open(dir, Dialect::FreeBsd);
    keeper.restore(&mut engine, clock, &interfaces());
    engine
}

#[test]
fn states_come_back_with_their_rule_wherever_it_stands_now() {
    let (dir, clock) = kept(300);
    let rules = format!("block in on em0 proto tcp\n{RULES}");
    let engine = restored(dir.path(), &clock, &rules);
    assert_eq!(engine.state_count(), 300);
    let numbers: Vec<_> = engine.states(clock.now()).map(|state| state.rule).collect();
    assert_eq!(numbers, vec![Some(1); 300]);
    let rule = engine.rules(RuleList::Filter).nth(1).expect("a rule");
    assert_eq!(
        (rule.counters.states, rule.counters.states_created),
        (300, 0)
    );
}

#[test]
fn a_rule_that_is_gone_goes_on_for_its_states_alone() {
    let (dir, clock) = kept(1);
    let engine = restored(dir.path(), &clock, "block all\n");
    let state = engine.states(clock.now()).next().expect("a state");
    assert_eq!(state.rule, None);
    let mut records = Vec::new();
    engine.export_states(clock.now(), StateId(0), 9, |record| records.push(record));
    let rule = records[0].rule.expect("a rule of its own");
    let exported = engine.exported_rule(rule).expect("known");
    let (number, rule) = (exported.number, exported.rule);
    assert_eq!(
        (number, rule.labels.as_slice()),
        (None, &["dns".to_owned()][..])
    );
}

#[test]
fn anchors_that_were_loaded_by_hand_come_back_with_their_tables_and_states() {
    const MAIN: &str = "anchor \"ftp-proxy/*\"\nanchor fixed {\n pass out\n}\n";
    const SESSION: &str = "table <bad> persist { 203.0.113.7 }\n\
        block in from <bad>\n\
        anchor in {\n pass in quick proto udp to port 53 tag x\n}\n";
    let dir = tempfile::tempdir().expect("temporary directory");
    let clock = Clock::start();
    let mut old = engine(&clock, MAIN);
    let path = AnchorPath::new("ftp-proxy/12.7").expect("a path");
    let options = LoadOptions {
        anchor: path.clone(),
        ..LoadOptions::default()
    };
    let files = &mut MemoryFiles::default();
    let loaded = pf_conf::load("-", SESSION.as_bytes(), files, &options).expect("no errors");
    old.install_at(clock.now(), &path, Parts::ALL, loaded.ruleset)
        .expect("installs");
    ask(&mut old, &clock, 1024);
    Keeper::open(dir.path(), Dialect::FreeBsd).finish(&old, &clock);
    let new = restored(dir.path(), &clock, MAIN);
    let all = |engine: &Engine| engine.anchors().cloned().collect::<Vec<_>>();
    assert_eq!(all(&new), all(&old));
    for path in &all(&old) {
        let rules = |engine: &Engine| {
            let rules = engine.rules_at(path, RuleList::Filter);
            rules.map(|rule| rule.rule.clone()).collect::<Vec<_>>()
        };
        assert_eq!(rules(&new), rules(&old), "{path}");
    }
    let bad = TableRef {
        anchor: path.as_str(),
        name: "bad",
    };
    assert_eq!(new.table_len(bad), Some(1));
    let state = new.states(clock.now()).next().expect("a state");
    assert_eq!((state.anchor, state.rule), (Some(0), Some(0)));
}

#[test]
fn the_file_is_of_its_owner_alone() {
    let (dir, _) = kept(1);
    let mode = fs::metadata(dir.path().join(STATES))
        .expect("there")
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    assert!(!dir.path().join("states.new").exists());
}

/// The states of `count` questions as a file of that form.
fn written(form: Form, count: u16) -> (Vec<u8>, Clock) {
    let clock = Clock::start();
    let mut engine = engine(&clock, RULES);
    for port in 0..count {
        ask(&mut engine, &clock, 1024 + port);
    }
    let now = clock.now();
    let mut draft = Draft::new(form, Dialect::FreeBsd, clock.date(now));
    while draft.add(&engine, now, SLICE) {}
    (draft.finish(), clock)
}

#[test]
fn lines_of_a_version_before_are_read_and_snapshots_are_a_fraction_of_them() {
    let (lines, clock) = written(Form::Lines, 200);
    let (packed, _) = written(Form::Packed, 200);
    assert!(packed.len() * 5 < lines.len(), "{} bytes", packed.len());
    for bytes in [lines, packed] {
        let dir = tempfile::tempdir().expect("temporary directory");
        fs::write(dir.path().join(STATES), bytes).expect("writes");
        assert_eq!(restored(dir.path(), &clock, RULES).state_count(), 200);
    }
}

#[test]
fn a_changed_or_cut_file_is_refused_whole() {
    for form in [Form::Lines, Form::Packed] {
        let (whole, clock) = written(form, 5);
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join(STATES);
        for bytes in damaged(&whole) {
            fs::write(&path, &bytes).expect("writes");
            let mut engine = engine(&clock, RULES);
            let now = clock.now();
            let result = load::load(&path, &mut engine, now, clock.date(now), &interfaces());
            assert!(result.is_err(), "{}", String::from_utf8_lossy(&bytes));
            assert_eq!(engine.state_count(), 0);
        }
    }
}

/// The file cut off, changed, longer, and of another version; and what is no such file.
fn damaged(whole: &[u8]) -> Vec<Vec<u8>> {
    let mut damaged = vec![
        Vec::new(),
        b"{\n".to_vec(),
        b"nonsense".to_vec(),
        vec![0xff; 5000],
        packed::BEGINNING.to_vec(),
        [packed::BEGINNING.as_slice(), &[0xff; 9]].concat(),
    ];
    damaged.extend(
        (1..whole.len())
            .step_by(97)
            .map(|len| whole[..len].to_vec()),
    );
    for at in (0..whole.len()).step_by(31) {
        let mut changed = whole.to_vec();
        changed[at] ^= 1;
        damaged.push(changed);
    }
    damaged.push([whole, b"more\n"].concat());
    let version = String::from_utf8_lossy(whole).replacen("\"version\":1", "\"version\":2", 1);
    damaged.push(version.into_bytes());
    damaged
}

#[test]
fn states_in_pieces_bring_only_their_own_rules_and_those_in_force_are_printed_once() {
    let clock = Clock::start();
    let mut engine = engine(&clock, RULES);
    for port in 0..4 {
        ask(&mut engine, &clock, 1024 + port);
    }
    let now = clock.now();
    let mut draft = Draft::new(Form::Lines, Dialect::FreeBsd, clock.date(now));
    while draft.add(&engine, now, 2) {}
    let mut contents = file::read(&draft.finish()[..]).expect("a file");
    // A rule that no state refers to.
    let mut other = contents.rules[0].clone();
    other.text = "pass in on em0 all".into();
    contents.rules.push(other);
    let pieces: Vec<file::Contents> = contents
        .into_files(3)
        .map(|piece| file::read(&piece[..]).expect("a file"))
        .collect();
    assert_eq!(pieces.len(), 2);
    let mut restored = self::engine(&clock, RULES);
    let mut printed = None;
    for piece in pieces {
        assert_eq!(piece.rules.len(), 1);
        let current = load::Printed::current(printed, &restored, piece.dialect);
        let date = clock.date(now);
        let taken = load::take_over(piece, &mut restored, now, date, &interfaces(), &current);
        taken.expect("states");
        assert!(current.is_current(&restored, Dialect::FreeBsd));
        assert!(!current.is_current(&restored, Dialect::OpenBsd));
        printed = Some(current);
    }
    let rules: Vec<u32> = restored
        .states(now)
        .filter_map(|state| state.rule)
        .collect();
    assert_eq!(rules, [0; 4]);
    restored.install(now, ruleset(RULES)).expect("installs");
    assert!(printed.is_none_or(|printed| !printed.is_current(&restored, Dialect::FreeBsd)));
}

#[test]
fn a_file_that_others_can_write_to_is_refused() {
    let (dir, clock) = kept(1);
    let path = dir.path().join(STATES);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o622)).expect("chmod");
    assert_eq!(restored(dir.path(), &clock, RULES).state_count(), 0);
}

#[test]
fn a_directory_has_one_keeper() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let first = Keeper::open(dir.path(), Dialect::FreeBsd);
    assert!(first.place.is_some());
    assert!(Keeper::open(dir.path(), Dialect::FreeBsd).place.is_none());
}

#[test]
fn a_snapshot_is_made_in_slices_and_again_after_the_interval() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let clock = Clock::start();
    let mut engine = engine(&clock, RULES);
    for port in 0..200 {
        ask(&mut engine, &clock, 1024 + port);
    }
    let mut keeper = Keeper::open(dir.path(), Dialect::FreeBsd);
    let start = clock.now();
    keeper.next = start;
    keeper.work(&mut engine, &clock, start);
    assert!(keeper.draft.is_some(), "200 states are two slices");
    keeper.work(&mut engine, &clock, start);
    assert!(keeper.draft.is_none());
    assert_eq!(
        keeper.deadline(),
        Some(start.saturating_add(SNAPSHOT_INTERVAL))
    );
    keeper
        .writing
        .take()
        .expect("a thread")
        .recv()
        .expect("ends")
        .expect("writes");
    drop(keeper);
    assert_eq!(restored(dir.path(), &clock, RULES).state_count(), 200);
}
