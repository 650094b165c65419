//! What needs no program and no privilege.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use weighbridge::doctor::execute;

use super::command::{Ran, parsed, ran};

fn doctor(arguments: &[&str]) -> Ran {
    ran(|output| execute(&parsed(arguments), output))
}

#[test]
fn the_articles_log_is_explained_and_names_the_address() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("error_log");
    fs::write(
        &log,
        "(61)Connection refused: connect to listener on 0.0.0.0:80\n",
    )
    .expect("written");
    let log = log.to_str().expect("UTF-8");
    let ran = doctor(&["apache", "--error-log", log, "--address", "192.0.2.7"]);
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(ran.out.contains("Listen 192.0.2.7:80"), "{}", ran.out);
    assert!(
        ran.out
            .contains(&format!("{log}:1: (61)Connection refused")),
        "{}",
        ran.out
    );
}

#[test]
fn a_log_that_is_named_is_told_beside_a_configuration_that_works_here() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (log, config) = (path("error_log"), path("httpd.conf"));
    fs::write(
        &log,
        "(61)Connection refused: connect to listener on 0.0.0.0:80\n",
    )
    .expect("written");
    fs::write(&config, "Listen 127.0.0.1:80\n").expect("written");
    let of_config = ["apache", "--httpd-config", config.as_str()];
    let ran = doctor(&of_config);
    assert_eq!((ran.status, ran.out.as_str()), (0, ""));
    let of_both = [&of_config[..], &["--error-log", log.as_str()]].concat();
    let ran = doctor(&of_both);
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(
        ran.out
            .contains(&format!("{log}:1: (61)Connection refused")),
        "{}",
        ran.out
    );
    fs::write(&config, "Listen jail.ip.address.here:80\n").expect("written");
    let ran = doctor(&of_config);
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(
        ran.out
            .starts_with("error: apache/unknown-name: Listen jail.ip.address.here:80: "),
        "{}",
        ran.out
    );
}

#[test]
fn nothing_is_said_where_nothing_is_wrong() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("error_log");
    fs::write(
        &log,
        "[notice] Apache configured -- resuming normal operations\n",
    )
    .expect("written");
    let ran = doctor(&["apache", "--error-log", log.to_str().expect("UTF-8")]);
    assert_eq!(
        (ran.status, ran.out.as_str(), ran.err.as_str()),
        (0, "", "")
    );
    let rules = directory.path().join("pf.conf");
    fs::write(&rules, "pass in on em0\n").expect("written");
    let ran = doctor(&[
        "pf",
        "--rules",
        rules.to_str().expect("UTF-8"),
        "--config",
        "/nonexistent",
    ]);
    assert_eq!((ran.status, ran.out.as_str()), (0, ""));
}

#[test]
fn the_normal_machine_of_this_test_reaches_its_listener() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("httpd.conf");
    fs::write(&config, "Listen 0.0.0.0:80\n").expect("written");
    let ran = doctor(&["apache", "--httpd-config", config.to_str().expect("UTF-8")]);
    assert_eq!((ran.status, ran.out.as_str()), (0, ""), "{ran:?}");
}

#[test]
fn a_fix_is_shown_made_and_backed_up_and_leaves_quiet() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("krb5.conf");
    let text = "[libdefaults]\n  default_realm = MYREALM\n[domainrealm]\n  .example.org = MYREALM\n[gssapi]\n  broken_des3_mic = host/*@MYREALM\n";
    fs::write(&config, text).expect("written");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o640)).expect("mode");
    let name = config.to_str().expect("UTF-8");
    let arguments = [
        "kerberos",
        "--krb5-config",
        name,
        "--keytab",
        "/nonexistent",
        "--library",
        "heimdal-7.8.0",
        "--host",
        "a.invalid",
    ];
    let ran = doctor(&[&arguments[..], &["--fix", "--yes"]].concat());
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(
        ran.out.contains("-[domainrealm]\n+[domain_realm]\n"),
        "{}",
        ran.out
    );
    assert!(
        ran.out.contains("+    correct_des3_mic = host/*@MYREALM\n"),
        "{}",
        ran.out
    );
    let mended = fs::read_to_string(&config).expect("read");
    assert!(
        mended.contains("[gssapi]\n    correct_des3_mic = host/*@MYREALM\n"),
        "{mended}"
    );
    let backup = directory.path().join("krb5.conf.doctor-backup");
    assert_eq!(fs::read_to_string(&backup).expect("read"), text);
    for file in [&config, &backup] {
        assert_eq!(
            fs::metadata(file).expect("metadata").permissions().mode() & 0o777,
            0o640
        );
    }
    let again = doctor(&arguments);
    assert!(
        !again.out.contains("kerberos/des3-mic") && !again.out.contains("kerberos/krb5-conf"),
        "{}",
        again.out
    );
}

#[test]
fn findings_are_told_to_programs_with_their_edits() {
    let directory = tempfile::tempdir().expect("a directory");
    let rules = directory.path().join("pf.conf");
    fs::write(&rules, "pass quick all\nblock in on em0\n").expect("written");
    let name = rules.to_str().expect("UTF-8");
    let ran = doctor(&["pf", "--rules", name, "--config", "/nonexistent", "--json"]);
    assert_eq!(ran.status, 1, "{ran:?}");
    let value: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(value["status"], 1);
    let check = &value["checks"][0];
    assert_eq!(
        (check["check"].as_str(), check["state"].as_str()),
        (Some("pf/rules"), Some("findings"))
    );
    let finding = &check["result"][0];
    assert_eq!(finding["severity"], "warning");
    assert_eq!(finding["evidence"][0]["line"], 2);
}

#[test]
fn what_is_asked_for_by_name_and_is_not_there_could_not_be_checked() {
    let ran = doctor(&["pf", "--config", "/nonexistent"]);
    assert_eq!(ran.status, 2);
    assert!(ran.out.contains("pf: not here"), "{}", ran.out);
    let ran = doctor(&["kerberos", "--library", "shishi"]);
    assert_eq!(ran.status, 2);
    assert!(ran.err.contains("use mit, heimdal"), "{}", ran.err);
    let ran = doctor(&["apache", "--error-log", "/nonexistent/log"]);
    assert_eq!(ran.status, 2);
}

#[test]
fn a_krb5_conf_without_a_key_is_looked_at_only_when_kerberos_is_asked_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("krb5.conf");
    fs::write(&config, "[libdefaults\n").expect("written");
    let rest = [
        "--krb5-config",
        config.to_str().expect("UTF-8"),
        "--keytab",
        "/nonexistent",
        "--library",
        "mit",
        "--host",
        "a.invalid",
        "--config",
        "/nonexistent",
    ];
    let all = doctor(&[&["all"], &rest[..]].concat());
    assert!(!all.out.contains("kerberos/"), "{}", all.out);
    let asked = doctor(&[&["kerberos"], &rest[..]].concat());
    assert_eq!(asked.status, 1);
    assert!(
        asked.out.contains("krb5.conf:1: [libdefaults"),
        "{}",
        asked.out
    );
}

#[test]
fn two_edits_of_one_line_are_made_one_after_the_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("krb5.conf");
    let text = "[gssapi]\ncorrect_des_mic = host/*@R # x\n";
    fs::write(&config, text).expect("written");
    let arguments = [
        "kerberos",
        "--krb5-config",
        config.to_str().expect("UTF-8"),
        "--keytab",
        "/nonexistent",
        "--library",
        "heimdal-7.8",
        "--host",
        "a.invalid",
        "--fix",
        "--yes",
    ];
    let first = doctor(&arguments);
    assert!(first.err.contains("run again"), "{first:?}");
    doctor(&arguments);
    let mended = fs::read_to_string(&config).expect("read");
    assert_eq!(mended, "[gssapi]\ncorrect_des3_mic = host/*@R\n");
}

#[test]
fn a_log_of_sshd_alone_names_the_side_to_mend() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("debug.log");
    fs::write(
        &log,
        "Connection from 192.0.2.9 port 4 on 192.0.2.1 port 2222\nGSSAPI MIC check failed\n",
    )
    .expect("written");
    let ran = doctor(&[
        "kerberos",
        "--sshd-log",
        log.to_str().expect("UTF-8"),
        "--krb5-config",
        "/nonexistent",
        "--keytab",
        "/nonexistent",
    ]);
    assert_eq!(ran.status, 1);
    let words = ran.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.contains("add to 192.0.2.9's krb5.conf, not to this machine's"),
        "{words}"
    );
    assert!(words.contains("RFC 8429"), "{words}");
}
