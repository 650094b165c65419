//! Each program by itself: what its verification costs.

use aya::programs::{Program, ProgramInfo};

use super::*;
use crate::program::has_xdp;

/// Instructions that a verifier may go through for one program: it gives up at 1,000,000, and other kernels'
/// have gone through nearly four times as many as this machine's (docs/kernels.md).
const VERIFIED_MAX: u32 = 200_000;

/// Loads it: how long that takes.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the object has programs of two kinds"
)]
fn load(program: &mut Program) -> Duration {
    let began = kernel_now();
    let loaded = match program {
        Program::SchedClassifier(program) => program.load(),
        Program::Xdp(program) => program.load(),
        _ => panic!("a hook's or a driver's alone"),
    };
    loaded.map_err(refused).expect("loads");
    kernel_now().saturating_sub(began)
}

#[test]
fn each_program_is_verified_with_room_for_other_kernels() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED verified: needs root");
        return;
    }
    // With lanes: of a constant that is 0 verifiers pass over what is behind it.
    let loader = EbpfLoader::new()
        .override_global("lanes_mask", &0xffff_u32, true)
        .load(OBJECT);
    let mut ebpf = loader.expect("loads");
    for (name, program) in ebpf.programs_mut() {
        if matches!(program, Program::Xdp(_)) && !has_xdp().expect("a kernel") {
            println!("SKIPPED verified: {name}: this kernel is older than it");
            continue;
        }
        let time = load(program);
        let info: ProgramInfo = program.info().expect("is loaded");
        let count = info.verified_instruction_count();
        let told = count.map_or_else(|| "?".to_owned(), |count| count.to_string());
        let (size, code) = (info.size_translated().unwrap_or(0) / 8, info.size_jitted());
        println!(
            "figures {name}: {size} instructions, {code} bytes of machine code, {told} verified, {} ms",
            time.as_millis()
        );
        assert!(count.unwrap_or(0) < VERIFIED_MAX, "{name}: {told}");
    }
}
