//! What `weighbridge check` says, as findings.

use ::doctor::{Evidence, Finding, Severity, Step};
use pf_conf::{Diagnostics, LoadOptions, Warnings};

use super::DoctorArguments;
use crate::config::{Problem, read_bytes};
use crate::text::reason;
use crate::tools::{Disk, Reading};
use crate::unfiltered;

const CHECK: &str = "pf/rules";

/// The file of rules.
pub(super) fn rules_file(arguments: &DoctorArguments) -> String {
    let rules = arguments.rules.clone();
    let file = rules.unwrap_or_else(|| arguments.config.join("pf.conf"));
    file.display().to_string()
}

/// What the rules are read with: the settings of the configuration directory and the interfaces
/// of the machine.
pub(super) fn options(arguments: &DoctorArguments) -> Result<LoadOptions, String> {
    Reading::of_directory(&arguments.config).load_options()
}

pub(super) fn steps(arguments: &DoctorArguments) -> Result<Vec<Step>, String> {
    let file = rules_file(arguments);
    let main = match read_bytes(file.as_ref()) {
        Ok(main) => main,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && arguments.rules.is_none() => {
            return Ok(vec![Step::absent("pf", format!("no {file}"))]);
        }
        Err(error) => return Err(format!("{file}: {}", reason(&error))),
    };
    let options = options(arguments)?;
    let findings = match pf_conf::check(&file, &main, &mut Disk, &options) {
        Err(errors) => errors_of(&errors),
        Ok((loaded, mut warnings)) => {
            let config = &arguments.config;
            unfiltered::add_to(&mut warnings, &loaded, &options.interfaces, config);
            warnings_of(&warnings)
        }
    };
    Ok(vec![Step::of(
        CHECK,
        findings,
        format!("{file}: nothing looks wrong"),
    )])
}

fn errors_of(errors: &Diagnostics) -> Vec<Finding> {
    let finding = |(place, error): (pf_conf::Place, &pf_conf::Diagnostic)| {
        let mut finding = Finding::new("pf/error", Severity::Error, error.message.clone())
            .why("No rule of the file is loaded while it has one error.")
            .verified("read as pfctl does");
        finding.evidence.push(evidence(
            &place,
            error.detail.as_deref().unwrap_or_default(),
        ));
        match &error.hint {
            Some(hint) => finding.advise(hint.clone()),
            None => finding.advise("Correct the line."),
        }
    };
    errors.iter().map(finding).collect()
}

fn warnings_of(warnings: &Warnings) -> Vec<Finding> {
    let finding =
        |(place, warning, other): (pf_conf::Place, &pf_conf::Warning, Option<pf_conf::Place>)| {
            let code = warning.kind.as_str();
            let mut finding = Finding::new(
                "pf/warning",
                Severity::Warning,
                format!("{code}: {}", warning.message),
            )
            .why(warning.why.clone())
            .advise("Take it out, or move it to where it counts.")
            .verified("follows from the rules alone, whatever the packets");
            finding
                .evidence
                .push(evidence(&place, warnings.line(warning)));
            finding
                .evidence
                .extend(other.map(|other| evidence(&other, "the other one")));
            finding
        };
    warnings.iter().map(finding).collect()
}

fn evidence(place: &pf_conf::Place, text: &str) -> Evidence {
    Evidence {
        file: place.file.clone(),
        line: u32::try_from(place.line).ok(),
        text: text.to_owned(),
    }
}

/// A problem of a configuration file as a finding.
pub(super) fn problem(problem: &Problem) -> Finding {
    let mut finding = Finding::new(
        "links/start-up-file",
        Severity::Error,
        problem.message.clone(),
    )
    .said(problem.place.clone(), "")
    .why("`weighbridge run` does not start with it.")
    .verified("read as `weighbridge run` does");
    if let Some(hint) = &problem.hint {
        finding = finding.advise(hint.clone());
    }
    finding
}
