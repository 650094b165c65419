use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::*;
use crate::Report;
use crate::files::MemoryFiles;
use crate::finding::{Finding, Severity, State, Step};
use crate::fix;

/// 2026-11-28 02:54:24.25 UTC, which the KDC says too.
const NOW: i64 = 1_795_834_464_250_000;
const KDC_TIME: &str = "20261128025424Z";

/// A network without a fault; each field breaks one thing.
struct World {
    host: String,
    addresses: BTreeMap<String, Vec<IpAddr>>,
    names: BTreeMap<IpAddr, String>,
    servers: Vec<(String, u16)>,
    clock: i64,
    /// What the KDC says of the host; an empty message is silence.
    host_key: Vec<u8>,
    answers_tcp: bool,
    answers_udp: bool,
    ticket: Ticket,
    own: Vec<IpAddr>,
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

impl Default for World {
    fn default() -> Self {
        Self {
            host: "a.example.org".into(),
            addresses: [
                ("a.example.org".to_owned(), vec![ip("192.0.2.1")]),
                ("kdc.example.org".to_owned(), vec![ip("192.0.2.88")]),
            ]
            .into(),
            names: [(ip("192.0.2.1"), "a.example.org".to_owned())].into(),
            servers: Vec::new(),
            clock: NOW,
            host_key: message::tests::error(25, KDC_TIME, &[18, 17]),
            answers_tcp: true,
            answers_udp: true,
            ticket: Ticket::Granted(Some(3)),
            own: vec![ip("192.0.2.1")],
        }
    }
}

impl Surroundings for World {
    fn host_name(&self) -> Result<String, String> {
        Ok(self.host.clone())
    }

    fn addresses_of(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        self.addresses
            .get(name)
            .cloned()
            .ok_or_else(|| "not found".to_owned())
    }

    fn name_of(&self, address: IpAddr) -> Result<String, String> {
        self.names
            .get(&address)
            .cloned()
            .ok_or_else(|| "not found".to_owned())
    }

    fn servers_of(&self, service: &str) -> Result<Vec<(String, u16)>, String> {
        assert!(service.ends_with(".MYREALM"));
        Ok(self.servers.clone())
    }

    fn ask(
        &self,
        server: SocketAddr,
        transport: Transport,
        request: &[u8],
    ) -> Result<Answer, String> {
        assert_eq!(server.to_string(), "192.0.2.88:88");
        let answers = match transport {
            Transport::Udp => self.answers_udp,
            Transport::Tcp => self.answers_tcp,
        };
        let nobody = Principal::parse("weighbridge-doctor@MYREALM");
        let bytes = if request
            == as_request(
                &nobody,
                &Principal::service("krbtgt", "MYREALM", "MYREALM"),
                1,
            ) {
            message::tests::error(6, KDC_TIME, &[])
        } else {
            self.host_key.clone()
        };
        if answers {
            Ok(Answer {
                bytes,
                at: self.clock,
            })
        } else {
            Err("connection refused".to_owned())
        }
    }

    fn nonce(&self) -> u32 {
        1
    }

    fn ticket(&self, _: &str, principal: &str) -> Ticket {
        assert_eq!(principal, "host/a.example.org@MYREALM");
        self.ticket.clone()
    }

    fn addresses(&self) -> Vec<IpAddr> {
        self.own.clone()
    }
}

const CONF: &str = "\
[libdefaults]
    default_realm = MYREALM
[realms]
    MYREALM = {
        kdc = kdc.example.org
    }
";

fn files(conf: &str, keys: &[(&str, u32, i32)]) -> MemoryFiles {
    let mut files = MemoryFiles::of(&[
        ("/etc/krb5.conf", conf),
        ("/etc/ssh/sshd_config", "GSSAPIAuthentication yes\n"),
    ]);
    if !keys.is_empty() {
        files
            .0
            .insert("/etc/krb5.keytab".into(), keytab::tests::keytab(keys));
    }
    files
}

fn subject(library: &str) -> Subject {
    Subject {
        implementation: Implementation::parse(library),
        configuration: "/etc/krb5.conf".into(),
        keytab: "/etc/krb5.keytab".into(),
        sshd_config: "/etc/ssh/sshd_config".into(),
        host: None,
        sshd_log: None,
    }
}

const AES: &[(&str, u32, i32)] = &[
    ("host/a.example.org@MYREALM", 3, 18),
    ("host/a.example.org@MYREALM", 3, 17),
];
const DES3: &[(&str, u32, i32)] = &[("host/a.example.org@MYREALM", 3, 16)];

fn steps(library: &str, files: &MemoryFiles, world: &World) -> Vec<Step> {
    check(&subject(library), files, world)
}

fn found(steps: &[Step]) -> Vec<(&'static str, Severity)> {
    let findings = steps.iter().flat_map(Step::findings);
    findings
        .map(|finding| (finding.id, finding.severity))
        .collect()
}

fn finding(steps: &[Step], id: &str) -> Finding {
    let mut findings = steps.iter().flat_map(Step::findings);
    findings
        .find(|finding| finding.id == id)
        .unwrap_or_else(|| panic!("{id}: {steps:#?}"))
        .clone()
}

#[test]
fn a_sound_realm_is_left_in_peace_by_every_library_and_the_order_is_the_articles() {
    for library in ["mit", "heimdal-7.8.0", "heimdal-0.6.3"] {
        let steps = steps(library, &files(CONF, AES), &World::default());
        assert_eq!(found(&steps), [], "{library}");
        let order: Vec<&str> = steps.iter().map(|step| step.check).collect();
        assert_eq!(
            order,
            [
                "kerberos/name",
                "kerberos/dns",
                "kerberos/realm",
                "kerberos/kdc",
                "kerberos/clock",
                "kerberos/configuration",
                "kerberos/keytab",
                "kerberos/ticket",
                "kerberos/sshd",
                "kerberos/des3-mic"
            ]
        );
        assert_eq!(Report { steps }.status(true), 0);
    }
}

#[test]
fn a_machine_without_kerberos_is_no_fault() {
    let steps = check(&subject("mit"), &MemoryFiles::default(), &World::default());
    assert!(matches!(steps[0].state, State::Absent(_)));
}

#[test]
fn each_fault_is_named_at_its_step() {
    type Break = fn(&mut World);
    let cases: [(&str, Break); 11] = [
        ("kerberos/host-name", |w| w.host = "localhost".into()),
        ("kerberos/host-name", |w| w.host = "A.example.org".into()),
        ("kerberos/no-address", |w| {
            drop(w.addresses.remove("a.example.org"));
        }),
        ("kerberos/loopback-name", |w| {
            w.addresses
                .insert("a.example.org".into(), vec![ip("127.0.1.1")]);
        }),
        ("kerberos/reverse-name", |w| {
            drop(w.names.insert(ip("192.0.2.1"), "b.example.org".into()));
        }),
        ("kerberos/reverse-name", |w| w.names.clear()),
        ("kerberos/kdc-unreachable", |w| w.answers_tcp = false),
        ("kerberos/clock-skew", |w| w.clock = NOW - 301_000_000),
        ("kerberos/principal-unknown", |w| {
            w.host_key = message::tests::error(6, KDC_TIME, &[]);
        }),
        ("kerberos/keytab-stale", |w| {
            w.host_key = message::tests::error(25, KDC_TIME, &[16]);
        }),
        ("kerberos/no-ticket", |w| {
            w.ticket = Ticket::Refused("Preauthentication failed".into());
        }),
    ];
    for (id, break_it) in cases {
        let mut world = World::default();
        break_it(&mut world);
        let steps = steps("mit", &files(CONF, AES), &world);
        assert_eq!(
            found(&steps).iter().filter(|(i, _)| *i == id).count(),
            1,
            "{id} {steps:#?}"
        );
        assert_eq!(found(&steps).len(), 1, "{id} {steps:#?}");
    }
}

#[test]
fn a_short_host_name_is_completed_by_dns() {
    let mut world = World {
        host: "a".into(),
        ..World::default()
    };
    world.addresses.insert("a".into(), vec![ip("192.0.2.1")]);
    assert_eq!(found(&steps("mit", &files(CONF, AES), &world)), []);
}

#[test]
fn a_clock_within_the_limit_is_left_alone_and_the_limit_is_the_configurations() {
    let with = |clock| World {
        clock,
        ..World::default()
    };
    let strict = CONF.replace("[realms]", "clockskew = 20\n[realms]");
    assert_eq!(
        found(&steps("mit", &files(CONF, AES), &with(NOW + 100_000_000))),
        []
    );
    let late = steps("mit", &files(&strict, AES), &with(NOW + 21_000_000));
    let late = finding(&late, "kerberos/clock-skew");
    assert!(late.message.contains("21 s ahead"), "{}", late.message);
    let half = steps("mit", &files(CONF, AES), &with(NOW - 200_000_000));
    assert_eq!(found(&half), [("kerberos/clock-skew", Severity::Warning)]);
}

#[test]
fn a_kdc_is_found_in_dns_and_its_absence_told() {
    let conf = "[libdefaults]\ndefault_realm = MYREALM\n";
    let dns = World {
        servers: vec![("kdc.example.org".into(), 88)],
        ..World::default()
    };
    assert_eq!(found(&steps("mit", &files(conf, AES), &dns)), []);
    let nowhere = steps("mit", &files(conf, AES), &World::default());
    assert_eq!(found(&nowhere), [("kerberos/no-kdc", Severity::Error)]);
}

#[test]
fn a_key_of_another_version_than_the_kdcs_is_told_from_a_ticket_and_from_an_answer() {
    let ticket = World {
        ticket: Ticket::Granted(Some(4)),
        ..World::default()
    };
    let steps_ = steps("mit", &files(CONF, AES), &ticket);
    assert!(
        finding(&steps_, "kerberos/keytab-stale")
            .message
            .contains("version 3, the KDC's 4")
    );
    let answer = World {
        host_key: message::tests::ticket(18, 5),
        ..World::default()
    };
    let steps_ = steps("mit", &files(CONF, AES), &answer);
    assert!(
        finding(&steps_, "kerberos/keytab-stale")
            .message
            .contains("the KDC's 5")
    );
}

#[test]
fn a_keytab_without_the_hosts_key_says_what_it_has() {
    let steps = steps(
        "mit",
        &files(CONF, &[("host/b.example.org@MYREALM", 1, 18)]),
        &World::default(),
    );
    let finding = finding(&steps, "kerberos/keytab-principal");
    assert_eq!(
        finding.evidence[0].text,
        "it has host/b.example.org@MYREALM"
    );
}

#[test]
fn krb5_conf_with_faults_is_mended_line_by_line() {
    let conf = format!("{CONF}[domainrealm]\n    .example.org = MYREALM\n");
    let steps = steps("mit", &files(&conf, AES), &World::default());
    let finding = finding(&steps, "kerberos/krb5-conf");
    let edits = finding.fix.unwrap().edits;
    let mended = fix::apply(&conf, &edits.iter().collect::<Vec<_>>()).unwrap();
    assert!(mended.ends_with("[domain_realm]\n    .example.org = MYREALM\n"));
}

#[test]
fn weak_encryption_is_never_advised_and_told_where_it_is_on() {
    let conf = CONF.replace(
        "[realms]",
        "allow_weak_crypto = true\npermitted_enctypes = des3-cbc-sha1 rc4\n[realms]",
    );
    let steps = steps("mit", &files(&conf, AES), &World::default());
    assert_eq!(
        found(&steps),
        [
            ("kerberos/weak-encryption", Severity::Warning),
            ("kerberos/no-strong-encryption", Severity::Warning)
        ]
    );
    for finding in steps.iter().flat_map(Step::findings) {
        assert!(
            !finding
                .advice
                .iter()
                .any(|advice| advice.contains("allow_weak_crypto"))
        );
    }
}

fn des3_world() -> World {
    World {
        host_key: message::tests::error(25, KDC_TIME, &[16]),
        ..World::default()
    }
}

#[test]
fn the_old_sender_gets_the_line_and_is_quiet_with_it() {
    let files_before = files(CONF, DES3);
    let before = steps("heimdal-0.6.3", &files_before, &des3_world());
    let found_before = finding(&before, "kerberos/des3-mic");
    assert_eq!(found_before.severity, Severity::Error);
    assert!(found_before.advice[0].contains("RFC 8429"));
    let edits = found_before.fix.unwrap().edits;
    let mended = fix::apply(CONF, &edits.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(
        mended,
        format!("{CONF}[gssapi]\n    correct_des3_mic = host/*@MYREALM\n")
    );
    let after = steps("heimdal-0.6.3", &files(&mended, DES3), &des3_world());
    assert_eq!(
        found(&after),
        [("kerberos/keytab-encryption", Severity::Warning)]
    );
}

#[test]
fn broken_des3_mic_on_a_new_heimdal_is_the_same_fault_and_a_section_that_is_there_is_used() {
    let conf = format!("{CONF}[gssapi]\n    broken_des3_mic = host/*@MYREALM\n");
    let before = steps("heimdal-7.8.0", &files(&conf, &[]), &World::default());
    let mic = finding(&before, "kerberos/des3-mic");
    assert_eq!(mic.evidence[0].line, Some(8));
    let edits = mic.fix.unwrap().edits;
    let mended = fix::apply(&conf, &edits.iter().collect::<Vec<_>>()).unwrap();
    assert!(mended.contains("[gssapi]\n    correct_des3_mic = host/*@MYREALM\n    broken"));
    assert_eq!(
        found(&steps(
            "heimdal-7.8.0",
            &files(&mended, &[]),
            &World::default()
        )),
        []
    );
    // With AES keys no session has such a MIC.
    assert_eq!(
        found(&steps(
            "heimdal-7.8.0",
            &files(&conf, AES),
            &World::default()
        )),
        []
    );
}

#[test]
fn a_library_that_is_too_old_for_the_line_is_told_so() {
    let old = steps("heimdal-0.5.3", &files(CONF, DES3), &des3_world());
    let finding = finding(&old, "kerberos/des3-mic-for-good");
    assert!(finding.fix.is_none() && finding.advice[1].contains("Upgrade"));
}

#[test]
fn the_line_on_the_wrong_machine_is_told_to_change_nothing() {
    let conf = format!("{CONF}[gssapi]\n    correct_des3_mic = host/*@MYREALM\n");
    for library in ["mit", "heimdal-7.8.0"] {
        let steps = steps(library, &files(&conf, AES), &World::default());
        assert_eq!(
            found(&steps),
            [("kerberos/des3-mic-no-effect", Severity::Note)]
        );
    }
}

#[test]
fn the_log_of_the_article_names_the_client_as_the_side_to_mend() {
    let mut subject = subject("mit");
    let log = SshdLog::read(
        b"Connection from 192.0.2.7 port 4 on 192.0.2.1 port 22\nGSSAPI MIC check failed\n",
    );
    subject.sshd_log = Some(("sshd.log".into(), log));
    let steps = check(&subject, &files(CONF, DES3), &des3_world());
    let finding = finding(&steps, "kerberos/des3-mic");
    assert!(finding.message.contains("192.0.2.7"));
    assert!(finding.advice[0].starts_with("First and best"));
    assert!(finding.advice[1].contains("192.0.2.7's krb5.conf, not to this machine's"));
    assert!(finding.fix.is_none());
    assert_eq!(finding.evidence[0].line, Some(2));
}
