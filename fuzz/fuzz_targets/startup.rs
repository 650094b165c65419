//! libFuzzer entry of [`weighbridge_fuzz::startup`]: `cargo +nightly fuzz run --features libfuzzer startup`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weighbridge_fuzz::startup(data));
