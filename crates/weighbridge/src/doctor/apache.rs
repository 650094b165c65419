//! httpd of this machine, or of a container.

use std::path::Path;
use std::process::Command;

use ::doctor::apache::{Config, Log, Server, check, check_log, envvars, read};
use ::doctor::{Files, Step};

use super::DoctorArguments;
use super::disk::{Disk, tail};
use super::place::{Here, Place};
use super::program::{ask, find};
use crate::text::reason;

/// Where distributions put the configuration, and the directory that relative paths begin at.
const CONFIGURATIONS: [(&str, &str); 7] = [
    ("/etc/apache2/apache2.conf", "/etc/apache2"),
    ("/etc/httpd/conf/httpd.conf", "/etc/httpd"),
    ("/etc/apache2/httpd.conf", "/var/www"),
    ("/usr/local/apache2/conf/httpd.conf", "/usr/local/apache2"),
    ("/usr/local/etc/apache24/httpd.conf", "/usr/local"),
    ("/usr/local/etc/apache22/httpd.conf", "/usr/local"),
    ("/usr/local/etc/apache2/httpd.conf", "/usr/local"),
];

pub(super) fn steps(arguments: &DoctorArguments) -> Result<Vec<Step>, String> {
    if let (Some(path), None) = (&arguments.error_log, &arguments.httpd_config) {
        let log = log(path)?;
        return Ok(vec![check_log(
            &path.display().to_string(),
            &log,
            arguments.address,
        )]);
    }
    let disk = arguments.pid.map_or_else(Disk::own, Disk::of_process);
    let Some((path, server)) = server(arguments, &disk) else {
        return Ok(vec![Step::absent(
            "apache",
            "no configuration of httpd is in the usual places",
        )]);
    };
    let config = read(&path, &server, &disk);
    let log = match &arguments.error_log {
        Some(path) => Some((path.display().to_string(), log(path)?)),
        None => own_log(&config, &disk),
    };
    let log = log.as_ref().map(|(name, log)| (name.as_str(), log));
    let here = Here::of(arguments.pid);
    let mut steps = Place::of(arguments.pid)?.within(|| check(&config, log, &here))?;
    // What stands in a log that was named is told, whether or not it is seen here now.
    let named = log.filter(|_| arguments.error_log.is_some() && !tells_of_the_wildcard(&steps));
    steps.extend(named.map(|(name, log)| check_log(name, log, arguments.address)));
    Ok(match arguments.pid {
        None => steps,
        Some(_) => steps
            .into_iter()
            .map(|step| seen_from_outside(step, &disk))
            .collect(),
    })
}

fn tells_of_the_wildcard(steps: &[Step]) -> bool {
    let mut findings = steps.iter().flat_map(Step::findings);
    findings.any(|finding| finding.id == "apache/wildcard-listener")
}

/// Edits of files in another root directory name the file as it is reached from here.
fn seen_from_outside(mut step: Step, disk: &Disk) -> Step {
    if let ::doctor::State::Findings(findings) = &mut step.state {
        let fixes = findings
            .iter_mut()
            .filter_map(|finding| finding.fix.as_mut());
        for edit in fixes.flat_map(|fix| fix.edits.iter_mut()) {
            edit.file = disk.path(&edit.file).display().to_string();
        }
    }
    step
}

fn log(path: &Path) -> Result<Log, String> {
    let (bytes, _) =
        tail(path).map_err(|error| format!("{}: {}", path.display(), reason(&error)))?;
    Ok(Log::read(&bytes))
}

/// The error log that the configuration names; evidence only, so it may be missing.
fn own_log(config: &Config, disk: &Disk) -> Option<(String, Log)> {
    let name = config.error_logs.last()?;
    let (bytes, _) = tail(&disk.path(name)).ok()?;
    Some((name.clone(), Log::read(&bytes)))
}

/// The configuration's path, and the server that reads it.
fn server(arguments: &DoctorArguments, disk: &Disk) -> Option<(String, Server)> {
    let mut server = Server::default();
    let mut path = None;
    // A program of another root directory is not run.
    if arguments.pid.is_none() {
        let program = arguments
            .httpd
            .clone()
            .or_else(|| find(&["apache2", "httpd"]));
        if let Some(program) = program {
            path = ask_server(&program, &mut server);
        }
    }
    let usual = || CONFIGURATIONS.iter().find(|(path, _)| disk.exists(path));
    let path = match (
        &arguments.httpd_config,
        path.filter(|path| disk.exists(path)),
    ) {
        (Some(given), _) => given.clone(),
        (None, Some(path)) => path,
        (None, None) => {
            let (path, root) = usual()?;
            (*root).clone_into(&mut server.root);
            (*path).to_owned()
        }
    };
    let beside = Path::new(&path).with_file_name("envvars");
    if let Ok(bytes) = disk.read(&beside.display().to_string()) {
        server.environment = envvars(&String::from_utf8_lossy(&bytes));
    }
    Some((path, server))
}

/// What httpd says of itself (`-V`, `-l`); returns where it looks for its configuration.
fn ask_server(program: &Path, server: &mut Server) -> Option<String> {
    let said = ask(Command::new(program).arg("-V")).ok()?.text;
    if let Some(version) = said.split("Apache/").nth(1).and_then(version) {
        server.version = version;
    }
    let define = |name: &str| {
        let (_, rest) = said.split_once(&format!("{name}=\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    if let Some(root) = define("HTTPD_ROOT") {
        server.root = root;
    }
    if let Ok(said) = ask(Command::new(program).arg("-l")) {
        for stem in said
            .text
            .lines()
            .map(str::trim)
            .filter_map(|line| line.strip_suffix(".c"))
        {
            let name = stem.strip_prefix("mod_").unwrap_or(stem);
            server
                .built_in
                .extend([format!("{stem}.c"), format!("{name}_module")]);
        }
    }
    let file = define("SERVER_CONFIG_FILE")?;
    Some(Path::new(&server.root).join(file).display().to_string())
}

fn version(text: &str) -> Option<(u32, u32, u32)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let mut numbers = text.get(..end)?.split('.').map(str::parse);
    Some((
        numbers.next()?.ok()?,
        numbers.next()?.ok()?,
        numbers.next()?.ok()?,
    ))
}
