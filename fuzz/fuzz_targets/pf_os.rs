//! libFuzzer entry of [`weighbridge_fuzz::pf_os`]: `cargo +nightly fuzz run --features libfuzzer pf_os`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weighbridge_fuzz::pf_os(data));
