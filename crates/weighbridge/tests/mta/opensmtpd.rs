//! Debian's `OpenSMTPD` with the filter.

use std::time::Duration;

use crate::machine::{Machine, header};
use crate::recipe::{ODD, PLAIN, Recipe, forged};
use crate::smtp::Mail;

/// `OpenSMTPD` with the recipe of docs/mail.md.
const SCRIPT: &str = r#"
printf 'opensmtpd:x:994:994::/var/empty:/bin/false\nopensmtpq:x:995:995::/var/empty:/bin/false\nbob:x:1993:1993::%s/bob:/bin/sh\n' "$DIRECTORY" >>/etc/passwd
printf 'opensmtpd:x:994:\nopensmtpq:x:995:\nbob:x:1993:\n' >>/etc/group
printf 'bob:*:19000:0:99999:7:::\n' >>/etc/shadow
mkdir -p "$DIRECTORY/bob" /var/spool/smtpd /var/empty /run/weighbridge
chmod 711 /var/spool/smtpd
chown 1993:1993 "$DIRECTORY/bob"
ln -s "$DIRECTORY/os.sock" /run/weighbridge/os.sock
cp "$WEIGHBRIDGE" /usr/local/sbin/weighbridge
echo 'nameserver 127.0.0.1' >/etc/resolv.conf
echo mx.example >/etc/mailname
: >/etc/aliases
cat >/etc/smtpd.conf <<END
filter os proc-exec "/usr/local/sbin/weighbridge filter opensmtpd"
filter no phase rcpt-to match rcpt-to { "refused@mx.example" } reject "550 5.7.1 a filter refuses"
filter all chain { os, no }
listen on 10.99.0.1 filter all
action "local" maildir
match from any for domain "mx.example" action "local"
END
exec smtpd -d
"#;
/// It asks once, and waits for a second.
const OPENSMTPD: Recipe = Recipe {
    taken: "250 2.0.0",
    soon: Duration::from_secs(6),
};

/// The forged header has a second line.
fn folded<'m>(to: &'m str, subject: &'m str) -> Mail<'m> {
    Mail {
        head: "X-OS-Fingerprint: Forged\r\n folded\r\n",
        ..forged(to, subject)
    }
}

#[test]
fn opensmtpd_with_the_filter_has_the_header_reports_and_goes_on_alone() {
    let Some(mut machine) = Machine::start("opensmtpd", "opensmtpd", SCRIPT) else {
        return;
    };
    for message in OPENSMTPD.marks(&machine, folded) {
        assert!(!message.contains("folded"), "{message}");
    }
    let relayed = machine.send(ODD, &folded("somebody@elsewhere.example", "three"));
    assert!(relayed.starts_with("550 "), "{relayed}");
    // smtpd tells of no recipient that another filter has refused, only of what that filter said.
    let refused = machine.send(ODD, &folded("refused@mx.example", "four"));
    assert!(refused.starts_with("550 5.7.1 a filter"), "{refused}");
    // The filter tells of it by itself.
    let lines = [machine.line(PLAIN, "0,0,"), machine.line(ODD, "2,0,")];
    machine.until_reported(&lines[1]);

    machine.reports(&lines);

    for message in OPENSMTPD.goes_on_alone(&mut machine, folded) {
        let told = header(&message, "X-OS-Fingerprint");
        assert_eq!(told, Some("Unknown"), "{message}");
    }
}
