//! libFuzzer entry of [`weighbridge_fuzz::p0f_fp`]: `cargo +nightly fuzz run --features libfuzzer p0f_fp`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weighbridge_fuzz::p0f_fp(data));
