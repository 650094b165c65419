//! FreeBSD's own parser cases, where they are on this machine: each `.in` read as
//! `pfctl -o none -nvf FILE` would, and compared byte for byte with `.ok`; each `.ok` read back;
//! each `.fail` found in the messages.

use std::path::{Path, PathBuf};

use pf_conf::{LoadOptions, PrintOptions, SourceReader, load, preview};
use pf_engine::env::{IfIndex, Interface, InterfaceAddress};

/// Cases that pass today. It only ever grows.
const FLOOR: usize = 106;

struct Directory(PathBuf);

impl SourceReader for Directory {
    fn read(&mut self, path: &str) -> std::io::Result<Vec<u8>> {
        std::fs::read(self.0.join(path))
    }
}

fn suite() -> Option<PathBuf> {
    let given = std::env::var_os("WEIGHBRIDGE_CONFORMANCE").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    given
        .into_iter()
        .chain([beside])
        .map(|root| root.join("conformance/freebsd-pfctl"))
        .find(|path| path.is_dir())
}

fn interface(index: u32, name: &str, addresses: &[(&str, u8)]) -> Interface {
    Interface {
        addresses: addresses
            .iter()
            .map(|(address, prefix_len)| {
                InterfaceAddress::new(address.parse().expect("an address"), *prefix_len)
            })
            .collect(),
        ..Interface::new(IfIndex(index), name)
    }
}

/// What the suite's own machine has: `lo0`, and the vlan of the interface cases.
fn interfaces(case: &str) -> Vec<Interface> {
    let number = case.trim_start_matches("pf");
    vec![
        interface(1, "lo0", &[("::1", 128), ("fe80::1", 64), ("127.0.0.1", 8)]),
        interface(
            2,
            &format!("vlan{number}"),
            &[("203.0.113.5", 30), ("2001:db8::cb00:7105", 126)],
        ),
    ]
}

/// What `pfctl -o none -nvf FILE` would print.
fn run(directory: &Path, case: &str, file: &str) -> Result<String, String> {
    let text = std::fs::read(directory.join(file)).map_err(|e| e.to_string())?;
    let options = LoadOptions {
        interfaces: interfaces(case),
        ..LoadOptions::default()
    };
    let mut files = Directory(directory.to_owned());
    preview(file, &text, &mut files, &options, PrintOptions::default())
        .map(|lines| lines.join("\n") + "\n")
        .map_err(|errors| errors.plain())
}

/// Lines that are only in `expected` (`-`) or only in `found` (`+`), between what both begin and
/// end with.
fn difference(expected: &str, found: &str) -> String {
    let mut old: Vec<&str> = expected.lines().collect();
    let mut new: Vec<&str> = found.lines().collect();
    let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    old.drain(..same);
    new.drain(..same);
    let same_end = old.iter().rev().zip(new.iter().rev());
    let same_end = same_end.take_while(|(a, b)| a == b).count();
    old.truncate(old.len() - same_end);
    new.truncate(new.len() - same_end);
    let old = old.iter().map(|line| format!("\n-{line}"));
    let new = new.iter().map(|line| format!("\n+{line}"));
    format!(
        "after {same} equal lines{}",
        old.chain(new).collect::<String>()
    )
}

/// `None` when the case passes.
fn failure(directory: &Path, case: &str) -> Option<String> {
    if let Ok(fail) = std::fs::read_to_string(directory.join(format!("{case}.fail"))) {
        let wanted = fail.trim_end().replace('\\', "");
        return match run(directory, case, &format!("{case}.in")) {
            Ok(_) => Some(format!("accepted, expected {wanted:?}")),
            Err(text) if text.contains(&wanted) => None,
            Err(text) => Some(format!("expected {wanted:?}, found {text}")),
        };
    }
    let expected = std::fs::read_to_string(directory.join(format!("{case}.ok"))).ok()?;
    for file in [format!("{case}.in"), format!("{case}.ok")] {
        match run(directory, case, &file) {
            Ok(found) if found == expected => {}
            Ok(found) => return Some(format!("{file}: {}", difference(&expected, &found))),
            Err(text) => return Some(format!("{file}: {text}")),
        }
    }
    None
}

#[test]
fn freebsd_cases_print_as_freebsd_prints_them() {
    let Some(directory) = suite() else {
        println!("SKIPPED: no conformance suite (set WEIGHBRIDGE_CONFORMANCE)");
        return;
    };
    let mut cases: Vec<String> = std::fs::read_dir(&directory)
        .expect("the suite is readable")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".in").map(str::to_owned))
        .collect();
    cases.sort();
    let mut passed = 0;
    for case in &cases {
        match failure(&directory, case) {
            None => passed += 1,
            Some(reason) => println!("{case}: {reason}"),
        }
    }
    println!("{passed}/{} cases pass", cases.len());
    assert!(passed >= FLOOR, "{passed} cases pass, {FLOOR} did before");
}

/// Whether a word of a configuration looks like the name of an interface.
fn names_interface(word: &str) -> bool {
    let letters = word.trim_end_matches(|c: char| c.is_ascii_digit());
    let numbered = letters.len() < word.len() && (2..=8).contains(&letters.len());
    word == "egress" || (numbered && letters.bytes().all(|b| b.is_ascii_lowercase()))
}

/// Every interface that `text` may name, so that its rules can be expanded.
fn interfaces_of(text: &str) -> Vec<Interface> {
    let words: std::collections::BTreeSet<&str> = text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| names_interface(word))
        .collect();
    let addresses = [("192.0.2.1", 24), ("2001:db8::1", 64)];
    let named = words.iter().zip(3..);
    let named = named.map(|(name, index)| interface(index, name, &addresses));
    interfaces("pf0").into_iter().take(1).chain(named).collect()
}

/// The box that a configuration was written for: every interface that it names, one of each
/// family unless it was written for IPv4 alone, and every group.
fn boxed_for(name: &str, text: &[u8], files: &mut Directory) -> LoadOptions {
    let mut options = LoadOptions {
        interfaces: interfaces_of(&String::from_utf8_lossy(text)),
        ..LoadOptions::default()
    };
    for _ in 0..3 {
        let Err(errors) = preview(name, text, files, &options, PrintOptions::default()) else {
            return options;
        };
        let unknown: std::collections::BTreeSet<&str> = errors
            .iter()
            .filter_map(|(_, error)| {
                error
                    .detail
                    .as_deref()?
                    .strip_prefix("no IP address found for ")
            })
            .filter_map(|detail| {
                detail.strip_suffix(": there is no interface or group of that name")
            })
            .filter(|name| may_be_interface(name))
            .collect();
        let next = u32::try_from(options.interfaces.len()).expect("few interfaces") + 1;
        let addresses = [("192.0.2.1", 24), ("2001:db8::1", 64)];
        let added: Vec<Interface> = unknown
            .iter()
            .zip(next..)
            .map(|(name, index)| interface(index, name, &addresses))
            .collect();
        let dual = errors
            .iter()
            .any(|(_, error)| error.message == "proto icmp doesn't match address family inet6");
        if dual {
            for interface in &mut options.interfaces {
                interface
                    .addresses
                    .retain(|address| address.address.is_ipv4());
            }
        }
        if added.is_empty() && !dual {
            return options;
        }
        options.interfaces.extend(added);
    }
    options
}

/// A host name has dots with letters behind them.
fn may_be_interface(name: &str) -> bool {
    let vlan = name.split_once('.');
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    vlan.is_none_or(|(interface, vlan)| names_interface(interface) && number(vlan))
}

#[test]
fn published_configurations_load_or_are_refused_for_a_reason() {
    let Some(directory) = suite().map(|suite| suite.with_file_name("realworld-pfconf")) else {
        println!("SKIPPED: no conformance suite (set WEIGHBRIDGE_CONFORMANCE)");
        return;
    };
    let mut names: Vec<PathBuf> = std::fs::read_dir(&directory)
        .expect("the directory is readable")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    names.sort();
    let mut files = Directory(directory);
    let (mut loaded, mut printed) = (0, 0);
    for path in &names {
        let text = std::fs::read(path).expect("the file is readable");
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let options = boxed_for(&name, &text, &mut files);
        match load(&name, &text, &mut files, &options) {
            Ok(_) => loaded += 1,
            Err(errors) => {
                assert!(errors.count() > 0, "{name}");
                println!("NOT LOADED {}", errors.plain().trim_end());
            }
        }
        let print = PrintOptions::default();
        let lines = match preview(&name, &text, &mut files, &options, print) {
            Ok(lines) => lines,
            Err(errors) => {
                println!("NOT PRINTED {}", errors.plain().trim_end());
                continue;
            }
        };
        printed += 1;
        let once = lines.join("\n");
        let again = preview(&name, once.as_bytes(), &mut files, &options, print)
            .unwrap_or_else(|errors| panic!("{name} printed is refused:\n{errors}\n{once}"));
        assert_eq!(again, lines, "{name} printed changes when read again");
    }
    println!(
        "{loaded}/{} published configurations load, {printed} print",
        names.len()
    );
}
