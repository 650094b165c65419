//! `-f`: reads pf.conf here, with all its errors, and sends its files to the daemon.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use datapath::netlink::Netlink;
use pf_conf::{
    Diagnostics, LoadOptions, Optimization, PrintOptions, SourceReader, Telling, Told,
    preview_files, told,
};
use pf_engine::env::Interface;
use pf_engine::ruleset::{Dialect, Parts};

use super::Failure;
use super::arguments::Arguments;
use crate::accounts;
use crate::config::{self, DEFAULT_CONFIG_DIR, read_bounded, read_bytes};
use crate::control::protocol::{DialectName, FileBytes, LoadRequest, OptimizationName};
use crate::daemon::env::as_configured;
use crate::output::Output;
use crate::text::reason;

/// How PF calls standard input in messages.
const STDIN_NAME: &str = "stdin";

/// What rules are read against: the daemon's view of the box, or our own.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Whose meaning.
    pub dialect: Dialect,
    /// The interfaces.
    pub interfaces: Vec<Interface>,
}

/// Files as they were read, so that the daemon reads the same.
#[derive(Debug, Default)]
struct RecordedFiles(BTreeMap<String, FileBytes>);

impl SourceReader for RecordedFiles {
    fn read(&mut self, path: &str) -> io::Result<Vec<u8>> {
        let bytes = read_bytes(Path::new(path))?;
        self.0.insert(path.to_owned(), FileBytes(bytes.clone()));
        Ok(bytes)
    }
}

/// The box without a daemon: our own interfaces, and the start-up files as far as they can be read:
/// an error in these is `weighbridge run`'s to report; checking rules goes on without.
///
/// # Errors
/// When it is not known whose meaning the rules have.
pub fn own_surroundings(arguments: &Arguments) -> Result<Surroundings, String> {
    let links = config::read(directory(arguments), None)
        .unwrap_or_default()
        .links;
    let interfaces = Netlink::open().and_then(|mut netlink| netlink.interfaces());
    Ok(Surroundings {
        dialect: own_dialect(arguments)?,
        interfaces: as_configured(interfaces.unwrap_or_default(), &links),
    })
}

/// `--dialect`, else that of weighbridge.toml.
///
/// # Errors
/// When weighbridge.toml cannot be read or understood: rules checked in another dialect than that of the
/// daemon would mean something else.
pub fn own_dialect(arguments: &Arguments) -> Result<Dialect, String> {
    if let Some(dialect) = arguments.dialect {
        return Ok(dialect);
    }
    match config::read_settings(directory(arguments)) {
        Ok(settings) => Ok(settings.dialect),
        Err(problem) => Err(format!(
            "{problem}\n  hint: it says in which dialect the rules are: mend it, or name one with --dialect"
        )),
    }
}

/// `--config`, else the usual place.
pub(super) fn directory(arguments: &Arguments) -> &Path {
    let dir = arguments.config.as_deref();
    dir.unwrap_or(Path::new(DEFAULT_CONFIG_DIR))
}

/// Reads `file` and prints what is wrong with it, or with `-v` how it was understood. Returns
/// what the daemon needs to read the same.
///
/// # Errors
/// When there was one error in it.
pub fn read_rules(
    arguments: &Arguments,
    file: &str,
    around: Surroundings,
    output: &mut Output<'_>,
) -> Result<LoadRequest, Failure> {
    let (name, main) = read_main(file)?;
    let mut files = RecordedFiles::default();
    let options = LoadOptions {
        dialect: around.dialect,
        defines: arguments.defines.clone(),
        interfaces: around.interfaces,
        accounts: accounts::of_machine(),
        // Keys that are printed here are never used: the daemon draws its own.
        anchor: arguments.scope.anchor.clone(),
        hash_seed: 0,
        memory: None,
    };
    let telling = Telling {
        print: PrintOptions {
            dialect: around.dialect,
            swap_service_names: arguments.swap_service_names,
        },
        numbered: arguments.verbose > 1,
        parts: arguments.told_parts(),
    };
    let only_printing = arguments.dry_run && arguments.optimization == Some(Optimization::None);
    match pf_conf::load(&name, &main, &mut files, &options) {
        Ok(mut loaded) if arguments.verbose > 0 => {
            let preview =
                only_printing.then(|| preview_files(&name, &main, &mut files, &options, &telling));
            if let Some(Ok(told)) = preview {
                say_all(&told, output)?;
            } else {
                // A profile is the daemon's to know.
                let level = loaded.level(arguments.optimization);
                loaded.optimize_parts(level, &[], telling.parts);
                say_all(&loaded.told(&telling), output)?;
            }
        }
        Ok(_) => {}
        Err(mut diagnostics) => {
            if arguments.dry_run && arguments.verbose > 0 {
                match preview_files(&name, &main, &mut files, &options, &telling) {
                    Ok(told) => {
                        say_all(&told, output)?;
                        if only_printing {
                            return Ok(request(arguments, name, main, files, around.dialect));
                        }
                        // What was told of the text is told already.
                        return Err(refused(arguments, &diagnostics, Parts::NONE, output)?);
                    }
                    Err(errors) if only_printing => diagnostics = errors,
                    Err(_) => {}
                }
            }
            return Err(refused(arguments, &diagnostics, telling.parts, output)?);
        }
    }
    Ok(request(arguments, name, main, files, around.dialect))
}

/// Prints what is told of each file; that it is loaded stands on standard error, as in pfctl.
fn say_all(all: &[Told], output: &mut Output<'_>) -> Result<(), Failure> {
    for told in all {
        if let Some((anchor, file)) = &told.load {
            output.message(&format!("\nLoading anchor {anchor} from {file}"));
        }
        output.text(&told.text)?;
    }
    Ok(())
}

/// Prints the errors, with `-v` after what was understood, and gives how pfctl ends: `-n` has no
/// rules to load, and so does not tell that there are none.
fn refused(
    arguments: &Arguments,
    diagnostics: &Diagnostics,
    parts: Parts,
    output: &mut Output<'_>,
) -> Result<Failure, Failure> {
    if arguments.verbose > 0 && parts != Parts::NONE {
        let lines = told(diagnostics.echo(), parts);
        let text: String = lines.flat_map(|line| [line, "\n"]).collect();
        output.text(&text)?;
    }
    let text = if output.rich_errors {
        diagnostics.rendered(true)
    } else {
        diagnostics.plain()
    };
    output.message(text.trim_end());
    let mut last = Vec::new();
    if !arguments.dry_run {
        last.push("Syntax error in config file: pf rules not loaded");
    }
    if diagnostics.only_of_loads() {
        last.push("load anchors");
    }
    let Some(end) = last.pop() else {
        return Ok(Failure::Told);
    };
    for line in last {
        output.message(&format!("pfctl: {line}"));
    }
    Ok(Failure::Message(end.into()))
}

fn request(
    arguments: &Arguments,
    name: String,
    main: Vec<u8>,
    files: RecordedFiles,
    dialect: Dialect,
) -> LoadRequest {
    LoadRequest {
        name,
        main: FileBytes(main),
        files: files.0,
        defines: arguments.defines.clone(),
        dialect: Some(DialectName(dialect)),
        optimization: arguments.optimization.map(OptimizationName),
        anchor: arguments.scope.anchor.clone(),
        parts: arguments.parts(),
        merge: arguments.merge,
    }
}

fn read_main(file: &str) -> Result<(String, Vec<u8>), Failure> {
    let (name, bytes) = if file == "-" {
        (STDIN_NAME, read_bounded(io::stdin().lock().by_ref()))
    } else {
        (file, read_bytes(Path::new(file)))
    };
    match bytes {
        Ok(bytes) => Ok((name.to_owned(), bytes)),
        Err(error) => Err(Failure::Message(format!("{name}: {}", reason(&error)))),
    }
}
