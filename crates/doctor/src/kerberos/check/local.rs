//! krb5.conf, the keytab, a ticket, and sshd's settings.

use super::network::is_unknown;
use super::{Case, Ticket};
use crate::files::Place;
use crate::finding::{Finding, Severity, Step};
use crate::fix::{Edit, Fix};
use crate::kerberos::encryption::{self, Family, families, family};
use crate::kerberos::keytab::{Entry, Keytab};
use crate::kerberos::message::{Reply, code};
use crate::kerberos::profile::{ProfileProblem, Relation};
use crate::kerberos::sshd_config::SshdConfig;

/// Lists of encryption types in `[libdefaults]`.
const LISTS: [&str; 5] = [
    "permitted_enctypes",
    "default_tkt_enctypes",
    "default_tgs_enctypes",
    "default_etypes",
    "default_as_etypes",
];

/// 6. krb5.conf says what is meant.
pub(super) fn configuration(case: &Case<'_>) -> Step {
    const CHECK: &str = "kerberos/configuration";
    let profile = &case.profile;
    let mut findings: Vec<Finding> = profile.problems.iter().map(|p| problem(case, p)).collect();
    if profile.cut {
        findings.push(
            Finding::new(
                "kerberos/limit",
                Severity::Warning,
                "krb5.conf was not read whole",
            )
            .why("It is larger, or nested deeper, than any that is meant.")
            .verified("counted while reading"),
        );
    }
    if let Some((true, relation)) = profile.switch("allow_weak_crypto") {
        findings.push(weak(relation));
    }
    findings.extend(LISTS.iter().filter_map(|name| {
        let relation = profile
            .relations
            .iter()
            .find(|r| r.path == ["libdefaults", name])?;
        without_strong(relation)
    }));
    Step::of(
        CHECK,
        findings,
        format!(
            "{} relations in {}",
            profile.relations.len(),
            profile.files.join(", ")
        ),
    )
}

fn problem(case: &Case<'_>, problem: &ProfileProblem) -> Finding {
    let severity = if problem.fatal {
        Severity::Error
    } else {
        Severity::Warning
    };
    let finding = Finding::new("kerberos/krb5-conf", severity, problem.message.clone())
        .at(&problem.place, &problem.text)
        .why(if problem.fatal {
            "The library refuses the file, and every program that uses it fails."
        } else {
            "The library overlooks it without a word."
        })
        .verified("read in krb5.conf");
    let Some(correction) = &problem.correction else {
        return finding.advise("Correct the line.");
    };
    finding
        .advise(format!("Write `{}`", correction.trim()))
        .fix_line(case, &problem.place, correction)
}

trait FixLine {
    fn fix_line(self, case: &Case<'_>, place: &Place, new: &str) -> Self;
}

impl FixLine for Finding {
    /// With an edit that replaces a line, keeping the blanks before it.
    fn fix_line(self, case: &Case<'_>, place: &Place, new: &str) -> Self {
        let Some(old) = line_of(case, place) else {
            return self;
        };
        let indent = old
            .get(..old.len() - old.trim_start().len())
            .unwrap_or_default();
        let new = format!("{indent}{}", new.trim());
        self.fix(Fix {
            summary: format!("line {} of {}", place.line, place.file),
            edits: vec![Edit {
                file: place.file.clone(),
                line: place.line,
                old: vec![old],
                new: vec![new],
            }],
            then: None,
        })
    }
}

fn line_of(case: &Case<'_>, place: &Place) -> Option<String> {
    let bytes = case.files.read(&place.file).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let index = (place.line as usize).checked_sub(1)?;
    text.lines().nth(index).map(str::to_owned)
}

fn weak(relation: &Relation) -> Finding {
    Finding::new(
        "kerberos/weak-encryption",
        Severity::Warning,
        "allow_weak_crypto is on",
    )
    .at(&relation.place, &relation.text)
    .why(
        "It allows single DES, which anybody breaks within a day, and mends nothing: MIT has \
              no single DES any more since 1.18 (RFC 6649, RFC 8429).",
    )
    .advise("Take the line out, and give the principals that need it AES keys.")
    .verified("read in krb5.conf")
}

fn without_strong(relation: &Relation) -> Option<Finding> {
    let families = families(&relation.value);
    let strong = families
        .iter()
        .any(|f| matches!(f, Family::Strong | Family::Unknown));
    if strong || families.is_empty() {
        return None;
    }
    Some(
        Finding::new(
            "kerberos/no-strong-encryption",
            Severity::Warning,
            "the list of encryption types has none that is still good",
        )
        .at(&relation.place, &relation.text)
        .why("DES, RC4 and triple DES are deprecated (RFC 6649, RFC 8429), and KDCs of today refuse them.")
        .advise("Take the line out: the library's own list begins with AES.")
        .verified("read in krb5.conf"),
    )
}

/// 7. The keytab has the host's key, the KDC's, and a good one.
pub(super) fn keytab(case: &mut Case<'_>) -> Step {
    const CHECK: &str = "kerberos/keytab";
    let path = case.subject.keytab.clone();
    let bytes = match case.files.read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Step::clean(
                CHECK,
                format!("no {path}: this machine serves nobody with tickets"),
            );
        }
        Err(error) => return Step::unchecked(CHECK, format!("cannot read {path}: {error}")),
    };
    let place = Place::file(&path);
    let keytab = match Keytab::read(&bytes) {
        Ok(keytab) => keytab,
        Err(reason) => {
            let found = Finding::new("kerberos/keytab-damaged", Severity::Error, reason)
                .at(&place, "")
                .why("No service of this machine can read its key.")
                .advise(format!(
                    "Make it anew: kadmin -q \"ktadd -k {path} host/NAME\""
                ))
                .verified("read the keytab");
            return Step::of(CHECK, vec![found], "");
        }
    };
    let mut findings = general(case, &place, &keytab);
    let Some(principal) = case.principal() else {
        return Step::of(
            CHECK,
            findings,
            "the host's principal is not known; only the form was checked",
        );
    };
    let newest = keytab.of(&principal).map(|entry| entry.kvno).max();
    let keys: Vec<&Entry> = keytab
        .of(&principal)
        .filter(|entry| Some(entry.kvno) == newest)
        .collect();
    let Some(kvno) = newest else {
        findings.push(missing(&place, &keytab, &principal.to_string()));
        return Step::of(CHECK, findings, "");
    };
    let types: Vec<i32> = keys.iter().map(|entry| entry.encryption).collect();
    let names: Vec<String> = types.iter().map(|t| encryption::name(*t)).collect();
    let shown = format!("{principal}, version {kvno}, {}", names.join(", "));
    findings.extend(key_types(&place, &shown, &types));
    if let Some(reply) = &case.key {
        findings.extend(against_kdc(&place, &shown, kvno, &types, reply));
    }
    case.keytab = Some(types);
    Step::of(CHECK, findings, shown)
}

/// Mode and damage.
fn general(case: &Case<'_>, place: &Place, keytab: &Keytab) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(mode) = case
        .files
        .mode(&place.file)
        .filter(|mode| mode & 0o077 != 0)
    {
        findings.push(
            Finding::new(
                "kerberos/keytab-mode",
                Severity::Warning,
                format!("the keytab's mode is {:o}", mode & 0o7777),
            )
            .at(place, "")
            .why("Who can read it can pose as the host, and as anybody to the host.")
            .advise(format!(
                "chmod 600 {}, or 640 with a group of the services alone",
                place.file
            ))
            .verified("asked the file system"),
        );
    }
    if let Some(damage) = &keytab.damage {
        findings.push(
            Finding::new(
                "kerberos/keytab-damaged",
                Severity::Error,
                format!("the keytab is damaged: {damage}"),
            )
            .at(place, "")
            .why("Keys behind the damage are lost to every program.")
            .advise("Make it anew with ktadd, or copy it again in binary mode.")
            .verified("read the keytab"),
        );
    }
    findings
}

fn missing(place: &Place, keytab: &Keytab, principal: &str) -> Finding {
    let mut has: Vec<String> = keytab
        .entries
        .iter()
        .map(|entry| entry.principal.to_string())
        .collect();
    has.sort();
    has.dedup();
    has.truncate(10);
    let known = if has.is_empty() {
        "nothing".to_owned()
    } else {
        has.join(", ")
    };
    Finding::new(
        "kerberos/keytab-principal",
        Severity::Error,
        format!("the keytab has no key of {principal}"),
    )
    .at(place, &format!("it has {known}"))
    .why("Clients present tickets for this principal, and the service cannot decipher them.")
    .advise(format!("kadmin -q \"ktadd -k {} {principal}\"", place.file))
    .verified("read the keytab")
}

fn key_types(place: &Place, shown: &str, types: &[i32]) -> Option<Finding> {
    if types
        .iter()
        .any(|t| matches!(family(*t), Family::Strong | Family::Unknown))
    {
        return None;
    }
    Some(
        Finding::new("kerberos/keytab-encryption", Severity::Warning, "the host has no AES key")
            .at(place, shown)
            .why("Triple DES and RC4 are deprecated (RFC 8429), single DES is gone; KDCs of today \
                  refuse them, and the DES3 MIC is the one that old Heimdals get wrong.")
            .advise(format!(
                "Give it one: kadmin -q \"ktadd -k {} -e aes256-cts-hmac-sha1-96:normal,aes128-cts-hmac-sha1-96:normal \
                 PRINCIPAL\"; krbtgt too, if it has none",
                place.file
            ))
            .verified("read the keytab"),
    )
}

fn against_kdc(
    place: &Place,
    shown: &str,
    kvno: u32,
    types: &[i32],
    reply: &Reply,
) -> Option<Finding> {
    if is_unknown(reply) {
        return Some(
            Finding::new("kerberos/principal-unknown", Severity::Error, "the KDC does not know the host's principal")
                .at(place, shown)
                .why("It was deleted, or made under another name or realm; no client gets a ticket for it.")
                .advise("kadmin -q \"addprinc -randkey PRINCIPAL\", then ktadd")
                .verified("asked the KDC for it"),
        );
    }
    match reply {
        Reply::Ticket { kvno: Some(of_kdc), .. } if *of_kdc != kvno => Some(stale(place, shown, kvno, *of_kdc)),
        Reply::Error { code, .. } if *code == code::CLIENT_REVOKED => Some(
            Finding::new("kerberos/principal-locked", Severity::Warning, "the KDC has locked the host's principal")
                .at(place, shown)
                .why("Tickets for it may be refused.")
                .advise("kadmin -q \"modprinc +allow_tix -unlock PRINCIPAL\"")
                .verified("asked the KDC for it"),
        ),
        Reply::Error { encryptions, .. } if !encryptions.is_empty() && !encryptions.iter().any(|t| types.contains(t)) => {
            let names: Vec<String> = encryptions.iter().map(|t| encryption::name(*t)).collect();
            Some(
                Finding::new(
                    "kerberos/keytab-stale",
                    Severity::Error,
                    format!("the KDC has keys of other types: {}", names.join(", ")),
                )
                .at(place, shown)
                .why("The keys were changed at the KDC after the keytab was made; tickets cannot be deciphered.")
                .advise(format!("kadmin -q \"ktadd -k {} PRINCIPAL\"", place.file))
                .verified("the KDC tells the types of the principal's keys when it asks for proof"),
            )
        }
        Reply::Error { code, .. } if *code == code::ENCRYPTION_NOT_SUPPORTED => Some(
            Finding::new(
                "kerberos/kdc-refuses-encryption",
                Severity::Error,
                "the KDC refuses every type of the host's keys",
            )
            .at(place, shown)
            .why("Its keys there are of types that this KDC does not use any more (triple DES and RC4 \
                  need allow_des3 or allow_rc4 since MIT 1.21, and in Debian 12).")
            .advise("Give the host AES keys: kadmin -q \"cpw -randkey -e aes256-cts-hmac-sha1-96:normal PRINCIPAL\", then ktadd")
            .verified("asked the KDC for it with all types that there are"),
        ),
        Reply::Ticket { .. } | Reply::Error { .. } => None,
    }
}

fn stale(place: &Place, shown: &str, kvno: u32, of_kdc: u32) -> Finding {
    Finding::new(
        "kerberos/keytab-stale",
        Severity::Error,
        format!("the keytab's key has version {kvno}, the KDC's {of_kdc}"),
    )
    .at(place, shown)
    .why("Tickets are made with the KDC's key, which this keytab does not have (ktadd makes a new key, \
          also when it is run for another machine).")
    .advise(format!("kadmin -q \"ktadd -k {} PRINCIPAL\"", place.file))
    .verified("the KDC's answer names the version of its key")
}

/// 8. A ticket for the host can be had with its own key.
pub(super) fn ticket(case: &Case<'_>) -> Step {
    const CHECK: &str = "kerberos/ticket";
    let (Some(principal), Some(types)) = (case.principal(), &case.keytab) else {
        return Step::clean(CHECK, "not tried: there is no key to ask with");
    };
    if case.key.is_none() {
        return Step::unchecked(CHECK, "no KDC answers");
    }
    let principal = principal.to_string();
    match case.around.ticket(&case.subject.keytab, &principal) {
        Ticket::NotTried(reason) => Step::unchecked(CHECK, reason),
        Ticket::Granted(of_kdc) => {
            let bytes = case.files.read(&case.subject.keytab).unwrap_or_default();
            let keytab = Keytab::read(&bytes).unwrap_or_default();
            let known = keytab
                .entries
                .iter()
                .any(|e| e.principal.to_string() == principal && Some(e.kvno) == of_kdc);
            match of_kdc {
                Some(of_kdc) if !known => {
                    let newest = keytab
                        .entries
                        .iter()
                        .map(|e| e.kvno)
                        .max()
                        .unwrap_or_default();
                    let place = Place::file(&case.subject.keytab);
                    Step::of(CHECK, vec![stale(&place, &principal, newest, of_kdc)], "")
                }
                Some(of_kdc) => Step::clean(CHECK, format!("{principal}, version {of_kdc}")),
                None => Step::clean(CHECK, principal),
            }
        }
        Ticket::Refused(said) => {
            let names: Vec<String> = types.iter().map(|t| encryption::name(*t)).collect();
            let found = Finding::new(
                "kerberos/no-ticket",
                Severity::Error,
                format!("no ticket for {principal} with its key of the keytab"),
            )
            .said("kinit", &said)
            .why(format!(
                "The key ({}) is not the KDC's, or the KDC or this library refuses its type.",
                names.join(", ")
            ))
            .advise(format!(
                "kadmin -q \"ktadd -k {} {principal}\"",
                case.subject.keytab
            ))
            .advise("KRB5_TRACE=/dev/stderr kinit -k shows every step of it.")
            .verified("asked for it with the keytab");
            Step::of(CHECK, vec![found], "")
        }
    }
}

/// 9. sshd takes tickets.
pub(super) fn sshd(case: &Case<'_>) -> Step {
    const CHECK: &str = "kerberos/sshd";
    let path = &case.subject.sshd_config;
    let Ok(config) = SshdConfig::read(path, case.files) else {
        return Step::clean(CHECK, format!("no {path}"));
    };
    if case.keytab.is_none() {
        return Step::clean(CHECK, "the host has no key, so sshd takes no tickets");
    }
    let mut findings = Vec::new();
    if config.cut {
        findings.push(
            Finding::new(
                "kerberos/limit",
                Severity::Warning,
                format!("{path} was not read whole"),
            )
            .at(&Place::file(path), "")
            .why("A file includes itself, or there are more than anybody has: sshd may refuse it.")
            .advise("Ask sshd itself: sshd -t")
            .verified("read in sshd_config"),
        );
    }
    if !config.is_on("gssapiauthentication", false) {
        findings.push(no_gssapi(case, &config));
    }
    let many = case.around.addresses().len() > 1;
    if many && config.is_on("gssapistrictacceptorcheck", true) {
        let mut found = Finding::new(
            "kerberos/sshd-strict-acceptor",
            Severity::Note,
            "sshd takes tickets for the machine's own name alone, and the machine has several addresses",
        )
        .why("With a name of its own for each address, clients ask for tickets for those names, and are \
              refused with \"Wrong principal in request\" (a jail has the same fault).")
        .advise("If they shall get in: `GSSAPIStrictAcceptorCheck no`, and keys of all names in the keytab.")
        .verified("read in sshd_config");
        if let Some(keyword) = config.value("gssapistrictacceptorcheck") {
            found = found.at(&keyword.place, &keyword.text);
        }
        findings.push(found);
    }
    Step::of(
        CHECK,
        findings,
        format!("{path}: GSSAPIAuthentication is on"),
    )
}

fn no_gssapi(case: &Case<'_>, config: &SshdConfig) -> Finding {
    let finding = Finding::new(
        "kerberos/sshd-gssapi",
        Severity::Warning,
        "sshd does not take tickets",
    )
    .why("GSSAPIAuthentication is off unless it is turned on; the keytab has the host's key.")
    .advise("`GSSAPIAuthentication yes`, if users shall log in with tickets.")
    .verified("read in sshd_config");
    match config.value("gssapiauthentication") {
        Some(keyword) => finding.at(&keyword.place, &keyword.text).fix_line(
            case,
            &keyword.place,
            "GSSAPIAuthentication yes",
        ),
        None => finding.at(
            &Place::file(case.subject.sshd_config.clone()),
            "no GSSAPIAuthentication",
        ),
    }
}
