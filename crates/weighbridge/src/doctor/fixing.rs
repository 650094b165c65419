//! Makes the edits that mend what was found.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use ::doctor::{Edit, Finding, Report, apply, unified};

use crate::config::read_bytes;
use crate::output::Output;
use crate::text::reason;
use crate::tools::Complaint;

/// Backups of one file that are kept; a further one is refused.
const MAX_BACKUPS: u32 = 100;

/// Shows all edits, file by file, and makes those that are agreed to.
pub(super) fn mend(report: &Report, yes: bool, output: &mut Output<'_>) -> Result<(), Complaint> {
    let mut files = BTreeMap::<&str, Vec<&Edit>>::new();
    for fix in report.findings().filter_map(|finding| finding.fix.as_ref()) {
        for (file, edits) in fix.by_file() {
            files.entry(file).or_default().extend(edits);
        }
    }
    if files.is_empty() {
        output.message("weighbridge: there is no edit that mends this");
        return Ok(());
    }
    for (file, edits) in files {
        let (edits, waiting) = Edit::compatible(&edits);
        if waiting > 0 {
            let line = "want lines that others change: run again for them";
            output.message(&format!("weighbridge: {file}: {waiting} edits {line}"));
        }
        mend_file(Path::new(file), &edits, yes, output)?;
    }
    for finding in report.findings() {
        after(finding, output)?;
    }
    Ok(())
}

fn after(finding: &Finding, output: &mut Output<'_>) -> Result<(), Complaint> {
    if let Some(then) = finding.fix.as_ref().and_then(|fix| fix.then.as_ref()) {
        output.text(&format!("afterwards: {then}\n"))?;
    }
    Ok(())
}

fn mend_file(
    file: &Path,
    edits: &[&Edit],
    yes: bool,
    output: &mut Output<'_>,
) -> Result<(), Complaint> {
    let failed = |what: &str, error: &io::Error| {
        Complaint::Message(format!("{}: {what}: {}", file.display(), reason(error)))
    };
    let bytes = read_bytes(file).map_err(|error| failed("cannot be read", &error))?;
    let text = String::from_utf8(bytes).map_err(|_| {
        Complaint::Message(format!(
            "{}: is not text (UTF-8): edit it by hand",
            file.display()
        ))
    })?;
    let mended = apply(&text, edits).map_err(|error| {
        Complaint::Message(format!("{}: {error}: nothing was changed", file.display()))
    })?;
    output.text(&unified(&file.display().to_string(), &text, edits))?;
    if !yes && !agreed(file, output)? {
        output.text(&format!("{} is left as it is\n", file.display()))?;
        return Ok(());
    }
    let backup = back_up(file).map_err(|error| failed("no backup can be made", &error))?;
    replace(file, &mended).map_err(|error| failed("cannot be written", &error))?;
    output.text(&format!(
        "{} is changed; it was copied to {}\n",
        file.display(),
        backup.display()
    ))?;
    Ok(())
}

fn agreed(file: &Path, output: &mut Output<'_>) -> Result<bool, Complaint> {
    output.text(&format!("change {}? [y/N] ", file.display()))?;
    let _ = output.out.flush();
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(
        answer.trim().to_ascii_lowercase().as_str(),
        "y" | "yes"
    ))
}

/// Copies a file beside itself, with its mode and owner.
fn back_up(file: &Path) -> io::Result<PathBuf> {
    for number in 0..MAX_BACKUPS {
        let mut name = file.as_os_str().to_owned();
        name.push(".doctor-backup");
        if number > 0 {
            name.push(format!(".{number}"));
        }
        let backup = PathBuf::from(name);
        match write_new(&backup, &fs::read(file)?, &fs::metadata(file)?) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(()) => return Ok(backup),
        }
    }
    Err(io::Error::other(format!("there are {MAX_BACKUPS} already")))
}

/// Puts a new text in a file's place in one step. A link stays one: its target is replaced.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let target = fs::canonicalize(file)?;
    let mut name = target.as_os_str().to_owned();
    name.push(format!(".doctor-{}", std::process::id()));
    let new = PathBuf::from(name);
    let written = write_new(&new, text.as_bytes(), &fs::metadata(&target)?);
    let renamed = written.and_then(|()| fs::rename(&new, &target));
    if renamed.is_err() {
        let _ = fs::remove_file(&new);
    }
    renamed
}

fn write_new(path: &Path, bytes: &[u8], like: &fs::Metadata) -> io::Result<()> {
    // Nobody else may read it before it has the mode and the owner of the other.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    chown(path, Some(like.uid()), Some(like.gid())).or_else(|error| {
        let own = fs::metadata(path)?;
        if (own.uid(), own.gid()) == (like.uid(), like.gid()) {
            Ok(())
        } else {
            Err(error)
        }
    })?;
    file.set_permissions(fs::Permissions::from_mode(like.mode() & 0o7777))?;
    file.sync_all()
}
