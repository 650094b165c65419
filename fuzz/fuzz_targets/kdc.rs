//! libFuzzer entry of [`weighbridge_fuzz::kdc`]: `make fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weighbridge_fuzz::kdc(data));
