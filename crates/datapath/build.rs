//! Compiles the BPF programs with clang.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

/// The data path's, and what benchmarks need.
const PROGRAMS: [&str; 2] = ["weighbridge", "bench"];
/// With all that the programs include.
const DIRECTORY: &str = "bpf";
const HINT: &str = "install it with `apt-get install clang libbpf-dev linux-libc-dev`";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed={DIRECTORY}");
    println!("cargo::rerun-if-env-changed=CLANG");
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    for program in PROGRAMS {
        let source = format!("{DIRECTORY}/{program}.bpf.c");
        match compile(&clang, program, &source) {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                report(&format!("{clang} cannot compile {source}"), &output.stderr);
                return ExitCode::FAILURE;
            }
            Err(error) => {
                println!("cargo::error=cannot run {clang} for {source} ({error}): {HINT}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn compile(clang: &str, program: &str, source: &str) -> io::Result<Output> {
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    Command::new(clang)
        .args([
            "-target",
            target(),
            "-mcpu=v3",
            "-O2",
            "-g",
            "-Wall",
            "-Werror",
        ])
        .args(["-fdebug-compilation-dir", "."]) // no path of the building machine in the object
        .args(multiarch_include())
        .args(["-c", source, "-o"])
        .arg(out.join(format!("{program}.bpf.o")))
        .output()
}

fn target() -> &'static str {
    match env::var("CARGO_CFG_TARGET_ENDIAN").as_deref() {
        Ok("big") => "bpfeb",
        _ => "bpfel",
    }
}

/// Debian keeps `asm/` apart for each architecture, where clang for BPF does not look.
fn multiarch_include() -> Option<String> {
    let arch = env::var("CARGO_CFG_TARGET_ARCH").ok()?;
    let directory = format!("/usr/include/{arch}-linux-gnu");
    Path::new(&directory)
        .is_dir()
        .then(|| format!("-I{directory}"))
}

fn report(what: &str, stderr: &[u8]) {
    let stderr = String::from_utf8_lossy(stderr);
    for line in stderr.lines() {
        println!("cargo::warning={line}");
    }
    if stderr.contains("file not found") {
        println!("cargo::error={what}, a header is missing: {HINT}");
    } else {
        println!("cargo::error={what}");
    }
}
