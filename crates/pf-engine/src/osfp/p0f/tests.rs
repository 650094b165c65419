use super::*;
use crate::osfp::features::OptionLayout;

const FILE: &str = "\
; a comment
classes = win,unix,other
[mtu]
label = Ethernet or modem
sig = 1500
label = DSL
sig = 1492
[tcp:request]
label = s:unix:Linux:3.11 and newer
sig = *:64:0:*:mss*20,7:mss,sok,ts,nop,ws:df,id+:0
sig = *:64:0:*:mss*20,10:mss,sok,ts,nop,ws:df,id+:0
label = g:unix:Linux:
sig = *:64:0:*:*,*:mss,sok,ts,nop,ws:df,id+:0
label = s:win:Windows:7 or 8
sig = *:128:0:*:8192,8:mss,nop,ws,nop,nop,sok:df,id+:0
label = s:!:NMap:SYN scan
sys = @unix,@win
sig = *:64-:0:1460:1024,0:mss::0
[tcp:response]
label = s:unix:OpenBSD:5.x
sig = *:64:0:1460:16384,3:mss,nop,nop,sok,nop,ws,nop,nop,ts:df,id+:0
[http:request]
ua_os = Linux,Windows
label = s:!:anything:goes here
sig = 1:Host,User-Agent:Accept:x
";

fn database() -> Database {
    Database::parse(FILE).expect("it reads")
}

/// A SYN of Linux as it comes over nine routers and a DSL line.
fn linux() -> Features {
    let mut features = Features::of(&syn()).expect("a SYN");
    features.ttl = 55;
    features
}

/// 192.0.2.1:4711 to 192.0.2.9:25, `mss 1452,sok,ts,nop,ws 7`, window 29040.
fn syn() -> Vec<u8> {
    let mut packet = vec![
        0x45, 0, 0, 60, 0x12, 0x34, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 9,
    ];
    packet.extend_from_slice(&4711_u16.to_be_bytes());
    packet.extend_from_slice(&25_u16.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 9, 0, 0, 0, 0, 0xa0, 2]);
    packet.extend_from_slice(&29_040_u16.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 0]);
    packet.extend_from_slice(&[
        2, 4, 5, 0xac, 4, 2, 8, 10, 0, 0, 1, 0, 0, 0, 0, 0, 1, 3, 3, 7,
    ]);
    packet
}

/// Label, quality and distance of what is found.
fn told(features: &Features, mode: Mode) -> (String, Option<Quality>, u8) {
    let database = database();
    let verdict = database.look_up(features, None, mode);
    let label = verdict
        .found
        .and_then(|found| database.label_of(found.signature))
        .map_or_else(|| "???".to_owned(), ToString::to_string);
    (
        label,
        verdict.found.map(|found| found.quality),
        verdict.distance,
    )
}

fn linux_as(change: impl FnOnce(&mut Features)) -> Features {
    let mut features = linux();
    change(&mut features);
    features
}

#[test]
fn a_packet_that_fits_in_everything_is_named_with_its_distance() {
    for mode in [Mode::Parity, Mode::Better] {
        let (label, quality, distance) = told(&linux(), mode);
        assert_eq!(label, "Linux 3.11 and newer");
        assert_eq!((quality, distance), (Some(Quality::Exact), 9));
    }
}

#[test]
fn the_raw_signature_is_p0fs() {
    let raw = Database::raw_signature(&linux(), None, Mode::Parity).to_string();
    assert_eq!(raw, "4:55+9:0:1452:mss*20,7:mss,sok,ts,nop,ws:df,id+:0");
    let far = linux_as(|features| features.ttl = 70);
    let raw = Database::raw_signature(&far, None, Mode::Parity).to_string();
    assert!(raw.starts_with("4:70+?:0:"), "{raw}");
}

#[test]
fn a_generic_signature_is_taken_where_no_specific_one_fits() {
    let other = linux_as(|features| features.window = 1);
    let (label, quality, _) = told(&other, Mode::Parity);
    assert_eq!((label.as_str(), quality), ("Linux", Some(Quality::Generic)));
}

#[test]
fn what_networks_change_makes_a_match_fuzzy() {
    let no_df = |features: &mut Features| {
        features.p0f_quirks = Quirks::ECN;
        features.quirks = Quirks::ECN;
    };
    let (label, quality, distance) = told(&linux_as(no_df), Mode::Parity);
    assert_eq!(label, "Linux 3.11 and newer");
    assert_eq!((quality, distance), (Some(Quality::Fuzzy), 9));
    let high = linux_as(|features| features.ttl = 100);
    let (_, quality, distance) = told(&high, Mode::Parity);
    assert_eq!((quality, distance), (Some(Quality::Fuzzy), 28));
}

#[test]
fn a_quirk_that_networks_do_not_make_is_another_system() {
    let odd = |features: &mut Features| {
        features.p0f_quirks = features.p0f_quirks | Quirks::ZERO_SEQ;
        features.quirks = features.p0f_quirks;
    };
    let (label, quality, distance) = told(&linux_as(odd), Mode::Parity);
    assert_eq!((label.as_str(), quality, distance), ("???", None, 9));
}

#[test]
fn a_flow_label_makes_a_packet_unknown_to_p0f_alone() {
    let labelled = linux_as(|features| {
        features.family = Family::Inet6;
        features.quirks = Quirks::FLOW;
        features.p0f_quirks = Quirks::FLOW;
    });
    assert_eq!(told(&labelled, Mode::Parity).1, None);
    let (label, quality, _) = told(&labelled, Mode::Better);
    assert_eq!(label, "Linux 3.11 and newer");
    assert_eq!(quality, Some(Quality::Exact));
}

#[test]
fn what_fits_no_signature_is_told_by_its_family() {
    let windows = linux_as(|features| {
        features.ttl = 120;
        features.layout = OptionLayout::new(&[2, 1, 3, 1, 1, 4], 0).expect("it fits");
    });
    let (label, quality, _) = told(&windows, Mode::Better);
    assert_eq!(label, "Windows 7 or 8");
    assert_eq!(quality, Some(Quality::Family));
    assert_eq!(told(&windows, Mode::Parity).1, None);
    let elsewhere = Features { ttl: 60, ..windows };
    assert_eq!(told(&elsewhere, Mode::Better).1, None);
}

#[test]
fn a_random_ttl_has_any_distance_and_a_program_is_never_guessed() {
    let scan = |ttl: u8, quirks: Quirks| {
        linux_as(|features| {
            features.ttl = ttl;
            features.layout = OptionLayout::new(&[2], 0).expect("it fits");
            features.mss = Some(1460);
            features.window = 1024;
            features.window_scale = None;
            features.quirks = quirks;
            features.p0f_quirks = quirks;
        })
    };
    let (label, quality, distance) = told(&scan(11, Quirks::NONE), Mode::Parity);
    assert_eq!(label, "NMap SYN scan");
    assert_eq!((quality, distance), (Some(Quality::Exact), 53));
    assert_eq!(told(&scan(11, Quirks::ECN), Mode::Parity).1, None);
    assert_eq!(told(&scan(65, Quirks::NONE), Mode::Parity).1, None);
}

#[test]
fn windows_are_multiples_of_the_first_divisor_that_fits() {
    for (window, mss, raw) in [
        (14_600, 1460, "mss*10"),
        (14_480, 1460, "mss*10"),
        (65_535, 1460, "65535"),
        (15_000, 1400, "mtu*10"),
        (0, 1460, "0"),
        (500, 50, "500"),
    ] {
        let features = linux_as(|features| {
            features.window = window;
            features.mss = Some(mss);
        });
        let text = Database::raw_signature(&features, None, Mode::Parity).to_string();
        assert!(text.contains(&format!(":{mss}:{raw},7:")), "{text}");
    }
}

#[test]
fn links_are_known_by_their_mtu() {
    let database = database();
    assert_eq!(mtu(&linux()), Some(1492));
    assert_eq!(database.link(1492), Some("DSL"));
    assert_eq!(database.link(1400), None);
}

#[test]
fn errors_name_their_place_and_what_was_found() {
    let problem = |line: &str| {
        let text = format!("[tcp:request]\nlabel = s:unix:Linux:x\n{line}\n");
        let errors = Database::parse(&text).expect_err("it is wrong");
        errors.first().map(ToString::to_string).expect("one")
    };
    for (line, error) in [
        (
            "sig = x",
            "3:7: a signature has eight fields, ver:ittl:olen:mss:wsize,scale:olayout:quirks:pclass; this has 1",
        ),
        (
            "sig = 5:64:0:*:1,1:mss::0",
            "3:7: expected 4, 6 or * for the IP version, found \"5\"",
        ),
        (
            "sig = *:0:0:*:1,1:mss::0",
            "3:7: expected a TTL from 1 to 255, found \"0\"",
        ),
        (
            "sig = *:64:0:*:mss*0,1:mss::0",
            "3:7: expected a factor from 1 to 1000, found \"0\"",
        ),
        (
            "sig = 4:64:0:*:1,1:mss:flow:0",
            "3:7: IP of that version has no quirk \"flow\"",
        ),
        (
            "sig = *:64:0:*:1,1:eol+1,mss::0",
            "3:7: eol must be the last option",
        ),
        ("nonsense", "3:1: expected NAME = VALUE, found \"nonsense\""),
        (
            "name = x",
            "3:1: unknown name \"name\": use label, sys, sig, classes or ua_os",
        ),
        (
            "label = s:unix:a\u{7}b:",
            "3:9: \"a\\u{7}b\" is no name: 1 to 64 letters, digits, blanks and ./-_!?(),+#@",
        ),
    ] {
        assert_eq!(problem(line), error);
    }
    let twice = "sig = *:64:0:*:1,1:mss::0\nsig = *:64:0:*:1,1:mss::0";
    assert_eq!(
        problem(twice),
        "4:7: the signature is already covered by line 3"
    );
}

#[test]
fn a_file_with_errors_changes_nothing_and_a_second_one_comes_behind() {
    let mut database = database();
    let before = database.signatures().len();
    assert!(
        database
            .extend("[tcp:request]\nsig = *:64:0:*:1,1:mss::0\n")
            .is_err()
    );
    assert_eq!(database.signatures().len(), before);
    let own = "[tcp:request]\nlabel = s:other:Toaster:2\nsig = 4:64:0:536:1,0:mss::0\n";
    database.extend(own).expect("it reads");
    assert_eq!(database.signatures().len(), before + 1);
}

#[test]
fn the_programs_own_signatures_read_and_name_todays_systems() {
    let database = Database::own();
    assert!(database.signatures().len() > 150);
    let label = |features: &Features| {
        let verdict = database.look_up(features, None, Mode::Better);
        let found = verdict.found.expect("it is known");
        let label = database.label_of(found.signature).expect("it has a label");
        (label.to_string(), found.quality)
    };
    for (mss, window) in [
        (1460, 64_240),
        (1452, 65_340),
        (1380, 64_860),
        (8960, 62_720),
    ] {
        let today = linux_as(|features| {
            features.mss = Some(mss);
            features.window = window;
        });
        assert_eq!(
            label(&today),
            ("Linux 4.19 to 6.15".to_owned(), Quality::Exact)
        );
    }
    let windows = linux_as(|features| {
        features.ttl = 119;
        features.window = 64_240;
        features.mss = Some(1460);
        features.window_scale = Some(8);
        features.layout = OptionLayout::new(&[2, 1, 3, 1, 1, 4], 0).expect("it fits");
    });
    assert_eq!(label(&windows).0, "Windows 10, 11, Server 2016 and newer");
    let phone = linux_as(|features| {
        features.window = 65_535;
        features.window_scale = Some(9);
    });
    assert_eq!(label(&phone).0, "Android 5 and newer");
}

#[test]
fn a_site_s_own_signatures_stand_before_those_that_they_cover() {
    let mut database = Database::parse(
        "[tcp:request]\nlabel = s:unix:Ours:1\nsig = *:64:0:*:mss*20,7:mss,sok,ts,nop,ws:df,id+:0\n",
    )
    .expect("it reads");
    assert!(database.clone().extend(FILE).is_err());
    database.extend_where_new(FILE).expect("it reads");
    let verdict = database.look_up(&linux(), None, Mode::Better);
    let found = verdict.found.expect("it is known");
    let label = database.label_of(found.signature).expect("it has a label");
    assert_eq!(label.to_string(), "Ours 1");
}
