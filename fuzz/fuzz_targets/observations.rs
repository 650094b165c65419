//! libFuzzer entry of [`weighbridge_fuzz::observations`]: `cargo +nightly fuzz run --features libfuzzer observations`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weighbridge_fuzz::observations(data));
