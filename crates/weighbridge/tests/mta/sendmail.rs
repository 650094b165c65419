//! Debian's Sendmail with the milter.

use std::time::Duration;

use crate::machine::Machine;
use crate::recipe::{ODD, PLAIN, Recipe, forged};

/// Sendmail with the recipe of docs/mail.md. Without aliases it would queue all mail, and with a mailer of whose
/// words none is the user it would speak SMTP.
const SCRIPT: &str = r#"
printf 'smmta:x:994:994::/var/lib/sendmail:/bin/false\nsmmsp:x:995:995::/var/lib/sendmail:/bin/false\nbob:x:1993:1993::%s/bob:/bin/sh\n' "$DIRECTORY" >>/etc/passwd
printf 'smmta:x:994:\nsmmsp:x:995:\nbob:x:1993:\n' >>/etc/group
mkdir -p "$DIRECTORY/bob/Maildir/new" /run/sendmail/mta /var/lib/sendmail/host_status
chown -R 1993:1993 "$DIRECTORY/bob"
printf '10.99.0.1 mx.example\n10.99.0.2 plain.example\n10.99.0.3 odd.example\n' >/etc/hosts
cat >/usr/local/sbin/maildir <<END
#!/bin/sh
cat >"$DIRECTORY/bob/Maildir/new/\$\$"
END
chmod 755 /usr/local/sbin/maildir
cp /etc/mail/service.switch-nodns /etc/mail/service.switch
: >/etc/mail/local-host-names
cat >/etc/mail/sendmail.mc <<'END'
include(`/usr/share/sendmail/cf/m4/cf.m4')dnl
OSTYPE(`debian')dnl
DOMAIN(`generic')dnl
FEATURE(`no_default_msa')dnl
FEATURE(`nocanonify')dnl
define(`confDOMAIN_NAME', `mx.example')dnl
define(`confDELIVERY_MODE', `i')dnl
define(`confTO_IDENT', `0s')dnl
define(`confSERVICE_SWITCH_FILE', `/etc/mail/service.switch')dnl
define(`ALIAS_FILE', `/etc/mail/aliases')dnl
define(`LOCAL_MAILER_PATH', `/usr/local/sbin/maildir')dnl
define(`LOCAL_MAILER_ARGS', `maildir $u')dnl
define(`LOCAL_MAILER_FLAGS', `lsDFMn')dnl
LOCAL_DOMAIN(`mx.example')dnl
FEATURE(`accept_unresolvable_domains')dnl
DAEMON_OPTIONS(`Name=MTA, Addr=10.99.0.1')dnl
INPUT_MAIL_FILTER(`weighbridge', `S=inet:9999@127.0.0.1, F=, T=S:2s;R:2s;E:10s')dnl
define(`confMILTER_MACROS_CONNECT', confMILTER_MACROS_CONNECT`, {client_port}, {daemon_port}')dnl
MAILER(`local')dnl
MAILER(`smtp')dnl
END
m4 /etc/mail/sendmail.mc >/etc/mail/sendmail.cf
: >/etc/mail/aliases
/usr/libexec/sendmail/sendmail -bi
exec /usr/libexec/sendmail/sendmail -bD
"#;
/// It waits for the recipe's time-outs.
const SENDMAIL: Recipe = Recipe {
    taken: "250 2.0.0",
    soon: Duration::from_secs(6),
};

#[test]
fn sendmail_with_the_milter_has_the_header_reports_and_goes_on_alone() {
    let Some(mut machine) = Machine::start("sendmail", "sendmail", SCRIPT) else {
        return;
    };
    SENDMAIL.marks(&machine, forged);
    let relayed = machine.send(ODD, &forged("somebody@elsewhere.example", "three"));
    assert!(relayed.starts_with("550 "), "{relayed}");

    let lines = [machine.line(PLAIN, "0,0,"), machine.line(ODD, "")];
    machine.reports(&lines);

    SENDMAIL.goes_on_alone(&mut machine, forged);
}
