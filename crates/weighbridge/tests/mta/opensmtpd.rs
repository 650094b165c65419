//! Debian's `OpenSMTPD` with the filter.

use std::time::Duration;

use lab::clock;

use crate::machine::{Away, Machine, header};
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
listen on 10.99.0.1 filter os
action "local" maildir
match from any for domain "mx.example" action "local"
END
exec smtpd -d
"#;
/// How long mail may take when nobody answers.
const SOON: Duration = Duration::from_secs(6);

fn mail<'m>(to: &'m str, subject: &'m str) -> Mail<'m> {
    Mail {
        to,
        subject,
        head: "X-OS-Fingerprint: Forged\r\n folded\r\n",
        text: "Hello",
    }
}

#[test]
fn opensmtpd_with_the_filter_has_the_header_reports_and_goes_on_alone() {
    let Some(mut machine) = Machine::start("opensmtpd", "opensmtpd", SCRIPT) else {
        return;
    };
    let (plain, odd) = (0, 1);
    for (host, subject, os) in [(plain, "one", "Plain Linux"), (odd, "two", "Odd one")] {
        let answer = machine.send(host, &mail("bob@mx.example", subject));
        assert!(
            answer.starts_with("250 2.0.0"),
            "{answer}: {}",
            machine.log()
        );
        let message = machine.delivered(subject);
        let told = header(&message, "X-OS-Fingerprint");
        let wanted = format!("{os} (exact");
        assert!(
            told.is_some_and(|told| told.starts_with(&wanted)),
            "{message}"
        );
        assert!(!message.contains("folded"), "{message}");
    }
    let relayed = machine.send(odd, &mail("somebody@elsewhere.example", "three"));
    assert!(relayed.starts_with("550 "), "{relayed}");
    clock::pause(Duration::from_millis(500));

    let report = machine.report();
    assert!(report.contains("\r\nPlain Linux,1,0,0,"), "{report}");
    assert!(report.contains("\r\nOdd one,1,1,0,"), "{report}");

    for (away, subject) in [(Away::Killed, "five"), (Away::Silent, "six")] {
        machine.lose_daemon(away);
        let began = clock::now();
        let answer = machine.send(plain, &mail("bob@mx.example", subject));
        assert!(answer.starts_with("250 2.0.0"), "{away:?}: {answer}");
        assert!(began.elapsed() < SOON, "{away:?}: {:?}", began.elapsed());
        let message = machine.delivered(subject);
        assert_eq!(
            header(&message, "X-OS-Fingerprint"),
            Some("Unknown"),
            "{message}"
        );
    }
}
