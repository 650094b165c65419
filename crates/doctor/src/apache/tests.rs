use std::net::IpAddr;

use super::*;
use crate::files::MemoryFiles;
use crate::finding::{Finding, Severity, State, Step};
use crate::fix;

/// A place where connections to some addresses are answered.
struct Place {
    answers: Vec<IpAddr>,
    addresses: Vec<IpAddr>,
    silent: Vec<IpAddr>,
    ipv6: bool,
    loopback: Option<bool>,
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| ip(text)).collect()
}

impl Place {
    /// A machine, or an ordinary container: everything is reached.
    fn ordinary(addresses: &[&str]) -> Self {
        let mut answers = ips(addresses);
        answers.extend(ips(&["0.0.0.0", "::"]));
        Self {
            answers,
            addresses: ips(addresses),
            silent: Vec::new(),
            ipv6: true,
            loopback: Some(true),
        }
    }

    /// A jail: its addresses are reached, the wildcard is not.
    fn jail(addresses: &[&str]) -> Self {
        Self {
            answers: ips(addresses),
            loopback: None,
            ..Self::ordinary(addresses)
        }
    }
}

impl Surroundings for Place {
    fn reach(&self, address: IpAddr) -> Probe {
        match address {
            address if address.is_ipv6() && !self.ipv6 => Probe::NoFamily,
            address if self.answers.contains(&address) => Probe::Answers,
            address if self.silent.contains(&address) => Probe::Silent,
            _ => Probe::Refused("Connection refused".to_owned()),
        }
    }

    fn addresses(&self) -> Vec<IpAddr> {
        self.addresses.clone()
    }

    fn addresses_of(&self, name: &str) -> Option<Result<Vec<IpAddr>, String>> {
        Some(match name {
            "jail.example.org" => Ok(ips(&["192.0.2.7"])),
            _ => Err("Name or service not known".to_owned()),
        })
    }

    fn loopback_up(&self) -> Option<bool> {
        self.loopback
    }

    fn name(&self) -> String {
        "this jail".to_owned()
    }
}

const MAIN: &str = "/etc/apache2/httpd.conf";

fn read_text(text: &str) -> Config {
    read(MAIN, &Server::default(), &MemoryFiles::of(&[(MAIN, text)]))
}

fn steps(text: &str, place: &Place) -> Vec<Step> {
    check(&read_text(text), None, place)
}

fn findings(text: &str, place: &Place) -> Vec<Finding> {
    let steps = steps(text, place);
    steps
        .iter()
        .flat_map(|step| step.findings().to_vec())
        .collect()
}

fn fixed(text: &str, place: &Place) -> String {
    let found = findings(text, place);
    let fix = found[0].fix.as_ref().unwrap();
    fix::apply(text, &fix.edits.iter().collect::<Vec<_>>()).unwrap()
}

#[test]
fn every_wildcard_of_the_article_is_found_in_a_jail_and_its_fix_leaves_quiet() {
    let jail = Place::jail(&["192.0.2.7"]);
    for line in [
        "Listen 80",
        "Listen *:80",
        "Listen 0.0.0.0:80",
        "Listen [::]:80",
    ] {
        let text = format!("ServerRoot /usr/local\n  {line}\n");
        let found = findings(&text, &jail);
        assert_eq!(found.len(), 1, "{line}");
        assert_eq!(
            (found[0].id, found[0].severity),
            ("apache/wildcard-listener", Severity::Warning)
        );
        assert_eq!(found[0].evidence[0].line, Some(2));
        let mended = fixed(&text, &jail);
        assert_eq!(mended, "ServerRoot /usr/local\n  Listen 192.0.2.7:80\n");
        assert!(findings(&mended, &jail).is_empty(), "{line}");
    }
}

#[test]
fn an_ordinary_container_is_left_alone() {
    let container = Place::ordinary(&["172.17.0.2"]);
    for line in [
        "Listen 80",
        "Listen 0.0.0.0:80",
        "Listen [::]:80",
        "Listen 172.17.0.2:80",
    ] {
        assert!(findings(line, &container).is_empty(), "{line}");
    }
}

#[test]
fn of_several_addresses_all_are_named_and_told_which_would_be_lost() {
    let jail = Place::jail(&["192.0.2.7", "192.0.2.8", "2001:db8::7"]);
    let found = findings("Listen 80 http\n", &jail);
    assert!(
        found[0].advice[0].contains("would be lost"),
        "{:?}",
        found[0].advice
    );
    assert!(found[0].advice[0].contains("alone 192.0.2.8, 2001:db8::7 would"));
    assert_eq!(
        fixed("Listen 80 http\n", &jail),
        "Listen 192.0.2.7:80 http\nListen 192.0.2.8:80 http\nListen [2001:db8::7]:80 http\n"
    );
    assert_eq!(
        fixed("Listen 0.0.0.0:80\n", &jail),
        "Listen 192.0.2.7:80\nListen 192.0.2.8:80\n"
    );
}

#[test]
fn where_only_the_loopback_of_ipv6_is_missing_the_advice_is_the_opposite() {
    let container = Place {
        answers: ips(&["0.0.0.0", "172.17.0.2"]),
        ..Place::ordinary(&["172.17.0.2"])
    };
    assert_eq!(fixed("Listen 80\n", &container), "Listen 0.0.0.0:80\n");
    assert!(findings("Listen 0.0.0.0:80\n", &container).is_empty());
}

#[test]
fn a_loopback_that_is_down_is_named_first_and_the_edit_is_said_to_be_half_a_cure() {
    let namespace = Place {
        answers: Vec::new(),
        silent: ips(&["10.0.0.5"]),
        loopback: Some(false),
        ..Place::ordinary(&["10.0.0.5"])
    };
    let found = findings("Listen 80\n", &namespace);
    assert!(found[0].advice[0].contains("ip link set dev lo up"));
    assert!(found[0].advice[1].contains("children are still not woken"));
    let mended = fixed("Listen 80\n", &namespace);
    assert_eq!(mended, "Listen 10.0.0.5:80\n");
    let after = findings(&mended, &namespace);
    assert_eq!((after.len(), after[0].severity), (1, Severity::Note));
}

#[test]
fn the_articles_advice_taken_to_the_letter_or_with_another_address_is_told() {
    let jail = Place::jail(&["192.0.2.7"]);
    let found = findings("Listen jail.ip.address.here:80\n", &jail);
    assert_eq!(
        (found[0].id, found[0].severity, found.len()),
        ("apache/unknown-name", Severity::Error, 1)
    );
    assert_eq!(
        found[0].message,
        "Listen jail.ip.address.here:80: jail.ip.address.here has no address (Name or service not \
         known)"
    );
    assert_eq!(
        found[0].advice,
        ["Name an address of this jail: Listen 192.0.2.7:80"]
    );
    assert!(findings("Listen jail.example.org:80\n", &jail).is_empty());
    let found = findings("Listen 192.0.2.70:80\n", &jail);
    assert_eq!(
        (found[0].id, found[0].severity),
        ("apache/unreachable-listener", Severity::Warning)
    );
    assert_eq!(
        found[0].advice,
        ["Name an address of this jail: Listen 192.0.2.7:80"]
    );
}

#[test]
fn the_first_plain_listener_is_the_one_that_counts() {
    let jail = Place::jail(&["192.0.2.7"]);
    assert!(findings("Listen 443\nListen 192.0.2.7:80\n", &jail).is_empty());
    assert_eq!(findings("Listen 443\n", &jail).len(), 1);
    assert_eq!(
        findings("Listen 192.0.2.7:443\nListen 80\n", &jail).len(),
        1
    );
}

#[test]
fn without_ipv6_a_port_alone_is_the_wildcard_of_ipv4() {
    let container = Place {
        ipv6: false,
        ..Place::ordinary(&["172.17.0.2"])
    };
    assert!(findings("Listen 80\n", &container).is_empty());
}

#[test]
fn what_was_not_tried_is_not_called_clean() {
    struct Nowhere;
    impl Surroundings for Nowhere {
        fn reach(&self, _: IpAddr) -> Probe {
            Probe::Unknown("no permission".to_owned())
        }
        fn addresses(&self) -> Vec<IpAddr> {
            Vec::new()
        }
        fn addresses_of(&self, _: &str) -> Option<Result<Vec<IpAddr>, String>> {
            None
        }
        fn loopback_up(&self) -> Option<bool> {
            None
        }
        fn name(&self) -> String {
            "it".to_owned()
        }
    }
    let named = check(&read_text("Listen jail.example.org:80"), None, &Nowhere);
    assert!(matches!(named[1].state, State::Unchecked(_)));
    let steps = check(&read_text("Listen 80"), None, &Nowhere);
    assert!(matches!(steps[1].state, State::Unchecked(_)));
}

#[test]
fn includes_conditions_and_variables_are_followed() {
    let files = MemoryFiles::of(&[
        (
            MAIN,
            "LoadModule ssl_module modules/mod_ssl.so\nLoadModule mpm_event_module m/mod_mpm_event.so\n\
             Define PORT 8080\nInclude ports.conf\nIncludeOptional sites/*.conf\nIncludeOptional none/*\n\
             <IfModule !ssl_module>\n<IfModule x>\nListen 1\n</IfModule>\nListen 2\n</IfModule>\n\
             <IFMODULE event.c>\nlisten 3\n</ifmodule>\n\
             <IfDefine PORT>\nListen 4\n</IfDefine>\n<IfVersion < 2.2>\nListen 5\n</IfVersion>\n\
             <IfVersion >= 2.4>\nListen 6\n</IfVersion>\n<IfFile ports.conf>\nListen 7\n</IfFile>\n",
        ),
        ("/etc/apache2/ports.conf", "Listen ${ADDRESS}:${PORT}\n"),
        (
            "/etc/apache2/sites/a.conf",
            "<VirtualHost *:8080 [2001:db8::1]:9 _default_:*>\n ServerName x\n</VirtualHost>\n",
        ),
    ]);
    let server = Server {
        environment: [("ADDRESS".to_owned(), "192.0.2.1".to_owned())].into(),
        ..Server::default()
    };
    let config = read(MAIN, &server, &files);
    assert_eq!(config.problems, []);
    let listens: Vec<String> = config.listens.iter().map(ToString::to_string).collect();
    assert_eq!(
        listens,
        [
            "Listen 192.0.2.1:8080",
            "Listen 3",
            "Listen 4",
            "Listen 6",
            "Listen 7"
        ]
    );
    assert_eq!(config.listens[0].place.file, "/etc/apache2/ports.conf");
    assert_eq!(
        config.virtual_hosts[0].addresses,
        [
            (Address::Any, Some(8080)),
            (Address::Ip(ip("2001:db8::1")), Some(9)),
            (Address::Any, None)
        ]
    );
}

#[test]
fn macros_are_used_and_their_lines_are_not_edited() {
    let text = "<Macro Port $p $pp>\nListen $pp$p\n</Macro>\nUse port 0 8\n";
    let jail = Place::jail(&["192.0.2.7"]);
    let found = findings(text, &jail);
    assert!(
        found[0].message.starts_with("Listen 80:"),
        "{}",
        found[0].message
    );
    assert!(found[0].fix.is_none());
}

#[test]
fn what_httpd_refuses_is_told_with_its_line() {
    let place = Place::ordinary(&["192.0.2.7"]);
    for (text, line, words) in [
        ("Listen 80\nListen 80", 2, "overlaps"),
        ("Listen 0.0.0.0:80\nListen 192.0.2.7:80", 2, "overlaps"),
        ("Listen 80\nListen x", 2, "a port from 1"),
        (
            "Listen 80\n<VirtualHost *:80>\nListen 81\n</VirtualHost>",
            3,
            "cannot stand in <virtualhost>",
        ),
        ("Listen 80\n<IfModule core.c>", 2, "never closed"),
        (
            "Listen 80\n<IfModule core.c>\n</IfDefine>",
            3,
            "</ifmodule> is expected",
        ),
        ("Listen 80\n</Directory>", 2, "closes nothing"),
        ("Listen 80\nInclude x/*.conf", 2, "no file matches"),
        ("Listen 80\nUse nothing", 2, "no macro"),
        ("Port 80\nListen 80", 1, "removed"),
    ] {
        let found = findings(text, &place);
        let told = found
            .iter()
            .any(|f| f.evidence[0].line == Some(line) && f.message.contains(words));
        assert!(told, "{text}: {found:?}");
    }
    let missing = read(MAIN, &Server::default(), &MemoryFiles::default());
    assert!(missing.problems[0].message.contains("cannot read"));
}

#[test]
fn virtual_hosts_without_a_listener_and_those_that_a_fix_would_lose_are_told() {
    let place = Place::ordinary(&["192.0.2.7"]);
    let text = "Listen 192.0.2.7:80\n<VirtualHost 192.0.2.8:80>\n</VirtualHost>\n\
                <VirtualHost *:8080>\n</VirtualHost>\n<VirtualHost 192.0.2.7>\n</VirtualHost>\n";
    let found = findings(text, &place);
    let lines: Vec<_> = found.iter().map(|f| f.evidence[0].line).collect();
    assert_eq!(lines, [Some(2), Some(4)]);
    let jail = Place::jail(&["192.0.2.7"]);
    let found = findings(
        "Listen 80\n<VirtualHost 192.0.2.9:80>\n</VirtualHost>\n",
        &jail,
    );
    assert!(
        found[0]
            .advice
            .iter()
            .any(|a| a.contains("none of these addresses reaches it"))
    );
}

#[test]
fn files_that_include_themselves_come_to_an_end() {
    let config = read_text("Include httpd.conf\nInclude httpd.conf\nListen 80\n");
    assert!(
        config
            .problems
            .iter()
            .any(|p| p.message.contains("includes itself"))
    );
    assert_eq!(config.listens.len(), 1);
    let config = read_text("<Macro m>\nUse m\nUse m\n</Macro>\nUse m\n");
    assert!(
        config
            .problems
            .iter()
            .any(|p| p.message.contains("uses itself"))
    );
}

#[test]
fn a_log_alone_is_enough_and_a_log_with_its_configuration_is_evidence() {
    let log = Log::read(b"(61)Connection refused: connect to listener on 0.0.0.0:80\n");
    let step = check_log("error.log", &log, Some(ip("192.0.2.7")));
    let found = &step.findings()[0];
    assert!(
        found.advice[0].ends_with("Listen 192.0.2.7:80"),
        "{:?}",
        found.advice
    );
    assert!(found.why.contains("jail"));
    assert!(!check_log("error.log", &Log::default(), None).is_faulty());
    let jail = Place::jail(&["192.0.2.7"]);
    let steps = check(&read_text("Listen 80"), Some(("error.log", &log)), &jail);
    assert_eq!(steps[1].findings()[0].evidence[1].file, "error.log");
    // The messages of yesterday are no fault of today.
    let steps = check(
        &read_text("Listen 192.0.2.7:80"),
        Some(("error.log", &log)),
        &jail,
    );
    assert!(steps.iter().all(|step| !step.is_faulty()));
}
