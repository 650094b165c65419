//! `weighbridge fingerprints`.

use std::fs;
use std::path::Path;

use clap::{Args, FromArgMatches};
use weighbridge::mail::fingerprints::{FingerprintsArguments, execute};

use crate::capture::{RAW, pcap, syn};
use crate::command::{Ran, ran};

fn fingerprints(arguments: &[&str]) -> Ran {
    let command = FingerprintsArguments::augment_args(clap::Command::new("fingerprints"));
    let arguments = ["fingerprints"].iter().chain(arguments);
    let matches = command.try_get_matches_from(arguments).expect("arguments");
    let arguments = FingerprintsArguments::from_arg_matches(&matches).expect("arguments");
    ran(|output| execute(&arguments, output))
}

/// What is kept in a state directory.
pub(crate) fn kept(state: &Path) -> String {
    let state = state.display().to_string();
    let kept = fingerprints(&["unknown", "--state-dir", &state]);
    assert_eq!((kept.status, kept.err.as_str()), (0, ""));
    kept.out
}

#[test]
fn unknown_handshakes_are_listed_so_that_a_label_makes_them_known() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (mail, local) = (path("mail.pcap"), path("local.fp"));
    let mut odd = syn();
    // PSH, which no system sends with a SYN.
    odd[33] |= 8;
    odd[34..36].copy_from_slice(&12_345_u16.to_be_bytes());
    fs::write(&mail, pcap(RAW, &[odd])).expect("written");

    let listed = fingerprints(&["unknown", "-r", &mail]);
    assert_eq!(listed.status, 0, "{}", listed.err);
    assert_eq!(
        listed.out,
        "[tcp:request]\n\
         ; once from 2023-11-14 22:13:20 to 2023-11-14 22:13:20, last 192.0.2.1 \
         4:55+9:0:1460:12345,7:mss,sok,ts,nop,ws:df,id+,pushf+:0\n\
         ; label = s:CLASS:NAME:FLAVOR\n\
         sig = 4:64:0:*:12345,7:mss,sok,ts,nop,ws:df,id+,pushf+:0\n"
    );
    let json = fingerprints(&["unknown", "--json", "-r", &mail]);
    let json: serde_json::Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(
        (&json["count"], &json["section"]),
        (&1.into(), &"tcp:request".into())
    );

    let labelled = listed.out.replace(
        "; label = s:CLASS:NAME:FLAVOR",
        "label = s:other:Scale:of the loading dock",
    );
    fs::write(&local, labelled).expect("written");
    let checked = fingerprints(&["check", &local]);
    let summary = format!("{local}: 1 labels, 1 signatures\n");
    assert_eq!((checked.status, checked.out), (0, summary));
    let known = fingerprints(&["unknown", "-r", &mail, "--local", &local]);
    assert_eq!((known.status, known.out.as_str()), (0, ""));
}

#[test]
fn a_wrong_file_of_signatures_is_told_with_its_places() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("local.fp").display().to_string();
    fs::write(
        &file,
        "[tcp:request]\nlabel = s:unix:A:B\nsig = 4:64:0:*\nsigh = 1\n",
    )
    .expect("ok");
    let checked = fingerprints(&["check", &file]);
    assert_eq!((checked.status, checked.out.as_str()), (1, ""));
    assert!(
        checked.err.contains(&format!("{file}:3:7: ")),
        "{}",
        checked.err
    );
    assert!(
        checked
            .err
            .contains(&format!("{file}:4:1: unknown name \"sigh\"")),
        "{}",
        checked.err
    );
    let nowhere = fingerprints(&["check", "/nowhere/local.fp"]);
    assert_eq!(nowhere.status, 1);
}

#[test]
fn where_nothing_is_kept_it_is_said_who_keeps_it() {
    let nowhere = fingerprints(&["unknown", "--state-dir", "/nonexistent"]);
    assert_eq!((nowhere.status, nowhere.out.as_str()), (1, ""));
    let hint = "hint: `weighbridge watch -i IF` makes it";
    assert!(nowhere.err.contains(hint), "{}", nowhere.err);
}
