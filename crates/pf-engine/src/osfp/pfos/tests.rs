use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::addr::Family;
use crate::osfp::features::{Kind, OptionLayout, PfOptions, Quirks};
use crate::wire::option_kind;

fn read(text: &str) -> Fingerprints {
    Fingerprints::read(text).expect("no error")
}

fn names(systems: &[System]) -> Vec<String> {
    systems.iter().map(ToString::to_string).collect()
}

/// A SYN as IPv4 brings it.
struct Syn {
    window: u16,
    ttl: u8,
    dont_fragment: bool,
    size: u32,
    options: Option<PfOptions>,
    inet6: bool,
}

/// Kinds as letters of pf.os.
fn options(kinds: &str, mss: u16, window_scale: u8) -> PfOptions {
    let mut options = PfOptions {
        mss,
        window_scale,
        ..PfOptions::default()
    };
    for letter in kinds.chars() {
        let kind = match letter {
            'N' => option_kind::NOP,
            'W' => option_kind::WINDOW_SCALE,
            'M' => option_kind::MSS,
            'S' => option_kind::SACK_PERMITTED,
            _ => option_kind::TIMESTAMPS,
        };
        options.push(PfOptions::code(kind).expect("known"));
    }
    options
}

impl Syn {
    fn linux() -> Self {
        Self {
            window: 29_200,
            ttl: 57,
            dont_fragment: true,
            size: 60,
            options: Some(options("MSTNW", 1460, 7)),
            inet6: false,
        }
    }

    fn features(&self) -> Features {
        let any = SocketAddr::from(([192, 0, 2, 1], 1));
        Features {
            kind: Kind::Syn,
            source: any,
            destination: any,
            family: if self.inet6 {
                Family::Inet6
            } else {
                Family::Inet
            },
            ttl: self.ttl,
            tos: 0,
            ip_options_len: 0,
            extension_headers_len: 0,
            dont_fragment: self.dont_fragment || self.inet6,
            id: 0,
            flow_label: 0,
            total_len: self.size,
            headers_len: 60,
            tcp_header_len: 40,
            seq: 1,
            ack: 0,
            flags: 2,
            window: self.window,
            mss: None,
            window_scale: None,
            layout: OptionLayout::default(),
            timestamp: None,
            timestamp_echo: None,
            payload_len: 0,
            quirks: Quirks::NONE,
            p0f_quirks: Quirks::NONE,
            pf_options: self.options,
        }
    }
}

fn is_a(line: &str, syn: &Syn) -> bool {
    let read = read(&format!("{line}:X:1::x"));
    !read.systems_of(&syn.features()).is_empty()
}

#[test]
fn the_file_that_comes_with_the_program_is_read_without_an_error() {
    let text = include_str!("../../../../../data/pf.os");
    let read = Fingerprints::read(text).expect("no error");
    assert_eq!(read, *Fingerprints::stock());
    assert!(read.len() > 600, "{}", read.len());
    let linux = names(read.systems_of(&Syn::linux().features()));
    assert!(
        linux.iter().any(|name| name.starts_with("Linux 3")),
        "{linux:?}"
    );
}

#[test]
fn systems_of_today_are_told_by_their_defaults_and_not_taken_for_windows_xp() {
    let told = |ttl, size, window, kinds, mss, scale| {
        let syn = Syn {
            ttl,
            size,
            window,
            options: Some(options(kinds, mss, scale)),
            ..Syn::linux()
        };
        names(Fingerprints::stock().systems_of(&syn.features()))
    };
    for (mss, window) in [(1460, 64_240), (1452, 65_340)] {
        assert_eq!(told(60, 60, window, "MSTNW", mss, 7), ["Linux 4.20"]);
        assert_eq!(told(60, 60, window, "MSTNW", mss, 10), ["Linux 6.16"]);
        assert_eq!(told(118, 52, window, "MNWNNS", mss, 8), ["Windows 10"]);
    }
    assert_eq!(told(118, 52, 65_535, "MNWNNS", 1460, 8), ["Windows 10"]);
    assert_eq!(told(118, 52, 8192, "MNWNNS", 1460, 8), ["Windows Vista"]);
    assert_eq!(told(57, 64, 65_535, "MNWNNTS", 1460, 6), ["MacOS 10.10"]);
}

#[test]
fn a_signature_is_compared_field_by_field() {
    let line = "29200:64:1:60:M1460,S,T,N,W7";
    assert!(is_a(line, &Syn::linux()));
    let differs = |change: fn(&mut Syn)| {
        let mut syn = Syn::linux();
        change(&mut syn);
        assert!(!is_a(line, &syn));
    };
    differs(|syn| syn.window = 29_201);
    differs(|syn| syn.ttl = 65);
    differs(|syn| syn.ttl = 23);
    differs(|syn| syn.dont_fragment = false);
    differs(|syn| syn.size = 61);
    differs(|syn| syn.options = Some(options("MSTNW", 1461, 7)));
    differs(|syn| syn.options = Some(options("MSTNW", 1460, 8)));
    differs(|syn| syn.options = Some(options("MSTWN", 1460, 7)));
    differs(|syn| syn.options = Some(options("MSTNWN", 1460, 7)));
    differs(|syn| syn.options.as_mut().expect("some").zero_timestamp = true);
    differs(|syn| syn.options = None);
}

#[test]
fn forty_hops_are_the_most() {
    let at = |ttl| {
        is_a(
            "*:64:1:*:M*,S,T,N,W*",
            &Syn {
                ttl,
                ..Syn::linux()
            },
        )
    };
    assert!(at(64) && at(24));
    assert!(!at(65) && !at(23));
}

#[test]
fn windows_are_multiples_of_what_the_letter_says() {
    let window = |line: &str, window, mss| {
        let options = Some(options("MSTNW", mss, 7));
        let syn = Syn {
            window,
            options,
            ..Syn::linux()
        };
        is_a(&format!("{line}:64:1:60:M*,S,T,N,W*"), &syn)
    };
    assert!(window("S20", 28_000, 1400) && !window("S20", 28_001, 1400));
    assert!(window("S20", 29_200, 1400), "Ethernet's MSS counts too");
    assert!(window("T4", 5760, 1400) && window("T4", 6000, 1400));
    assert!(!window("T4", 5600, 1400));
    assert!(!window("S20", 29_200, 0) && !window("T20", 30_000, 0));
    assert!(window("%8192", 16_384, 1) && !window("%8192", 16_385, 1));
    assert!(!window("%0", 16_384, 1));
    assert!(window("*", 1, 1));
    assert!(!window("S60000", 29_200, 1460), "no overflow");
    assert!(!window("T2", 65_500, 65_500), "no overflow");
}

#[test]
fn sizes_and_options_may_be_anything_or_multiples() {
    let syn = Syn::linux();
    assert!(is_a("*:64:1:%20:M%73,S,T,N,W*", &syn));
    assert!(!is_a("*:64:1:%7:M*,S,T,N,W*", &syn));
    assert!(!is_a("*:64:1:*:M%7,S,T,N,W*", &syn));
    assert!(is_a("*:64:1:*:M*,S,T,N,W%7", &syn));
    let bare = Syn {
        options: Some(PfOptions::default()),
        size: 40,
        ..Syn::linux()
    };
    assert!(is_a("*:64:1:40:.", &bare));
}

#[test]
fn a_window_scale_is_compared_although_bsd_loses_it() {
    // There it is byte-swapped as if it had 16 bits, and only W0 ever matches.
    assert!(is_a("*:64:1:60:M*,S,T,N,W7", &Syn::linux()));
}

#[test]
fn ipv6_is_twenty_bytes_longer_and_never_fragments() {
    let syn = Syn {
        size: 80,
        inet6: true,
        dont_fragment: false,
        ..Syn::linux()
    };
    assert!(is_a("*:64:1:60:M*,S,T,N,W*", &syn));
    assert!(
        is_a("*:64:0:60:M*,S,T,N,W*", &syn),
        "whatever the line says"
    );
    assert!(!is_a("*:64:0:60:M*,S,T,N,W*", &Syn { size: 60, ..syn }));
}

#[test]
fn the_first_signature_of_the_file_decides() {
    let text = "*:64:1:60:M*,S,T,N,W*:A:1::a\n29200:64:1:60:M*,S,T,N,W*:B:1::b\n";
    assert_eq!(
        names(read(text).systems_of(&Syn::linux().features())),
        ["A 1"]
    );
}

#[test]
fn equal_signatures_have_all_their_names() {
    let text = "*:64:1:60:M*,S,T,N,W*:A:1::a\n*:64:1:60:M*,S,T,N,W*:B:2:x:b\n";
    let read = read(&format!("{text}{text}"));
    assert_eq!(
        names(read.systems_of(&Syn::linux().features())),
        ["B 2 x", "A 1"]
    );
    assert_eq!(read.len(), 4, "each once, for two families");
}

#[test]
fn ranges_are_expanded_and_keep_their_own_name() {
    let read =
        read("*:64:1:60:.:A:2.0-2.2::a\n*:64:1:60:.:B:1:8-11:b\n*:64:1:60:.:C:2.0-3.2:.1-4:c");
    let list = names(&read.list());
    assert_eq!(
        list,
        [
            "A",
            "A 2.0",
            "A 2.0-2.2",
            "A 2.1",
            "A 2.2",
            "B",
            "B 1",
            "B 1 10",
            "B 1 11",
            "B 1 8",
            "B 1 8-11",
            "B 1 9",
            "C",
            "C 2.0-3.2",
            "C 2.0-3.2 .1-4"
        ]
    );
}

#[test]
fn a_system_is_found_by_any_part_of_its_name() {
    let read = read(
        "*:64:1:60:.:Linux:2.2:14:x\n*:64:1:60:.:Windows:2000:SP2:x\n\
         *:64:1:60:.:RISC OS:3.70:4.10:x\n*:64:1:60:.:FreeBSD:4.0:STABLE:x",
    );
    let find = |name: &str| read.find(name).map(|found| found.to_string());
    assert_eq!(find("linux").as_deref(), Some("Linux"));
    assert_eq!(find("LINUX 2.2").as_deref(), Some("Linux 2.2"));
    assert_eq!(find("Linux 2.2.14").as_deref(), Some("Linux 2.2.14"));
    assert_eq!(find("Linux 2.2 14").as_deref(), Some("Linux 2.2.14"));
    assert_eq!(
        find("Windows 2000 SP2").as_deref(),
        Some("Windows 2000 SP2")
    );
    assert_eq!(
        find("FreeBSD 4.0-stable").as_deref(),
        Some("FreeBSD 4.0 STABLE")
    );
    assert_eq!(
        find("RISC OS 3.70\t4.10").as_deref(),
        Some("RISC OS 3.70.4.10")
    );
    assert_eq!(find("Unknown"), Some("unknown".to_owned()));
    for name in [
        "",
        " ",
        "Linux ",
        "Linux 2.3",
        "Linux 2.2.15",
        "Linux 2.2 14 ",
        "ä b",
    ] {
        assert_eq!(find(name), None, "{name}");
    }
}

#[test]
fn a_rule_takes_whatever_it_does_not_name() {
    let read = read("*:64:1:60:M*,S,T,N,W*:Linux:2.2:14:x\n*:64:1:60:M*,S,T,N,W*:Other:::x");
    let systems = read.systems_of(&Syn::linux().features());
    let takes = |name: &str| read.find(name).is_some_and(|found| found.matches(systems));
    assert!(takes("Linux") && takes("Linux 2.2") && takes("linux 2.2.14") && takes("other"));
    assert!(!takes("unknown"));
    assert!(SystemMatch::Unknown.matches(&[]));
    let named = read.find("Linux").expect("known");
    assert!(!named.matches(&[]));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let errors = |text: &str| {
        let errors = Fingerprints::read(text).expect_err("an error");
        let quoted =
            |error: &ReadError| (text[error.span.clone()].to_owned(), error.message.clone());
        errors.iter().map(quoted).collect::<Vec<_>>()
    };
    let one = |text: &str, quoted: &str, message: &str| {
        assert_eq!(errors(text), [(quoted.to_owned(), message.to_owned())]);
    };
    one(":64:1:60:.:A:::x", "", "empty window size");
    one("1:x4:1:60:.:A:::x", "x4", "non-digit character in TTL");
    one("1:256:1:60:.:A:::x", "256", "TTL is greater than 255");
    one(
        "1:64:2:60:.:A:::x",
        "2",
        "don't fragment flag is greater than 1",
    );
    one(
        "1:64:1:8193:.:A:::x",
        "8193",
        "packet size is greater than 8192",
    );
    one(
        "%:64:1:60:.:A:::x",
        "%",
        "modulus window size must have a value",
    );
    one(
        "*1:64:1:60:.:A:::x",
        "*1",
        "a `*` window size is nothing but `*`",
    );
    one(
        "S65536:64:1:60:.:A:::x",
        "65536",
        "window size is greater than 65535",
    );
    one(
        "1:64:1:60::A:::x",
        "",
        "empty TCP options; `.` stands for none",
    );
    one("1:64:1:60:M*,?12:A:::x", "?12", "unknown TCP option `?12`");
    one(
        "1:64:1:60:W256:A:::x",
        "256",
        "window scale is greater than 255",
    );
    one("1:64:1:60:M:A:::x", "", "empty MSS");
    one("1:64:1:60:.: :::x", "", "empty OS class");
    one(
        "1:64:1:60:.:@NoMatch:::x",
        "@NoMatch",
        "fingerprint class \"NoMatch\" is reserved",
    );
    one(
        "1:64:1:60:.:A",
        "1:64:1:60:.:A",
        "the line ends before its OS version",
    );
    one("1:64:1:60:.:A:::x: y ", "y", "excess field");
    let two = errors("# fine\n1:64:1:60:.:A\n*:64:1:40:.:A:::x # fine\nx:64:1:40:.:A:::x");
    assert_eq!(two.len(), 2);
    assert_eq!(errors(&"x\n".repeat(1000)).len(), 50);
}

#[test]
fn no_range_makes_more_than_may_be() {
    let errors = Fingerprints::read("1:64:1:60:.:A:0-999:0-999:x").expect_err("too many");
    assert_eq!(errors[0].message, "more than 50000 fingerprints");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "([0-9STMWN*%.,:A-C#?@ \t-]|\n){0,200}") {
        let _ = Fingerprints::read(&text);
    }

    #[test]
    fn every_name_of_the_list_is_found(line in "[A-C]{1,2}( [a-b])?:[1-3]([-.][1-9])?:[a-b0-9.-]{0,4}") {
        let read = read(&format!("*:64:1:60:.:{line}:x"));
        for system in read.list() {
            prop_assert!(read.find(&system.to_string()).is_some(), "{system}");
        }
    }
}
