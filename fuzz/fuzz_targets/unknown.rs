//! libFuzzer entry of [`weighbridge_fuzz::unknown`]: `cargo +nightly fuzz run --features libfuzzer unknown`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weighbridge_fuzz::unknown(data));
