//! Debian's exim4-daemon-heavy with the drop-in files of `contrib/exim`.

use std::time::Duration;

use crate::follow::follow;
use crate::machine::{Machine, header};
use crate::recipe::{ODD, PLAIN, Recipe, forged};
use crate::smtp::Mail;

/// Exim as Debian configures it for an internet site, and the drop-in files.
const SCRIPT: &str = r#"
printf 'Debian-exim:x:993:993::/var/spool/exim4:/bin/false\nbob:x:1993:1993::%s/bob:/bin/sh\n' "$DIRECTORY" >>/etc/passwd
printf 'Debian-exim:x:993:\nbob:x:1993:\n' >>/etc/group
mkdir -p "$DIRECTORY/bob" /var/spool/exim4 /var/log/exim4 /var/lib/exim4 /run/exim4 /run/weighbridge
chown 993:993 /var/spool/exim4 /var/log/exim4 /run/exim4
chown 1993:1993 "$DIRECTORY/bob"
ln -s "$DIRECTORY/os.sock" /run/weighbridge/os.sock
echo 'nameserver 127.0.0.1' >/etc/resolv.conf
echo mx.example >/etc/mailname
echo 'later: bob' >/etc/aliases
printf 'defer local_parts = later\n message = come back\n' >/etc/exim4/local_rcpt
rm -rf /etc/exim4/weighbridge
cp -r "$CONTRIB/exim/weighbridge" /etc/exim4/
cat >/etc/exim4/update-exim4.conf.conf <<END
dc_eximconfig_configtype='internet'
dc_other_hostnames='mx.example'
dc_local_interfaces='10.99.0.1'
dc_readhost=''
dc_relay_domains=''
dc_minimaldns='false'
dc_relay_nets=''
dc_smarthost=''
CFILEMODE='644'
dc_use_split_config='SPLIT'
dc_hide_mailname=''
dc_mailname_in_oh='true'
dc_localdelivery='maildir_home'
END
if [ SPLIT = true ]; then
    cp "$CONTRIB/exim/00_local_weighbridge" /etc/exim4/conf.d/main/
    echo 'CHECK_RCPT_LOCAL_ACL_FILE = /etc/exim4/local_rcpt' >/etc/exim4/conf.d/main/00_local_rcpt
else
    cat "$CONTRIB/exim/00_local_weighbridge" >>/etc/exim4/exim4.conf.localmacros
    echo 'CHECK_RCPT_LOCAL_ACL_FILE = /etc/exim4/local_rcpt' >>/etc/exim4/exim4.conf.localmacros
fi
update-exim4.conf
exim4 -bd
tail -F /var/log/exim4/mainlog /var/log/exim4/rejectlog /var/log/exim4/paniclog
"#;
/// It asks twice, and waits for a second each time.
const EXIM: Recipe = Recipe {
    taken: "250 OK id=",
    soon: Duration::from_secs(4),
};

fn exim_asks_reports_and_goes_on_alone(test: &str, split: &str) {
    let script = SCRIPT.replace("SPLIT", split);
    let Some(mut machine) = Machine::start(test, "exim", &script) else {
        return;
    };
    EXIM.marks(&machine, forged);
    let relayed = machine.send(ODD, &forged("somebody@elsewhere.example", "three"));
    assert_eq!(relayed, "550 relay not permitted", "Debian's own words");
    let long = "x".repeat(1500);
    let long = Mail {
        text: &long,
        ..forged("bob@mx.example", "four")
    };
    let refused = machine.send(ODD, &long);
    assert!(refused.starts_with("550 "), "{refused}");
    let deferred = machine.send(ODD, &forged("later@mx.example", "five"));
    assert_eq!(deferred, "451 come back", "the site's own words");

    let lines = [machine.line(PLAIN, "0,0,"), machine.line(ODD, "2,1,")];
    machine.reports(&lines);

    for message in EXIM.goes_on_alone(&mut machine, forged) {
        assert_eq!(header(&message, "X-OS-Fingerprint"), None, "{message}");
    }
}

#[test]
fn exim_with_the_split_configuration_asks_reports_and_goes_on_alone() {
    exim_asks_reports_and_goes_on_alone("exim_split", "true");
}

#[test]
fn exim_with_the_single_configuration_asks_reports_and_goes_on_alone() {
    exim_asks_reports_and_goes_on_alone("exim_single", "false");
}

#[test]
fn what_exim_could_tell_nobody_is_told_later_and_counts_once() {
    let script = SCRIPT.replace("SPLIT", "true").replace(
        "exim4 -bd",
        r#"mkdir "$DIRECTORY/log" && chown 993:993 "$DIRECTORY/log"
        printf 'log_file_path = %s/log/%%slog\n' "$DIRECTORY" >/etc/exim4/conf.d/main/00_log
        update-exim4.conf
        exim4 -bd"#,
    );
    let Some(mut machine) = Machine::start("exim_untold", "exim", &script) else {
        return;
    };
    let refused = || {
        let refused = machine.send(PLAIN, &forged("somebody@elsewhere.example", "no"));
        assert_eq!(refused, "550 relay not permitted", "Debian's own words");
    };
    EXIM.taken(&machine, PLAIN, &forged("bob@mx.example", "heard"));
    refused();
    // It is held up, takes everything late, and is told again what nobody answered in time.
    machine.while_daemon_is_held_up(|| {
        EXIM.taken(&machine, PLAIN, &forged("bob@mx.example", "late"));
        refused();
        machine.until_logged("log/mainlog", &[(" untold outcome ", 2)]);
    });
    // Nobody is there at all.
    machine.report();
    EXIM.taken(&machine, PLAIN, &forged("bob@mx.example", "unheard"));
    let refused = machine.send(PLAIN, &forged("somebody@elsewhere.example", "no"));
    assert!(refused.starts_with("550 "), "{refused}");
    let untold = [
        (" untold outcome accept data ", 2),
        (" untold outcome reject rcpt ", 2),
    ];
    machine.until_logged("log/mainlog", &untold);

    machine.start_daemon();
    follow(&machine, "exim-untold", "log/mainlog");
    let report = machine.report();
    assert!(report.contains("\r\nPlain Linux,3,3,0,"), "{report}");
}

#[test]
fn the_log_of_exim_tells_what_became_of_messages() {
    let settings = r#"mkdir "$DIRECTORY/log" && chown 993:993 "$DIRECTORY/log"
    printf 'MAIN_LOG_SELECTOR = +incoming_port +incoming_interface\nlog_file_path = %s/log/%%slog\n' "$DIRECTORY" \
        >/etc/exim4/conf.d/main/00_log"#;
    let script = SCRIPT.replace("SPLIT", "true").replace(
        r#"cp "$CONTRIB/exim/00_local_weighbridge" /etc/exim4/conf.d/main/"#,
        settings,
    );
    let Some(mut machine) = Machine::start("exim_log", "exim", &script) else {
        return;
    };
    for (host, subject) in [(PLAIN, "one"), (ODD, "two")] {
        EXIM.taken(&machine, host, &forged("bob@mx.example", subject));
    }
    let refused = machine.send(ODD, &forged("somebody@elsewhere.example", "three"));
    assert!(refused.starts_with("550 "), "{refused}");

    let texts = [("<= alice@mx.example", 2), ("rejected RCPT", 1)];
    machine.until_logged("log/mainlog", &texts);
    let log = machine.log();
    follow(&machine, "exim", "log/mainlog");
    let report = machine.report();
    assert!(report.contains("\r\nPlain Linux,1,0,0,"), "{report}{log}");
    assert!(report.contains("\r\nOdd one,1,1,0,"), "{report}{log}");
}
