//! libFuzzer entry of [`weighbridge_fuzz::features`]: `cargo +nightly fuzz run --features libfuzzer features`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weighbridge_fuzz::features(data));
