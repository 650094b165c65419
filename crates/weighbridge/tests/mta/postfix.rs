//! Debian's Postfix with the milter.

use std::time::Duration;

use crate::follow::follow;
use crate::machine::{Machine, header};
use crate::recipe::{ODD, PLAIN, Recipe, forged};
use crate::smtp::Mail;

/// Postfix with the recipe of docs/mail.md.
const SCRIPT: &str = r#"
printf 'postfix:x:994:994::/var/spool/postfix:/bin/false\nbob:x:1993:1993::%s/bob:/bin/sh\n' "$DIRECTORY" >>/etc/passwd
printf 'postfix:x:994:\npostdrop:x:995:\nbob:x:1993:\n' >>/etc/group
mkdir -p "$DIRECTORY/bob" /var/lib/postfix /var/spool/postfix
chown 1993:1993 "$DIRECTORY/bob"
chown 994:994 /var/lib/postfix
echo 'nameserver 127.0.0.1' >/etc/resolv.conf
: >/etc/aliases
cp /usr/share/postfix/master.cf.dist /etc/postfix/master.cf
cp /usr/share/postfix/dynamicmaps.cf /etc/postfix/
echo 'postlog unix-dgram n - n - 1 postlogd' >>/etc/postfix/master.cf
cat >/etc/postfix/main.cf <<END
compatibility_level = 3.6
myhostname = mx.example
mydestination = mx.example
mynetworks = 127.0.0.0/8
inet_interfaces = 10.99.0.1
inet_protocols = ipv4
alias_maps =
home_mailbox = Maildir/
smtpd_peername_lookup = no
biff = no
maillog_file = /dev/stdout
smtpd_milters = inet:127.0.0.1:9999
milter_default_action = accept
milter_connect_timeout = 2s
milter_command_timeout = 2s
END
postfix set-permissions create-missing 2>/dev/null || true
exec postfix start-fg
"#;
/// It waits for the recipe's time-outs.
const POSTFIX: Recipe = Recipe {
    taken: "250 2.0.0 Ok",
    soon: Duration::from_secs(6),
};

#[test]
fn the_log_of_postfix_tells_what_became_of_messages() {
    let script = SCRIPT.replace(
        "smtpd_milters = inet:127.0.0.1:9999",
        "smtpd_client_port_logging = yes",
    );
    let Some(mut machine) = Machine::start("postfix_log", "postfix", &script) else {
        return;
    };
    for (host, subject) in [(PLAIN, "one"), (ODD, "two")] {
        POSTFIX.taken(&machine, host, &forged("bob@mx.example", subject));
    }
    let unknown = machine.send(ODD, &forged("nobody-here@mx.example", "three"));
    assert!(unknown.starts_with("550 "), "{unknown}");
    let relayed = machine.send(ODD, &forged("somebody@elsewhere.example", "four"));
    assert!(relayed.starts_with("454 "), "{relayed}");

    machine.until_logged("server.log", &[("status=sent", 2), ("reject: RCPT", 2)]);
    let log = machine.log();
    for _ in 0..2 {
        // The second time there is nothing new.
        follow(&machine, "postfix", "server.log");
    }
    let report = machine.report();
    assert!(report.contains("\r\nPlain Linux,1,0,0,"), "{report}{log}");
    assert!(report.contains("\r\nOdd one,1,1,1,"), "{report}{log}");
}

/// Postfix sends a header whole, however long it is (`header_size_limit`, 102,400), and goes on without a
/// filter that does not take it: with the forged header.
fn a_long_header_saves_no_forged_one(machine: &Machine) {
    let folded = format!("\r\n {}", "x".repeat(900)).repeat(80);
    let head = format!("X-Long: y{folded}\r\nX-OS-Fingerprint: Forged\r\n");
    let mut last = String::new();
    // A daemon that is held up is too late for the server.
    for number in 0..5 {
        let subject = format!("long {number}");
        let long = Mail {
            head: &head,
            ..forged("bob@mx.example", &subject)
        };
        POSTFIX.taken(machine, PLAIN, &long);
        last = machine.delivered(&subject);
        if header(&last, "X-OS-Fingerprint").is_some_and(|told| told.starts_with("Plain Linux")) {
            return;
        }
    }
    panic!("{last}");
}

#[test]
fn postfix_with_the_milter_has_the_header_reports_and_goes_on_alone() {
    let Some(mut machine) = Machine::start("postfix", "postfix", SCRIPT) else {
        return;
    };
    POSTFIX.marks(&machine, forged);
    a_long_header_saves_no_forged_one(&machine);
    let relayed = machine.send(ODD, &forged("somebody@elsewhere.example", "three"));
    assert!(
        relayed.starts_with("454 ") || relayed.starts_with("554 "),
        "{relayed}"
    );

    let lines = [machine.line(PLAIN, "0,0,"), machine.line(ODD, "")];
    machine.reports(&lines);

    POSTFIX.goes_on_alone(&mut machine, forged);
}
