//! The DES3 MIC, and what sshd's log says.

use super::Case;
use crate::files::Place;
use crate::finding::{Finding, Severity, Step};
use crate::fix::{Edit, Fix};
use crate::kerberos::encryption::{Family, families, family};
use crate::kerberos::mic::{Implementation, Sends, Side};
use crate::kerberos::principal::Principal;
use crate::kerberos::sshd_log::{LogEvent, Seen, SshdLog};

/// What helps most, today.
const AES_FIRST: &str = "First and best: use no triple DES. Give the server's principal AES keys \
    (kadmin: cpw -randkey, then ktadd; krbtgt too) and let both sides use them: RFC 8429 deprecates \
    triple DES and RC4, KDCs of today refuse them, and an AES session has no such MIC.";

/// Checks a log of sshd alone.
#[must_use]
pub fn check_sshd_log(name: &str, log: &SshdLog) -> Step {
    self::log(name, log)
}

/// Everything that the log tells.
pub(super) fn log(name: &str, log: &SshdLog) -> Step {
    let findings = log
        .seen
        .iter()
        .filter_map(|seen| logged(name, log, seen))
        .collect();
    Step::of(
        "kerberos/sshd-log",
        findings,
        format!("{name}: nothing about Kerberos in {} lines", log.lines),
    )
}

fn logged(name: &str, log: &SshdLog, seen: &Seen) -> Option<Finding> {
    let explained = explanation(log, seen)?;
    let place = Place {
        file: name.to_owned(),
        line: seen.line,
    };
    let mut finding = Finding::new(explained.id, Severity::Error, explained.message)
        .at(&place, &format!("{} ({} times)", seen.text, seen.count))
        .why(explained.why)
        .verified("read in sshd's log");
    finding.advice = explained.advice;
    Some(finding)
}

/// What a line of the log means.
struct Explanation {
    id: &'static str,
    message: String,
    why: &'static str,
    advice: Vec<String>,
}

impl Explanation {
    fn new(id: &'static str, message: &str, why: &'static str, advice: &str) -> Self {
        Self {
            id,
            message: message.to_owned(),
            why,
            advice: vec![advice.to_owned()],
        }
    }
}

/// Nothing where nothing is wrong.
fn explanation(log: &SshdLog, seen: &Seen) -> Option<Explanation> {
    let client = seen.client.as_deref().unwrap_or("the client");
    Some(match seen.event {
        LogEvent::Accepted => return None,
        LogEvent::MicFailed => refused_mic(client, log),
        LogEvent::NoKey => Explanation::new(
            "kerberos/keytab-principal",
            "sshd has no key for the principal that the client's ticket is for",
            "Its keytab lacks it, or has it under another name or realm.",
            "Compare: klist -k, and the name that the client asked for (klist there).",
        ),
        LogEvent::WrongVersion | LogEvent::Undecipherable => Explanation::new(
            "kerberos/keytab-stale",
            "sshd cannot decipher the client's ticket: its key is not the KDC's",
            "The key was changed at the KDC after the keytab was made.",
            "ktadd the principal again, and let clients get new tickets (kdestroy, kinit).",
        ),
        LogEvent::WrongPrincipal => Explanation::new(
            "kerberos/sshd-strict-acceptor",
            "the client's ticket is for another name than sshd's",
            "The machine has several names or addresses, or DNS gives clients another one.",
            "Let DNS agree both ways, or: GSSAPIStrictAcceptorCheck no",
        ),
        LogEvent::ClockSkew => Explanation::new(
            "kerberos/clock-skew",
            &format!("the clocks of {client} and this machine differ too much"),
            "More than 300 s are refused.",
            "Let both run NTP.",
        ),
        LogEvent::KeytabUnreadable => Explanation::new(
            "kerberos/keytab-unreadable",
            "sshd cannot read the keytab",
            "It is missing, or its mode is too narrow.",
            "ls -l /etc/krb5.keytab",
        ),
        LogEvent::EncryptionNotPermitted => Explanation::new(
            "kerberos/encryption-refused",
            "an encryption type is not permitted",
            "One side, or the KDC, has only types that the other refuses.",
            AES_FIRST,
        ),
        LogEvent::NoKdc => Explanation::new(
            "kerberos/kdc-unreachable",
            "no KDC was reached",
            "Without it there are no tickets.",
            "weighbridge doctor kerberos tells which answer.",
        ),
        LogEvent::AccountLocked => Explanation::new(
            "kerberos/account-locked",
            "the account is locked",
            "With `UsePAM no`, sshd refuses an account whose password begins with `!`, whatever the ticket.",
            "Give it the password `*`: usermod -p '*' USER",
        ),
        LogEvent::NotAuthorized => Explanation::new(
            "kerberos/not-authorized",
            "the principal may not log in to that account",
            "Without ~/.k5login a principal may log in to the account of its own name in the default realm.",
            "Add the principal to ~/.k5login, or an auth_to_local rule to krb5.conf.",
        ),
    })
}

/// The fault that this check is named after: who made the MIC has to change.
fn refused_mic(client: &str, log: &SshdLog) -> Explanation {
    let realm = log_realm(log).unwrap_or_else(|| "MYREALM".to_owned());
    Explanation {
        id: "kerberos/des3-mic",
        message: format!(
            "sshd refused the checksum that {client} made over the session (GSSAPI MIC check failed)"
        ),
        why: "The ticket was good: name, clock and keys are right. With a triple-DES key, Heimdal up to \
             0.6 (FreeBSD 6 and 7) makes a MIC that nobody else takes. The sender decides, and here the \
             client sent it.",
        advice: vec![
            AES_FIRST.to_owned(),
            format!(
                "If the old client must stay, add to {client}'s krb5.conf, not to this machine's: \
                 [gssapi] correct_des3_mic = host/*@{realm}"
            ),
            "It cannot help when the client is Heimdal 0.5 or older (it has no such option: upgrade), \
             is Heimdal 0.7 or newer or MIT (they are right already, unless broken_des3_mic is set), \
             or when the session has an AES key (a MIC of 28 bytes): then something in between has \
             changed what was sent."
                .to_owned(),
        ],
    }
}

/// The realm of a principal that the log names.
fn log_realm(log: &SshdLog) -> Option<String> {
    let texts = log.seen.iter().map(|seen| seen.text.as_str());
    texts.flat_map(str::split_whitespace).find_map(|word| {
        let (before, realm) = word
            .trim_matches(['"', '\'', ',', '(', ')'])
            .split_once('@')?;
        let is_realm = !realm.is_empty()
            && realm
                .chars()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || ".-".contains(c));
        (is_realm && !before.is_empty()).then(|| realm.to_owned())
    })
}

/// Whether a session of this machine can have a triple-DES key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Des3 {
    /// By the keytab, or a list in krb5.conf, there is nothing better.
    Certain,
    /// It is not known.
    Possible,
    /// There are AES keys.
    No,
}

/// 10. The MIC, as this machine sends it.
pub(super) fn mic(case: &Case<'_>) -> Step {
    const CHECK: &str = "kerberos/des3-mic";
    let Some(implementation) = case.subject.implementation else {
        return Step::clean(CHECK, "no Kerberos library is here");
    };
    let realm = case.realm.clone().unwrap_or_else(|| "MYREALM".to_owned());
    let side = Side {
        implementation,
        profile: &case.profile,
    };
    let acceptor = Principal::service(
        "host",
        case.host.as_deref().unwrap_or("host.example.org"),
        &realm,
    );
    let mut findings = useless_lines(case, implementation);
    let des3 = des3(case);
    let sends = worst_sends(case, &side, &acceptor);
    if des3 != Des3::No {
        match sends {
            Sends::Broken => findings.push(broken(case, implementation, &realm, des3)),
            Sends::BrokenForGood => findings.push(broken_for_good(implementation, des3)),
            Sends::Unknown if des3 == Des3::Certain => findings.push(unknown(&realm)),
            Sends::Correct | Sends::Unknown => {}
        }
        if !implementation.verifies_correct() {
            findings.push(cannot_verify(implementation));
        }
    }
    let seen = match (des3, sends) {
        (Des3::No, _) => {
            format!("{implementation}: the host has AES keys, so its sessions have no such MIC")
        }
        (Des3::Certain | Des3::Possible, Sends::Correct) => {
            format!("{implementation} sends the right MIC")
        }
        (Des3::Certain | Des3::Possible, _) => {
            format!("{implementation}: nothing says that triple DES is used")
        }
    };
    Step::of(CHECK, findings, seen)
}

/// What is sent to the host's own principal, or to any that a `broken_des3_mic` pattern names.
fn worst_sends(case: &Case<'_>, side: &Side<'_>, own: &Principal) -> Sends {
    let patterns = case.profile.patterns("broken_des3_mic");
    let named = patterns.iter().map(|(pattern, _)| {
        // The pattern itself is a principal that it matches, with `*` for a component.
        let mut principal = Principal::parse(pattern);
        if principal.realm.is_empty() {
            principal.realm = case.profile.default_realm().unwrap_or_default().into();
        }
        side.sends(&principal)
    });
    let sent: Vec<Sends> = std::iter::once(side.sends(own)).chain(named).collect();
    let worst = [Sends::BrokenForGood, Sends::Broken, Sends::Unknown];
    worst
        .into_iter()
        .find(|s| sent.contains(s))
        .unwrap_or(Sends::Correct)
}

fn des3(case: &Case<'_>) -> Des3 {
    let lists = [
        "permitted_enctypes",
        "default_tkt_enctypes",
        "default_tgs_enctypes",
        "default_etypes",
    ];
    let only_des3 = lists.iter().any(|name| {
        let relation = case
            .profile
            .relations
            .iter()
            .find(|r| r.path == ["libdefaults", name]);
        let families = relation.map(|r| families(&r.value)).unwrap_or_default();
        !families.is_empty()
            && families.contains(&Family::Des3)
            && !families.contains(&Family::Strong)
    });
    let mic_failed = case
        .subject
        .sshd_log
        .as_ref()
        .is_some_and(|(_, log)| log.of(LogEvent::MicFailed).next().is_some());
    let strong = |types: &Vec<i32>| types.iter().any(|t| family(*t) == Family::Strong);
    match &case.keytab {
        _ if only_des3 => Des3::Certain,
        Some(types) if types.iter().any(|t| family(*t) == Family::Des3) && !strong(types) => {
            Des3::Certain
        }
        Some(types) if strong(types) && !mic_failed => Des3::No,
        None | Some(_) => Des3::Possible,
    }
}

fn severity(des3: Des3) -> Severity {
    if des3 == Des3::Certain {
        Severity::Error
    } else {
        Severity::Warning
    }
}

fn broken(case: &Case<'_>, implementation: Implementation, realm: &str, des3: Des3) -> Finding {
    let mut finding = Finding::new(
        "kerberos/des3-mic",
        severity(des3),
        format!("{implementation} on this machine sends MICs under triple-DES keys that others refuse"),
    )
    .why("This machine is the old sender: what it signs as a client (sshd there says \"GSSAPI MIC check \
          failed\"), and as a server, has its sequence number enciphered with the wrong initial vector. \
          MIT, Solaris, Java and Heimdal from 0.7 take only the right one.")
    .advise(AES_FIRST)
    .advise(format!(
        "While this machine must stay as it is: [gssapi] correct_des3_mic = host/*@{realm} in its krb5.conf. \
         Peers of Heimdal 0.5 then refuse it: they know the wrong one only."
    ))
    .verified("the library's version and [gssapi], compared with what Heimdal's source does");
    for (_, relation) in case.profile.patterns("broken_des3_mic") {
        finding = finding
            .at(&relation.place, &relation.text)
            .advise("Or take the broken_des3_mic line out: without it this version is right.");
    }
    match add_line(case, realm) {
        Some(fix) => finding.fix(fix),
        None => finding,
    }
}

/// `correct_des3_mic` at the head of `[gssapi]`, or that section at the end of the file.
fn add_line(case: &Case<'_>, realm: &str) -> Option<Fix> {
    let relation = format!("correct_des3_mic = host/*@{realm}");
    let section = case
        .profile
        .sections
        .iter()
        .find(|(name, _)| name == "gssapi");
    let edit = if let Some((_, place)) = section {
        Edit {
            file: place.file.clone(),
            line: place.line.saturating_add(1),
            old: Vec::new(),
            new: vec![format!("    {relation}")],
        }
    } else {
        let file = case.profile.files.last()?;
        let bytes = case.files.read(file).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        Edit::append(
            file,
            &text,
            vec!["[gssapi]".to_owned(), format!("    {relation}")],
        )
    };
    Some(Fix {
        summary: relation,
        edits: vec![edit],
        then: Some("nothing: the file is read for each connection".to_owned()),
    })
}

fn broken_for_good(implementation: Implementation, des3: Des3) -> Finding {
    Finding::new(
        "kerberos/des3-mic-for-good",
        severity(des3),
        format!("{implementation} sends wrong MICs under triple-DES keys, and has no option for the right ones"),
    )
    .why("correct_des3_mic came with Heimdal 0.6; no line of krb5.conf helps here.")
    .advise(AES_FIRST)
    .advise("Upgrade the library to Heimdal 0.7 or newer, or to MIT.")
    .verified("the library's version, compared with what Heimdal's source does")
}

fn cannot_verify(implementation: Implementation) -> Finding {
    Finding::new(
        "kerberos/des3-mic-verify",
        Severity::Warning,
        format!("{implementation} refuses the MICs that all others send under triple-DES keys"),
    )
    .why("It knows the wrong form only.")
    .advise(AES_FIRST)
    .advise("Upgrade it; or set broken_des3_mic for it on the others, if they are Heimdal.")
    .verified("the library's version, compared with what Heimdal's source does")
}

fn unknown(realm: &str) -> Finding {
    Finding::new(
        "kerberos/des3-mic",
        Severity::Note,
        "triple DES is used, and the version of this Heimdal is not known",
    )
    .why("Up to 0.6 it sends a MIC that others refuse.")
    .advise(AES_FIRST)
    .advise(format!("If it is 0.6: [gssapi] correct_des3_mic = host/*@{realm}. From 0.7 on the line changes nothing."))
    .verified("no tool told the version; --library heimdal-VERSION does")
}

/// `[gssapi]` where nobody reads it.
fn useless_lines(case: &Case<'_>, implementation: Implementation) -> Vec<Finding> {
    let correct = case.profile.patterns("correct_des3_mic");
    let broken = case.profile.patterns("broken_des3_mic");
    let reason = match implementation {
        Implementation::Mit => "MIT does not read [gssapi]; its MICs are right without it.",
        Implementation::Heimdal(0, 0..=5) => "Heimdal up to 0.5 does not know it.",
        Implementation::Heimdal(0, 6) | Implementation::HeimdalUnknown => return Vec::new(),
        Implementation::Heimdal(..) if !broken.is_empty() => return Vec::new(),
        Implementation::Heimdal(..) => "Heimdal from 0.7 on sends the right MIC without it.",
    };
    let Some((_, relation)) = correct.first() else {
        return Vec::new();
    };
    vec![
        Finding::new(
            "kerberos/des3-mic-no-effect",
            Severity::Note,
            "correct_des3_mic changes nothing on this machine",
        )
        .at(&relation.place, &relation.text)
        .why(reason)
        .advise("It belongs into the krb5.conf of the old sender: the machine with Heimdal 0.6.")
        .verified("the library's version, compared with what its source does"),
    ]
}
